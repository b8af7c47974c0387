"""Linear layers with packed weights: the same products, only while decoding."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import tiny
from groupwise.engine.generate import generate
from groupwise.engine.linears import FEWEST, PAYS, PackedLinears, packed_linears
from groupwise.engine.model import CausalLM
from groupwise.engine.sampling import Sampling
from groupwise.engine.scheduler import Request

needs_mkl = pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this torch has no MKL")


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(24, 40), nn.Tanh(), nn.Linear(40, 17, bias=False))


@needs_mkl
@pytest.mark.parametrize("rows", [1, 7, 8, 9, 16, 31, 40])
def test_products_are_those_of_the_plain_layers_for_fewer_and_for_more_rows(rows: int) -> None:
    model = network()
    linears = PackedLinears(model)
    linears.fit(16)
    x = torch.randn(1, rows, 24)
    with torch.no_grad():
        packed = model(x)
        linears.clear()
        torch.testing.assert_close(packed, model(x), rtol=1e-5, atol=1e-6)


@needs_mkl
def test_it_packs_again_only_when_rows_fall_below_half_or_rise() -> None:
    linears = PackedLinears(network())
    sizes = []
    for rows in (32, 30, 17, 16, 9, 8, 3, 1, 12):
        linears.fit(rows)
        sizes.append(linears.rows)
    assert sizes == [32, 32, 32, 16, 16, 8, 8, 8, 16]
    assert all(rows % FEWEST == 0 for rows in sizes)


@needs_mkl
def test_after_the_call_the_layers_are_as_they_were_also_when_it_fails() -> None:
    model = network()

    def fails() -> None:
        with packed_linears(model, PAYS) as linears:
            assert linears is not None
            linears.fit(8)
            assert all("forward" in layer.__dict__ for layer in (model[0], model[2]))
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert not any("forward" in layer.__dict__ for layer in model)


@pytest.mark.parametrize(("steps", "dtype"), [(PAYS - 1, torch.float32), (PAYS, torch.bfloat16)])
def test_where_it_would_not_pay_nothing_is_packed(steps: int, dtype: torch.dtype) -> None:
    with packed_linears(network().to(dtype), steps) as linears:
        assert linears is None


@needs_mkl
@pytest.mark.parametrize("family", tiny.ARCHITECTURES)
def test_answers_are_the_same_and_new_weights_are_seen(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows leave one by one, so that weights are packed for several sizes."""
    model = CausalLM(tiny.plain(family))
    requests = [Request(tuple(range(3 + i, 9 + i)), 6, i) for i in range(4)]
    eos = frozenset(range(0, 97, 9))

    def write(steps: int) -> list:
        monkeypatch.setattr("groupwise.engine.linears.PAYS", steps)
        return generate(model, requests, Sampling(20), eos=eos, seed=3)

    packed, plain = write(1), write(100)
    assert [[c.tokens for c in g] for g in packed] == [[c.tokens for c in g] for g in plain]
    before = copy.deepcopy(packed)
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter.mul_(1.05)
    assert [[c.logp for c in g] for g in write(1)] != [[c.logp for c in g] for g in before]
    assert [[c.tokens for c in g] for g in write(1)] == [[c.tokens for c in g] for g in write(100)]
