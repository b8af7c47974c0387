"""Self-play: the starts of a game, who sits at its seats, and by what its policy is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from groupwise.distributions import Categorical
from groupwise.envs.game_tree import Tree, best_moves, exploitability, tree_of
from groupwise.envs.games import FORBIDDEN, Allowed, Game, Indifferent, Match
from groupwise.envs.networks import Layout, network
from groupwise.envs.scene_sampler import Player, SceneSampler
from groupwise.policies import NetworkPolicy
from groupwise.tasks.task import Row, Task
from groupwise.trajectory import CURRENT

RANDOM, EXACT = "random", "exact"
HELD_OUT = 1_000_000
"""The first held-out start."""


# ---------------------------------------------------------------- players


class Unchanging:
    """A player that learns nothing."""

    def __init__(self, module: nn.Module) -> None:
        self._policy = NetworkPolicy(module, Categorical())

    def load(self, version: int) -> None:
        """It is as it was."""

    def act(self, observations: np.ndarray, uniform: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        return self._policy.act(observations, uniform)


class Lookup(nn.Module):
    """Prefers the moves that a table names, all of them alike."""

    def __init__(self, moves: Mapping[bytes, np.ndarray]) -> None:
        super().__init__()
        self._moves = moves

    def forward(self, rows: Tensor) -> Tensor:
        best = np.stack([self._moves[row.tobytes()] for row in rows.numpy()])
        return torch.from_numpy(np.where(best, 0.0, FORBIDDEN).astype(np.float32))


@dataclass(frozen=True, slots=True)
class Table:
    """A game with what is known of it: the whole of it where it is small, and who can be played against."""

    game: Game
    tree: Tree | None
    players: Mapping[str, Player]
    """`random`, and for a small game that hides nothing `exact`: any of the best moves."""

    @classmethod
    def of(cls, name: str) -> Table:
        """
        Raises:
            UnplayableError: no such game, or one that cannot be played.
        """
        game = Game(name)
        tree = tree_of(game)
        players: dict[str, Player] = {RANDOM: Unchanging(Allowed(Indifferent(game.moves), game.moves))}
        if tree is not None and not game.hidden:
            players[EXACT] = Unchanging(Lookup(best_moves(tree)))
        return cls(game, tree, players)

    @property
    def exploitable(self) -> bool:
        """Whether what a policy is sure to get can be computed."""
        return self.tree is not None and self.game.rules.utility_sum() == 0


# ---------------------------------------------------------------- starts


@dataclass(frozen=True, slots=True)
class Starts:
    """Rows to train on, which the run's seed puts in an order: of all of them each player of `shares` has its
    share, at each seat alike; of a step's, on average.

    Of a game that hides nothing half of the starts are in the middle of a random game, so that what play does
    not come to by itself is learned too. Not so where something is hidden: what a position makes likely then
    depends on how it was come to.
    """

    seats: int
    shares: Mapping[str, int] = field(default_factory=lambda: {CURRENT: 1})
    openings: bool = True

    def __len__(self) -> int:
        return HELD_OUT

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < len(self):
            raise IndexError(index)
        everybody = [name for name, count in self.shares.items() for _ in range(count)]
        rest, which = divmod(index, len(everybody))
        rest, seat = divmod(rest, self.seats)
        row = {"prompt": index, "opening": self.openings and rest % 2 == 1}
        return row if everybody[which] == CURRENT else {**row, "against": everybody[which], "seat": seat}


@dataclass(frozen=True, slots=True)
class Matches:
    """Held-out rows: whole games against each opponent at each seat in turn."""

    seats: int
    opponents: Sequence[str]

    def __len__(self) -> int:
        return HELD_OUT

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < len(self):
            raise IndexError(index)
        rest, which = divmod(index, len(self.opponents))
        return {"prompt": HELD_OUT + index, "against": self.opponents[which], "seat": rest % self.seats}


@dataclass(frozen=True, slots=True)
class SelfPlay(Task):
    """A game. Judged by what the policy is sure to get, where that can be computed, else by its returns."""

    small: bool = False

    @property
    def measure(self) -> str:
        return "worst_case" if self.small else "reward"


# ---------------------------------------------------------------- a policy of one's own


def task(table: Table, shares: Mapping[str, int]) -> SelfPlay:
    """Starts to train on, and held-out games; `shares` says in how many games who sits opposite."""
    game = table.game
    train = Starts(game.seats, shares, openings=not game.hidden)
    held_out = Matches(game.seats, tuple(table.players))
    return SelfPlay(f"game:{game.name}", train, held_out, (), small=table.exploitable)


def player(
    table: Table,
    seed: int,
    shares: Mapping[str, int],
    other: Callable[[NetworkPolicy, str], Player],
) -> SceneSampler:
    """Plays every seat of a game with one fresh policy; `other` makes whom the table does not know."""
    game, tree = table.game, table.tree
    policy = NetworkPolicy(
        Allowed(network(Layout(game.sight + game.seats), game.moves, 0, seed), game.moves), Categorical()
    )
    strangers = shares.keys() - table.players.keys() - {CURRENT}
    return SceneSampler(
        policy,
        partial(Match, game),
        seed,
        players={**table.players, **{name: other(policy, name) for name in strangers}},
        judge=partial(judged, tree, policy) if tree is not None and table.exploitable else dict,
        mixes=game.hidden,
    )


def judged(tree: Tree, policy: NetworkPolicy) -> dict[str, float]:
    """How far a policy, played as it is judged, can be exploited."""
    found = exploitability(tree, strategy_of(tree, policy))
    return {"exploitability": found, "worst_case": -found}


@torch.inference_mode()
def strategy_of(tree: Tree, policy: NetworkPolicy) -> np.ndarray:
    """[K, moves] probabilities; where nothing is hidden, 1 for the likeliest move."""
    logits = policy.module(torch.from_numpy(tree.rows))
    if tree.game.hidden:
        return logits.double().softmax(-1).numpy()
    return nn.functional.one_hot(logits.argmax(-1), tree.game.moves).double().numpy()
