"""The built-in conversations, played by hand: who does well earns, who guesses or cheats does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from groupwise.envs import calculator as calc
from groupwise.envs import catalogue, clarify, consistency
from groupwise.envs.text import Conversations, WorldError, row_of
from groupwise.envs.tools import Tooled
from groupwise.rewards.scoring import Reward
from groupwise.tasks.data import DataError
from groupwise.tasks.task import CONVERSATIONS
from groupwise.user_code import UserCodeError


def assistant(*texts: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text} for text in texts]


# ---------------------------------------------------------------- calculator


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("12 + 3 * 4", "24"), ("(12 + 3) * -4", "-60"), ("7 / 2", "3.5"), ("7 // 2", "3"), ("-7 % 3", "2"),
        ("4837 * 2911", "14080507"), ("1 / 3", "0.3333333333"), ("2.5 * 2", "5"),
    ],
)  # fmt: skip
def test_the_calculator_calculates(expression: str, value: str) -> None:
    assert calc.calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').getcwd()", "x + 1", "2 ** 9", "'a' * 9", "True + 1", "[1][0]", "1 if 1 else 2",
        "9" * 39 + " * 99", "1e308 * 1e308", "1 +", "", "(" * 150, "1" * 300, "lambda: 1", "print(1)",
    ],
)  # fmt: skip
def test_the_calculator_runs_nothing_else(expression: str) -> None:
    """No names, no calls, no powers: what a model writes is never run."""
    with pytest.raises(ValueError, match=r"."):
        calc.calculate(expression)
    with pytest.raises(ZeroDivisionError):
        calc.calculate("1 / 0")


def call(expression: str) -> str:
    said = {"name": "calculate", "arguments": {"expression": expression}}
    return f"<tool_call>{json.dumps(said)}</tool_call>"


def test_a_calculation_with_the_tool_is_correct() -> None:
    task = calc.calculator("digits=3,ops=*")
    row = task.train[7]
    question = row["prompt"][-1]["content"]
    expression = question.removeprefix("What is ").removesuffix("?")
    env = task.world()
    assert list(env.reset(row_of({k: v for k, v in row.items() if k != "prompt"}))) == row["prompt"]
    [result], reward, done = env.step(call(expression))
    a, b = map(int, expression.split(" * "))
    assert (result["content"], reward, done) == (str(a * b), None, False)
    assert env.step(f"It is {a * b:,}.") == (None, 1.0, True)
    assert env.step(f"It is {a * b + 1}.") == (None, 0.0, True)


def test_the_shots_are_right_and_none_of_the_questions() -> None:
    """They are what an answer should look like: a wrong one would be copied."""
    task = calc.calculator("shots=3")
    *shots, asked = task.train[0]["prompt"][1:]
    assert [m["role"] for m in shots] == ["user", "assistant", "tool", "assistant"] * 3
    for question, call_, result, answer in zip(*[iter(shots)] * 4, strict=True):
        env = Tooled(calc.Calculator(calc.Options()), [calc.calculate])
        assert env.step(call_["content"]) == ([result], None, False)
        expression = question["content"].removeprefix("What is ").removesuffix("?")
        assert answer["content"] == f"It is {calc.calculate(expression)}."
    assert asked not in shots
    assert len(calc.calculator("shots=0").train[0]["prompt"]) == 2


def test_only_a_call_that_worked_counts_as_one() -> None:
    good = [*assistant("x"), {"role": "tool", "content": "12"}, *assistant("12")]
    bad = [*assistant("x"), {"role": "tool", "content": '{"error": "no"}'}, *assistant("12")]
    assert calc.called([good, bad, assistant("12")]) == [1.0, 0.0, 0.0]


def test_held_out_questions_are_others() -> None:
    task = calc.calculator()
    train = {task.train[i]["prompt"][-1]["content"] for i in range(200)}
    held = {task.held_out[i]["prompt"][-1]["content"] for i in range(50)}
    assert len(train) > 190
    assert not train & held


# ---------------------------------------------------------------- consistency


def test_who_holds_to_what_was_told_earns_everything() -> None:
    task = consistency.consistency("facts=3,questions=6")
    for seed in range(20):
        script = consistency.script(consistency.Options(3, 6), seed)
        env, total, answers, done = task.world(), 0.0, [], False
        env.reset({"seed": seed})
        while not done:
            question = script.questions.get(len(answers))
            answers.append(f"It is {question.value}." if question else "I see.")
            _, reward, done = env.step(answers[-1])
            total += reward or 0.0
        assert total == pytest.approx(1.0)
        assert len(answers) <= task.turns
        shares = {r.name: r.function([assistant(*answers)], seed=[seed])[0] for r in task.rewards[1:]}
        assert shares == {"right": 1.0, "contradiction": 0.0, "drift": 0.0}


ASKED = consistency.Question("Which city do you live in?", "city", "Oslo")


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("I live in Oslo.", "right"),
        ("oslo", "right"),
        ("Not Kyoto, Oslo!", "right"),
        ("I live in Kyoto.", "contradiction"),
        ("Oslo or Kyoto or Quito", "contradiction"),
        ("As an AI I live nowhere, Oslo.", "drift"),
        ("I am a language model.", "drift"),
        ("It is nice there.", "silence"),
        ("Not Oslo.", "silence"),
        ("Oslonian", "silence"),
    ],
)
def test_the_verdict_on_an_answer(answer: str, verdict: str) -> None:
    """To name every city is no way to be right."""
    assert consistency.verdict(ASKED, answer) == verdict


def test_a_person_does_not_turn_into_a_machine_when_asked_about_the_user() -> None:
    """The commonest drift of chat models: they cannot know what they were told a minute ago, being models."""
    asked = consistency.Question("Which pet do I have?", "pet", "cat")
    assert consistency.verdict(asked, "As an AI, I have no access to that.") == "drift"
    assert consistency.verdict(asked, "You said something about it.") == "silence"


def test_a_contradiction_costs_as_much_as_a_right_answer_earns() -> None:
    env = consistency.Consistency(consistency.Options())
    env.reset({"seed": 1})
    rewards, done = [], False
    while not done:
        _, reward, done = env.step(
            "I am an AI with a cat, a parrot, Oslo, Quito, red, green, soup and pizza."
        )
        rewards.append(reward)
    assert sum(r for r in rewards if r is not None) == pytest.approx(-1.0)
    assert rewards[0] is None, "nothing was asked"


# ---------------------------------------------------------------- clarify

ONE_OPEN = clarify.Options(open=1, complete=0)


def played(options: clarify.Options, seed: int, *said: str) -> list[tuple[Any, float, bool]]:
    env = clarify.Clarify(options)
    env.reset({"seed": seed})
    return [env.step(text) for text in said]


def order_of(wanted: clarify.Request) -> str:
    return "ORDER: " + " ".join(wanted.details.values())


def test_an_order_may_have_several_lines() -> None:
    wanted = clarify.request(ONE_OPEN, 0)
    lines = "Fine.\nORDER:\n" + "\n".join(f"{name}: {value}" for name, value in wanted.details.items())
    assert played(ONE_OPEN, 0, f"Which {wanted.missing[0]}?", lines)[-1] == (None, 1.0, True)


@pytest.mark.parametrize("seed", range(8))
def test_asking_for_what_is_missing_and_then_acting_earns_most(seed: int) -> None:
    wanted = clarify.request(ONE_OPEN, seed)
    [missing] = wanted.missing
    (reply, first, _), (_, second, done) = played(ONE_OPEN, seed, f"Which {missing}?", order_of(wanted))
    assert wanted.details[missing] in reply
    assert (first, second, done) == (0.25, 1.0, True)


@pytest.mark.parametrize("seed", range(8))
def test_guessing_loses_even_when_lucky(seed: int) -> None:
    wanted = clarify.request(ONE_OPEN, seed)
    assert played(ONE_OPEN, seed, order_of(wanted)) == [(None, -1.0, True)]


def test_an_order_of_everything_is_no_order() -> None:
    wanted = clarify.request(ONE_OPEN, 0)
    every = " ".join(value for values in clarify.THINGS[wanted.thing].values() for value in values)
    asked = f"Which {wanted.missing[0]}?"
    assert played(ONE_OPEN, 0, asked, f"ORDER: {every}")[-1] == (None, -1.0, True)


def test_asking_for_what_was_said_or_twice_or_for_everything_is_a_turn_lost() -> None:
    wanted = clarify.request(ONE_OPEN, 0)
    [missing] = wanted.missing
    [known] = set(wanted.details) - {missing}
    texts = (
        f"Which {known}?",
        f"Which {known} and {missing}?",
        "Hello.",
        f"Which {missing}?",
        f"Which {missing}?",
    )
    assert [reward for _, reward, _ in played(ONE_OPEN, 0, *texts)] == [-0.25, -0.25, -0.25, 0.25, -0.25]


def test_a_complete_request_is_acted_on_at_once() -> None:
    options = clarify.Options(complete=100)
    wanted = clarify.request(options, 3)
    assert wanted.missing == ()
    assert played(options, 3, order_of(wanted)) == [(None, 1.0, True)]


def test_who_guessed_is_told_from_the_conversation() -> None:
    task = clarify.clarify("complete=0")
    wanted = clarify.request(ONE_OPEN, 0)
    asked = assistant(f"Which {wanted.missing[0]}?", order_of(wanted))
    guessed = task.rewards[1].function
    assert guessed([asked, assistant(order_of(wanted)), assistant("hm")], seed=[0, 0, 0]) == [0.0, 1.0, 0.0]


# ---------------------------------------------------------------- by name


@pytest.mark.parametrize("name", ["calculator", "consistency", "clarify"])
def test_siblings_and_the_openings_of_rows_begin_alike(name: str) -> None:
    task = catalogue.load(name)
    assert isinstance(task, Conversations)
    for row in (task.train[3], task.held_out[3]):
        assert list(task.world().reset({"seed": row["seed"]})) == row["prompt"]
    assert task.train[3]["prompt"] != task.train[4]["prompt"]
    assert task.measure == task.rewards[0].name


def test_the_names_of_conversations_are_those_that_there_are() -> None:
    assert set(CONVERSATIONS) == {*catalogue.BUILT_IN, "env"}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("calculator:digits=99", "digits=99"),
        ("calculator:power=2", "calculator has no option 'power=2'.*digits=4, ops="),
        ("calculator:shots=9", "shots=9"),
        ("calculator:digits=two", "digits=two has to be a whole number"),
        ("consistency:facts=9", "facts=9"),
        ("clarify:open=3", "open=3"),
        ("env:shop.py", "write env:FILE.py:NAME"),
    ],
)
def test_bad_names_and_options_are_refused(spec: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        catalogue.load(spec)


def test_a_built_in_task_with_other_rewards_is_judged_by_its_own() -> None:
    """A run on a reward of the user's whose held-out score is that reward tells nothing of the task."""
    mine = Reward("mine", lambda **_: [])
    task = catalogue.load("clarify", [mine])
    assert [r.name for r in task.rewards] == ["mine"]
    assert (task.measure, [r.name for r in task.gold]) == ("gold/served", ["served", "guessed"])
    assert catalogue.load("clarify", gold=[mine]).measure == "gold/mine"
    with pytest.raises(UserCodeError, match="two rewards are named 'mine'"):
        catalogue.load("clarify", [mine, mine])


