"""What an estimate needs, read before the weights are: the model's sizes, the prompts' lengths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch

from groupwise import hardware, sources
from groupwise.engine.sampling import Sampling
from groupwise.hardware import Room
from groupwise.models import ModelError, Say, resolve
from groupwise.planning.advice import savings
from groupwise.planning.judges import held
from groupwise.planning.memory import memory
from groupwise.planning.sizes import GIB, Shape, Workload
from groupwise.policies import LanguagePolicy
from groupwise.precision import best_dtype
from groupwise.rollouts import TextSampler
from groupwise.seats import Seat, parse
from groupwise.settings import ConfigError, Settings
from groupwise.tasks.task import Rows, Task, as_prompt

CHECKED_PROMPTS = 20_000
"""Training prompts whose length is checked before a run starts; the rest are when they are drawn."""

HELPFUL = 3
"""Settings that are named when memory does not do."""


@dataclass(frozen=True, slots=True)
class Unloaded:
    """A language model without weights: its modules on the device `meta`, and its tokenizer."""

    name: str
    model: Any
    tokenizer: Any

    def shape(self) -> Shape:
        """Its sizes.

        Raises:
            ModelError: its configuration does not say them in the usual names.
        """
        try:
            return _shape(self.model, self.model.config.get_text_config())
        except AttributeError as error:
            raise ModelError(f"cannot tell the sizes of {self.name!r}: {error}") from error

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together that the model can place."""
        config = self.model.config.get_text_config()
        return int(getattr(config, "max_position_embeddings", 0) or 1 << 30)

    def sampler(self, sampling: Sampling) -> TextSampler:
        """One that reads and checks prompts as the run's own will; it cannot answer them."""
        return TextSampler(cast(LanguagePolicy, SimpleNamespace(model=self)), self.tokenizer, sampling, 0)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of a language model's run before its weights are loaded."""

    task: str
    model: Unloaded
    work: Workload
    room: Room
    device: torch.device
    dtype: torch.dtype

    def refuse_too_large(self) -> None:
        """Raises ConfigError if the estimate exceeds what the machine has; silent on odd architectures."""
        try:
            shape = self.model.shape()
        except ModelError:  # the loader knows better what to say of it
            return
        peak = memory(shape, self.work).peak
        if peak <= self.room.available:
            return
        best = savings(shape, self.work, best_dtype(self.device) == torch.bfloat16)[:HELPFUL]
        help_ = ", ".join(f"{s.flag} (saves {s.bytes / GIB:.1f} GiB)" for s in best)
        raise ConfigError(
            f"this run needs about {peak / GIB:.1f} GiB at its peak and {self.room.available / GIB:.1f} GiB "
            f"are available. What helps most: {help_ or 'a smaller --model'}. `groupwise plan` with the same "
            "options shows the parts; --no-check-memory starts regardless."
        )


