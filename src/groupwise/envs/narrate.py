"""Shows a policy at a game: moves and positions as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from groupwise.envs.games import Game, Match
from groupwise.envs.scene_sampler import SceneSampler
from groupwise.groups import Order
from groupwise.trajectory import Prompt

POLICY = "the policy"


class Narrated(Match):
    """Writes down every move and the position after it."""

    def __init__(self, game: Game, said: list[str]) -> None:
        super().__init__(game)
        self._said = said
        self._names = [POLICY] * self.seats

    def begin(self, seed: int, start: Mapping[str, Any]) -> None:
        if "against" in start:
            self._names = [POLICY if i == start["seat"] else start["against"] for i in range(self.seats)]
        super().begin(seed, start)
        self._said.append(str(self.state).rstrip())

    def act(self, actions: Mapping[int, Any]) -> None:
        [(seat, move)] = actions.items()
        said = self.state.action_to_string(seat, move)
        super().act(actions)
        self._said.append(f"\n{self._names[seat]} (seat {seat}): {said}\n{str(self.state).rstrip()}")
        if self.state.is_terminal():
            results = zip(self._names, self.given(), strict=True)
            ends = [f"{name} (seat {seat}) {given:+g}" for seat, (name, given) in enumerate(results)]
            self._said.append(f"\n{', '.join(ends)}")


def narrated(sampler: SceneSampler, game: Game, prompts: Sequence[Prompt], greedy: bool) -> Iterator[str]:
    """Play one game from each start: its moves and positions."""
    said: list[str] = []
    shown = sampler.elsewhere(lambda: Narrated(game, said))
    for prompt in prompts:
        said.clear()
        shown.collect([Order(prompt, 1)], greedy=greedy)
        yield "\n".join(said)
