"""Small networks: what a policy sees to the numbers of its distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

HIDDEN = 64
"""Width of the two hidden layers, and of what is seen in a picture."""
CHANNELS = (16, 32, 32, 64)
"""Of the layers that look at a picture, as many of them as it needs."""
NOISE = 0.6
"""Where the deviations of real actions begin, bounds being 2 apart."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What one row of observations holds: `vector` numbers, then pictures [height, width, channels]."""

    vector: int
    pictures: tuple[tuple[int, int, int], ...] = ()


def step_cost(layout: Layout) -> int:
    """Memory of learning from one step: 1 is that of a few numbers, about 2 KiB; a pixel keeps 64 bytes."""
    return 1 + sum(height * width for height, width, _ in layout.pictures) // 32


def network(layout: Layout, outputs: int, log_stds: int, seed: int, noise: float = NOISE) -> nn.Module:
    """[n, ...] rows of the layout -> [n, outputs + log_stds]; near-uniform, or mean 0, at the start.

    Two tanh layers; pictures pass through a few convolutions before. The log-deviations of a Gaussian are
    weights of their own, the same for all observations; the deviations begin at `noise`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        eyes = [_eye(shape) for shape in layout.pictures]
        body: nn.Module = _layers(layout.vector + HIDDEN * len(eyes), outputs)
    if eyes:
        body = Seeing(layout, eyes, body)
    return Spread(body, log_stds, noise) if log_stds else body


def _layers(width: int, outputs: int) -> nn.Module:
    layers = [nn.Linear(width, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, outputs)]
    for layer, gain in zip(layers, (2**0.5, 2**0.5, 0.01), strict=True):
        _begin(layer, gain)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


def _begin(layer: nn.Linear | nn.Conv2d, gain: float) -> None:
    nn.init.orthogonal_(layer.weight, gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def _eye(shape: tuple[int, int, int]) -> nn.Module:
    """Convolutions of stride 2 until a side is at most 8, then one layer of HIDDEN."""
    height, width, channels = shape
    parts: list[nn.Module] = []
    for i in range(max(1, math.ceil(math.log2(max(height, width) / 8)))):
        made = CHANNELS[min(i, len(CHANNELS) - 1)]
        layer = nn.Conv2d(channels, made, kernel_size=3, stride=2, padding=1)
        _begin(layer, 2**0.5)
        parts += [layer, nn.ReLU()]
        height, width, channels = (height + 1) // 2, (width + 1) // 2, made
    last = nn.Linear(channels * height * width, HIDDEN)
    _begin(last, 2**0.5)
    return nn.Sequential(*parts, nn.Flatten(), last, nn.ReLU())


class Seeing(nn.Module):
    """Pictures through convolutions, the rest as it is, all of it through the body."""

    def __init__(self, layout: Layout, eyes: Sequence[nn.Module], body: nn.Module) -> None:
        super().__init__()
        self._layout = layout
        self.eyes = nn.ModuleList(eyes)
        self.body = body

    def forward(self, rows: Tensor) -> Tensor:
        """[n, height, width, channels] uint8, or [n, everything flat] float32; pixels from 0 to 255."""
        sizes = [self._layout.vector, *map(math.prod, self._layout.pictures)]
        vector, *pictures = rows.flatten(1).split(sizes, -1)
        seen = [
            eye(flat.unflatten(-1, shape).permute(0, 3, 1, 2).float() / 255)
            for eye, flat, shape in zip(self.eyes, pictures, self._layout.pictures, strict=True)
        ]
        return self.body(torch.cat([vector.float(), *seen], -1))


class Spread(nn.Module):
    """Log-deviations beside the means of a body."""

    def __init__(self, body: nn.Module, size: int, noise: float) -> None:
        super().__init__()
        self.body = body
        self.log_std = nn.Parameter(torch.full((size,), math.log(noise)))

    def forward(self, rows: Tensor) -> Tensor:
        mean = self.body(rows)
        return torch.cat([mean, self.log_std.expand(len(mean), -1)], -1)
