"""Tiny random models and a tokenizer, built in code: what the parity tests compare the engine with.

Every weight, norms and biases too, is drawn anew with a large deviation: logits are spread out, so the
likeliest token is never a near tie, and a forgotten bias or norm shows.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

VOCABULARY = 97
WINDOW = 6
"""Sliding window of the models that have one; prompts and answers in tests are longer."""
CONTEXT = 128

_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
    "attention_dropout": 0.0,
}
_ALTERNATE = ["sliding_attention", "full_attention"]
_MOE = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2}

# name -> (class prefix in transformers, what differs from _COMMON)
_FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-tied": ("Llama", {"tie_word_embeddings": True, "num_key_value_heads": 1}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 16, "tie_word_embeddings": True}),
    "mistral": ("Mistral", {"sliding_window": 5, "num_hidden_layers": 3}),
    "gemma2": (
        "Gemma2",
        {
            "head_dim": 8,
            "sliding_window": WINDOW,
            "layer_types": _ALTERNATE,
            "query_pre_attn_scalar": 12,
            "attn_logit_softcapping": 5.0,
            "final_logit_softcapping": 8.0,
            "tie_word_embeddings": True,
        },
    ),
    "gemma3": (
        "Gemma3",
        {
            "head_dim": 8,
            "sliding_window": WINDOW,
            "num_hidden_layers": 3,
            "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
            "query_pre_attn_scalar": 12,
            "tie_word_embeddings": True,
        },
    ),
    "gpt2": ("GPT2", {"n_positions": CONTEXT, "n_inner": 48, "num_key_value_heads": None}),
    "phi3": ("Phi3", {"partial_rotary_factor": 0.5}),
    "olmo2": ("Olmo2", {}),
    "gpt-neox": ("GPTNeoX", {"num_key_value_heads": None, "rotary_pct": 0.5}),
    "smollm3": ("SmolLM3", {"no_rope_layers": [1, 0]}),
    "granite": (
        "Granite",
        {"logits_scaling": 3.0, "attention_multiplier": 0.3, "residual_multiplier": 0.7},
    ),
    "cohere": ("Cohere", {"logit_scale": 0.3, "tie_word_embeddings": True}),
    "qwen3-moe": ("Qwen3Moe", {**_MOE, "moe_intermediate_size": 24, "head_dim": 8, "decoder_sparse_step": 1}),
    "gpt-oss": (
        "GptOss",
        {
            **_MOE,
            "head_dim": 8,
            "sliding_window": WINDOW,
            "layer_types": _ALTERNATE,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 10_000.0,
                "factor": 4.0,
                "original_max_position_embeddings": CONTEXT // 4,
            },
        },
    ),
}
ARCHITECTURES = tuple(_FAMILIES)
SLIDING = ("mistral", "gemma2", "gemma3", "gpt-oss")


@functools.cache
def _built(name: str) -> Any:
    prefix, changes = _FAMILIES[name]
    options = {k: v for k, v in {**_COMMON, **changes}.items() if v is not None}
    infix = "Text" if name == "gemma3" else ""
    config = getattr(transformers, f"{prefix}{infix}Config")(**options)
    last = "LMHeadModel" if name == "gpt2" else "ForCausalLM"
    config._attn_implementation = "eager"
    with torch.random.fork_rng():
        torch.manual_seed(
            0
        )  # some begin with numbers of their own (gpt-oss: sinks), which stay in what is redrawn
        return redrawn(getattr(transformers, prefix + last)(config))


def plain(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """A fresh copy of the architecture's tiny model, with attention as transformers has it ("eager")."""
    return copy.deepcopy(_built(name)).to(dtype)


def redrawn(model: Any, seed: int = 0) -> Any:
    """The model with every parameter drawn anew, ready to evaluate."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(0.25 * noise)
            else:
                parameter.add_(0.1 * noise)
    return model.eval()


def logits(model: Any, tokens: Sequence[int]) -> Tensor:
    """[L, V] by one plain full forward over one sequence alone."""
    ids = torch.tensor([list(tokens)])
    return model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0]


@torch.no_grad()
def greedy(model: Any, prompt: Sequence[int], n: int, eos: frozenset[int] = frozenset()) -> list[int]:
    """The likeliest token, n times, each by a full forward over everything so far."""
    answer: list[int] = []
    while len(answer) < n and not (answer and answer[-1] in eos):
        answer.append(int(logits(model, [*prompt, *answer])[-1].argmax()))
    return answer


def prompt(length: int, seed: int = 0) -> tuple[int, ...]:
    """Random token ids, none of them special."""
    return tuple(np.random.default_rng([seed, length]).integers(4, VOCABULARY, length).tolist())


def tokenizer() -> Any:
    """One token a word ("w4", "w5", ...) over the same ids as the models, with a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<pad>", "<bos>", "<eos>", "<unk>", *(f"w{i}" for i in range(4, VOCABULARY))]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    outer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )
    outer.chat_template = (
        "{% for message in messages %}<bos> {{ message['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}<bos>{% endif %}"
    )
    return outer
