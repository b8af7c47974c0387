"""FlexAttention over a packed row is `Packed`, values and gradients, in its plain form on a CPU.

torch refuses gradients on a CPU, where it has no kernel for them. Its plain form, the definition that the
kernels are held against, has gradients: here the refusal is lifted and they are compared, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention import flex_attention as torchs

import tiny
from groupwise.engine import flex
from groupwise.engine.attention import Flavour, Packed, Tree
from groupwise.engine.flex import FlexPacked, packed_attention, trusted
from groupwise.engine.model import CausalLM, positions_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile"),
    pytest.mark.filterwarnings(
        "ignore:The .grad attribute of a Tensor that is not a leaf"
    ),  # of the compiler
]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def gradients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without torch's refusal, and with nothing tried before."""
    monkeypatch.setattr(torchs, "_validate_device", lambda *_: None)
    monkeypatch.setattr(torchs, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)  # nothing is traced: faster
    trusted.cache_clear()
    yield
    trusted.cache_clear()


def drawn(trees: list[Tree], heads: int, kv_heads: int, size: int, seed: int) -> list[Tensor]:
    """q, k, v, sinks."""
    generator = torch.Generator().manual_seed(seed)
    length = sum(tree.tokens for tree in trees)
    shapes = [(length, heads, size), (length, kv_heads, size), (length, kv_heads, size), (heads,)]
    return [torch.randn(s, generator=generator).requires_grad_() for s in shapes]


def outcome(attend: Any, inputs: list[Tensor], flavour: Flavour) -> list[Tensor]:
    """The output, and gradients of a random weighing of it."""
    out = attend(0, *inputs[:3], flavour)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(9))
    leaves = inputs if flavour.sinks is not None else inputs[:3]
    return [out, *torch.autograd.grad((out * weight).sum(), leaves)]


def compared(trees: list[Tree], heads: int, kv_heads: int, size: int, seed: int, **asked: Any) -> None:
    inputs = drawn(trees, heads, kv_heads, size, seed)
    flavour = Flavour(0.4, asked["window"], asked["softcap"], inputs[3] if asked["sinks"] else None)
    ours = outcome(FlexPacked(trees, CPU), inputs, flavour)
    for one, other in zip(ours, outcome(Packed(trees, CPU), inputs, flavour), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


FOREST = [Tree(130, (40, 0, 90)), Tree(1, (1,)), Tree(17, ())]
"""An answer that spans blocks, an empty one, the shortest prompt, a prompt alone."""


@pytest.mark.parametrize("window", [None, 1, 7, 200])
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("sinks", [False, True])
@pytest.mark.parametrize("kv_heads", [4, 1])
def test_values_and_gradients_are_those_of_packed(
    window: int | None, softcap: float | None, sinks: bool, kv_heads: int
) -> None:
    compared(FOREST, 4, kv_heads, 8, 0, window=window, softcap=softcap, sinks=sinks)


@settings(max_examples=8, deadline=None)
@given(
    st.lists(
        st.builds(Tree, st.integers(1, 150), st.lists(st.integers(0, 90), max_size=3).map(tuple)), min_size=1
    ),
    st.sampled_from([None, 4, 33]),
    st.sampled_from([None, 5.0]),
    st.booleans(),
)
def test_random_trees(trees: list[Tree], window: int | None, softcap: float | None, sinks: bool) -> None:
    compared(trees[:5], 2, 1, 8, len(trees), window=window, softcap=softcap, sinks=sinks)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_models_give_the_same_hidden_states_and_gradients(name: str) -> None:
    """With each family's windows, caps, sinks and head counts; keys and values are kept alike."""
    model = CausalLM(tiny.plain(name))
    trees = [Tree(9, (5, 12)), Tree(3, (8,))]
    tokens = torch.from_numpy(np.random.default_rng(0).integers(4, tiny.VOCABULARY, 37))
    positions = torch.tensor(positions_of(trees))
    found = []
    for kind in (Packed, FlexPacked):
        kept: dict[int, tuple[Tensor, Tensor]] = {}
        attend = kind(trees, CPU, lambda layer, k, v, kept=kept: kept.update({layer: (k, v)}))
        hidden = model.hidden(tokens, positions, attend)
        model.model.zero_grad()
        hidden.square().sum().backward()
        gradients = [p.grad.clone() for p in model.model.parameters() if p.grad is not None]
        found.append([hidden, *(x for pair in kept.values() for x in pair), *gradients])
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() <= 1e-5 * one.abs().max().clamp(min=1)


def test_the_form_suits_the_device() -> None:
    assert isinstance(packed_attention([Tree(3)], CPU), Packed)


# ---------------------------------------------------------------- compiled


def test_lengths_windows_and_caps_are_not_compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as for a GPU: once for a row of two blocks and once for all others."""
    graphs = []

    def backend(graph: Any, inputs: Any) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(torchs.flex_attention, dynamic=True, backend=backend, fullgraph=True)
    monkeypatch.setattr(flex, "_kernel", lambda device: compiled)
    for softcap in (3.0, 5.0):
        for window in (None, 20, 40):
            for n in (3, 100, 200, 400, 900):
                trees = [Tree(n, (n // 2, n // 3)), Tree(4, (2,))]
                q, k, v, _ = (x.detach() for x in drawn(trees, 2, 1, 8, n))
                flavour = Flavour(0.4, window, softcap)
                ours = flex._Flex(trees, CPU)(q, k, v, flavour)
                torch.testing.assert_close(
                    ours, Packed(trees, CPU)(0, q, k, v, flavour), rtol=1e-5, atol=1e-5
                )
    assert len(graphs) == 2


# ---------------------------------------------------------------- seen to work, or not used


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("no compiler")


def wrong_value(q: Tensor, *rest: Any, **options: Any) -> Any:
    out, aux = torchs.flex_attention(q, *rest, **options)
    return out * 1.1, aux


def wrong_gradient(q: Tensor, *rest: Any, **options: Any) -> Any:
    out, aux = torchs.flex_attention(q, *rest, **options)
    return out.detach() + 0.9 * (out - out.detach()), aux


@pytest.mark.parametrize(
    ("kernel", "words"),
    [(broken, "no compiler"), (wrong_value, r"off by 0\.1"), (wrong_gradient, r"off by 0\.1")],
)
def test_a_kernel_that_fails_is_not_used(kernel: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flex, "_kernel", lambda device: kernel)
    kept = []
    attend = FlexPacked(FOREST, CPU, lambda layer, k, v: kept.append(layer))
    inputs = drawn(FOREST, 4, 2, 8, 0)
    with torch.inference_mode():
        with pytest.warns(UserWarning, match=f"FlexAttention is not used: .*{words}"):
            out = attend(0, *inputs[:3], Flavour(0.4))
        attend(1, *inputs[:3], Flavour(0.4))
    assert torch.equal(out, Packed(FOREST, CPU)(0, *inputs[:3], Flavour(0.4)))
    assert kept == [0, 1], "each layer once; the second time without another try or warning"


def test_a_kernel_that_works_is_trusted_under_inference_too() -> None:
    with torch.inference_mode():
        assert trusted(CPU, torch.float32, 4, 2, 8, None, True)
