"""One conversation, what the model says given by hand: messages as rewards see them, and the last reward."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
import pytest

import tiny_folder
from envs.worlds import CHATML
from groupwise.engine.replies import Said
from groupwise.envs.dialogue import Limits, Play, Terms
from groupwise.envs.shapes import world_of
from groupwise.envs.template import Continuation
from groupwise.envs.text import conversations, messages_of
from groupwise.envs.tools import written
from groupwise.rewards.scoring import TrainerState, arguments
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory

EOS = 1


class Shop:
    """Of TRL's shape: what is bought stands in the environment."""

    def reset(self, **row: Any) -> None:
        self.bought: list[str] = []

    def buy(self, what: str) -> str:
        """Buy something.

        Args:
            what: its name
        """
        if what == "nothing":
            raise ValueError("not for sale")
        self.bought.append(what)
        return f"here is {what}"

    def get_reward(self) -> float:
        return float(len(self.bought))


def talked(thing: Any, *texts: str, last: StopReason = StopReason.FINISHED, **limits: int) -> Trajectory:
    """A conversation in which the model says these texts, as far as it comes."""
    words = tiny_folder.tokenizer(string.printable)
    words.chat_template = CHATML
    world = world_of(thing, "it")
    row = {"prompt": [{"role": "user", "content": "Buy."}], "environment": "first"}
    opening = messages_of(world().reset(row))
    terms = Terms(world, words, Continuation(words, "tiny"), Limits(**{"turns": 9, "tokens": 9999, **limits}))
    play = Play(
        terms, Prompt(0, opening, {"asked": row["prompt"], "environment": "first"}), np.array([5]), ""
    )
    for i, text in enumerate(texts):
        stopped = last if i == len(texts) - 1 else StopReason.FINISHED
        tokens = (*words.encode(text), EOS)
        if play.answered(Said(0, 0, tokens, (0.0,) * len(tokens), stopped)) is None:
            break
    return play.trajectory(PolicyTag())


CALLS = (written("buy", what="tea"), f"And {written('buy', what='jam')} and {written('buy', what='nothing')}")


def test_calls_and_results_are_messages_as_trls_rewards_expect_them() -> None:
    """Rewards of tools look for `tool_calls` and for who gave a result; a text alone tells them nothing."""
    t = talked(Shop, *CALLS, "Done.")
    first, tea, second, jam, none, done = t.messages
    assert first["tool_calls"] == [
        {"type": "function", "function": {"name": "buy", "arguments": {"what": "tea"}}}
    ]
    assert tea == {"role": "tool", "name": "buy", "content": "here is tea"}
    assert [c["function"]["arguments"]["what"] for c in second["tool_calls"]] == ["jam", "nothing"]
    assert [m["name"] for m in (jam, none)] == ["buy", "buy"]
    assert none["content"] == '{"error": "ValueError: not for sale"}'
    assert done == {"role": "assistant", "content": "Done."}
    group = Group(Prompt(0, [], {}), (t,))
    seen = arguments([(group, t)], TrainerState(), ())["completions"][0]
    assert seen == [dict(m) for m in t.messages]


def test_a_call_that_cannot_be_read_is_no_call() -> None:
    t = talked(Shop, "<tool_call>buy tea</tool_call>", "Done.")
    assert t.messages[0]["tool_calls"] == []
    assert "name" not in t.messages[1]
    assert "not JSON" in t.messages[1]["content"]


@pytest.mark.parametrize(
    ("texts", "limits", "reward"),
    [
        ((*CALLS, "Done."), {}, 2.0),
        (CALLS, {"turns": 2}, 2.0),
        (CALLS, {"turns": 1}, 1.0),
        (CALLS[:1], {"tokens": 90}, 1.0),
    ],
)
def test_trls_environment_is_asked_for_its_reward_where_a_limit_ends_it(
    texts: Any, limits: Any, reward: float
) -> None:
    """As TRL asks it of every rollout: a model that calls until its turns are over has not done nothing."""
    t = talked(Shop, *texts, **limits)
    assert t.stopped is (StopReason.LENGTH if limits else StopReason.FINISHED)
    flags = {"turns": "--max-turns", "tokens": "--max-context"}
    assert t.extra.get("limit") == (flags[next(iter(limits))] if limits else None)
    assert t.gained == reward
    if limits:
        assert t.messages[-1]["role"] == "tool", "what came of the last call is seen by rewards"


