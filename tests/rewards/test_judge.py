"""A judge by a file of settings, from `--reward` to a scored cohort: a served one and a local one."""

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny_folder
from chat_server import Answer, ChatServer, blocks
from groupwise.models import ModelError
from groupwise.rewards import endpoint
from groupwise.rewards.catalogue import load_reward
from groupwise.rewards.endpoint import EndpointError
from groupwise.rewards.judge import judge
from groupwise.rewards.judge_settings import Judge, JudgeError, read
from groupwise.rewards.judging import CUT
from groupwise.rewards.scoring import Failed, Scored, TrainerState, score
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory, Turn

CHECK = "Reply with the one word: ready"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(endpoint, "PAUSE", 0.001)
    return


def ready(answer: Callable[[dict[str, str]], Answer]) -> Callable[[str], Answer]:
    """Passes the check at the start, then answers by a question's blocks."""
    return lambda question: "ready" if question == CHECK else answer(blocks(question))


def toml(folder: Path, server: ChatServer, more: str = "") -> str:
    path = folder / "judge.toml"
    path.write_text(f'endpoint = "{server.url}"\nmodel = "m"\n{more}')
    return str(path)


def group(prompt: Any, texts: list[str]) -> Group:
    turn = Turn(np.array([0]), np.array([1]), np.zeros(1, dtype=np.float32))
    answers = [Trajectory((turn,), PolicyTag(), StopReason.FINISHED, text=text) for text in texts]
    return Group(Prompt(0, prompt), tuple(answers))


def scored(path: str, *groups: list[str]) -> Scored:
    cohort = [group(f"Q{i}?", texts) for i, texts in enumerate(groups)]
    return score(cohort, [load_reward(f"judge:{path}")], TrainerState())


def rewards(result: Scored) -> list[list[float | None]]:
    return [[t.reward for t in g.trajectories] for g in result.cohort]


# ---------------------------------------------------------------- served


def test_a_rubric_scores_a_cohort(tmp_path: Path) -> None:
    """One reply is nonsense: its answer has no reward, its siblings have theirs, and it is counted."""

    def by_length(b: dict[str, str]) -> str:
        return "Lovely." if b["ANSWER"] == "bad" else f"SCORE: {len(b['ANSWER'])}"

    with ChatServer(ready(by_length)) as server:
        result = scored(toml(tmp_path, server, "scale = [0, 10]"), ["a", "bbbbb", ""], ["bad", "cc"])
    assert rewards(result) == [[0.1, 0.5, 0.0], [None, 0.2]]
    assert result.metrics == {
        "judge/calls": 4,
        "judge/unparsed": 0.25,
        "rewards/judge/failed": 0.2,
        "rewards/judge/failed/unparsable": 0.2,
    }
    assert server.bodies[0] | {"messages": 0} == {
        "model": "m",
        "temperature": 0,
        "max_tokens": 512,
        "messages": 0,
    }
    assert {blocks(q)["QUESTION"] for q in server.questions[1:]} == {"Q0?", "Q1?"}


def test_a_pairwise_judge_that_goes_by_the_place_is_found_out(tmp_path: Path) -> None:
    with ChatServer(ready(lambda b: "WINNER: A")) as server:
        result = scored(toml(tmp_path, server, 'mode = "pairwise"'), ["a", "b", "c"], ["d", "e"])
    assert rewards(result) == [[0.5] * 3, [0.5] * 2]
    assert result.metrics == {"judge/calls": 8, "judge/unparsed": 0, "judge/position_bias": 1}


def test_an_honest_pairwise_judge_ranks_within_a_limit_of_calls(tmp_path: Path) -> None:
    """In a ring of six each meets its two neighbours, so the shares are of two comparisons."""

    def longer(b: dict[str, str]) -> str:
        return f"WINNER: {'A' if len(b['ANSWER A']) > len(b['ANSWER B']) else 'B'}"

    with ChatServer(ready(longer)) as server:
        path = toml(tmp_path, server, 'mode = "pairwise"\nopponents = 2')
        result = scored(path, ["x" * n for n in (1, 2, 3, 4, 5, 6)])
    assert rewards(result) == [[0.0, 0.5, 0.5, 0.5, 0.5, 1.0]]
    assert result.metrics == {"judge/calls": 12, "judge/unparsed": 0, "judge/position_bias": 0}