SHOP = '''
class Shop:
    def reset(self, row):
        return f"row {row.get('seed', row.get('prompt'))}"
    def step(self, message):
        return None, 1.0, True

class Closed(Shop):
    def reset(self, row):
        raise OSError("no shop")

def look(where: str) -> str:
    """Look.

    Args:
        where: a place
    """
    return where

tools = [look]
'''


def test_an_environment_of_ones_own(tmp_path: Any) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    place = f"env:{tmp_path}/shop.py"
    task = catalogue.load(f"{place}:Shop")
    assert task.train[7]["prompt"] == [{"role": "user", "content": "row 7"}]
    assert [r.name for r in task.rewards] == ["return"]
    extra = Reward("extra", lambda **_: [])
    assert [r.name for r in catalogue.load(f"{place}:Shop", [extra]).rewards] == ["return", "extra"]
    assert catalogue.load(f"{place}:Shop", gold=[extra]).measure == "gold/extra"
    with pytest.raises(UserCodeError, match="two rewards are named 'return'"):
        catalogue.load(f"{place}:Shop", [Reward("return", lambda **_: [])])
    with pytest.raises(DataError, match="gives no rewards"):
        catalogue.load(f"{place}:tools")
    with pytest.raises(WorldError, match=r"shop.py:Closed cannot begin: OSError: no shop"):
        catalogue.load(f"{place}:Closed")
    with pytest.raises(DataError, match="has no 'Window'"):
        catalogue.load(f"{place}:Window")