def test_rewards_see_whom_of_several_the_policy_talked_to() -> None:
    t = talked({"first": Shop, "second": Paid}, *CALLS, "Done.")
    assert t.environment.bought == ["tea", "jam"]


def test_a_turn_that_is_cut_is_asked_about_once() -> None:
    t = talked(Shop, CALLS[0], "Do", last=StopReason.LENGTH)
    assert (t.stopped, t.gained) == (StopReason.FINISHED, 1.0), "its last words called nothing"
    t = talked(Shop, CALLS[0], last=StopReason.LENGTH)
    assert (t.stopped, t.gained) == (StopReason.LENGTH, 1.0)
    assert t.extra == {"limit": "--max-new-tokens"}
    t = talked(Shop, CALLS[0], last=StopReason.LENGTH, tokens=1 + len(CALLS[0]) + 1)
    assert t.extra == {"limit": "--max-context"}, "the conversation was full"


class Ends:
    def reset(self, row: Any) -> str:
        return "Go."

    def step(self, message: str) -> tuple[str, float, bool]:
        return "You lost.", 0.0, True


def test_the_last_words_of_an_environment_are_kept() -> None:
    """They are no tokens, so nothing is learned from them."""
    t = talked(Ends, "a")
    assert t.messages == ({"role": "assistant", "content": "a"}, {"role": "user", "content": "You lost."})
    assert (t.text, len(t.turns), t.n_decisions) == ("a", 1, 2)


class Paid:
    """Gives 1 for each turn, and 10 at a limit."""

    def __init__(self, last: Any = 10.0) -> None:
        self._last = last

    def reset(self, row: Any) -> str:
        return "Go."

    def step(self, message: str) -> tuple[str, float | None, bool]:
        return "On.", None if message == "?" else 1.0, False

    def cut(self) -> Any:
        return self._last


def test_what_is_given_at_a_limit_is_added_to_what_the_turn_earned() -> None:
    assert talked(Paid, "a", "b", turns=2).gained == 12.0
    assert talked(Paid, "?", turns=1).gained == 10.0
    assert talked(lambda: Paid(None), "a", turns=1).gained == 1.0


def test_a_bad_reward_at_a_limit_costs_the_conversation() -> None:
    t = talked(lambda: Paid(float("nan")), "a", turns=1)
    assert (t.stopped, t.gained) == (StopReason.ERROR, None)
    assert "a reward of nan" in t.extra["error"]


class Dealer:
    """Takes what it deals out of its row."""

    def reset(self, row: Any) -> str:
        return f"Your card is {row['cards'].pop()}, and {len(row['cards'])} are left."

    def step(self, message: str) -> tuple[None, float, bool]:
        return None, 1.0, True


def test_what_an_environment_does_to_its_row_is_done_to_its_own() -> None:
    """Siblings and later passes get the row as it stands in the data."""
    rows = [{"cards": ["two", "king", "ace"]}]
    task = conversations("dealer", Dealer, rows, rows, ())
    words = tiny_folder.tokenizer(string.printable)
    words.chat_template = CHATML
    terms = Terms(Dealer, words, Continuation(words, "tiny"), Limits(9, 9999))
    for _ in range(2):
        [prompt] = task.examples(1)
        play = Play(terms, prompt, np.array([5]), "")
        assert play.answered(Said(0, 0, (EOS,), (0.0,), StopReason.FINISHED)) is None
        assert (play.stopped, play.error) == (StopReason.FINISHED, "")
    assert rows == [{"cards": ["two", "king", "ace"]}]
