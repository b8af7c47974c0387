"""Products of few rows turned round: the same products, only while answers are written."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import silu

import tiny
from groupwise.engine import linears
from groupwise.engine.generate import generate
from groupwise.engine.linears import MOST, few_rows
from groupwise.engine.model import CausalLM
from groupwise.engine.sampling import Sampling
from groupwise.engine.scheduler import Request


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(24, 40), nn.Tanh(), nn.Linear(40, 17, bias=False))


@pytest.mark.parametrize("shape", [(1, 24), (1, 7, 24), (2, 5, 24), (1, MOST, 24), (1, MOST + 1, 24)])
def test_products_are_those_of_the_plain_layers(shape: tuple[int, ...]) -> None:
    model, x = network(), torch.randn(shape)
    with torch.no_grad():
        plain = model(x)
        with few_rows(model):
            turned = model(x)
    assert turned.shape == plain.shape
    torch.testing.assert_close(turned, plain, rtol=1e-5, atol=1e-6)


class Gated(nn.Module):
    """The layers of an MLP under their usual names."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(24, 40), nn.Linear(24, 40, bias=False)
        self.down_proj = nn.Linear(40, 24)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))


def in_columns(x: Tensor) -> bool:
    return x.flatten(0, -2).t().is_contiguous()


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("shape", [(1, 24), (1, 7, 24), (2, 5, 24), (1, MOST, 24), (1, MOST + 1, 24)])
def test_an_mlp_in_columns_computes_the_same(shape: tuple[int, ...], turn: bool) -> None:
    """Whichever way its input lies."""
    model, x = Gated(), torch.randn(shape)
    if turn:
        x = x.flatten(0, -2).t().contiguous().t().view(shape)
    with torch.no_grad():
        plain = model(x)
        with few_rows(model):
            turned = model(x)
    assert turned.shape == plain.shape
    torch.testing.assert_close(turned, plain, rtol=1e-5, atol=1e-6)


def test_nothing_is_copied_between_the_products_of_an_mlp() -> None:
    model, inputs = Gated(), []
    model.down_proj.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with torch.no_grad(), few_rows(model):
        model(torch.randn(1, 7, 24))
    assert in_columns(inputs[0])
    assert not inputs[0].is_contiguous()


def test_columns_stay_inside_the_layers_that_are_named() -> None:
    """Any other output may be viewed by the model as its rows laid end to end; also under an adapter."""
    model = nn.ModuleDict({"q_proj": nn.Linear(24, 40), "o_proj": nn.Linear(24, 40)})
    adapted = nn.ModuleDict(
        {
            name: nn.ModuleDict({"base_layer": m, "lora_A": nn.ModuleDict({"default": nn.Linear(24, 4)})})
            for name, m in model.items()
        }
    )
    x = torch.randn(1, 7, 24)
    with torch.no_grad(), few_rows(adapted):
        for name, layer in adapted.items():
            assert in_columns(layer["base_layer"](x)) == (name == "o_proj")
            assert layer["lora_A"]["default"](x).is_contiguous()
        assert model["q_proj"](x).is_contiguous()


def test_afterwards_the_layers_are_as_they_were_also_when_it_fails() -> None:
    model = network()

    def fails() -> None:
        with few_rows(model):
            assert all("forward" in layer.__dict__ for layer in (model[0], model[2]))
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert not any("forward" in layer.__dict__ for layer in model)


def test_sixteen_bit_layers_are_left_alone() -> None:
    model = network().to(torch.bfloat16)
    with few_rows(model):
        assert not any("forward" in layer.__dict__ for layer in model)


@pytest.mark.parametrize("family", tiny.ARCHITECTURES)
def test_answers_are_the_same(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows leave one by one and others come, so that both ways take part."""
    model = CausalLM(tiny.plain(family))
    requests = [Request(tuple(range(3 + i, 9 + i)), 6, i) for i in range(4)]
    eos = frozenset(range(0, tiny.VOCABULARY, 9))
    answers = []
    for most in (0, 13, 100):
        monkeypatch.setattr(linears, "MOST", most)
        found = generate(model, requests, Sampling(20), eos=eos, seed=3)
        answers.append([[c.tokens for c in group] for group in found])
    assert answers[0] == answers[1] == answers[2]
    assert len({len(tokens) for group in answers[0] for tokens in group}) > 3, "ragged"
