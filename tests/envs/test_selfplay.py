"""Who sits where in which games, by what a policy is judged, and that it learns."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

pytest.importorskip("pyspiel")

from groupwise.config import build
from groupwise.envs.game_tree import exploitability
from groupwise.envs.selfplay import Matches, Starts, Table, player, strategy_of, task
from groupwise.groups import Order
from groupwise.settings import Settings
from groupwise.trainer import train
from groupwise.trajectory import Prompt


@cache
def table(name: str) -> Table:
    return Table.of(name)


def fresh(name: str) -> Any:
    return player(table(name), 0, {"current": 1}, lambda *_: pytest.fail("nobody else is asked for"))


def test_opponents_have_their_shares_at_every_seat_and_half_the_starts_are_openings() -> None:
    rows = [Starts(2, {"current": 3, "random": 1})[i] for i in range(16)]
    assert Counter(row.get("against", "current") for row in rows) == {"current": 12, "random": 4}
    assert Counter((row["seat"], row["opening"]) for row in rows if "against" in row) == {
        (seat, opening): 1 for seat in (0, 1) for opening in (False, True)
    }
    assert not any(Starts(2, openings=False)[i]["opening"] for i in range(16))
    with pytest.raises(IndexError):
        Starts(2)[-1]


def test_held_out_games_are_whole_and_against_everybody_at_every_seat() -> None:
    rows = [Matches(2, ("random", "exact"))[i] for i in range(8)]
    assert Counter((row["against"], row["seat"]) for row in rows) == {
        (name, seat): 2 for name in ("random", "exact") for seat in (0, 1)
    }
    assert len({row["prompt"] for row in rows}) == 8
    assert not any("opening" in row for row in rows)


def test_a_game_is_judged_by_what_can_be_known_of_it() -> None:
    assert list(table("tic_tac_toe").players) == ["random", "exact"]
    assert list(table("kuhn_poker").players) == list(table("connect_four").players) == ["random"]
    measures = {
        name: task(table(name), {"current": 1}).measure
        for name in ("kuhn_poker", "connect_four", "tiny_hanabi", "pig")
    }
    assert measures == {
        "kuhn_poker": "worst_case", "connect_four": "reward", "tiny_hanabi": "reward", "pig": "reward",
    }  # fmt: skip


def test_the_strategy_that_is_judged_is_the_one_that_is_played() -> None:
    """Mixed where something is hidden, the likeliest move where not; the judge sees the present weights."""
    mixed, greedy = (strategy_of(table(n).tree, fresh(n).policy) for n in ("kuhn_poker", "tic_tac_toe"))  # type: ignore[arg-type]
    assert ((mixed > 0.4) & (mixed < 0.6)).all()
    assert set(greedy.ravel()) == {0.0, 1.0}
    sampler = fresh("kuhn_poker")
    [prompt] = task(table("kuhn_poker"), {"current": 1}).examples(1)

    def judged() -> dict[str, float]:
        [group] = sampler.collect([Order(prompt, 1)], greedy=True)
        return dict(group.trajectories[0].parts)

    before = judged()
    assert before["exploitability"] == pytest.approx(11 / 24, abs=0.02) == -before["worst_case"]
    list(sampler.policy.module.parameters())[-1].data[1] += 3.0  # bets nearly always
    after = judged()
    tree = table("kuhn_poker").tree
    assert tree is not None
    assert after["exploitability"] == exploitability(tree, strategy_of(tree, sampler.policy))
    # whoever calls a certain bet with a king alone loses 1 with the others and wins 2 with the king
    assert after["exploitability"] == pytest.approx(1 / 3, abs=0.05)


def test_an_exact_player_is_not_beaten_and_a_random_one_is() -> None:
    """Held-out games of a policy that has learned nothing, by name of the opponent."""
    sampler = fresh("tic_tac_toe")
    prompts = [
        Prompt(i, i, {"against": name, "seat": i % 2}) for i in range(40) for name in ("exact", "random")
    ]
    groups = sampler.collect([Order(prompt, 1) for prompt in prompts], greedy=True)
    parts = [group.trajectories[0].parts for group in groups]
    exact = [p["exact/win"] for p in parts if "exact/win" in p]
    chance = [p["random/win"] for p in parts if "random/win" in p]
    assert len(exact) == len(chance) == 40
    assert sum(exact) == 0
    assert sum(chance) > 0


def trained(task_name: str, folder: Path, **settings: Any) -> dict[str, float]:
    chosen = Settings(task=task_name, device="cpu", **settings)
    built = build(chosen, folder, Console(file=io.StringIO()), lambda: False)
    with contextlib.closing(built.journal):
        state = train(built.run)
    return dict(state.best)
