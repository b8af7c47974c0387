"""A model that the engine cannot serve is refused by name and with the reason, never silently wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import tiny
from groupwise.engine import attention
from groupwise.engine.model import CausalLM, UnsupportedModelError

_SMALL = {"vocab_size": 97, "hidden_size": 16, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_HEADS = {"num_hidden_layers": 2, "num_attention_heads": 2}
_BODY = {**_SMALL, **_HEADS, "intermediate_size": 16, "max_position_embeddings": 64}
_LINEAR = {
    **{f"linear_num_{x}_heads": 2 for x in ("key", "value")},
    **{f"linear_{x}_head_dim": 8 for x in ("key", "value")},
}
_EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 8}


def _t5() -> Any:
    config = transformers.T5Config(vocab_size=97, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return transformers.T5ForConditionalGeneration(config)


def _mamba() -> Any:
    config = transformers.MambaConfig(**_SMALL, num_hidden_layers=1, state_size=4)
    return transformers.MambaForCausalLM(config)


def _qwen3_next() -> Any:
    options = {**_BODY, **_LINEAR, **_EXPERTS, "num_hidden_layers": 4, "head_dim": 8}
    config = transformers.Qwen3NextConfig(**options, num_key_value_heads=2, shared_expert_intermediate_size=8)
    return transformers.Qwen3NextForCausalLM(config)


def _falcon() -> Any:
    return transformers.FalconForCausalLM(transformers.FalconConfig(**_SMALL, **_HEADS))


def _bloom() -> Any:
    config = transformers.BloomConfig(vocab_size=97, hidden_size=16, n_layer=1, n_head=2)
    return transformers.BloomForCausalLM(config)


def _headless() -> Any:
    return transformers.LlamaModel(transformers.LlamaConfig(**_BODY))


def _shared_keys() -> Any:
    options = {**_BODY, "num_hidden_layers": 4, "num_key_value_heads": 1, "head_dim": 8}
    config = transformers.Gemma3nTextConfig(
        **options,
        vocab_size_per_layer_input=97,
        hidden_size_per_layer_input=8,
        num_kv_shared_layers=2,
        layer_types=["sliding_attention", "full_attention"] * 2,
        laurel_rank=4,
        activation_sparsity_pattern=[0.0] * 4,
    )
    return transformers.Gemma3nForCausalLM(config)


def _both_ways() -> Any:
    return tiny.redrawn(transformers.BertForMaskedLM(transformers.BertConfig(**_BODY)))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (_t5, "encoder-decoder"),
        (_mamba, "linear_attention layers, which keep a state"),
        (_qwen3_next, "linear_attention layers, which keep a state"),
        (_falcon, "FalconForCausalLM.* does not use the transformers attention interface"),
        (_bloom, "BloomForCausalLM.* does not use the transformers attention interface"),
        (_headless, "no language-model head: load it with AutoModelForCausalLM"),
        (_shared_keys, "shares keys and values between layers"),
        (_both_ways, r"differ from its own by up to [0-9.]+ nats, so something in it \(a mask"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name_and_reason(build: Callable[[], Any], reason: str) -> None:
    with pytest.raises(UnsupportedModelError, match=rf"some/name.*{reason}"):
        CausalLM(build().eval(), "some/name")


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
def test_a_wrapped_model_says_how_to_call_it_plainly(name: str) -> None:
    """Calling it without our attention must not quietly run with a wrong mask."""
    model = CausalLM(tiny.plain(name)).model
    with pytest.raises(RuntimeError, match=r"call model\.set_attn_implementation\('sdpa'\) first"):
        tiny.logits(model, (5, 6, 7))
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        after = tiny.logits(model, tiny.prompt(20))
        torch.testing.assert_close(
            after, tiny.logits(tiny.plain(name), tiny.prompt(20)), rtol=1e-5, atol=1e-5
        )


# ---------------------------------------------------------------- the numeric check


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_rounding_to_bfloat16_is_no_reason_to_refuse(name: str) -> None:
    """A LoRA base is loaded in bfloat16; transformers' own eager and sdpa differ as much in it."""
    CausalLM(tiny.plain(name, torch.bfloat16))


@pytest.mark.parametrize("seed", range(8))
def test_a_token_that_rounding_sends_to_another_expert_is_no_reason_to_refuse(seed: int) -> None:
    """Of these weights two have a place where two experts are nearly equal (KL 0.15 and 0.33 there)."""
    CausalLM(tiny.redrawn(tiny.plain("gpt-oss"), seed).to(torch.bfloat16))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", tiny.SLIDING)
def test_a_forgotten_window_is_noticed(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = attention._Block._mask
    monkeypatch.setattr(attention._Block, "_mask", lambda self, window: mask(self, None))
    with pytest.raises(UnsupportedModelError, match="nats"):
        CausalLM(tiny.plain(name, dtype))


def test_logits_scaled_outside_the_head_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A family that treats its logits in a way that the engine does not know."""
    model = tiny.plain("llama")
    forward = type(model).forward

    def scaled(self: Any, *args: Any, **kwargs: Any) -> Any:
        out = forward(self, *args, **kwargs)
        out.logits = out.logits * 1.1
        return out

    monkeypatch.setattr(type(model), "forward", scaled)
    with pytest.raises(UnsupportedModelError, match="nats"):
        CausalLM(model, "scaled")


@pytest.mark.parametrize("known", ["logits_scaling", "logit_scale", "final_logit_softcapping"])
def test_a_known_logit_treatment_that_the_model_does_not_apply_is_noticed(known: str) -> None:
    model = tiny.plain("llama")
    setattr(model.config, known, 3.0)
    with pytest.raises(UnsupportedModelError, match="nats"):
        CausalLM(model)


def test_a_layer_that_does_not_call_the_attention_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.plain("llama")

    def nothing(hidden_states: Tensor, **_: Any) -> tuple[Tensor, None]:
        return torch.zeros_like(hidden_states), None

    monkeypatch.setattr(model.model.layers[1].self_attn, "forward", nothing)
    with pytest.raises(UnsupportedModelError, match="1 of its 2 layers use"):
        CausalLM(model, "skipping")


def test_attention_that_shifts_the_scores_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bias on the scores (as of ALiBi), which never reaches the registered function."""
    from transformers.models.llama import modeling_llama

    eager = modeling_llama.eager_attention_forward

    def biased(module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *args: Any, **kw: Any) -> Any:
        distance = torch.arange(q.shape[2])[:, None] - torch.arange(k.shape[2])
        return eager(module, q, k, v, mask - 0.5 * distance, *args, **kw)

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", biased)
    with pytest.raises(UnsupportedModelError, match="nats"):
        CausalLM(tiny.plain("llama"), "biased")


def test_a_model_that_gives_no_numbers_is_refused() -> None:
    model = tiny.plain("llama")
    with torch.no_grad():
        model.lm_head.weight[0] = torch.nan
    with pytest.raises(UnsupportedModelError, match="nan nats"):
        CausalLM(model, "broken")