def foresee(
    s: Settings,
    task: Task,
    sampling: Sampling,
    device: torch.device,
    dtype: torch.dtype,
    reference: bool,
    say: Say,
) -> Outlook:
    """The outlook of completed settings.

    Raises:
        ModelError, PromptError, ConfigError: naming the model or the prompt at fault and the way out.
    """
    assert s.prompts is not None and s.group_size is not None and s.epochs is not None  # noqa: PT018
    assert s.tokens_per_microbatch is not None and s.held_out is not None  # noqa: PT018
    model = unloaded(s.model, say)
    prompt = longest_prompt(task, model.sampler(sampling), s.tokens_per_microbatch, s.max_context)
    room = hardware.room(device)
    whole = s.max_context and min(s.max_context, model.context)  # of a conversation
    work = Workload(
        prompts=s.prompts,
        group_size=s.group_size if s.answers is None else -(-s.answers // s.prompts),
        prompt_tokens=prompt,
        max_new_tokens=sampling.max_new_tokens if whole is None else max(whole - prompt, 1),
        tokens_per_microbatch=s.tokens_per_microbatch,
        max_rows=s.max_rows,
        held_out=min(s.held_out, len(task.held_out)),
        number_bytes=dtype.itemsize,
        lora_rank=s.lora_rank,
        epochs=s.epochs,
        minibatches=s.minibatches,
        reference=reference,
        others=_others(s, model, dtype, say),
        judges=held((*s.reward, *s.gold), device, say),
        process=room.process,
    )
    return Outlook(task.name, model, work, room, device, dtype)


def _others(s: Settings, own: Unloaded, dtype: torch.dtype, say: Say) -> int:
    """Bytes of the policies beside the one in training. With LoRA the run's own checkpoints are adapters."""
    seats = parse(s.seats, s.group_size).others if s.seats is not None else ()
    return sum(
        s.lora_rank * own.shape().adapted * 4
        if seat.moves and s.lora_rank
        else _parameters(seat, own, say) * dtype.itemsize
        for seat in seats
    )


def _parameters(seat: Seat, own: Unloaded, say: Say) -> int:
    """Numbers in the policy of a seat.

    Raises:
        ModelError: naming the seat.
    """
    path = Path(seat.source).expanduser()
    if seat.moves or sources.is_adapter(path):
        return own.parameters
    try:
        name = sources.run_config(path)["model"] if sources.is_checkpoint(path) else seat.source
        return unloaded(name, say).parameters
    except ModelError as error:
        raise ModelError(f"--seats: {error}") from error


def unloaded(name: str, say: Say) -> Unloaded:
    """The model by its name, from its config.json alone (a second's work whatever its size).

    Raises:
        ModelError: naming the model and the reason.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    source = resolve(name, say)
    try:
        config = AutoConfig.from_pretrained(source)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"cannot load the model {name!r}: {error}") from error
    return Unloaded(name, model, tokenizer)


def _shape(model: Any, config: Any) -> Shape:
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    apart = {id(p) for module in (head, embedding) if module is not None for p in module.parameters()}
    heads = config.num_attention_heads
    return Shape(
        parameters=sum(p.numel() for p in model.parameters()),
        # matrices, and the stacks of matrices that a mixture of experts is made of
        linear=sum(p.numel() for p in model.parameters() if p.ndim > 1 and id(p) not in apart),
        adapted=sum(sum(m.weight.shape) for m in model.modules() if _linear(m) and m is not head),
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        intermediate=_intermediate(config),
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
        vocabulary=config.vocab_size,
    )


def _linear(module: Any) -> bool:
    """Conv1D is GPT-2's name for it."""
    return isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"


def _intermediate(config: Any) -> int:
    """Width of the MLP; of all experts that a token visits, where it chooses among them."""
    dense = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None)
    expert = getattr(config, "moe_intermediate_size", None)
    chosen = getattr(config, "num_experts_per_tok", None) or 1
    return int(chosen * (expert or dense or 4 * config.hidden_size))


def longest_prompt(task: Task, sampler: TextSampler, budget: int, context: int | None = None) -> int:
    """Tokens of the longest prompt, trained on or held out; `context` is the limit of a conversation.

    Raises:
        PromptError: a prompt does not fit the model's context with its answer.
        ConfigError: one that is trained on does not fit a micro-batch, or a conversation, with its answer.
    """
    longest, text = _longest(task.train, sampler)
    needed = longest + sampler.sampling.max_new_tokens
    where, limit, flag = "a micro-batch holds", budget, "--tokens-per-microbatch"
    if context is not None:
        where, limit, flag = "a conversation may have", context, "--max-context"
    if needed > limit:
        raise ConfigError(
            f"the prompt {text[:60]!r} has {longest} tokens, with its answer up to {needed}, and {where} "
            f"{limit}. Raise {flag} or lower --max-new-tokens."
        )
    return max(longest, _longest(task.held_out, sampler)[0])


def _longest(rows: Rows, sampler: TextSampler) -> tuple[int, str]:
    """(tokens, text) of the longest prompt."""
    # rows made on demand are all alike: a sample tells
    n = min(len(rows), CHECKED_PROMPTS if isinstance(rows, list) else 100)
    prompts = [as_prompt(rows[i], i) for i in range(n)]
    sampler.check(prompts)
    lengths = [len(sampler.tokens(prompt)) for prompt in prompts]
    content = prompts[lengths.index(max(lengths))].content
    text = " ".join(str(m["content"]) for m in content) if isinstance(content, list) else str(content)
    return max(lengths), text
