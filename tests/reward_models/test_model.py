"""The scalar head: what it reads, where it reads it, and what padding must not change."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import preferred
import tiny
import tiny_folder
from groupwise.models import Lora, ModelError, load
from groupwise.reward_models.model import RewardModel, batches, begin, trained

CPU = torch.device("cpu")
ROWS = [list(tiny.prompt(n)) for n in (3, 11, 6)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return preferred.save(tmp_path_factory.mktemp("models") / "words")


def by_hand(model: RewardModel, row: list[int]) -> float:
    """The head on the last hidden state of one text alone, without transformers' own choice of a place."""
    with torch.no_grad():
        hidden = model.module.base_model(torch.tensor([row])).last_hidden_state[0, -1]
        return float(model.module.score(hidden))


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "mistral"])
def test_a_score_is_read_at_the_last_token_whatever_the_padding(tmp_path: Path, family: str) -> None:
    """The trap: read at the end of the padded row, scores depend on who else is in the batch."""
    tiny.plain(family).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    model = begin(str(tmp_path), CPU, 64, seed=0)
    alone = [by_hand(model, row) for row in ROWS]
    assert np.std(alone) > 1e-3
    np.testing.assert_allclose(model.scores(ROWS).tolist(), alone, atol=1e-5)
    np.testing.assert_allclose(model.judged(ROWS), alone, atol=1e-5)


@pytest.mark.parametrize("named", ["model", "tokenizer", "end of sequence"])
def test_a_missing_padding_token_moves_no_score(tmp_path: Path, named: str) -> None:
    """Without one transformers reads the last place of the row; the model, else the tokenizer, names it."""
    inner, words = tiny.plain("llama"), tiny.tokenizer()
    if named != "model":
        inner.config.pad_token_id = None
    if named != "tokenizer":
        words.pad_token = None
    inner.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    model = begin(str(tmp_path), CPU, 64, seed=0)
    pad = 2 if named == "end of sequence" else 0
    assert (model.pad, model.module.config.pad_token_id, model.tokenizer.pad_token_id) == (pad,) * 3
    np.testing.assert_allclose(model.scores(ROWS).tolist(), [by_hand(model, r) for r in ROWS], atol=1e-5)


def test_a_model_with_nothing_to_pad_with_is_refused(tmp_path: Path) -> None:
    inner, words = tiny.plain("llama"), tiny.tokenizer()
    inner.config.pad_token_id = words.pad_token = words.eos_token = None
    inner.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="no token to pad with"):
        begin(str(tmp_path), CPU, 64, seed=0)


def test_the_name_of_a_special_token_in_a_text_is_letters(tmp_path: Path) -> None:
    """A policy could else write its own padding, and be scored at the place of its choice."""
    model = begin(str(tiny_folder.save(tmp_path)), CPU, 64, seed=0)
    (plain,), (odd,) = model.tokens(["ab"]), model.tokens(["ab<pad>"])
    assert odd[: len(plain)] == plain
    assert len(odd) == 7
    assert 0 not in odd


def test_of_a_long_text_the_end_is_read(folder: Path) -> None:
    model = begin(str(folder), CPU, 3, seed=0)
    assert model.tokens(["w10 w11 w12 w13 w14", "w10"]) == [[12, 13, 14], [10]]
    assert begin(str(folder), CPU, 10_000, seed=0).max_tokens == tiny_folder.CONTEXT
    assert model.tokens([]) == []


def test_the_head_is_drawn_by_the_seed_alone(folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    heads = [begin(str(folder), CPU, 64, seed).module.score.weight for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # from within peft
@pytest.mark.parametrize("lora", [None, Lora(4, 8.0)])
def test_what_is_saved_is_what_transformers_loads(folder: Path, tmp_path: Path, lora: Lora | None) -> None:
    model = begin(str(folder), CPU, 64, 0, lora)
    with torch.no_grad():  # an adapter begins as nothing
        generator = torch.Generator().manual_seed(1)
        for parameter in filter(lambda p: p.requires_grad, model.module.parameters()):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    before = model.judged(ROWS)
    model.merge()
    np.testing.assert_allclose(model.judged(ROWS), before, atol=1e-5)
    model.module.save_pretrained(tmp_path / "saved")
    model.tokenizer.save_pretrained(tmp_path / "saved")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
    words = AutoTokenizer.from_pretrained(tmp_path / "saved")
    texts = ["w10 w11", "w20 w21 w22 w23"]
    with torch.no_grad():
        logits = theirs(**words(texts, padding=True, return_tensors="pt")).logits[:, 0]
    np.testing.assert_allclose(logits.tolist(), model.judged(model.tokens(texts)), atol=1e-5)
    np.testing.assert_allclose(trained(tmp_path / "saved", CPU).judged(ROWS), before, atol=1e-5)


def test_equal_rows_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, read = begin(str(folder), CPU, 64, seed=0), []
    own = model.scores
    monkeypatch.setattr(model, "scores", lambda rows: read.extend(rows) or own(rows))
    scores = model.judged([ROWS[0], ROWS[1], ROWS[0]])
    assert len(read) == 2
    assert scores[0] == scores[2] != scores[1]


def test_a_model_without_a_trained_head_is_no_reward_model(folder: Path) -> None:
    """A new head would give random rewards, and no error."""
    with pytest.raises(ModelError, match=r"no reward model.*groupwise reward train"):
        trained(folder, CPU)


def test_one_label_without_its_head_is_no_reward_model(tmp_path: Path) -> None:
    """The configuration may say one label where the weights have no head."""
    inner = tiny.plain("llama")
    inner.config.num_labels = 1
    inner.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"it lacks score\.weight"):
        trained(tmp_path, CPU)


def test_a_classifier_of_several_labels_is_no_reward_model(folder: Path, tmp_path: Path) -> None:
    three = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    three.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="it gives 3 numbers"):
        trained(tmp_path, CPU)


def test_a_model_that_is_not_there_is_told_by_name() -> None:
    with pytest.raises(ModelError, match="/no/such/model"):
        begin("/no/such/model", CPU, 64, seed=0)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 50)), max_size=20), st.integers(1, 200))
def test_batches_hold_every_item_once_within_the_budget(shapes: list[tuple[int, int]], tokens: int) -> None:
    found = list(batches(shapes, tokens))
    assert sorted(i for batch in found for i in batch) == list(range(len(shapes)))
    for batch in found:
        cost = sum(shapes[i][0] for i in batch) * max(shapes[i][1] for i in batch)
        assert cost <= tokens or len(batch) == 1


class Code:
    """Pickled, it makes a file when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def to_train(folder: Path) -> object:
    return begin(str(folder), CPU, 64, seed=0)


def as_reward(folder: Path) -> object:
    return trained(folder, CPU)


def as_policy(folder: Path) -> object:
    return load(str(folder), CPU, torch.float32)


@pytest.mark.parametrize("opened", [to_train, as_reward, as_policy])
def test_weights_with_code_in_them_are_not_opened(tmp_path: Path, opened: Callable[[Path], object]) -> None:
    """And nobody is told how to run it, as torch's own message does."""
    folder = preferred.save(tmp_path / "model")
    weights = {**load_file(folder / "model.safetensors"), "more": Code(tmp_path / "made")}
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="a pickle with more in it than numbers") as told:
        opened(folder)
    assert "weights_only" not in str(told.value)
    assert not (tmp_path / "made").exists()
