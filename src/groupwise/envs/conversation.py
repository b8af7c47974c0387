"""Plays conversations: the siblings of all prompts side by side, turn by turn, from one memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from groupwise.engine.generate import PromptError, generate
from groupwise.engine.model import eos_ids
from groupwise.engine.replies import Said
from groupwise.engine.sampling import Sampling
from groupwise.engine.scheduler import Request
from groupwise.envs.dialogue import OF_A_TURN, Limits, Play, Terms
from groupwise.envs.guarded import OverdueError
from groupwise.envs.once import Once
from groupwise.envs.template import Continuation
from groupwise.envs.text import TextEnv, WorldError, begun_in
from groupwise.groups import Order
from groupwise.policies import LanguagePolicy
from groupwise.rollouts import Finished, Progress, TextSampler
from groupwise.trajectory import Group, PolicyTag, Prompt, StopReason, Trajectory

HUNG = 16
"""Conversations that may hang in one call of `collect` before any other has ended."""

NEARLY_ALL, SOME = 0.75, 4
"""The share of conversations cut in their first turn that is told, and how many these are at least."""


class FailedConversationsWarning(UserWarning):
    """Conversations that the environment did not see through; they are left out."""


class CutWarning(UserWarning):
    """Conversations that come to no second turn."""


class ConversationSampler:
    """Holds conversations with environments made by `world`, in the policy's own weights.

    A turn that is cut by `max_new_tokens` is heard as it stands and is the last. A conversation ends with
    LENGTH at a limit, and with ERROR where the environment raises, hangs, exits, answers nonsense or does not
    begin as it did when it was asked first; what was wrong is in the trajectory's `extra`.
    """

    def __init__(
        self,
        policy: LanguagePolicy,
        tokenizer: Any,
        sampling: Sampling,
        seed: int,
        world: Callable[[], TextEnv],
        limits: Limits,
    ) -> None:
        self.policy, self.tokenizer, self.sampling = policy, tokenizer, sampling
        self.limits = replace(limits, tokens=min(limits.tokens, policy.model.context))
        self.follows = Continuation(tokenizer, policy.model.name)
        self._terms = Terms(world, tokenizer, self.follows, self.limits)
        self._seed, self._opening = seed, TextSampler(policy, tokenizer, sampling, seed)
        self._eos = eos_ids(policy.model.model, tokenizer) | self.follows.ends
        self.tag = PolicyTag()
        self._once = Once()

    def load(self, version: int) -> None:
        self.tag = replace(self.tag, version=version)

    def memory(self) -> Mapping[str, Any]:
        return {}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """It learns nothing from one step for the next."""

    def collect(
        self,
        orders: Sequence[Order],
        greedy: bool = False,
        progress: Progress | None = None,
        finished: Finished | None = None,
    ) -> list[Group]:
        requests = [self._request(order) for order in orders]
        read = [np.array(request.tokens) for request in requests]
        plays = [
            [Play(self._terms, o.prompt, tokens, _begun(o.prompt)) for _ in range(o.count)]
            for o, tokens in zip(orders, read, strict=True)
        ]
        groups: dict[int, Group] = {}
        ends = _Ends(sum(order.count for order in orders))

        def reply(every: Sequence[Said]) -> list[list[int] | None]:
            return [ends.seen(plays[said.request][said.sample], said) for said in every]

        def ended(i: int, _: object) -> None:
            groups[i] = Group(orders[i].prompt, tuple(play.trajectory(self.tag) for play in plays[i]))
            if finished is not None:
                finished(groups[i])

        generate(
            self.policy.model,
            requests,
            replace(self.sampling, temperature=0.0) if greedy else self.sampling,
            eos=self._eos,
            seed=self._seed,
            decode=self.tokenizer.decode,
            progress=progress,
            finished=ended,
            reply=reply,
            limit=self.limits.tokens,
        )
        self._tell([t for group in groups.values() for t in group.trajectories])
        return [groups[i] for i in range(len(orders))]

    def _tell(self, held: Sequence[Trajectory]) -> None:
        """Once each: of conversations that failed, and of turns that are too long to be answered."""
        failed = [t.extra["error"] for t in held if t.stopped is StopReason.ERROR]
        if failed:
            self._once(
                FailedConversationsWarning,
                f"{len(failed)} of {len(held)} conversations failed, the first with {failed[0]}. They are "
                "left out; stopped/error in metrics.jsonl counts them, and samples.jsonl has their reasons.",
            )
        cut = sum(len(t.turns) == 1 and t.extra.get("limit") == OF_A_TURN for t in held)
        if self.limits.turns > 1 and cut >= max(SOME, NEARLY_ALL * len(held)):
            self._once(
                CutWarning,
                f"{cut} of {len(held)} conversations ended with their first turn, which filled {OF_A_TURN} "
                f"{self.sampling.max_new_tokens}: such a turn is the last, and nothing is answered. Raise "
                "it, or let the opening ask for a short reply.",
            )

    def _request(self, order: Order) -> Request:
        tokens = self._opening.tokens(order.prompt)
        needed = len(tokens) + self.sampling.max_new_tokens
        if needed > self.limits.tokens:
            raise PromptError(
                f"the opening of conversation {order.prompt.ordinal} has {len(tokens)} tokens; with "
                f"{self.sampling.max_new_tokens} for a first answer that is {needed}, and a conversation may "
                f"have {self.limits.tokens}: the smaller of --max-context and the model's own. Raise the "
                "one, or lower --max-new-tokens."
            )
        return Request(tokens, order.count, order.prompt.ordinal)


class _Ends:
    """Tells an environment that fails at times, which is data, from one that only fails."""

    def __init__(self, total: int) -> None:
        self._total, self._ended = total, 0
        self._failed: list[str] = []

    def seen(self, play: Play, said: Said) -> list[int] | None:
        """What the model reads after a turn.

        Raises:
            WorldError: every conversation failed, or only hung ones have ended and waiting costs too much.
        """
        tokens = play.answered(said)
        self._ended += tokens is None
        self._failed += [play.error] if play.error else []
        failed = len(self._failed)
        hung = sum(error.startswith(OverdueError.__name__) for error in self._failed)
        if failed and (failed == self._total or failed == self._ended == hung == HUNG):
            raise WorldError(
                f"all of {failed} conversations ended because the environment failed, the first with: "
                f"{self._failed[0]}. Try it by hand: reset, then step with what a model may say."
            )
        return tokens


def _begun(prompt: Prompt) -> str:
    return begun_in(prompt.content) if isinstance(prompt.content, list) else ""
