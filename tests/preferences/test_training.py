"""From comparisons to a folder: what is in it, what it says, and what Ctrl-C leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import preferred
from groupwise.preferences import report, training
from groupwise.preferences.comparisons import Comparison, comparison, split
from groupwise.preferences.fit import Fitting
from groupwise.preferences.training import Plan, Trained, measured_on, train
from groupwise.reward_models.ensemble import holds_one, opened
from groupwise.tasks.data import DataError

CPU = torch.device("cpu")
QUICK = Fitting(learning_rate=5e-3, batch=8)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return preferred.save(tmp_path_factory.mktemp("models") / "words")


def sides(n: int) -> tuple[list[Comparison], list[Comparison]]:
    found = [c for row in preferred.pairs(n) if isinstance(c := comparison(row), Comparison)]
    return split(found, 20, seed=0)


def plan(words: Path, **more: Any) -> Plan:
    return Plan(**{"model": str(words), "device": CPU, "max_tokens": 64, "fitting": QUICK, **more})


@pytest.fixture(scope="module")
def made(words: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """A folder with two members."""
    folder = tmp_path_factory.mktemp("runs") / "rm"
    folder.mkdir()
    given, kept = sides(100)
    return folder, train(folder, plan(words, members=2), given, kept)


def test_a_folder_holds_each_member_and_what_joins_them(made: tuple[Path, Trained]) -> None:
    folder, trained = made
    assert {p.name for p in folder.iterdir()} == {"member-0", "member-1", "reward.json"}
    assert all(holds_one(folder / f"member-{k}") for k in range(2))
    assert (trained.finished, trained.steps, len(trained.members)) == (True, (10, 10), 2)
    assert trained.comparisons == (80, 20)


def test_rewards_of_the_held_out_texts_have_mean_zero_and_deviation_one(made: tuple[Path, Trained]) -> None:
    """The scale is said to be about 1, so that a weight means the same for every reward model."""
    folder, trained = made
    _, kept = sides(100)
    texts = [text for c in kept for text in c.texts]
    asked = [(text.partition("\n\nAssistant: ")[0], text.partition("\n\nAssistant: ")[2]) for text in texts]
    found = opened(folder, CPU).judge(asked)
    assert found.value.mean() == pytest.approx(0, abs=1e-4)
    assert found.value.std() == pytest.approx(1, abs=1e-4)
    assert found.disagreement.mean() == pytest.approx(trained.disagreement, abs=1e-4)
    assert trained.disagreement > 0


def test_a_reward_is_transformers_score_on_a_known_scale(words: Path, tmp_path: Path) -> None:
    """The folder alone, with transformers alone, gives the reward."""
    given, kept = sides(40)
    train(tmp_path, plan(words), given, kept)
    facts = json.loads((tmp_path / "model" / "reward.json").read_text())
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        score = float(model(**tokenizer("\n\nHuman: w10\n\nAssistant: w7", return_tensors="pt")).logits)
    want = (score - facts["mean"]) / facts["std"]
    for folder in (tmp_path, tmp_path / "model"):
        assert opened(folder, CPU).judge([("w10", "w7")]).value[0] == pytest.approx(want, abs=1e-5)


def test_the_report_of_the_folder_is_what_it_measures_again(made: tuple[Path, Trained]) -> None:
    folder, trained = made
    _, kept = sides(100)
    found, n = measured_on(opened(folder, CPU), kept)
    assert (n, found.pairs) == (20, 20)
    assert found.accuracy == trained.joint.accuracy
    assert found.loss == pytest.approx(trained.joint.loss, abs=1e-5)


def test_the_report_is_for_programs_and_for_people(made: tuple[Path, Trained], tmp_path: Path) -> None:
    report.write(tmp_path, made[1], {"equal sides": 3}, 12.34, {"model": "words"})
    facts = json.loads((tmp_path / "report.json").read_text())
    assert facts["joint"]["accuracy"] == made[1].joint.accuracy
    assert facts["excluded"] == {"equal sides": 3}
    assert len(facts["members"]) == 2
    text = (tmp_path / "report.md").read_text()
    for word in ("# Reward model", "left out: 3 equal sides", "## calibration", "## length", "## members"):
        assert word in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    widths = {line.count("|") for line in tables}
    assert widths == {3, 5, 6}


def interrupted(after: int) -> Any:
    """A watch like a person who presses Ctrl-C in the last member's step `after`."""
    seen = [0]

    def watch(member: int, numbers: Mapping[str, float]) -> None:
        seen[0] += 1
        if seen[0] == after:
            raise KeyboardInterrupt

    return watch


def test_ctrl_c_keeps_what_was_learned(words: Path, tmp_path: Path) -> None:
    given, kept = sides(100)
    said: list[str] = []
    trained = train(tmp_path, plan(words), given, kept, interrupted(3), said.append)
    assert (trained.finished, trained.steps) == (False, (3,))
    assert any("saving what there is" in text for text in said)
    assert np.isfinite(opened(tmp_path, CPU).judge([("w10", "w7")]).value).all()


def test_ctrl_c_in_a_later_member_keeps_the_ones_before(words: Path, tmp_path: Path) -> None:
    given, kept = sides(100)
    trained = train(tmp_path, plan(words, members=3), given, kept, interrupted(12))
    assert (trained.finished, trained.steps) == (False, (10, 2))
    assert len(opened(tmp_path, CPU).members) == 2


def test_ctrl_c_before_the_first_step_leaves_nothing(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: Any) -> Iterator[dict[str, float]]:
        raise KeyboardInterrupt
        yield {}

    monkeypatch.setattr(training, "fit", nothing)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, plan(words), *sides(40))
    assert list(tmp_path.iterdir()) == []


def test_the_seed_alone_decides_what_a_member_becomes(words: Path, tmp_path: Path) -> None:
    given, kept = sides(40)
    scores = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        fitting = Fitting(learning_rate=5e-3, batch=8, seed=seed)
        train(tmp_path / name, plan(words, fitting=fitting), given, kept)
        scores.append(opened(tmp_path / name, CPU).judge([("w10", "w7 w30")]).value[0])
    assert scores[0] == scores[1] != scores[2]


def test_comparisons_that_all_look_the_same_are_told(words: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"w{10 + i}", "chosen": "w7 w8 w9", "rejected": "w6 w8 w9"} for i in range(9)]
    found = [c for row in rows if isinstance(c := comparison(row), Comparison)]
    with pytest.raises(DataError, match=r"differ in their last 2 tokens. Raise --max-tokens"):
        train(tmp_path, plan(words, max_tokens=2), found[:7], found[7:])


@pytest.mark.parametrize("wrong", [{"members": 0}, {"deviations": -1.0}, {"max_tokens": 1}])
def test_plans_that_cannot_be_are_refused(words: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        plan(words, **wrong)
