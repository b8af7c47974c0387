"""Orders to groups: the protocol of whatever acts, and the language model that answers text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from jinja2 import TemplateError

from groupwise.engine.generate import PromptError, check, generate
from groupwise.engine.model import CausalLM, eos_ids
from groupwise.engine.sampling import Sampling
from groupwise.engine.scheduler import Completion, Request
from groupwise.groups import Order
from groupwise.policies import LanguagePolicy
from groupwise.roles import understood
from groupwise.trajectory import Group, PolicyTag, Prompt, Trajectory, Turn

Progress = Callable[[int, int], None]
"""Called with (trajectories done, trajectories ordered)."""
Finished = Callable[[Group], None]
"""Called with a group as soon as its last trajectory is there, in whatever order groups finish."""


class Sampler(Protocol):
    """Collects trajectories under the current version of a policy."""

    def collect(
        self,
        orders: Sequence[Order],
        greedy: bool = False,
        progress: Progress | None = None,
        finished: Finished | None = None,
    ) -> list[Group]:
        """One group for each order, in order. Greedy: the likeliest decisions.

        A sampler that learns only at the end which groups are whole need not call `finished`; what it is
        called with may still lack what is worked out of all groups together.
        """

    def load(self, version: int) -> None:
        """From now on the policy is this version: `version` optimizer steps behind it."""

    def memory(self) -> Mapping[str, Any]:
        """What it has learnt from steps so far and has to know when the run is resumed; as JSON has it."""

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Know what an earlier `memory()` gave, and nothing since."""


class TextSampler:
    """Answers prompts with the policy's own weights: nothing is copied, nothing is served elsewhere."""

    def __init__(self, policy: LanguagePolicy, tokenizer: Any, sampling: Sampling, seed: int) -> None:
        self.policy, self.tokenizer, self.sampling = policy, tokenizer, sampling
        self._seed = seed
        self._eos = eos_ids(policy.model.model, tokenizer)
        self.tag = PolicyTag()

    def load(self, version: int) -> None:
        self.tag = replace(self.tag, version=version)

    def memory(self) -> Mapping[str, Any]:
        return {}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """It learns nothing from one step for the next."""

    def check(self, prompts: Sequence[Prompt]) -> None:
        check(self.policy.model, [self._request(Order(p, 1)) for p in prompts], self.sampling)

    def collect(
        self,
        orders: Sequence[Order],
        greedy: bool = False,
        progress: Progress | None = None,
        finished: Finished | None = None,
    ) -> list[Group]:
        requests = [self._request(order) for order in orders]
        groups: dict[int, Group] = {}

        def written(i: int, completions: Sequence[Completion]) -> None:
            groups[i] = self._group(orders[i].prompt, requests[i], completions)
            if finished is not None:
                finished(groups[i])

        self.write(self.policy.model, requests, greedy, progress, written)
        return [groups[i] for i in range(len(orders))]

    def write(
        self,
        model: CausalLM,
        requests: Sequence[Request],
        greedy: bool = False,
        progress: Progress | None = None,
        finished: Callable[[int, list[Completion]], None] | None = None,
    ) -> list[list[Completion]]:
        """Answers of any model that reads the same tokens; temperature, length and end are this sampler's."""
        return generate(
            model,
            requests,
            replace(self.sampling, temperature=0.0) if greedy else self.sampling,
            eos=self._eos,
            seed=self._seed,
            decode=self.tokenizer.decode,
            progress=progress,
            finished=finished,
        )

    def _request(self, order: Order) -> Request:
        return Request(self.tokens(order.prompt), order.count, order.prompt.ordinal)

    def tokens(self, prompt: Prompt) -> tuple[int, ...]:
        """Text is read as it stands; messages go through the model's chat template.

        An assistant's message at the end is the beginning of the answer, to be continued.
        """
        if isinstance(prompt.content, str):
            return tuple(self.tokenizer.encode(prompt.content))
        if isinstance(prompt.content, int):
            raise PromptError(f"prompt {prompt.ordinal} is the number {prompt.content}, not text or messages")
        if not self.tokenizer.chat_template:
            raise PromptError(
                f"prompt {prompt.ordinal} is a list of messages, and the tokenizer of "
                f"{self.policy.model.name} has no chat template. Give prompts as text, or use an "
                "instruction-tuned model."
            )
        begun = prompt.content[-1]["role"] == "assistant"
        try:
            ids = self.tokenizer.apply_chat_template(
                understood(prompt.content, self.tokenizer),
                add_generation_prompt=not begun,
                continue_final_message=begun,
                return_dict=False,
            )
        except TemplateError as error:
            raise PromptError(
                f"prompt {prompt.ordinal}: the chat template of {self.policy.model.name} refuses it: {error}"
            ) from error
        return tuple(ids)

    def _group(self, prompt: Prompt, request: Request, completions: Sequence[Completion]) -> Group:
        read = np.array(request.tokens)  # one array for all siblings: the prompt exists once
        return Group(prompt, tuple(self.trajectory(read, c, self.tag) for c in completions))

    def trajectory(self, read: np.ndarray, completion: Completion, tag: PolicyTag) -> Trajectory:
        """A completion as what a policy decided after reading [L] tokens."""
        turn = Turn(read, np.array(completion.tokens), np.array(completion.logp, dtype=np.float32))
        text = self.tokenizer.decode(completion.tokens, skip_special_tokens=True)
        return Trajectory((turn,), tag, completion.stopped, text)
