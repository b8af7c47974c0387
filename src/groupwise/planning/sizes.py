"""What an estimate is made of: sizes of a model, of its work, and counts of what the code keeps.

The counts are checked against measurement by `bench/plan_check.py`, which says how to fit them anew.
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Kept:
    """What one layer keeps for the backward pass, in numbers of the compute format.

    Per packed token unless said otherwise. To fit anew after the engine changed: count the tensors that
    one layer saves, then run bench/plan_check.py.
    """

    hidden: float = 4.0
    """x hidden: the inputs of both norms, and what they give to the attention and to the MLP."""
    intermediate: float = 2.0
    """x intermediate: the two products before the gate."""
    heads: float = 3.0
    """x heads x head size: queries, the attention's outputs, and the same in packed order."""
    keys: float = 2.0
    """x KV heads x head size, per key that attention gathers: keys and values."""
    pairs: float = 1.0
    """Per query and key that attention compares: the mask as numbers."""
    adapter_intermediate: float = 2.0
    """x intermediate more under LoRA: the MLP is not fused, so the gate and its product stay too."""


@dataclass(frozen=True, slots=True)
class Working:
    """Memory that comes and goes within a phase."""

    logit_copies: float = 3.0
    """float32 arrays [LOGIT_ROWS, vocabulary] that exist together in the loss."""
    layer_backward: float = 4.0
    """x intermediate numbers per token: the gradients of one layer's activations."""
    choose_copies: float = 4.0
    """float32 arrays [rows, vocabulary] that exist together when tokens are chosen."""
    prefill: float = 4.0
    """x (hidden + intermediate) numbers per prompt token that is read at once."""
    slack: float = 0.10
    """Share of the larger phase that the allocator loses between blocks."""
    libraries: int = GIB // 8
    """Bytes that libraries take once they compute, beside torch's tensors."""


KEPT, WORKING = Kept(), Working()


@dataclass(frozen=True, slots=True)
class Shape:
    """A language model's sizes."""

    parameters: int
    """Numbers in it; a head that is tied to the embedding counts once."""
    linear: int
    """Of them in the linear layers of its blocks: what a token is multiplied with, but for the head."""
    adapted: int
    """Sum over those layers of inputs and outputs: a LoRA adapter of rank 1 has as many numbers."""
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class Workload:
    """What a run does with it."""

    prompts: int
    """Prompts in a step."""
    group_size: int
    prompt_tokens: int
    """Of the longest prompt."""
    max_new_tokens: int
    tokens_per_microbatch: int
    max_rows: int
    held_out: int
    """Prompts in an evaluation."""
    number_bytes: int = 4
    """Bytes of a number that computes: 4 in float32, 2 in bfloat16."""
    lora_rank: int = 0
    epochs: int = 1
    minibatches: int = 1
    reference: bool = False
    """A frozen policy stands beside (with LoRA it costs nothing)."""
    others: int = 0
    """Bytes of the frozen policies that write some of the answers."""
    judges: int = 0
    """Bytes of the frozen models that rewards ask."""
    process: int = 0
    """Bytes that the process holds before there is a model; 0 on a GPU."""

    @property
    def sequence(self) -> int:
        """Tokens of the longest prompt with its answer."""
        return self.prompt_tokens + self.max_new_tokens