def test_a_listwise_judge_is_asked_twice_a_group(tmp_path: Path) -> None:
    def by_length(b: dict[str, str]) -> str:
        texts = {k.removeprefix("ANSWER "): v for k, v in b.items() if k.startswith("ANSWER")}
        return "RANKING: " + " > ".join(sorted(texts, key=lambda k: -len(texts[k])))

    with ChatServer(ready(by_length)) as server:
        result = scored(toml(tmp_path, server, 'mode = "listwise"'), ["a", "ccc", "bb"])
    assert rewards(result) == [[0.0, 1.0, 0.5]]
    assert result.metrics == {"judge/calls": 2, "judge/unparsed": 0, "judge/position_bias": 0}


def test_an_endpoint_that_goes_away_does_not_end_the_run(tmp_path: Path) -> None:
    with ChatServer(ready(lambda b: "SCORE: 1")) as server:
        reward = load_reward(f"judge:{toml(tmp_path, server, 'retries = 0')}")
    result = score([group("?", ["a", "b"])], [reward], TrainerState())
    assert rewards(result) == [[None, None]]
    assert result.metrics["rewards/judge/failed/endpoint"] == 1.0
    assert "Connect" in result.cohort[0].trajectories[0].extra["judge/failed"]


def test_an_endpoint_that_is_not_there_is_told_before_long_work(tmp_path: Path) -> None:
    with ChatServer(lambda question: "ready") as server:
        path = toml(tmp_path, server, "retries = 0")
    with pytest.raises(EndpointError, match=re.escape(server.url)):
        judge(path)


def test_odd_answers_reach_the_judge_as_a_reader_sees_them(tmp_path: Path) -> None:
    with ChatServer(ready(lambda b: "SCORE: 10")) as server:
        path = toml(tmp_path, server, "max_characters = 20\nconcurrency = 1")
        texts = ["１０ ou\u200bt of 10", "x" * 100_000, "\u200b\u200b", "\ud800", "<|im_end|>"]
        result = scored(path, texts)
    shown = ["10 out of 10", "x" * 20 + CUT, "?", "< |im_end|>"]
    assert [blocks(q)["ANSWER"] for q in server.questions[1:]] == shown
    assert rewards(result) == [[1.0, 1.0, 0.0, 1.0, 1.0]]


def test_a_conversation_is_shown_with_who_spoke(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]
    with ChatServer(ready(lambda b: "SCORE: 10")) as server:
        reward = load_reward(f"judge:{toml(tmp_path, server)}")
        score([group(chat, ["Me."])], [reward], TrainerState())
    assert blocks(server.questions[-1]) == {"QUESTION": "system: Be brief.\n\nuser: Who?", "ANSWER": "Me."}


def test_own_fields_take_the_place_of_ours(tmp_path: Path) -> None:
    """Servers differ: some want max_completion_tokens, some refuse a temperature."""
    with ChatServer(lambda question: "ready") as server:
        judge(toml(tmp_path, server, "[request]\nmax_completion_tokens = 9"))
    assert set(server.bodies[0]) == {"model", "messages", "max_completion_tokens"}


# ---------------------------------------------------------------- local


@pytest.fixture
def exact_numbers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("groupwise.precision.best_dtype", lambda device: torch.float32)
    monkeypatch.setattr("groupwise.precision.best_device", lambda: torch.device("cpu"))
    return


def parrot(folder: Path, text: str, context: int = 8192) -> Path:
    """A model that says `text` (no character twice) whatever it has read: each token only knows its next."""
    tokenizer = tiny_folder.tokenizer()
    n = len(tokenizer)
    model = tiny_folder.model(n, hidden=128)
    model.config.max_position_embeddings = context
    chain = [tokenizer.convert_tokens_to_ids("<it>"), *tokenizer.encode(text), tokenizer.eos_token_id]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight", "embed_tokens.weight")):
                weight.zero_()
        model.model.embed_tokens.weight[range(n), range(n)] = 1.0
        for before, after in pairwise(chain):
            model.lm_head.weight[after, before] = 1.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.usefixtures("exact_numbers")
def test_a_local_model_judges_through_our_own_engine(tmp_path: Path) -> None:
    model = parrot(tmp_path / "model", "SCORE: 7")
    path = tmp_path / "judge.toml"
    path.write_text(f'local = "{model}"\nmax_new_tokens = 20')
    result = scored(str(path), ["a", "b", "", "a"])
    assert rewards(result) == [[pytest.approx(6 / 9)] * 2 + [0.0, pytest.approx(6 / 9)]]
    assert result.metrics == {"judge/calls": 2, "judge/unparsed": 0}  # equal questions are asked once


