"""Games as scenes: what a seat sees, what it may do, whose luck it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pyspiel = pytest.importorskip("pyspiel")

from groupwise.distributions import Categorical  # noqa: E402
from groupwise.envs.games import Allowed, Game, Match  # noqa: E402
from groupwise.envs.selfplay import Table, player  # noqa: E402
from groupwise.envs.spaces import UnplayableError  # noqa: E402
from groupwise.groups import Order  # noqa: E402
from groupwise.policies import NetworkPolicy  # noqa: E402
from groupwise.trajectory import Prompt  # noqa: E402


def playing(name: str, **columns: Any) -> Any:
    return player(Table.of(name), 0, {"current": 1}, lambda *_: pytest.fail("nobody else is asked for"))


def begun(name: str, seed: int, **start: Any) -> Match:
    match = Match(Game(name))
    match.begin(seed, start)
    return match


def test_a_row_is_what_is_seen_who_moves_and_what_is_allowed() -> None:
    match = begun("tic_tac_toe", 0)
    match.act({0: 4})
    [(seat, row)] = match.asked().items()
    assert (seat, row.dtype, row.shape) == (1, np.float32, (27 + 2 + 9,))
    assert row[27:29].tolist() == [0, 1]
    assert row[29:].tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 1]
    assert row[:27].reshape(3, 9)[:, 4].tolist() == [0, 0, 1]  # empty, o, x


def test_a_poker_player_does_not_see_the_other_card() -> None:
    """Rows of one card and history are equal, whatever the other holds; of different cards they differ."""
    game = Game("kuhn_poker")
    rows = {}
    for deal in [(0, 1), (0, 2), (1, 2)]:
        state = game.rules.new_initial_state()
        for card in deal:
            state.apply_action(card)
        rows[deal] = game.row(state).tobytes()
    assert rows[0, 1] == rows[0, 2] != rows[1, 2]


def test_siblings_have_the_same_luck_whatever_they_decide() -> None:
    """Leduc's public card comes after the first bets: it is drawn by its place, not by who bet what."""
    public = set()
    for moves in [(1, 1), (2, 1), (1, 2, 1)]:  # call and call; raise and call; call, raise and call
        match = begun("leduc_poker", 5)
        cards = match.told()
        for move in moves:
            [seat] = match.asked()
            match.act({seat: move})
        public.add(cards + match.told().split()[-1])
    assert len(public) == 1
    assert len({begun("leduc_poker", seed).told() for seed in range(40)}) > 10


def test_luck_is_drawn_with_its_odds() -> None:
    deals = [begun("kuhn_poker", seed).told() for seed in range(1200)]
    counts = [deals.count(deal) for deal in sorted(set(deals))]
    assert len(counts) == 6
    assert sum((n - 200) ** 2 / 200 for n in counts) < 20.5  # chi squared, 5 degrees, p = 0.001


def test_an_opening_is_a_position_of_a_random_game() -> None:
    """Of all lengths, never over, the same for the same seed; the bar tells it from what was decided."""
    lengths = []
    for seed in range(200):
        match, twin = (begun("tic_tac_toe", seed, opening=True) for _ in range(2))
        assert match.told() == twin.told()
        assert match.told().endswith("|")
        assert match.asked()
        lengths.append(len(match.told().split()) - 1)
    assert set(lengths) == set(range(9))
    assert begun("tic_tac_toe", 3).told() == ""


def test_what_happened_is_told() -> None:
    match = begun("tic_tac_toe", 0)
    for seat, move in [(0, 0), (1, 3), (0, 1), (1, 4), (0, 2)]:
        match.act({seat: move})
    assert match.told() == "x(0,0) o(1,0) x(0,1) o(1,1) x(0,2)"
    assert list(match.given()) == [1, -1]
    assert match.asked() == {}


def test_a_forbidden_move_is_refused() -> None:
    match = begun("tic_tac_toe", 0)
    match.act({0: 4})
    with pytest.raises(ValueError, match="the move 4, which the rules of tic_tac_toe forbid here"):
        match.act({1: 4})


class Stubborn(torch.nn.Module):
    """Wants the middle, and nothing else."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return torch.tensor([0.0, 0, 0, 0, 80, 0, 0, 0, 0]).expand(len(rows), -1)


def test_what_is_forbidden_has_probability_0() -> None:
    """However much the network wants it: the density is that of the choice among what is allowed."""
    policy = NetworkPolicy(Allowed(Stubborn(), 9), Categorical())
    match = begun("tic_tac_toe", 0)
    match.act({0: 4})
    [row] = match.asked().values()
    rows = np.repeat(row[None], 4, 0)
    for uniform in (None, np.array([[0.0], [0.3], [0.999], [1 - 2.0**-53]])):
        chosen, logp = policy.act(rows, uniform)
        assert 4 not in chosen.tolist()
        assert logp.tolist() == pytest.approx([np.log(1 / 8)] * 4)
    outputs = policy.module(torch.from_numpy(rows))
    assert Categorical().entropy(outputs).tolist() == pytest.approx([np.log(8)] * 4)
    everything = Categorical().logp(outputs, torch.arange(4))
    assert torch.isfinite(torch.autograd.functional.jacobian(Categorical().entropy, outputs)).all()
    assert (everything.exp() == torch.tensor([1 / 8] * 4)).all()


@pytest.mark.parametrize(
    "name",
    ["connect_four", "leduc_poker", "backgammon", "goofspiel(num_cards=3)", "kuhn_poker(players=3)", "pig",
     "blackjack", "hex(board_size=3)"],
)  # fmt: skip
def test_games_of_all_kinds_are_played(name: str) -> None:
    """Luck, hidden cards, simultaneous moves, one seat and three: nobody makes a forbidden move."""
    sampler = playing(name)
    groups = sampler.collect([Order(Prompt(3, 17), 3)])
    seats = Game(name).seats
    assert [g.prompt.columns["seat"] for g in groups] == list(range(seats))
    assert all(len(g.trajectories) == 3 and not t.extra for g in groups for t in g.trajectories)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tic_tac_to", r"no game 'tic_tac_to'. Near it: tic_tac_toe"),
        ("mfg_garnet", "whole populations"),
        ("negotiation", "draws its luck by itself"),
        ("tic_tac_toe(corners=4)", "cannot set up"),
        ("checkers(rows=4,columns=4)", "is over before anybody has moved"),
    ],
)
def test_what_cannot_be_played_is_told(name: str, words: str) -> None:
    with pytest.raises(UnplayableError, match=words):
        Game(name)
