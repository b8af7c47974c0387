"""A Hugging Face causal language model, served through groupwise's attention or refused by name."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from groupwise.engine import attention, fused
from groupwise.engine.attention import Attend, Packed, Tree
from groupwise.engine.scoring import LogitShape, score

TOLERANCE = 2e-2
"""Nats by which our log-probs of the probe may differ from its own; a wrong mask is off by 0.1 or more."""


class UnsupportedModelError(ValueError):
    """The engine cannot serve this model; the message names it and the reason."""


class CausalLM:
    """Forward passes over one packed row of tokens, with logits only where asked.

    Wraps a transformers causal LM (also under peft) in place: its attention implementation is set to
    ours. `check` compares a packed forward with the model's own, so that a model whose layers bypass
    the attention interface is refused and not silently wrong.

    Raises:
        UnsupportedModelError: by name and with the reason.
    """

    def __init__(self, model: Any, name: str | None = None) -> None:
        self.name = name or getattr(model.config, "_name_or_path", "") or type(model).__name__
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.model, self.config = model, inner.config.get_text_config()
        _refuse(self.name, inner, self.config)
        self._body = inner.base_model
        self._head = inner.get_output_embeddings()
        self._shape = _logit_shape(self.config)
        model.eval()  # dropout would make a log-prob other than the one sampled
        own = _plain_logp(model)
        inner.set_attn_implementation(attention.NAME)
        fused.install(inner)
        self._check(own)

    @property
    def device(self) -> torch.device:
        return torch.device(self._head.weight.device)

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together that the model can place."""
        return int(getattr(self.config, "max_position_embeddings", 0) or 1 << 30)

    @property
    def vocabulary(self) -> int:
        return int(self._head.weight.shape[0])

    def around(self, model: Any) -> CausalLM:
        """The same wrapping of another copy of this model, without checking it again."""
        other = copy.copy(self)
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        other.model, other._body, other._head = model, inner.base_model, inner.get_output_embeddings()
        return other

    def hidden(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """tokens [L], positions [L] -> final hidden states [L, width]."""
        out = self._body(
            input_ids=tokens[None], position_ids=positions[None], use_cache=False, groupwise=attend
        )
        return out.last_hidden_state[0]

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden [n, width] -> logits [n, V] float32."""
        return self._shape(self._head(hidden).float())

    def score(
        self, hidden: Tensor, decisions: Tensor, temperature: float, entropy_gradient: bool = False
    ) -> tuple[Tensor, Tensor]:
        """hidden [n, width], decisions [n] -> log-probs [n], entropies [n] float32, with gradient."""
        return score(hidden, self._head, decisions, temperature, self._shape, entropy_gradient)

    def _check(self, own: Tensor) -> None:
        tokens, positions = _probe(self.config, self.device)
        calls: set[int] = set()

        def keep(layer: int, k: Tensor, v: Tensor) -> None:
            calls.add(layer)

        # the probe as a prompt of 5 and an answer of 7: both kinds of span take part
        attend = Packed([Tree(5, (len(tokens) - 5,))], self.device, keep)
        with torch.no_grad():
            ours = self.logits(self.hidden(tokens, positions, attend)).log_softmax(-1)
        layers = self.config.num_hidden_layers
        if len(calls) != layers:
            raise UnsupportedModelError(
                f"{self.name}: {len(calls)} of its {layers} layers use the transformers attention interface; "
                "groupwise's engine needs all of them."
            )
        exact = self._head.weight.dtype == torch.float32
        # rounding to 16 bits moves unlikely tokens by half a nat (eager and sdpa differ as much): there the
        # gap is weighed by probability, which is KL(own || ours); and it may send a token to another expert,
        # at a place or two, where a wrong mask is off at many
        apart = (own.exp() * (own - ours)).sum(-1).sort().values
        gap = float((ours - own).abs().max() if exact else apart[-3])
        if not gap < TOLERANCE:
            raise UnsupportedModelError(
                f"{self.name}: its log-probs through groupwise's engine differ from its own by up to "
                f"{gap:.3g} nats, so something in it (a mask, a position scheme, a logit "
                "scale) is not what the engine assumes."
            )


def eos_ids(model: Any, tokenizer: Any = None) -> frozenset[int]:
    """Every id that ends an answer: of the generation config, the config and the tokenizer."""
    found: set[int] = set()
    for owner in (getattr(model, "generation_config", None), model.config, tokenizer):
        value = getattr(owner, "eos_token_id", None)
        found.update(value if isinstance(value, (list, tuple)) else [] if value is None else [value])
    return frozenset(int(i) for i in found)


def positions_of(trees: Sequence[Tree]) -> list[int]:
    """Position of each packed token in its own sequence."""
    out: list[int] = []
    for tree in trees:
        out += range(tree.prompt)
        for length in tree.answers:
            out += range(tree.prompt, tree.prompt + length)
    return out


def _refuse(name: str, model: Any, config: Any) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise UnsupportedModelError(f"{name} is an encoder-decoder; groupwise trains decoder-only models.")
    if model.get_output_embeddings() is None:
        raise UnsupportedModelError(f"{name} has no language-model head: load it with AutoModelForCausalLM.")
    other = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if other or getattr(model, "_is_stateful", False):
        kinds = ", ".join(sorted(other)) or "recurrent"
        raise UnsupportedModelError(
            f"{name} has {kinds} layers, which keep a state of their own; groupwise's engine serves full and "
            "sliding-window attention only."
        )
    if getattr(config, "num_kv_shared_layers", 0):
        raise UnsupportedModelError(
            f"{name} shares keys and values between layers, which needs its own cache."
        )
    if not getattr(model, "_supports_attention_backend", False):
        raise UnsupportedModelError(
            f"{name} ({type(model).__name__}) does not use the transformers attention interface, through "
            "which groupwise samples and trains."
        )


def _logit_shape(config: Any) -> LogitShape:
    scale = getattr(config, "logit_scale", None) or 1.0
    scale = scale / (getattr(config, "logits_scaling", None) or 1.0)
    return LogitShape(scale, getattr(config, "final_logit_softcapping", None))


def _probe(config: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    tokens = torch.arange(12, device=device) * 37 % config.vocab_size
    return tokens, torch.arange(12, device=device)


def _plain_logp(model: Any) -> Tensor:
    """The model's own log-probs [12, V] of the probe, by its own attention."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    inner.set_attn_implementation("eager")
    tokens, positions = _probe(inner.config.get_text_config(), inner.device)
    with torch.no_grad():
        out = inner(input_ids=tokens[None], position_ids=positions[None], use_cache=False)
    logits: Tensor = out.logits[0]
    return logits.float().log_softmax(-1)