def test_rows_of_a_file_are_what_an_environment_is_reset_with(tmp_path: Any) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    rows = [{"prompt": f"p{i}", "gold": i} for i in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = catalogue.load(f"env:{tmp_path}/shop.py:Shop,{tmp_path}/rows.jsonl", n_held_out=4)
    assert (len(task.train), len(task.held_out)) == (16, 4)
    row = task.train[0]
    assert row["prompt"][0]["content"] == f"row {row['asked']}"
    assert row_of({k: v for k, v in row.items() if k != "prompt"}) == {
        "prompt": row["asked"],
        "gold": row["gold"],
    }


SEEDED = """
class Seeded:
    def reset(self, row):
        return f"row {row['seed']}"

    def step(self, message):
        return None, 1.0, True
"""


@pytest.mark.parametrize("common", [{}, {"prompt": "Do what is asked."}])
def test_rows_need_no_prompt_and_no_two_different_ones(common: Any, tmp_path: Any) -> None:
    """What an environment asks is in the other columns; equal rows stay on one side."""
    (tmp_path / "seeded.py").write_text(SEEDED)
    rows = [{**common, "seed": i // 2} for i in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = catalogue.load(f"env:{tmp_path}/seeded.py:Seeded,{tmp_path}/rows.jsonl", n_held_out=4)
    assert (len(task.train), len(task.held_out)) == (16, 4)
    sides = [{row["seed"] for row in side} for side in (task.train, task.held_out)]
    assert not sides[0] & sides[1]
    assert task.train[0]["prompt"] == [{"role": "user", "content": f"row {task.train[0]['seed']}"}]
    (tmp_path / "rows.jsonl").write_text(json.dumps(rows[0]) + "\n" + json.dumps(rows[0]) + "\n")
    with pytest.raises(DataError, match="2 equal rows cannot be split: give 2 or more that differ"):
        catalogue.load(f"env:{tmp_path}/seeded.py:Seeded,{tmp_path}/rows.jsonl")
