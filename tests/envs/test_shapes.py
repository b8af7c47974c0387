"""Environments of our shape and of TRL's are talked to alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from groupwise.envs.catalogue import load
from groupwise.envs.shapes import behind, gives_rewards, toolbox, world_of
from groupwise.envs.text import WorldError

ROW = {"prompt": [{"role": "user", "content": "Open the door."}], "key": "red"}
CALL = '<tool_call>{"name": "%s", "arguments": {%s}}</tool_call>'


class Door:
    """As TRL's environment_factory wants it: reset by columns, public methods are tools."""

    def reset(self, key: str, **row: Any) -> str:
        self.key, self.open = key, False
        return f" It is {key}."

    def turn(self, key: str) -> str:
        """Turn a key.

        Args:
            key: its colour
        """
        self.open = key == self.key
        return "open" if self.open else "shut"

    def get_reward(self) -> float:
        return float(self.open)


def knock(times: int) -> str:
    """Knock.

    Args:
        times: how often
    """
    return "knock " * times


class Native:
    tools = (knock,)

    def reset(self, row: Any) -> list[dict[str, str]]:
        return [{"role": "user", "content": "Knock."}]

    def step(self, message: str) -> tuple[str, float, bool]:
        return "Thanks.", 0.5, True


def test_trls_environment_is_asked_by_the_rows_prompt_and_rewards_at_the_end() -> None:
    env = world_of(Door, "Door")()
    messages = env.reset(ROW)
    assert messages[-1]["content"] == "Open the door. It is red."
    assert '"name": "turn"' in messages[0]["content"]
    assert ROW["prompt"][0]["content"] == "Open the door.", "the row is as it was"
    assert env.step(CALL % ("turn", '"key": "blue"'))[0] == [
        {"role": "tool", "name": "turn", "content": "shut"}
    ]
    assert env.step(CALL % ("turn", '"key": "red"')) == (
        [{"role": "tool", "name": "turn", "content": "open"}],
        None,
        False,
    )
    assert env.step("It is open.") == (None, 1.0, True)


def test_a_list_of_functions_is_trls_tools() -> None:
    env = world_of([knock], "tools")()
    assert env.reset(ROW)[-1] == ROW["prompt"][0]
    assert env.step(CALL % ("knock", '"times": 2'))[0] == [
        {"role": "tool", "name": "knock", "content": "knock knock "}
    ]
    assert env.step("Nobody is there.") == (None, None, True)


def test_our_own_shape_may_have_tools() -> None:
    env = world_of(Native, "Native")()
    assert '"name": "knock"' in env.reset({})[0]["content"]
    assert env.step(CALL % ("knock", '"times": 1'))[2] is False
    assert env.step("I did.") == ("Thanks.", 0.5, True)


@pytest.mark.parametrize(("thing", "gives"), [(Door, True), ([knock], False), (Native, True)])
def test_who_gives_rewards(thing: Any, gives: bool) -> None:
    assert gives_rewards(thing) is gives


class Lever:
    """TRL's documentation: a tool may be called step, state is an attribute, and a client may be callable."""

    def __init__(self) -> None:
        self.client, self.pulled = print, 0.0

    @property
    def secret(self) -> str:
        raise RuntimeError("nobody asked")

    def reset(self, **row: Any) -> None:
        self.pulled = 0.0

    def step(self, times: int) -> str:
        """Pull it.

        Args:
            times: how often
        """
        self.pulled += times
        return "clack"


def test_a_tool_of_trls_environment_may_be_called_step() -> None:
    env = world_of(Lever, "Lever")()
    assert '"name": "step"' in env.reset(ROW)[0]["content"]
    assert "client" not in env.reset(ROW)[0]["content"]
    assert env.step(CALL % ("step", '"times": 3')) == (
        [{"role": "tool", "name": "step", "content": "clack"}],
        None,
        False,
    )
    assert env.step("Done.") == (None, None, True)
    assert behind(env).pulled == 3.0
    assert not gives_rewards(Lever)


class Alone:
    """It owns its data, as TRL allows: there are no rows, and so no columns."""

    def reset(self) -> str:
        return "Say something."


def test_an_environment_of_trls_shape_may_own_its_data() -> None:
    assert world_of(Alone, "Alone")().reset({"seed": 3}) == [{"role": "user", "content": "Say something."}]


def test_several_of_trls_environments_are_chosen_by_the_row() -> None:
    """Of a mapping; only the tools of the one that is chosen are told of."""
    several = {"door": Door, "lever": Lever}
    env = world_of(several, "several")()
    opening = env.reset({**ROW, "environment": "lever"})
    assert '"name": "step"' in opening[0]["content"]
    assert '"name": "turn"' not in opening[0]["content"]
    assert env.step(CALL % ("step", '"times": 3'))[0][0]["content"] == "clack"
    assert isinstance(behind(env), Lever)
    door = world_of(several, "several")()
    door.reset({**ROW, "environment": "door"})
    door.step(CALL % ("turn", '"key": "red"'))
    assert door.step("It is open.") == (None, 1.0, True)
    assert gives_rewards(several)
    assert not gives_rewards({"lever": Lever})
    tools = toolbox(world_of(several, "several")(), {**ROW, "environment": "lever"})
    assert tools is not None
    assert tools.replies(CALL % ("step", '"times": 3'))[0]["content"] == "clack"
    with pytest.raises(WorldError, match=r"column `environment` is None, and there are: door, lever"):
        world_of(several, "several")().reset(ROW)
    with pytest.raises(WorldError, match=r"several\['seven'\] is a int"):
        world_of({"seven": 7}, "several")


class NoReset:
    pass


@pytest.mark.parametrize(
    ("thing", "words"),
    [(7, "is a int"), (NoReset, "has no method reset"), ([], "is a list"), ({}, "is a dict")],
)
def test_what_is_no_environment_is_refused(thing: Any, words: str) -> None:
    with pytest.raises(WorldError, match=words):
        world_of(thing, "it")


def test_nothing_to_answer_is_named() -> None:
    with pytest.raises(WorldError, match="nothing to answer"):
        world_of([knock], "tools")().reset({})


@pytest.mark.parametrize(
    ("source", "asked", "words"),
    [
        ("class A:\n def step(self, m): ...", "A", r"needs reset\(row\) and step\(message\)"),
        (
            "class A:\n def reset(self, row): return row['number']\n def step(self, m): ...",
            "A",
            r"KeyError: 'number' \(.*it.py:2\). The row has: seed; rows of a data file are given by env:",
        ),
        (
            "class A:\n def reset(self, row): return row['seed']\n def step(self, m): ...",
            "A,rows.jsonl",
            "KeyError: 'seed' .*. The row has: prompt, price$",
        ),
        (
            "class A:\n def reset(self, row): ...\n def step(self, m): ...",
            "A",
            "begin: reset returned no",
        ),
    ],
)
def test_a_class_that_cannot_begin_is_told_what_it_lacks(
    source: str, asked: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "it.py").write_text(source)
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"prompt": "{i}", "price": 1}}\n' for i in range(4)))
    with pytest.raises(WorldError, match=words):
        load(f"env:{tmp_path}/it.py:{asked}", n_held_out=1)