@pytest.mark.usefixtures("exact_numbers")
def test_a_local_model_goes_where_the_run_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("groupwise.precision.best_device", None)
    path = tmp_path / "judge.toml"
    path.write_text(f'local = "{parrot(tmp_path / "model", "SCORE: 7")}"\nmax_new_tokens = 20')
    reward = load_reward(f"judge:{path}", torch.device("cpu")).function
    assert reward(prompts=["?"], completions=["a"]) == [pytest.approx(6 / 9)]


@pytest.mark.usefixtures("exact_numbers")
def test_what_a_local_model_has_no_room_for_has_failed(tmp_path: Path) -> None:
    model = parrot(tmp_path / "model", "SCORE: 7", context=1200)
    path = tmp_path / "judge.toml"
    path.write_text(f'local = "{model}"\nmax_new_tokens = 20')
    result = scored(str(path), ["a", "b" * 1000])
    assert rewards(result) == [[pytest.approx(6 / 9), None]]
    assert result.metrics["rewards/judge/failed/too_long"] == 0.5


@pytest.mark.usefixtures("exact_numbers")
def test_a_local_model_that_says_nothing_useful_is_unparsable(tmp_path: Path) -> None:
    model = parrot(tmp_path / "model", "WIN: A")
    path = tmp_path / "judge.toml"
    path.write_text(f'local = "{model}"\nmode = "listwise"\nmax_new_tokens = 20')
    values = judge(str(path))(prompts=["?", "?"], completions=["a", "b"])
    assert values == [Failed("unparsable: WIN: A")] * 2


# ---------------------------------------------------------------- settings

SERVED = 'endpoint = "http://localhost:1/v1"\nmodel = "m"\n'


def test_settings_are_read(tmp_path: Path) -> None:
    path = tmp_path / "j.toml"
    path.write_text(SERVED + 'api_key_variable = "KEY"\nscale = [0, 5]\ntimeout = 3\nrubric = "Short."')
    assert read(str(path)) == Judge(
        endpoint="http://localhost:1/v1",
        model="m",
        api_key_variable="KEY",
        scale=(0, 5),
        timeout=3,
        rubric="Short.",
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "give either endpoint"),
        (SERVED + 'local = "x"', "give either endpoint"),
        ('endpoint = "localhost:8000"\nmodel = "m"', "an address such as http://localhost:8000/v1"),
        ('endpoint = "http://localhost:8000/v1"', "model: the name"),
        (SERVED + 'mode = "vote"', "one of rubric, pairwise, listwise"),
        (SERVED + "scale = [10, 1]", "the worst score and then a higher one"),
        (SERVED + "scale = [1]", "scale has a value of another type than two numbers"),
        (SERVED + "opponents = 0", "at least 1"),
        (SERVED + "opponents = true", "opponents has a value of another type than int"),
        (SERVED + 'timeout = "60"', "timeout has a value of another type than float"),
        (SERVED + "timeout = 0", "timeout is more than 0"),
        (SERVED + "rubrik = 1", "unknown setting 'rubrik'; did you mean rubric"),
        (SERVED + "xyzzy = 1", "unknown setting 'xyzzy'. There are: endpoint, model"),
        ("endpoint = ", "is not valid TOML"),
    ],
)
def test_settings_that_cannot_be_are_told(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "j.toml"
    path.write_text(text)
    with pytest.raises(JudgeError, match=f"(?s)j.toml.*{re.escape(says)}"):
        read(str(path))


def test_a_key_in_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "j.toml"
    for line in ('api_key_variable = "sk-12345"', 'api_key = "sk-12345"'):
        path.write_text(SERVED + line)
        with pytest.raises(JudgeError, match="api_key_variable") as caught:
            read(str(path))
        assert "12345" not in str(caught.value)


def test_a_missing_file_or_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(JudgeError, match="name the judge's file"):
        load_reward("judge")
    with pytest.raises(JudgeError, match="cannot read the judge's settings"):
        load_reward(f"judge:{tmp_path}/none.toml")
    (tmp_path / "j.toml").write_text(f'local = "{tmp_path}/none"')
    with pytest.raises(ModelError, match="no model at"):
        load_reward(f"judge:{tmp_path}/j.toml")
