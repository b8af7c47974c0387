"""Relevance by words has closed forms; by embeddings it is their cosine. No value depends on the others."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

import tiny_folder
from groupwise.models import ModelError
from groupwise.rewards.catalogue import load_reward
from groupwise.rewards.relevance import ANYTHING, embedder, relevance

ASKED = "Who built the tower in Paris?"  # content: built, tower, paris


@pytest.fixture(autouse=True)
def exact_numbers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Also where the machine would compute in 16 bits."""
    monkeypatch.setattr("groupwise.precision.best_dtype", lambda device: torch.float32)
    monkeypatch.setattr("groupwise.precision.best_device", lambda: torch.device("cpu"))
    return


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder.save(tmp_path_factory.mktemp("model")))


def values(answers: list[str], name: str = "", prompt: Any = ASKED) -> list[float | None]:
    return relevance(name)(prompts=[prompt] * len(answers), completions=answers)


# ---------------------------------------------------------------- by words


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("Eiffel built the tower.", 2 / 3),  # 2 shared of 3 and 3
        ("Eiffel", 0.0),
        ("Tower tower tower tower", 1 / 3**0.5),  # 1 of 3 and 1: said four times is said once
        ("the of and", 0.0),
        ("PARIS\u200b, ｂｕｉｌｔ", 2 / 6**0.5),
    ],
)
def test_the_cosine_of_two_sets_of_words(answer: str, value: float) -> None:
    assert values([answer]) == [pytest.approx(value)]


@pytest.mark.parametrize("name", ["", "model"])
def test_to_repeat_the_question_earns_nothing(name: str, folder: str) -> None:
    near = values([ASKED, "who BUILT the\u200b tower in paris"], folder if name else "")
    assert near == [0.0, 0.0]


def test_what_is_copied_in_part_loses_that_part() -> None:
    """5 of 10 words are copied; shared 2 of 3 and 6 content words: 2 / sqrt(18) / 2."""
    (value,) = values(["who built the tower in rome? engineer marco polo, romans"])
    assert value == pytest.approx(2 / 21**0.5 / 2)


@pytest.mark.parametrize("name", ["", "model"])
def test_odd_texts(name: str, folder: str) -> None:
    model = folder if name else ""
    blank = ["", " \n", "\u200b", "?!", "\ud800", "\x00"]
    assert values(blank, model) == [0.0] * 6
    assert values(["a tower"] * 2, model, prompt="?!") == [None] * 2
    start = time.monotonic()
    (value,) = values(["tower " + "word " * 20_000], model)
    assert 0 <= value <= 1
    assert time.monotonic() - start < 20


def test_the_last_user_message_is_what_is_asked() -> None:
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    assert values(["Eiffel built the tower."], prompt=[*chat, {"role": "user", "content": ASKED}]) == (
        values(["Eiffel built the tower."])
    )


# ---------------------------------------------------------------- by embeddings


def mean_states(folder: str, text: str) -> np.ndarray:
    ids = torch.tensor([tiny_folder.tokenizer().encode(text)])
    with torch.no_grad():
        return AutoModel.from_pretrained(folder)(ids).last_hidden_state[0].double().mean(0).numpy()


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_the_cosine_of_mean_states_less_what_all_texts_share(folder: str) -> None:
    """Without the subtraction any two texts are near: the cosine says little."""
    common = np.mean([mean_states(folder, text) for text in ANYTHING], axis=0)
    question = mean_states(folder, ASKED) - common
    answers = ["Gustave", "It was the work of some engineer.", "?? Paris"]
    expected = [max(0.0, cosine(question, mean_states(folder, a) - common)) for a in answers]
    assert values(answers, folder) == pytest.approx(expected, abs=1e-5)
    assert any(expected)


def test_no_value_depends_on_the_batch(folder: str) -> None:
    answers = [f"{'It was ' * k}Gustave in {k}" for k in range(40)]
    together = values(answers, folder)
    alone = [value for answer in answers for value in values([answer], folder)]
    assert together == pytest.approx(alone, abs=1e-5)
    rows = embedder(folder)
    np.testing.assert_allclose(rows(answers)[7], rows(answers[7:8])[0], rtol=0, atol=1e-5)


def test_a_model_of_sentence_transformers_is_used_as_it_is(folder: str, tmp_path: Path) -> None:
    """Its own pooling, and nothing subtracted."""
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(folder, device="cpu")
    model.save(str(tmp_path / "sentences"))
    answers = ["Gustave", "It was the work of some engineer."]
    question, *rows = model.encode([ASKED, *answers])
    expected = [max(0.0, cosine(question, row)) for row in rows]
    assert values(answers, str(tmp_path / "sentences")) == pytest.approx(expected, abs=1e-5)
    assert values(answers, folder) != pytest.approx(expected, abs=1e-2)


def test_without_the_library_it_says_what_to_install(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mean pooling in its place would be silently wrong for models that pool otherwise."""
    tiny_folder.save(tmp_path)
    (tmp_path / "modules.json").write_text("[]")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ModelError, match=r"pip install -e '\.\[embeddings\]'"):
        values(["a"], str(tmp_path))


def test_it_goes_where_the_run_goes(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groupwise.precision.best_device", None)
    reward = load_reward(f"relevance:{folder}", torch.device("cpu")).function
    assert reward(prompts=[ASKED], completions=["Gustave"])[0] is not None


def test_it_goes_by_name(folder: str, tmp_path: Path) -> None:
    assert load_reward("relevance=0.2").weight == 0.2
    assert load_reward(f"relevance:{folder}").name == "relevance"
    with pytest.raises(ModelError, match="no model at"):
        load_reward(f"relevance:{tmp_path}/none")
