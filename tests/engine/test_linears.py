"""Products of few rows turned round: the same products, only while answers are written."""

from __future__ import annotations

import pytest
import torch
from torch import nn

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
