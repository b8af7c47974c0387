"""The lean norms and MLPs against the modules they replace: values, gradients, and what they keep."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

import tiny
from groupwise.engine import fused


def modules(family: str, ending: str) -> tuple[nn.Module, nn.Module]:
    """(as transformers made it, made lean), of the first such module of a tiny model."""
    model = tiny.plain(family)
    module = next(m for m in model.modules() if type(m).__name__.endswith(ending))
    lean = copy.deepcopy(module)
    fused.install(lean)
    return module, lean


def with_gradients(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Output, gradient of the input and of each weight, of a loss without symmetry."""
    x = x.clone().requires_grad_()
    out = module(x)
    loss = (out * torch.linspace(-1, 2, out.numel()).view_as(out)).sum()
    names, weights = zip(*module.named_parameters(), strict=True)
    to_x, *to_weights = torch.autograd.grad(loss, [x, *weights])
    return out.detach(), to_x, dict(zip(names, to_weights, strict=True))


def kept(module: nn.Module, x: Tensor) -> int:
    """Numbers kept for the backward pass, beside weights; a tensor kept twice counts once."""
    weights = {p.data_ptr() for p in module.parameters()}
    seen: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            seen[tensor.data_ptr()] = tensor.numel()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        out = module(x.clone().requires_grad_())
    assert out.requires_grad
    return sum(seen.values())


@pytest.mark.parametrize("ending", ["RMSNorm", "MLP"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "gemma3", "mistral", "smollm3", "granite"])
def test_values_and_gradients_are_those_of_transformers(family: str, ending: str) -> None:
    plain, lean = modules(family, ending)
    assert type(lean).__mro__[1] in (fused._Norm, fused._GemmaNorm, fused._GatedMLP), "it was replaced"
    width = next(plain.parameters()).shape[-1]
    x = torch.randn(2, 5, width, generator=torch.Generator().manual_seed(1))
    (out, to_x, to_weights), (own, own_x, own_weights) = with_gradients(lean, x), with_gradients(plain, x)
    torch.testing.assert_close(out, own, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(to_x, own_x, rtol=1e-4, atol=1e-4 * float(own_x.abs().max()))
    for name, gradient in own_weights.items():
        torch.testing.assert_close(
            to_weights[name], gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()), msg=name
        )
    with torch.no_grad():
        torch.testing.assert_close(lean(x), own, rtol=1e-5, atol=1e-5)


def test_what_is_kept_for_the_backward_pass() -> None:
    """A norm: its input and one number a row, an MLP: its input, the gate's and the up product."""
    rows, hidden, inner = 10, 32, 48
    x = torch.randn(1, rows, hidden)
    plain, lean = modules("llama", "RMSNorm")
    assert kept(lean, x) == rows * hidden + rows < kept(plain, x)
    plain, lean = modules("llama", "MLP")
    assert kept(lean, x) == rows * (hidden + 2 * inner) < kept(plain, x)


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_the_norms_gradient_in_double_precision_numbers(offset: float) -> None:
    """Against finite differences of the formula itself."""
    x, weight = torch.randn(3, 4), torch.randn(4)

    def loss(x: Tensor, weight: Tensor) -> Tensor:
        out = x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * (weight + offset)
        return (out * torch.arange(12.0, dtype=out.dtype).view(3, 4)).sum()

    x.requires_grad_()
    weight.requires_grad_()
    out = fused._RMSNorm.apply(x, weight, 1e-3, offset)
    ours = torch.autograd.grad((out * torch.arange(12.0).view(3, 4)).sum(), [x, weight])
    for place, gradient in enumerate(ours):
        numbers = [x.detach().double(), weight.detach().double()]
        for i in range(gradient.numel()):
            ends = []
            for step in (1e-6, -1e-6):
                moved = [n.clone() for n in numbers]
                moved[place].view(-1)[i] += step
                ends.append(loss(*moved))
            slope = float(ends[0] - ends[1]) / 2e-6
            assert float(gradient.view(-1)[i]) == pytest.approx(slope, rel=1e-3, abs=1e-3)


class OtherRMSNorm(nn.Module):
    """Has the name and the attributes, and another formula."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))
        self.eps = 1e-6

    def forward(self, x: Tensor) -> Tensor:
        return x / x.square().sum(-1, keepdim=True).add(self.eps).sqrt() * self.weight


def test_a_module_with_another_formula_is_left_alone() -> None:
    module = OtherRMSNorm()
    fused.install(module)
    assert type(module) is OtherRMSNorm


def test_a_copy_computes_with_its_own_weights_and_a_second_install_changes_nothing() -> None:
    _, lean = modules("llama", "MLP")
    kind = type(lean)
    fused.install(lean)
    assert type(lean) is kind
    twin = copy.deepcopy(lean)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.zero_()
    x = torch.randn(1, 3, 32)
    assert bool((twin(x) == 0).all())
    assert bool((lean(x) != 0).any())
    assert lean.state_dict().keys() == twin.state_dict().keys()


def test_an_adapter_put_in_later_takes_part() -> None:
    """LoRA replaces linear layers after the model was made lean."""
    _, lean = modules("llama", "MLP")
    x = torch.randn(1, 3, 32)
    before = lean(x)
    lean.down_proj = nn.Sequential(lean.down_proj, nn.Flatten(-1), nn.Linear(32, 32))
    assert not torch.allclose(lean(x), before)
