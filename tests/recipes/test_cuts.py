"""Cuts into micro-batches change nothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from groupwise.recipes import RECIPES, objective


@st.composite
def steps(draw: st.DrawFn) -> tuple[list[int], list[int], int]:
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=7))
    cuts = draw(st.sets(st.integers(1, len(lengths)), max_size=len(lengths)))
    return lengths, sorted(cuts | {len(lengths)}), draw(st.integers(0, 2**31))


@pytest.mark.parametrize("name", RECIPES)
@given(step=steps())
@settings(max_examples=30, deadline=None)
def test_cutting_anywhere_between_trajectories_leaves_loss_and_gradient(
    name: str, step: tuple[list[int], list[int], int]
) -> None:
    """Averages taken within a cut would make the update depend on the size of the micro-batch."""
    lengths, cuts, seed = step
    ids = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    draw = torch.Generator().manual_seed(seed)
    behaviour, reference, noise, gap = torch.randn(4, len(ids), generator=draw)
    entropy = torch.rand(len(ids), generator=draw)
    began, picked, foreign = behaviour + 0.3 * gap, gap > 1, ids % 3 == 0
    advantage = torch.randn(len(lengths), generator=draw)[ids]
    new = (began + 0.2 * noise).requires_grad_()
    recipe = RECIPES[name]
    weight = recipe.weigh(ids, torch.zeros_like(ids))

    def total(parts: list[slice]) -> tuple[Tensor, Tensor]:
        value = torch.zeros(())
        for p in parts:
            vectors = (new[p], behaviour[p], advantage[p], ids[p], reference[p])
            more = {"selected": picked[p], "foreign": foreign[p], "weight": weight[p], "entropy": entropy[p]}
            value = value + objective(recipe, *vectors, proximal_logp=began[p], **more).value
        return value.detach(), torch.autograd.grad(value, new)[0]

    ends = torch.tensor(lengths).cumsum(0)
    stops = [int(ends[c - 1]) for c in cuts]
    pieces = [slice(a, b) for a, b in zip([0, *stops], stops, strict=False)]
    whole, cut = total([slice(None)]), total(pieces)
    torch.testing.assert_close(cut, whole, rtol=1e-12, atol=1e-14)
