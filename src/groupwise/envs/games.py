"""Games of open-spiel: every seat by one policy, moves that the rules forbid out of its reach."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyspiel
import torch
from torch import Tensor, nn

from groupwise.envs.spaces import UnplayableError

CHANCE = pyspiel.GameType.ChanceMode
INFORMATION = pyspiel.GameType.Information
FORBIDDEN = -1e9
"""The logit of a move that the rules forbid: its probability is exactly 0, and an entropy stays finite."""


class Game:
    """A game by name, as a policy sees it.

    A row holds what the seat to move knows, which seat that is, and which moves are allowed: `sight` + seats
    + moves numbers.
    """

    def __init__(self, name: str) -> None:
        """`name` may carry options, `hex(board_size=5)`.

        Raises:
            UnplayableError: no such game, or one that has nothing to see, luck without a seed, or no moves.
        """
        self.name, self.rules = name, _loaded(name)
        kind = self.rules.get_type()
        self.seats, self.moves = self.rules.num_players(), self.rules.num_distinct_actions()
        self.hidden = kind.information != INFORMATION.PERFECT_INFORMATION
        """Whether a seat does not see all that has happened."""
        self._by_information = kind.provides_information_state_tensor and self.hidden
        if self._by_information:
            self.sight = math.prod(self.rules.information_state_tensor_shape())
        elif kind.provides_observation_tensor:
            self.sight = math.prod(self.rules.observation_tensor_shape())
        else:
            raise UnplayableError(f"the game {name} shows no numbers, and a network reads numbers")
        if self.rules.new_initial_state().is_terminal():
            raise UnplayableError(f"the game {name} is over before anybody has moved")
        self.width = self.sight + self.seats + self.moves

    def row(self, state: Any) -> np.ndarray:
        """[width] float32, of whoever moves next."""
        seat = state.current_player()
        look = state.information_state_tensor if self._by_information else state.observation_tensor
        sits = [0.0] * self.seats
        sits[seat] = 1.0
        return np.array(look(seat) + sits + state.legal_actions_mask(seat), dtype=np.float32)


def _loaded(name: str) -> Any:
    """The rules, simultaneous moves made one after the other, unseen until all have moved."""
    own = name.partition("(")[0]
    known = pyspiel.registered_names()
    if own not in known:
        close = difflib.get_close_matches(own, known, n=3, cutoff=0.5)
        near = f" Near it: {', '.join(close)}." if close else ""
        raise UnplayableError(f"open-spiel has no game {own!r}.{near}")
    try:
        rules = pyspiel.load_game_as_turn_based(name)
    except pyspiel.SpielError as error:
        raise UnplayableError(f"open-spiel cannot set up {name!r}: {error}") from error
    kind = rules.get_type()
    if kind.chance_mode == CHANCE.SAMPLED_STOCHASTIC:
        raise UnplayableError(f"the game {name} draws its luck by itself, and takes no seed")
    if kind.dynamics != pyspiel.GameType.Dynamics.SEQUENTIAL:
        raise UnplayableError(f"the game {name} is one of whole populations, not of single players")
    return rules


class Match:
    """One game under way: a scene of which one seat is asked at a time."""

    def __init__(self, game: Game) -> None:
        self.game, self.seats, self.width = game, game.seats, game.width
        self.state: Any = None
        self._luck: np.random.Generator | None = None
        self._seed = 0
        self._moves: list[str] = []

    def begin(self, seed: int, start: Mapping[str, Any]) -> None:
        """From the first move, or, where `start` says `opening`, from some position of a random game."""
        self._luck, self._seed = None, seed
        self.state, self._moves = self.game.rules.new_initial_state(), []
        if start.get("opening"):
            self._open()
        self._chance()

    def _open(self) -> None:
        """Play at random to the end, and go back to one of the positions in which somebody is to move."""
        luck = self._drawn()
        played = []
        while True:
            self._chance()
            if self.state.is_terminal():
                break
            played.append((self.state.clone(), len(self._moves)))
            moves = self.state.legal_actions()
            self._do(moves[int(luck.integers(len(moves)))])
        self.state, kept = played[int(luck.integers(len(played)))]
        self._moves = [*self._moves[:kept], "|"]

    def asked(self) -> Mapping[int, np.ndarray]:
        if self.state.is_terminal():
            return {}
        return {self.state.current_player(): self.game.row(self.state)}

    def act(self, actions: Mapping[int, Any]) -> None:
        [move] = actions.values()
        if move not in self.state.legal_actions():
            raise ValueError(f"the move {move}, which the rules of {self.game.name} forbid here")
        self._do(move)
        self._chance()

    def given(self) -> Sequence[float]:
        return self.state.returns()

    @property
    def cut(self) -> Collection[int]:
        return ()

    def told(self) -> str:
        """The moves, luck in brackets, a bar before the first that was not part of the opening."""
        return " ".join(self._moves)

    def close(self) -> None:
        self.state = None

    def _do(self, move: int) -> None:
        self._moves.append(self.state.action_to_string(self.state.current_player(), move))
        self.state.apply_action(move)

    def _drawn(self) -> np.random.Generator:
        """Made where it is asked for: most games have no luck, and making it takes longer than a move."""
        if self._luck is None:
            self._luck = np.random.default_rng(self._seed)
        return self._luck

    def _chance(self) -> None:
        """One number for each of the game's draws: siblings have the same luck, whatever they decide."""
        while self.state.is_chance_node():
            outcomes, odds = zip(*self.state.chance_outcomes(), strict=True)
            drawn = np.searchsorted(np.cumsum(odds), self._drawn().random(), side="right")
            outcome = outcomes[min(int(drawn), len(outcomes) - 1)]
            self._moves.append(f"[{self.state.action_to_string(pyspiel.PlayerId.CHANCE, outcome)}]")
            self.state.apply_action(outcome)


class Allowed(nn.Module):
    """Logits of a body, with moves that the rules forbid out of reach: a row ends with the allowed ones."""

    def __init__(self, body: nn.Module, moves: int) -> None:
        super().__init__()
        self.body = body
        self._moves = moves

    def forward(self, rows: Tensor) -> Tensor:
        """[n, width] -> [n, moves]."""
        seen, allowed = rows[:, : -self._moves], rows[:, -self._moves :]
        return self.body(seen).masked_fill(allowed == 0, FORBIDDEN)


class Indifferent(nn.Module):
    """A body that prefers nothing."""

    def __init__(self, moves: int) -> None:
        super().__init__()
        self._moves = moves

    def forward(self, rows: Tensor) -> Tensor:
        return torch.zeros(len(rows), self._moves)
