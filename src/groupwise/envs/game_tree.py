"""Small games whole: what an exact player does, and how far a policy can be exploited, without sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from groupwise.envs.games import Game

LARGEST = 12_000
"""Positions (of a game with hidden information: histories) beyond which a game is not small."""


@dataclass(frozen=True, slots=True)
class Node:
    """A position, or a history."""

    seat: int
    """Who moves; below 0: luck, or nobody."""
    knows: int
    """The number of what the mover knows, in `Tree.rows`; -1 where nobody decides."""
    moves: tuple[int, ...]
    odds: tuple[float, ...]
    """Of luck's moves."""
    children: tuple[int, ...]
    """In the order of the moves."""
    returns: tuple[float, ...]
    """[seats] where it is over."""


@dataclass(frozen=True, slots=True)
class Tree:
    """All that can happen: children before parents, the start last."""

    game: Game
    nodes: tuple[Node, ...]
    rows: np.ndarray
    """[K, width] everything that a mover can know."""


def tree_of(game: Game) -> Tree | None:
    """Everything that can happen in a game; None if that is too much.

    Where nothing is hidden, positions that look alike are one, however they came about.
    """
    builder = _Builder(game)
    try:
        builder.add(game.rules.new_initial_state())
    except (_TooLargeError, RecursionError):  # too many positions, or games too long
        return None
    return Tree(game, tuple(builder.nodes), np.stack(list(builder.rows)))


class _TooLargeError(Exception):
    pass


class _Builder:
    def __init__(self, game: Game) -> None:
        self.game = game
        self.nodes: list[Node] = []
        self.rows: list[np.ndarray] = []
        self._known: dict[str, int] = {}
        self._at: dict[str, int] = {}

    def add(self, state: Any) -> int:
        """The number of the state's node."""
        name = state.history_str() if self.game.hidden else f"{state.current_player()} {state}"
        if name not in self._at:
            node = self._node(state)
            if len(self.nodes) == LARGEST:
                raise _TooLargeError
            self.nodes.append(node)
            self._at[name] = len(self.nodes) - 1
        return self._at[name]

    def _node(self, state: Any) -> Node:
        if state.is_terminal():
            return Node(-1, -1, (), (), (), tuple(state.returns()))
        odds: tuple[float, ...] = ()
        moves = tuple(state.legal_actions())
        if state.is_chance_node():
            moves, odds = zip(*state.chance_outcomes(), strict=True)
        children = tuple(self.add(state.child(move)) for move in moves)
        if odds:
            return Node(-1, -1, moves, odds, children, ())
        return Node(state.current_player(), self._knows(state), moves, (), children, ())

    def _knows(self, state: Any) -> int:
        mover = state.current_player()
        what = state.information_state_string(mover) if self.game.hidden else len(self.nodes)
        who = f"{mover} {what}"  # what seats know may read alike
        if who not in self._known:
            self._known[who] = len(self.rows)
            self.rows.append(self.game.row(state))
        return self._known[who]


# ---------------------------------------------------------------- exact play


def best_moves(tree: Tree) -> Mapping[bytes, np.ndarray]:
    """By the row of who moves: [moves] bool, the moves after which the seat gets as much as it can.

    For games in which nothing is hidden, by backward induction: each seat takes what is best for itself.
    """
    values: list[np.ndarray] = []
    best: dict[bytes, np.ndarray] = {}
    for node in tree.nodes:
        after = [values[child] for child in node.children]
        if node.seat >= 0:
            own = np.array([v[node.seat] for v in after])
            chosen = np.zeros(tree.game.moves, dtype=bool)
            chosen[np.array(node.moves)[own == own.max()]] = True
            best[tree.rows[node.knows].tobytes()] = chosen
            values.append(after[int(own.argmax())])
        elif node.odds:
            values.append(np.average(after, axis=0, weights=node.odds))
        else:
            values.append(np.array(node.returns))
    return best


# ---------------------------------------------------------------- exploitability


def exploitability(tree: Tree, strategy: np.ndarray) -> float:
    """What a seat wins on average that knows the others' strategy and answers it best: 0 at equilibrium.

    strategy [K, moves]: probabilities, for each of the tree's rows. For games of sum zero: the mean over the
    seats of the best response's value, which is NashConv, the sum of what each would gain by leaving the
    strategy, over the number of seats.
    """
    return float(np.mean([best_response(tree, strategy, seat) for seat in range(tree.game.seats)]))


def best_response(tree: Tree, strategy: np.ndarray, seat: int) -> float:
    """The most that a seat can get on average while all others follow the strategy [K, moves].

    For games in which nobody forgets what it knew.
    """
    nodes = tree.nodes
    reach = _reach(tree, strategy, seat)
    alike: dict[int, list[int]] = {}
    for number, node in enumerate(nodes):
        if node.seat == seat:
            alike.setdefault(node.knows, []).append(number)

    @cache
    def value(number: int) -> float:
        node = nodes[number]
        if not node.children:
            return node.returns[seat]
        if node.seat == seat:
            return value(node.children[answer(node.knows)])
        shares = _shares(node, strategy)
        return sum(p * value(child) for p, child in zip(shares, node.children, strict=True) if p)

    @cache
    def answer(knows: int) -> int:
        """Which of its moves is best where it cannot tell histories apart."""
        mine = alike[knows]
        worth = [
            sum(reach[i] * value(nodes[i].children[k]) for i in mine if reach[i])
            for k in range(len(nodes[mine[0]].moves))
        ]
        return int(np.argmax(worth))

    return value(len(nodes) - 1)


def _reach(tree: Tree, strategy: np.ndarray, seat: int) -> np.ndarray:
    """[nodes] how likely luck and the other seats make it that a node is come to."""
    reach = np.zeros(len(tree.nodes))
    reach[-1] = 1.0
    for number in range(len(tree.nodes) - 1, -1, -1):
        node = tree.nodes[number]
        shares = [1.0] * len(node.moves) if node.seat == seat else _shares(node, strategy)
        for share, child in zip(shares, node.children, strict=True):
            reach[child] += share * reach[number]
    return reach


def _shares(node: Node, strategy: np.ndarray) -> Sequence[float]:
    return node.odds if node.odds or not node.moves else strategy[node.knows, list(node.moves)].tolist()
