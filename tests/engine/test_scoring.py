"""The chunked score of decisions against plain autograd over whole logits, in float64."""

import math

import pytest
import torch
from torch import Tensor, nn

from groupwise.engine import scoring
from groupwise.engine.scoring import LogitShape, score

N, WIDTH, V = 7, 5, 11


def plain(
    hidden: Tensor, head: nn.Linear, decisions: Tensor, temperature: float, shape: LogitShape
) -> tuple[Tensor, Tensor]:
    logits = head(hidden) * shape.scale
    if shape.cap is not None:
        logits = shape.cap * torch.tanh(logits / shape.cap)
    every = (logits / temperature).log_softmax(-1)
    return every.gather(-1, decisions[:, None])[:, 0], -(every.exp() * every).sum(-1)


def parts(bias: bool) -> tuple[Tensor, nn.Linear, Tensor, Tensor, Tensor]:
    torch.manual_seed(3)
    head = nn.Linear(WIDTH, V, bias=bias)
    hidden = (2 * torch.randn(N, WIDTH)).requires_grad_()
    return hidden, head, torch.randint(V, (N,)), torch.randn(N), torch.randn(N)


@pytest.mark.parametrize("rows", [2, 512])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [LogitShape(), LogitShape(0.3), LogitShape(1.7, 2.0)])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("with_entropy", [False, True])
def test_values_and_gradients_are_those_of_plain_autograd(
    rows: int,
    bias: bool,
    shape: LogitShape,
    temperature: float,
    with_entropy: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scoring, "LOGIT_ROWS", rows)
    hidden, head, decisions, by_logp, by_entropy = parts(bias)
    inputs = [hidden, *head.parameters()]
    ours = score(hidden, head, decisions, temperature, shape, entropy_gradient=with_entropy)
    theirs = plain(hidden, head, decisions, temperature, shape)
    gradients = []
    for logp, entropy in (ours, theirs):
        total = logp @ by_logp + (entropy @ by_entropy if with_entropy else 0)
        gradients.append(torch.autograd.grad(total, inputs))
    for mine, plain_one in zip((*ours, *gradients[0]), (*theirs, *gradients[1]), strict=True):
        torch.testing.assert_close(mine, plain_one, atol=3e-6, rtol=3e-5)


def test_an_entropy_that_is_only_looked_at_has_no_gradient() -> None:
    hidden, head, decisions, *_ = parts(bias=False)
    _, entropy = score(hidden, head, decisions)
    assert not entropy.requires_grad


def test_a_frozen_head_gets_no_gradient_and_hidden_states_still_do() -> None:
    """LoRA: the head is not trained, and its [V, width] gradient must not be made."""
    hidden, head, decisions, *_ = parts(bias=True)
    head.requires_grad_(False)
    logp, _ = score(hidden, head, decisions)
    logp.sum().backward()
    assert head.weight.grad is None
    assert hidden.grad is not None
    assert bool(hidden.grad.abs().sum() > 0)


def test_hand_numbers() -> None:
    """Two logits ln 3 and 0: p = 3/4, 1/4."""
    head = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[math.log(3.0)], [0.0]]))
    logp, entropy = score(torch.ones(2, 1), head, torch.tensor([0, 1]))
    torch.testing.assert_close(logp, torch.tensor([0.75, 0.25]).log())
    h = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    torch.testing.assert_close(entropy, torch.full((2,), h))


def test_huge_logits_stay_finite() -> None:
    head = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1e4], [-1e4]]))
    hidden = torch.ones(1, 1, requires_grad=True)
    logp, entropy = score(hidden, head, torch.tensor([1]), entropy_gradient=True)
    (logp.sum() + entropy.sum()).backward()
    assert logp.item() == -2e4
    assert entropy.item() == 0
    assert hidden.grad is not None
    assert bool(hidden.grad.isfinite().all())
