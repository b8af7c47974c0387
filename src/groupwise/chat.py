"""Talking to a model."""

from __future__ import annotations

from groupwise import conversing, runs
from groupwise.engine.sampling import Sampling
from groupwise.envs.text import Conversations, Message
from groupwise.envs.tools import Toolbox
from groupwise.groups import Order
from groupwise.policies import LanguagePolicy
from groupwise.rollouts import TextSampler
from groupwise.trajectory import Prompt

CALLS = 8
"""That an answer may have in a row."""


class Talk:
    """A conversation: remembers what was said.

    A model without a chat template continues the bare text instead, and remembers nothing. A run of
    conversations begins as those do, and may call their tools.

    Raises:
        ValueError: the run is not of a language model.
    """

    def __init__(
        self, model: str, temperature: float, max_new_tokens: int, system: str | None = None
    ) -> None:
        own = runs.of_environment(model) or runs.of_conversations(model)
        built = runs.opened(model, task=None if own else "arithmetic")
        policy = built.run.policy
        if built.loaded is None or not isinstance(policy, LanguagePolicy):
            raise ValueError(f"{model} is not a language model: there is nobody to talk to")
        self._tokenizer = built.loaded.tokenizer
        sampling = Sampling(max_new_tokens, temperature)
        self._sampler = TextSampler(policy, self._tokenizer, sampling, seed=0)
        self._messages: list[Message] = [] if system is None else [{"role": "system", "content": system}]
        self._tools: Toolbox | None = None
        self._turns = 0
        if isinstance(built.run.task, Conversations):
            self._join(built.run.task)

    def answer(self, said: str) -> str:
        """The model's answer to what was said so far; calls, results and what it says to them in lines."""
        self._turns += 1
        if not self._tokenizer.chat_template:
            return self._complete(said)
        heard: list[Message] = [{"role": "user", "content": said}]
        lines: list[str] = []
        while heard and len(lines) <= 2 * CALLS:
            self._messages += heard
            text = self._complete(list(self._messages))
            self._messages.append({"role": "assistant", "content": text})
            results = [] if self._tools is None else self._tools.replies(text)
            lines += [text, *(m["content"] for m in results)]
            heard = results
        return "\n".join(lines)

    def _join(self, task: Conversations) -> None:
        self._tools = conversing.toolbox(task)
        if not self._messages:
            self._messages = conversing.beginning(task)
        elif self._tools is not None:
            self._messages = self._tools.described(self._messages)

    def _complete(self, content: str | list[Message]) -> str:
        [group] = self._sampler.collect([Order(Prompt(self._turns, content), 1)])
        return group.trajectories[0].text.strip()
