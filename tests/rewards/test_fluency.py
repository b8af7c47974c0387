"""Fluency is the model's own log-probs, whatever shares a forward pass; loops and echoes earn none of it."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import tiny
import tiny_folder
from groupwise.models import ModelError
from groupwise.rewards import fluency as module
from groupwise.rewards.catalogue import load_reward
from groupwise.rewards.fluency import RUN, fluency, fresh, read, seen
from groupwise.rewards.frozen import DEFAULT, frozen, prompt_tokens
from groupwise.settings import Settings

PROMPTS = ["Who?", "Who?", "Where was it that they met?", "Who?"]
ANSWERS = ["A cat.", "Nobody that I know of, 12 times", "In Rome", "x"]
V = len(tiny_folder.SPECIAL) + len(tiny_folder.CHARACTERS)


@pytest.fixture(autouse=True)
def exact_numbers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Also where the machine would compute in 16 bits."""
    monkeypatch.setattr("groupwise.precision.best_dtype", lambda device: torch.float32)
    monkeypatch.setattr("groupwise.precision.best_device", lambda: torch.device("cpu"))
    return


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_folder.save(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def uniform(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model to which every token is equally likely: perplexity V, whatever the text."""
    folder = tiny_folder.save(tmp_path_factory.mktemp("uniform"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    model.save_pretrained(folder)
    return str(folder)


def by_transformers(folder: str, prompt: str, answer: str) -> torch.Tensor:
    """Log-probs of the answer's characters by one plain forward over prompt and answer alone."""
    tokenizer, model = tiny_folder.tokenizer(), AutoModelForCausalLM.from_pretrained(folder)
    before, after = tokenizer.encode(prompt), tokenizer.encode(answer)
    with torch.no_grad():
        logp = tiny.logits(model, [*before, *after]).log_softmax(-1)[len(before) - 1 : -1]
    return logp.gather(-1, torch.tensor(after)[:, None])[:, 0]


def values(name: str, prompts: list[Any], answers: list[str], **more: Any) -> list[float]:
    return fluency(name, **more)(prompts=prompts, completions=answers)


def test_the_log_probs_are_those_of_plain_transformers(folder: str) -> None:
    found = read(frozen(folder), PROMPTS, ANSWERS)
    for prompt, answer, got in zip(PROMPTS, ANSWERS, found, strict=True):
        assert got is not None
        torch.testing.assert_close(
            torch.from_numpy(got.logp).float(), by_transformers(folder, prompt, answer), rtol=0, atol=1e-5
        )


def test_the_value_is_by_the_mean_over_tokens(folder: str) -> None:
    expected = [
        min(1.0, 30 * math.exp(by_transformers(folder, p, a).mean()))
        for p, a in zip(PROMPTS, ANSWERS, strict=True)
    ]
    assert values(folder, PROMPTS, ANSWERS, enough=30) == pytest.approx(expected, abs=1e-5)
    assert len({round(v, 4) for v in expected} - {1.0}) > 1  # else nothing was compared


def test_values_do_not_depend_on_the_batch(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    together = values(folder, PROMPTS, ANSWERS, enough=30)
    assert values(folder, PROMPTS[::-1], ANSWERS[::-1], enough=30)[::-1] == pytest.approx(together, abs=1e-5)
    for budget in (1, 20, 60):
        monkeypatch.setattr(module, "BUDGET", budget)
        assert values(folder, PROMPTS, ANSWERS, enough=30) == pytest.approx(together, abs=1e-5)


def test_batches_keep_to_their_budget_and_share_prompts(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who? (4) with 6, 31 and 1 tokens, then 27 with 7: 42 and 34, or 41 and 5 + 34."""
    monkeypatch.setattr(module, "BUDGET", 42)
    members = module._members(frozen(folder), PROMPTS, ANSWERS)
    assert [[m.row for m in batch] for batch in module._batches(members)] == [[0, 1, 3], [2]]
    monkeypatch.setattr(module, "BUDGET", 41)
    assert [[m.row for m in batch] for batch in module._batches(members)] == [[0, 1], [3, 2]]


def test_a_uniform_model_gives_the_closed_form(uniform: str) -> None:
    """Perplexity is V whatever the length: short and long answers compare."""
    assert values(uniform, ["?"] * 2, ["abcdefg", "no"]) == pytest.approx([10 / V] * 2, abs=1e-5)
    assert values(uniform, ["?"], ["abcdefg"], enough=2 * V) == [1.0]


def test_an_echo_and_a_loop_earn_only_what_is_fresh(uniform: str) -> None:
    """The likeliest texts of all: without this a loop of one sentence would have the highest value."""
    line = "abcdefghij"  # longer than a run
    cases = [line, line * 7, "It is " + "x" * 44]
    assert values(uniform, ["?"] * 3, cases, enough=V) == pytest.approx([1, 1 / 7, 7 / 50], abs=1e-4)
    assert values(uniform, ["Tell me of the moon!"] * 2, ["Tell me of the moon!", "moon!"], enough=V) == (
        pytest.approx([0, 1], abs=1e-4)
    )


def test_runs_are_of_so_many_tokens() -> None:
    run = list(range(RUN))
    assert fresh(run, [*run, 99]).tolist() == [False] * RUN + [True]
    assert fresh(run[:-1], [*run, 99]).all()
    assert fresh([7], [5] * (RUN + 1)).sum() == 1  # only the first: the run begins again one further
    assert fresh([7], [5] * RUN).all()


def test_empty_and_invisible_answers_are_worth_nothing(folder: str) -> None:
    blank = ["", " \n\t", "\u200b" * 1000, "\u00ad\ufeff", "\x00"]
    assert values(folder, ["?"] * 5, blank, enough=1e9) == [0.0] * 5


def test_disguises_make_no_difference(folder: str) -> None:
    plain, *others = values(folder, ["?"] * 4, ["12 a", "１２ a", "1\u200b2 a", " 12 a\n"], enough=2)
    assert others == pytest.approx([plain] * 3)
    assert seen("a" + " \n" * 500 + "b") == "a" + " \n" * 4 + "b"


def test_a_long_answer_is_read_to_its_limit(folder: str) -> None:
    """Half of the model's context here: 80 tokens of 100 kB. Neither an error nor a minute."""
    long = "".join(tiny_folder.CHARACTERS[(7 * i * i + i // 3) % 60] for i in range(100_000))
    prompt = "a long prompt. " * 40
    (first,) = values(folder, [prompt], [long])
    assert values(folder, [prompt], [long[:80] + "!" * 1000]) == pytest.approx([first])
    assert values(folder, [prompt], [long[:79] + "!"]) != pytest.approx([first])


def test_special_tokens_that_are_spelled_out_are_read_as_text(folder: str) -> None:
    (member,) = module._members(frozen(folder), ["?"], ["no<eos>"])
    assert len(member.answer) == 7
    assert 1 not in member.answer


def test_messages_are_read_by_the_chat_template(folder: str) -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
    tokenizer = frozen(folder).tokenizer
    assert prompt_tokens(tokenizer, chat) == prompt_tokens(tokenizer, "<sys>Be brief.<user>Who?<it>")
    assert prompt_tokens(tokenizer, [*chat, {"role": "assistant", "content": "It"}])[-2:] == (
        prompt_tokens(tokenizer, "It")
    )
    assert prompt_tokens(tiny_folder.tokenizer(chat=False), chat) == (
        prompt_tokens(tokenizer, "Be brief.\nWho?\n")
    )
    assert prompt_tokens(tokenizer, "") == [tokenizer.eos_token_id]


def test_the_model_is_frozen_and_loaded_once(folder: str) -> None:
    values(folder, ["?"], ["a"])
    assert frozen(folder) is frozen(folder)
    assert not any(p.requires_grad for p in frozen(folder).model.model.parameters())


def test_it_goes_where_the_run_goes(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the best device beside a run on another, it would take the memory that somebody had kept free."""

    def never() -> torch.device:
        raise AssertionError("nobody asked for the best device")

    monkeypatch.setattr("groupwise.precision.best_device", never)
    reward = load_reward(f"fluency:{folder}", torch.device("cpu")).function
    assert 0 < reward(prompts=["?"], completions=["abc"])[0] <= 1


def test_metrics_are_logged(uniform: str) -> None:
    logged: dict[str, float] = {}
    fluency(uniform)(prompts=["?"] * 2, completions=["abc", ""], log_metric=logged.__setitem__)
    assert logged == pytest.approx({"fluency/perplexity": V, "fluency/fresh": 0.5}, rel=1e-4)


def test_it_goes_by_name(folder: str, tmp_path: Path) -> None:
    assert load_reward(f"fluency:{folder}=0.1").weight == 0.1
    assert load_reward("fluency").name == "fluency"  # loads nothing yet
    assert Settings().model == DEFAULT
    with pytest.raises(ModelError, match="no model at"):
        load_reward(f"fluency:{tmp_path}/none")
    with pytest.raises(ValueError, match=r"enough=0\.5"):
        fluency(folder, enough=0.5)
