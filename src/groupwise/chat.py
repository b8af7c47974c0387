"""Talking to a model."""

from __future__ import annotations

from groupwise import runs
from groupwise.engine.sampling import Sampling
from groupwise.groups import Order
from groupwise.policies import LanguagePolicy
from groupwise.rollouts import TextSampler
from groupwise.trajectory import Prompt

Message = dict[str, str]


class Talk:
    """A conversation: remembers what was said.

    A model without a chat template continues the bare text instead, and remembers nothing.

    Raises:
        ValueError: the run is not of a language model.
    """

    def __init__(
        self, model: str, temperature: float, max_new_tokens: int, system: str | None = None
    ) -> None:
        built = runs.opened(model, task=None if runs.of_environment(model) else "arithmetic")
        policy = built.run.policy
        if built.loaded is None or not isinstance(policy, LanguagePolicy):
            raise ValueError(f"{model} is not a language model: there is nobody to talk to")
        self._tokenizer = built.loaded.tokenizer
        sampling = Sampling(max_new_tokens, temperature)
        self._sampler = TextSampler(policy, self._tokenizer, sampling, seed=0)
        self._messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
        self._turns = 0

    def answer(self, said: str) -> str:
        """The model's answer to what was said so far."""
        self._turns += 1
        if not self._tokenizer.chat_template:
            return self._complete(said)
        self._messages.append({"role": "user", "content": said})
        text = self._complete(list(self._messages))
        self._messages.append({"role": "assistant", "content": text})
        return text

    def _complete(self, content: str | list[Message]) -> str:
        [group] = self._sampler.collect([Order(Prompt(self._turns, content), 1)])
        return group.trajectories[0].text.strip()
