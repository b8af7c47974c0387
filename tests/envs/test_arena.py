"""textarena's games: a new one for each conversation, seeded, and undisturbed by others."""

from __future__ import annotations

import re
from typing import Any

import pytest

from groupwise.envs.guarded import Guarded, seed_of

pytest.importorskip("textarena", exc_type=ImportError)

from groupwise.envs.arena import Game, textarena
from groupwise.envs.text import WorldError


def test_every_message_may_begin_alike() -> None:
    """A player that hardly knows the form of a move is given half of it, also after its first."""
    task = textarena("GuessTheNumber-v0,begin=I guess [")
    row = task.train[3]
    assert row["prompt"][-1] == {"role": "assistant", "content": "I guess ["}
    call = Guarded(seed_of({"seed": 3}))
    env = call(task.world)
    assert call(env.reset, {"seed": 3}) == row["prompt"]
    replies, _, _ = call(env.step, "I guess [1]")
    assert [m["role"] for m in replies] == ["user", "assistant"]
    with pytest.raises(ValueError, match="textarena has no option 'start="):
        textarena("GuessTheNumber-v0,start=x")


def test_who_came_near_has_not_won() -> None:
    score, won, _ = textarena("GuessTheNumber-v0").rewards
    returns = [1.0, 0.84, 0.0, None]
    assert score.function(returns=returns) == [1.0, 0.84, 0.0, 0.0]
    assert won.function(returns=returns) == [1.0, 0.0, 0.0, 0.0]
    assert (score.weight, won.weight) == (1.0, 1.0), "a miss by one is worth nearly as much as a hit"


def game(name: str, seed: int) -> tuple[Guarded, Any, Any]:
    task, guarded = textarena(name), Guarded(seed)
    env = guarded(task.world)
    return guarded, env, guarded(env.reset, {"seed": seed})


def guess(low: int, high: int) -> str:
    return f"I guess [{(low + high) // 2}]"


def test_a_game_is_won_by_halving() -> None:
    call, env, [opening] = game("GuessTheNumber-v0", 3)
    assert "between 1 and 20" in opening["content"]
    low, high, done, reward = 1, 20, False, None
    while not done:
        middle = (low + high) // 2
        heard, reward, done = call(env.step, guess(low, high))
        if not done:
            [reply] = [m["content"] for m in heard]
            assert re.fullmatch(r"The target number is (higher|lower)\.", reply), "only what is new"
            assert reward is None
            low, high = (middle + 1, high) if "higher" in reply else (low, middle - 1)
    assert reward == 1.0


@pytest.mark.parametrize("name", ["GuessTheNumber-v0", "2048-v0", "Blackjack-v0"])
def test_two_of_the_same_seed_agree_when_they_are_stepped_in_turn(name: str) -> None:
    """The games draw from Python's global generator: unguarded, 2048 and Blackjack diverge."""
    actions = ["[5]", "[Up]", "[Left]", "[Hit]", "[Down]", "[Stand]", "[7]", "[Right]"]
    (one, a, first), (two, b, second) = game(name, 5), game(name, 5)
    assert first == second
    for action in actions:
        left, right = one(a.step, action), two(b.step, action)
        assert left == right
        if left[2]:
            break
    _, _, other = game(name, 6)
    assert name == "GuessTheNumber-v0" or other != first


def test_a_game_that_an_invalid_move_ends_earns_nothing() -> None:
    """GuessTheNumber gives credit for closeness even then."""
    call, env, _ = game("GuessTheNumber-v0", 3)
    call(env.step, "[10]")
    reply, reward, done = call(env.step, "no number")
    assert (reward, done) == (None, False), "one mistake is forgiven"
    assert "invalid move" in reply[0]["content"]
    assert call(env.step, "still none")[1:] == (0.0, True)


def test_a_move_without_brackets_is_taken_as_textarena_takes_it() -> None:
    """The game by its own name wraps what has no bracket; played raw it would be an invalid move."""
    call, env, _ = game("GuessTheNumber-v0", 3)
    reply, _, _ = call(env.step, "10")
    assert "target number" in reply[0]["content"]
    reply, _, _ = call(env.step, "I say 10")
    assert "invalid move" in reply[0]["content"]


@pytest.mark.parametrize(
    ("moves", "share"),
    [(["[10]"], 1.0), (["[10]", "[10]"], 0.5), (["[10]", "[10]", "[12]"], 2 / 3), (["x", "y"], 0.0)],
)
def test_the_share_of_valid_moves_is_told_the_reward(moves: list[str], share: float) -> None:
    """A model that only repeats itself has nothing from the game: this tells its siblings apart."""
    call, env, _ = game("GuessTheNumber-v0", 3)
    for move in moves:
        call(env.step, move)
    *_, valid = textarena("GuessTheNumber-v0").rewards
    assert valid.function(environments=[env]) == [pytest.approx(share)]
    assert 0 < valid.weight < 1


def test_games_are_shown_as_somebody_who_knows_would_play_them() -> None:
    """Won by halving, each move in the form that messages begin with; the game to be played comes last."""
    task = textarena("GuessTheNumber-v0,begin=I guess [,shots=2")
    rules, *shown, last, begun = task.train[3]["prompt"]
    assert task.held_out[3]["prompt"][1:] == [*shown, last, begun], "the same for all rows"
    roles = [m["role"] for m in (rules, *shown, last, begun)]
    assert roles == ["user", "assistant"] * (len(roles) // 2)
    moves = [m["content"] for m in shown if m["role"] == "assistant"]
    assert all(re.fullmatch(r"I guess \[\d+\]", move) for move in moves)
    ends = [m["content"] for m in (*shown, last) if "A new game begins." in m["content"]]
    assert len(ends) == 2
    assert all("correct number" in end for end in ends)
    assert len(moves) > 4, "neither is won at once"
    call = Guarded(3)
    env = call(task.world)
    assert call(env.reset, {"seed": 3}) == task.train[3]["prompt"]
    assert call(env.step, "I guess [5]")[2] is False
    assert task.stop == ("]",)


def test_shots_of_a_game_that_nobody_here_plays_are_refused() -> None:
    with pytest.raises(WorldError, match="shots=2, and of 2048-v0 no game can be shown"):
        textarena("2048-v0,shots=2")
    with pytest.raises(ValueError, match="shots=9"):
        textarena("GuessTheNumber-v0,shots=9")


def test_an_unknown_game_is_named_with_its_neighbours() -> None:
    with pytest.raises(WorldError, match=r"no game 'GuessTheNumbr-v0'.*GuessTheNumber-v0"):
        textarena("GuessTheNumbr-v0")


def test_a_game_for_several_is_refused() -> None:
    with pytest.raises(WorldError, match="no game for one player"):
        textarena("TicTacToe-v0")


def test_a_game_that_would_download_is_refused_with_the_reason() -> None:
    """Wordle asks nltk for word lists; offline that is a LookupError in the middle of making it."""
    try:
        textarena("Wordle-v0")
    except WorldError as error:
        assert "word lists" in str(error)  # noqa: PT017 - where they are, it is played


def test_what_the_player_said_is_not_told_again() -> None:
    _, env, _ = game("GuessTheNumber-v0", 3)
    assert isinstance(env, Game)
    assert "I guess" not in str(env.step("I guess [10]")[0])
