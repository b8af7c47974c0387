"""What a user writes finds its reward; what finds nothing says what would."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from groupwise.rewards.catalogue import BUILT_IN, Held, held_by, load_reward
from groupwise.rewards.frozen import DEFAULT
from groupwise.user_code import UserCodeError


@pytest.fixture(autouse=True)
def own_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test writes and imports is forgotten after it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name, module in list(sys.modules.items()):
        if (vars(module).get("__file__") or "").startswith(str(tmp_path)):
            del sys.modules[name]


def says(*words: str) -> str:
    return "(?s)" + ".*".join(re.escape(word) for word in words)


CODE = """
import math

def score(completions, **columns):
    return [1.0] * len(completions)

def _private():
    pass

class Judge:
    pass

nickname = score
table = 5
"""


@pytest.fixture
def reward_file(tmp_path: Path) -> str:
    path = tmp_path / "my_reward.py"
    path.write_text(CODE)
    return str(path)


@pytest.mark.parametrize(
    ("end", "name", "weight"),
    [
        ("score", "score", 1.0),
        ("score=0.5", "score", 0.5),
        ("score=-2", "score", -2.0),
        ("nickname", "score", 1),
    ],
)
def test_a_function_of_a_file_is_loaded(reward_file: str, end: str, name: str, weight: float) -> None:
    reward = load_reward(f"{reward_file}:{end}")
    assert (reward.name, reward.weight) == (name, weight)
    assert reward.function(completions=["x", "y"]) == [1.0, 1.0]


def test_a_function_of_a_module_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed ones, and those in the working folder, which a console script would not see."""
    assert load_reward("groupwise.tasks.gsm8k:exact=2").weight == 2.0
    (tmp_path / "mine_only").mkdir()
    (tmp_path / "mine_only" / "parts.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    assert load_reward("mine_only.parts:score").name == "score"


def test_a_file_runs_once_for_all_its_functions(tmp_path: Path) -> None:
    path = tmp_path / "counted.py"
    path.write_text("with open(__file__ + '.runs', 'a') as file:\n    file.write('x')\n" + CODE)
    load_reward(f"{path}:score")
    load_reward(f"{tmp_path}/../{tmp_path.name}/counted.py:nickname=2")
    assert (tmp_path / "counted.py.runs").read_text() == "x"


def test_a_file_may_import_its_neighbour_and_hides_no_module(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_json.py").write_text("ONE = 1.0")
    (tmp_path / "json.py").write_text("from neighbour_of_json import ONE\ndef score(**_): return [ONE]")
    assert load_reward(f"{tmp_path}/json.py:score").function() == [1.0]
    assert sys.modules["json"] is json


def test_files_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "r.py").write_text(f"def score(**_): return '{folder}'")
    assert [load_reward(f"{tmp_path}/{f}/r.py:score").function() for f in "ab"] == ["a", "b"]


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (":scor", ["my_reward.py", "no function 'scor'", "It has: score, nickname."]),
        (":table", ["'table'", "int", "not a function", "def table"]),
        (":Judge", ["'Judge'", "not a function"]),
        (":score=heavy", ["weight 'heavy'", "score=0.5"]),
        (":score=", ["weight ''"]),
        (":score=nan", ["weight 'nan'"]),
        (":", ["does not name a function", "my_reward.py:score"]),
        ("", ["does not name a function", "my_reward.py:score"]),
    ],
)
def test_a_bad_reward_is_told_with_the_way_out(reward_file: str, end: str, words: list[str]) -> None:
    with pytest.raises(UserCodeError, match=says(*words)):
        load_reward(reward_file + end)


def test_a_missing_file_brings_the_nearest_name(reward_file: str) -> None:
    with pytest.raises(UserCodeError, match=says("no file", "Did you mean my_reward.py?")):
        load_reward(reward_file.replace("my_reward", "my_rewards") + ":score")


@pytest.mark.parametrize("place", ["no_such_module_here", "no_such_module_here.part", "groupwise.no_such"])
def test_a_missing_module_is_told(place: str) -> None:
    with pytest.raises(UserCodeError, match=says("no module", "no_such", "For a file")):
        load_reward(f"{place}:score")


def test_what_is_neither_file_nor_module_is_told() -> None:
    with pytest.raises(UserCodeError, match=r"neither a \.py file nor a module"):
        load_reward("rewards/mine:score")


@pytest.mark.parametrize(
    ("code", "line", "reason"),
    [
        ("x = 1\ny = 1 / 0\n", 2, ZeroDivisionError),
        ("import json\n\njson.loads('{')\n", 3, json.JSONDecodeError),
        ("def score(:\n", 1, SyntaxError),
        ("\nimport no_such_module_here\n", 2, ModuleNotFoundError),
        ("\n\nraise SystemExit(1)\n", 3, SystemExit),
    ],
)
def test_a_file_that_raises_is_told_with_its_own_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, line: int, reason: type
) -> None:
    (tmp_path / "broken_one.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    for place in (f"{tmp_path}/broken_one.py", "broken_one"):
        with pytest.raises(
            UserCodeError, match=says(f"broken_one.py, line {line}:", reason.__name__)
        ) as caught:
            load_reward(f"{place}:score")
        assert isinstance(caught.value.__cause__, reason)


def test_a_file_that_raised_is_read_anew_once_mended(tmp_path: Path) -> None:
    path = tmp_path / "mended.py"
    path.write_text("1 / 0")
    with pytest.raises(UserCodeError):
        load_reward(f"{path}:score")
    path.write_text("def score(**_): return [1.0, 2.0]")
    assert load_reward(f"{path}:score").name == "score"


def test_a_built_in_reward_takes_settings_and_a_weight() -> None:
    reward = load_reward("random:1=0.25")
    assert (reward.name, reward.weight, set(BUILT_IN) >= {"random"}) == ("random", 0.25, True)
    assert load_reward("random").weight == 1.0
    with pytest.raises(ValueError, match="random:two"):
        load_reward("random:two")


def test_the_models_of_a_reward_are_known_without_loading_any(tmp_path: Path) -> None:
    """By the same reading of names, settings and weights as for the reward itself."""
    (tmp_path / "local.toml").write_text('local = "some/model"')
    (tmp_path / "served.toml").write_text('endpoint = "http://localhost:1/v1"\nmodel = "m"')
    (tmp_path / "rm").mkdir()
    (tmp_path / "rm" / "reward.json").write_text('{"members": ["member-0", "member-1"]}')
    members = [Held(f"{tmp_path}/rm/member-{k}", "ForSequenceClassification", exact=True) for k in (0, 1)]
    for spec, found in {
        "random": [],
        "my_reward.py:score=0.5": [],
        "fluency=0.1": [Held(DEFAULT, "ForCausalLM")],
        "fluency:a/b=0.1": [Held("a/b", "ForCausalLM")],
        "relevance": [],
        "relevance:a/b": [Held("a/b", "")],
        f"judge:{tmp_path}/local.toml=2": [Held("some/model", "ForCausalLM")],
        f"judge:{tmp_path}/served.toml": [],
        f"{tmp_path}/rm": members,
        f"{tmp_path}/rm=0.5": members,
        "reward-model:a/b=2": [Held("a/b", "ForSequenceClassification", exact=True)],
    }.items():
        assert list(held_by(spec)) == found, spec
