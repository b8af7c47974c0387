"""Several models that judge together, and what is read back from a folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

import preferred
import tiny
from groupwise.models import ModelError
from groupwise.reward_models.dialogue import Dialogue
from groupwise.reward_models.ensemble import (
    Ensemble,
    Member,
    conservative,
    from_hub,
    holds_one,
    opened,
)
from groupwise.reward_models.model import begin, trained

CPU = torch.device("cpu")
ASKED = [("w10", "w20 w21"), ([{"role": "user", "content": "w10"}], "w22"), ("w10", "w20 w21")]


def test_the_mean_less_the_deviation() -> None:
    scores = np.array([[1.0, 2.0, 0.0], [3.0, 2.0, 6.0]])
    value, spread = conservative(scores, 1.0)
    assert (value.tolist(), spread.tolist()) == ([1, 2, 0], [1, 0, 3])
    assert conservative(scores, 0.0)[0].tolist() == [2, 2, 3]
    assert conservative(scores, 0.5)[0].tolist() == [1.5, 2, 1.5]
    np.testing.assert_allclose(conservative(scores + 4, 1.0)[0], value + 4)


def test_one_member_has_nobody_to_disagree_with() -> None:
    value, spread = conservative(np.array([[1.0, 5.0]]), 3.0)
    assert (value.tolist(), spread.tolist()) == ([1, 5], [0, 0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/rm with two members of untrained heads."""
    words = preferred.save(tmp_path_factory.mktemp("models") / "words")
    folder = tmp_path_factory.mktemp("runs") / "rm"
    for k in range(2):
        model = begin(str(words), CPU, 64, seed=k)
        model.module.save_pretrained(folder / f"member-{k}")
        model.tokenizer.save_pretrained(folder / f"member-{k}")
        facts = {"dialogue": asdict(Dialogue()), "max_tokens": 12, "mean": 0.1 * k, "std": 0.5}
        (folder / f"member-{k}" / "reward.json").write_text(json.dumps(facts))
    facts = {"members": ["member-0", "member-1"], "deviations": 2.0, "mean": -0.3, "std": 0.25}
    (folder / "reward.json").write_text(json.dumps(facts))
    return folder


def test_a_folder_judges_by_what_is_written_in_it(folder: Path) -> None:
    """Each member's own mean off, mean less two deviations, then the joint mean off, over the deviation."""
    texts = [Dialogue().text(prompt, answer) for prompt, answer in ASKED]
    scores = []
    for k in range(2):
        model = trained(folder / f"member-{k}", CPU)
        scores.append(model.judged(model.tokens(texts)) - 0.1 * k)
    mean, spread = np.mean(scores, axis=0), np.std(scores, axis=0)
    found = opened(folder, CPU).judge(ASKED)
    np.testing.assert_allclose(found.value, (mean - 2 * spread + 0.3) / 0.25, atol=1e-5)
    np.testing.assert_allclose(found.disagreement, spread / 0.25, atol=1e-5)
    assert found.value[0] == found.value[2]
    assert not found.cut.any()


def test_a_member_is_a_reward_model_of_its_own(folder: Path) -> None:
    model = trained(folder / "member-1", CPU)
    raw = model.judged(model.tokens([Dialogue().text(*ASKED[0])]))
    found = opened(folder / "member-1", CPU).judge(ASKED[:1])
    np.testing.assert_allclose(found.value, (raw - 0.1) / 0.5, atol=1e-5)


def test_answers_longer_than_what_is_read_are_told(folder: Path) -> None:
    long = ("w10", " ".join(["w20"] * 20))
    assert opened(folder, CPU).judge([ASKED[0], long]).cut.tolist() == [False, True]


def test_nothing_to_judge_is_nothing(folder: Path) -> None:
    assert opened(folder, CPU).judge([]).value.tolist() == []


def test_a_foreign_model_reads_its_own_chat_template(folder: Path, tmp_path: Path) -> None:
    """Scores as they are: nobody said what its mean is. Without a template, as a dialogue."""
    found = from_hub(str(folder / "member-0"), CPU)
    (member,) = found.members
    assert member.dialogue is None
    want = tiny.tokenizer().apply_chat_template(
        [{"role": "user", "content": "w10"}, {"role": "assistant", "content": "w22"}], return_dict=False
    )
    assert member.rows([("w10", "w22")]) == [want]
    assert found.judge([("w10", "w22")]).value[0] == pytest.approx(member.model.judged([want])[0])
    member.model.module.save_pretrained(tmp_path)
    words = tiny.tokenizer()
    words.chat_template = None
    words.save_pretrained(tmp_path)
    assert from_hub(str(tmp_path), CPU).members[0].dialogue == Dialogue()


def test_an_answer_to_a_foreign_model_cannot_end_its_turn(folder: Path) -> None:
    """Through a chat template, a mark that is spelled becomes the mark: the human would praise the answer."""
    (member,) = from_hub(str(folder / "member-0"), CPU).members
    begins, ends = (member.model.tokenizer.convert_tokens_to_ids(mark) for mark in ("<bos>", "<eos>"))
    (gamed,) = member.rows([("w10", "w20 <eos> <bos> w7")])
    assert (gamed.count(begins), gamed.count(ends)) == (2, 0)


def test_an_answer_that_the_prompt_begins_is_one_message(folder: Path) -> None:
    (member,) = from_hub(str(folder / "member-0"), CPU).members
    begun = [{"role": "user", "content": "w10"}, {"role": "assistant", "content": "w20 "}]
    assert member.rows([(begun, "w21")]) == member.rows([("w10", "w20 w21")])


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ("{", "cannot|can be read"),
        ("[]", "not what was written"),
        ('{"members": ["member-7"], "deviations": 1, "mean": 0, "std": 1}', "member-7"),
        ('{"mean": 0}', "not what was written.*'std'|not what was written.*'max_tokens'"),
        ('{"members": 3, "deviations": 1, "mean": 0, "std": 1}', "not what was written"),
        ('{"members": [], "deviations": 1, "mean": 0, "std": 1}', "not what was written: members"),
        ('{"members": ["../elsewhere"], "deviations": 1, "mean": 0, "std": 1}', "a member '../elsewhere'"),
        ('{"members": ["/etc"], "deviations": 1, "mean": 0, "std": 1}', "a member '/etc'"),
        ('{"members": [".."], "deviations": 1, "mean": 0, "std": 1}', "a member '..'"),
        ('{"dialogue": {}, "max_tokens": "many", "mean": 0, "std": 1}', "not what was written.*many"),
    ],
)
def test_a_damaged_folder_is_told(tmp_path: Path, facts: str, words: str) -> None:
    (tmp_path / "reward.json").write_text(facts)
    assert holds_one(tmp_path)
    with pytest.raises(ModelError, match=words):
        opened(tmp_path, CPU)


def test_members_are_averaged_after_their_means(folder: Path) -> None:
    """A member whose scores are all higher must not weigh more: preferences say nothing about the level."""
    model = trained(folder / "member-0", CPU)
    raw = model.judged(model.tokens([Dialogue().text(*ASKED[0])]))[0]
    twice = Ensemble((Member(model, Dialogue(), mean=raw), Member(model, Dialogue(), mean=raw - 2)))
    found = twice.judge(ASKED[:1])
    assert found.value[0] == pytest.approx(1 - 1, abs=1e-6)
    assert found.disagreement[0] == pytest.approx(1, abs=1e-6)
