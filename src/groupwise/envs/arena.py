"""Games of textarena for one player: `textarena:2048-v0`, `textarena:GuessTheNumber-v0,begin=[,shots=2`.

Every conversation is a new game: a game that is reset again keeps what was said in it (0.7.4). They draw from
Python's global generator, which envs.guarded keeps for each. A move stands in [brackets], and a message ends
with the first that is closed; one without any is taken for a move as a whole, where textarena does so.

    reward = the game's, at its end + 1 where that is all it gives + 0.2 x share of the moves that were valid

A game that ends with an invalid move has 0 at most, though some give credit for it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groupwise.envs.guarded import Guarded
from groupwise.envs.halving import Halving
from groupwise.envs.options import read
from groupwise.envs.text import (
    HELD_OUT,
    TRAINED_ON,
    Conversations,
    Message,
    WorldError,
    conversations,
    reason,
    returned,
)
from groupwise.rewards.scoring import Reward


@dataclass(frozen=True, slots=True)
class Options:
    """How a game is played."""

    begin: str = ""
    """What every message of the player begins with: for a model that seldom finds the form of a move."""
    shots: int = 0
    """Games played before, for the model to see how; of games that somebody here can play."""

    def __post_init__(self) -> None:
        if not 0 <= self.shots <= 8:
            raise ValueError(f"textarena: shots={self.shots} (0 to 8)")


PLAYERS = {"GuessTheNumber-v0": Halving, "GuessTheNumber-v0-hardcore": Halving}
"""Who plays the games that are shown: made of what a game says first, called with what it says to a move."""
SHOTS = 3_000_000
"""The first seed of those; neither trained on nor held out."""
NEXT = "A new game begins."
RAW = "-raw"
"""A game that tells only what is new in each turn; without it, all that was said is told again every time."""
KEYS = ("OPENROUTER_API_KEY", "OPENAI_API_KEY")


def textarena(options: str) -> Conversations:
    """The task of a game. Options after its name: begin=, shots=0.

    Raises:
        WorldError: textarena is missing, there is no such game, it cannot be played here, or it has to be
            shown and nobody can play it.
    """
    name, _, rest = options.partition(",")
    o, make = read(Options, rest, "textarena"), _maker(name)
    try:
        Guarded(0)(make)
    except Exception as error:
        raise WorldError(_unplayable(name, error)) from error
    if o.shots and name not in PLAYERS:
        raise WorldError(f"textarena: shots={o.shots}, and of {name} no game can be shown: leave it away")
    shown = [m for i in range(o.shots) for m in _shot(make, PLAYERS[name], o.begin, SHOTS + i)]
    return conversations(
        f"textarena:{options}",
        lambda: Game(make(), o.begin, shown),
        TRAINED_ON,
        HELD_OUT,
        (Reward("score", returned), Reward("won", _won), Reward("valid", _valid, 0.2)),
        turns=20,
        max_new_tokens=64,
        stop=("]",),
    )


class Game:
    """A new game, played once."""

    def __init__(self, game: Any, begin: str = "", shown: Sequence[Message] = ()) -> None:
        """`shown` are messages of games before: a move first, the beginning of this game last."""
        self._game, self._shown = game, shown
        self._begin = [{"role": "assistant", "content": begin}] if begin else []
        self._moves = 0

    def reset(self, row: Mapping[str, Any]) -> list[Message]:
        """Raises WorldError where it is a game for several."""
        try:
            self._game.reset(num_players=1, seed=row["seed"])
        except (AssertionError, TypeError, ValueError) as error:
            raise WorldError(f"it is no game for one player: {error}") from error
        rules = {"role": "user", "content": self._told()}
        return [rules, *self._shown, *self._begin]

    def step(self, message: str) -> tuple[list[Message] | None, float | None, bool]:
        self._moves += 1
        done, _ = self._game.step(message)
        if not done:
            return [{"role": "user", "content": self._told()}, *self._begin], None, False
        rewards, info = self._game.close()
        reward = float(rewards[0])
        return None, min(reward, 0.0) if info[0].get("invalid_move") else reward, True

    @property
    def valid(self) -> float:
        """Share of the moves so far."""
        _, info = self._game.close()  # which closes nothing
        ended_it = bool(info[0].get("invalid_move"))  # one that ends the game is counted all the same
        return float(info[0].get("turn_count", self._moves) - ended_it) / self._moves

    @property
    def ending(self) -> str:
        """What the game says of its end."""
        return str(self._game.close()[1][0].get("reason", ""))

    def _told(self) -> str:
        """What the game says; what the player said is known already."""
        _, told = self._game.get_observation()
        if isinstance(told, str):
            return told
        return "\n".join(text for sender, text, _ in told if sender != 0).strip() or "Go on."


def _won(returns: Sequence[float | None], **_: Any) -> list[float]:
    """1 where the game gave all that it gives: some give a part of it to who came near."""
    return [float(value is not None and value >= 1.0) for value in returns]


def _valid(environments: Sequence[Game], **_: Any) -> list[float]:
    return [game.valid for game in environments]


def _shot(make: Callable[[], Any], player: Callable[[str], Any], begin: str, seed: int) -> list[Message]:
    """A game from its first move on, as somebody who knows how would play it."""
    call = Guarded(seed)
    game = Game(call(make))
    [rules] = call(game.reset, {"seed": seed})
    plays, told, done = player(rules["content"]), "", False
    messages: list[Message] = []
    while not done:
        move = f"{begin.removesuffix('[')}[{plays(told)}]"
        heard, _, done = call(game.step, move)
        told = heard[0]["content"] if heard else f"{game.ending}\n{NEXT}"
        messages += [{"role": "assistant", "content": move}, {"role": "user", "content": told}]
    return messages


def _maker(name: str) -> Callable[[], Any]:
    try:
        import textarena as arena
        from textarena.envs.registration import ENV_REGISTRY
    except ImportError as error:
        raise WorldError(f"textarena cannot be imported ({error}): pip install -e '.[textarena]'") from error
    if name not in ENV_REGISTRY:
        raise WorldError(_unknown(name, [n for n in ENV_REGISTRY if not n.endswith((RAW, "-train"))]))
    raw, formats = name + RAW, arena.wrappers.ActionFormattingWrapper
    if raw not in ENV_REGISTRY:
        return lambda: arena.make(name)
    formatted = formats in (ENV_REGISTRY[name].default_wrappers or ())
    return lambda: formats(arena.make(raw)) if formatted else arena.make(raw)


def _unknown(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3) or sorted(known)[:5]
    return f"textarena has no game {name!r}. It has, among others, {', '.join(near)}"


def _unplayable(name: str, error: BaseException) -> str:
    said = str(error)
    if isinstance(error, LookupError) or "nltk" in said.lower():
        return (
            f"textarena's {name} wants word lists that nltk downloads, and they are not here: run `python -m "
            "nltk.downloader words averaged_perceptron_tagger_eng` once where there is a network, or choose "
            "another game"
        )
    if any(key in said for key in KEYS):
        return f"textarena's {name} asks a model behind a paid interface ({said}); choose another game"
    return f"textarena's {name} cannot be made: {reason(error)}"
