"""Exact play and exploitability, against hand-derived equilibria, published values and open-spiel's own."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

pyspiel = pytest.importorskip("pyspiel")

from groupwise.envs.game_tree import Tree, _Builder, best_moves, best_response, exploitability, tree_of  # noqa: E402
from groupwise.envs.games import Game  # noqa: E402


@cache
def tree(name: str) -> Tree:
    found = tree_of(Game(name))
    assert found is not None
    return found


def uniform(of: Tree) -> np.ndarray:
    allowed = of.rows[:, -of.game.moves :].astype(np.float64)
    return allowed / allowed.sum(1, keepdims=True)


def kuhn(bluff: float) -> np.ndarray:
    """[K, 2] the equilibrium with which the first player bets a jack with probability `bluff`, 0 to 1/3.

    Kuhn 1950: it bets a king three times as often and never a queen; it calls with a queen with bluff + 1/3.
    The second player bets a king and a jack a third of the time, calls with a king and with a queen a third
    of the time.
    """
    first = {(0, ""): bluff, (1, ""): 0.0, (2, ""): 3 * bluff}
    first |= {(0, "pb"): 0.0, (1, "pb"): bluff + 1 / 3, (2, "pb"): 1.0}
    second = {(0, "p"): 1 / 3, (1, "p"): 0.0, (2, "p"): 1.0, (0, "b"): 0.0, (1, "b"): 1 / 3, (2, "b"): 1.0}
    game = Game("kuhn_poker")
    bets = {}
    for deal in [(i, j) for i in range(3) for j in range(3) if i != j]:
        for history in ("", "p", "b", "pb"):
            state = game.rules.new_initial_state()
            for move in (*deal, *("pb".index(c) for c in history)):
                state.apply_action(move)
            known = (deal[len(history) % 2], history)
            bets[game.row(state).tobytes()] = (first | second)[known]
    chances = np.array([bets[row.tobytes()] for row in tree("kuhn_poker").rows])
    return np.stack([1 - chances, chances], 1)


@pytest.mark.parametrize("bluff", [0.0, 0.2, 1 / 3])
def test_kuhn_pokers_equilibria_cannot_be_exploited(bluff: float) -> None:
    """The value of the game is -1/18 for who begins, and 0 is what can be gained."""
    equilibrium = kuhn(bluff)
    assert best_response(tree("kuhn_poker"), equilibrium, 0) == pytest.approx(-1 / 18, abs=1e-12)
    assert best_response(tree("kuhn_poker"), equilibrium, 1) == pytest.approx(1 / 18, abs=1e-12)
    assert exploitability(tree("kuhn_poker"), equilibrium) == pytest.approx(0, abs=1e-12)


def test_what_is_no_equilibrium_can_be_exploited() -> None:
    """A bluff of 1/2 would need a king bet with 3/2; with 1 the second player gains by calling more often."""
    strategy = kuhn(1 / 3)
    rows = tree("kuhn_poker").rows
    begins_with_jack = next(
        i for i, row in enumerate(rows) if (row[:3] == [1, 0, 1]).all() and not row[5:11].any()
    )
    strategy[begins_with_jack] = [0, 1]
    # the jack is bet always, the king always: a queen calls, winning 2 against a jack, losing 2 to a king,
    # where it broke even; a jack loses by calling. So 1/6 (queen, jack) x 2/3 more bluffs x 3 (-2 for +1) ...
    gained = best_response(tree("kuhn_poker"), strategy, 1) - 1 / 18
    assert gained > 0.05
    assert exploitability(tree("kuhn_poker"), strategy) == pytest.approx(
        (best_response(tree("kuhn_poker"), strategy, 0) + gained + 1 / 18) / 2
    )


@pytest.mark.parametrize(("name", "known"), [("kuhn_poker", 11 / 24), ("leduc_poker", 2.373611111111111)])
def test_exploitability_is_what_open_spiel_computes(name: str, known: float) -> None:
    """The two numbers are also those of the literature for uniform play: NashConv 0.9167 and 4.747."""
    assert exploitability(tree(name), uniform(tree(name))) == pytest.approx(known, abs=1e-9)


def test_exploitability_of_any_strategy_is_what_open_spiel_computes() -> None:
    theirs = pytest.importorskip("open_spiel.python.algorithms.exploitability")
    policy = pytest.importorskip("open_spiel.python.policy")
    game = Game("kuhn_poker")
    draw = np.random.default_rng(0)
    for _ in range(5):
        drawn = draw.dirichlet([0.5, 0.5], len(tree("kuhn_poker").rows))
        table = {row.tobytes(): p for row, p in zip(tree("kuhn_poker").rows, drawn, strict=True)}

        def chances(state: object, table: dict[bytes, np.ndarray] = table) -> dict[int, float]:
            return dict(enumerate(table[game.row(state).tobytes()]))

        tabular = policy.tabular_policy_from_callable(game.rules, chances)
        expected = theirs.exploitability(game.rules, tabular)
        assert exploitability(tree("kuhn_poker"), drawn) == pytest.approx(expected, abs=1e-9)


def test_rock_paper_scissors_is_exploited_by_what_it_prefers() -> None:
    """Seats move one after the other, unseen: the best answer to (1/2, 1/4, 1/4) gets 1/4."""
    rps = tree("matrix_rps")
    assert exploitability(rps, uniform(rps)) == pytest.approx(0)
    leaning = uniform(rps)
    leaning[0] = [0.5, 0.25, 0.25]
    assert sorted(best_response(rps, leaning, seat) for seat in (0, 1)) == pytest.approx([0, 0.25])


def test_seats_that_know_as_little_are_not_taken_for_one() -> None:
    """At first both seats of latent tic-tac-toe know nothing, and their information reads alike."""
    game = Game("latent_ttt")
    first = game.rules.new_initial_state()
    second = first.child(0)
    assert first.information_state_string(0) == second.information_state_string(1)
    builder = _Builder(game)
    assert [builder._knows(state) for state in (first, second, first, second)] == [0, 1, 0, 1]


def test_tic_tac_toe_is_known_whole() -> None:
    """5478 positions, of which 958 end it; every first move draws; no exact player can be beaten."""
    ttt = tree("tic_tac_toe")
    assert len(ttt.nodes) == 5478
    assert sum(not node.moves for node in ttt.nodes) == 958
    best = best_moves(ttt)
    start = ttt.rows[ttt.nodes[-1].knows]
    assert best[start.tobytes()].all()
    chosen = np.stack([best[row.tobytes()] for row in ttt.rows]).astype(float)
    assert exploitability(ttt, chosen / chosen.sum(1, keepdims=True)) == 0
    assert exploitability(ttt, uniform(ttt)) > 0.9


def test_an_exact_player_answers_a_corner_in_the_middle_and_takes_a_win() -> None:
    ttt = tree("tic_tac_toe")
    state = ttt.game.rules.new_initial_state()
    state.apply_action(0)
    assert np.flatnonzero(best_moves(ttt)[ttt.game.row(state).tobytes()]).tolist() == [4]
    for move in (3, 1, 4):  # x has the first two of the top row
        state.apply_action(move)
    assert np.flatnonzero(best_moves(ttt)[ttt.game.row(state).tobytes()]).tolist() == [2]


def test_a_large_game_is_not_gone_through() -> None:
    assert tree_of(Game("connect_four")) is None
