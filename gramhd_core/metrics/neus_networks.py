"""The published networks of NeuS: signed distance, colour, and NeRF++'s for what is outside the region of interest.

P points in radii of the region (the unit sphere), unit directions (NeuS: networks): an
SDF network of 8 hidden layers of 256 (softplus, beta 100; the input again at the fourth) with 6 frequencies of the
position, a colour network of 4 hidden layers of 256 that sees position, normal, 4 frequencies of the direction and 256
features; weight normalisation; outside, NeRF's network on (x / |x|, 1 / |x|) with 10 frequencies
(NeRFpp: outside).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramhd_core.metrics.neus_fields import SPHERE, Outside, Shaded, Sharpness, Slopes

BETA = 100.0  # of softplus


def waves(values: Tensor, frequencies: int) -> Tensor:
    """[P, D] -> [P, D (1 + 2 frequencies)]: values, then sine and cosine of 2^k times each (NeRF, without pi)."""
    scaled = values[:, None] * 2.0 ** torch.arange(frequencies, device=values.device, dtype=values.dtype)[:, None]
    return torch.cat([values, torch.cat([scaled.sin(), scaled.cos()], dim=-1).flatten(1)], dim=1)


class SdfNetwork(nn.Module):
    """points [P, 3] -> signed distance [P] and features [P, width].

    At first the sphere of radius `SPHERE`, about (Atzmon and Lipman 2020): of the input only the position is seen, and
    sums of many rectified projections are the length of a vector.
    """

    def __init__(self, rng: torch.Generator, *, width: int = 256, depth: int = 8, skip: int = 4, frequencies: int = 6):
        super().__init__()
        self.skip, self.frequencies = skip, frequencies
        inside = 3 * (1 + 2 * frequencies)
        layers = []
        for i in range(depth + 1):
            seen = inside if i == 0 else width
            made = 1 + width if i == depth else width - inside if i + 1 == skip else width
            layers.append(_normalised(self._start(i, seen, made, last=i == depth, inside=inside, rng=rng)))
        self.layers = nn.ModuleList(layers)

    def _start(self, i: int, seen: int, made: int, *, last: bool, inside: int, rng: torch.Generator) -> nn.Linear:
        layer = nn.Linear(seen, made)
        with torch.no_grad():
            layer.bias.zero_()
            if last:
                layer.weight.copy_(torch.randn(made, seen, generator=rng) * 1e-4 + math.sqrt(math.pi / seen))
                layer.bias.fill_(-SPHERE)
            else:
                layer.weight.copy_(torch.randn(made, seen, generator=rng) * math.sqrt(2 / made))
                if i == 0:
                    layer.weight[:, 3:] = 0
                if i == self.skip:
                    layer.weight[:, seen - inside + 3 :] = 0
        return layer

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        start = waves(points, self.frequencies)
        x = start
        for i, layer in enumerate(self.layers):
            if i == self.skip:
                x = torch.cat([x, start], dim=1) / math.sqrt(2)
            x = layer(x)
            if i + 1 < len(self.layers):
                x = F.softplus(x, beta=BETA)
        return x[:, 0], x[:, 1:]


class ColourNetwork(nn.Module):
    """Position, normal, direction, features -> rgb in [0, 1]; without view dependence neither normal nor direction."""

    def __init__(
        self, rng: torch.Generator, *, view_dependence: bool, width: int = 256, depth: int = 4, frequencies: int = 4
    ):
        super().__init__()
        self.view_dependence, self.frequencies = view_dependence, frequencies
        inside = 3 + width + (3 + 3 * (1 + 2 * frequencies) if view_dependence else 0)
        sizes = [inside, *[width] * depth, 3]
        self.layers = nn.ModuleList(_normalised(_linear(a, b, rng)) for a, b in zip(sizes, sizes[1:], strict=False))

    def forward(self, points: Tensor, normals: Tensor, directions: Tensor, features: Tensor) -> Tensor:
        seen = [waves(directions, self.frequencies), normals] if self.view_dependence else []
        x = torch.cat([points, *seen, features], dim=1)
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x).sigmoid()


class OutsideNetwork(nn.Module):
    """Points outside the unit sphere, directions -> density and rgb: NeRF's network on (x / |x|, 1 / |x|)."""

    def __init__(self, rng: torch.Generator, *, view_dependence: bool, width: int = 256, depth: int = 8, skip: int = 5):
        super().__init__()
        self.skip, self.view_dependence = skip, view_dependence
        inside, seen = 4 * (1 + 2 * 10), 3 * (1 + 2 * 4) if view_dependence else 0
        self.trunk = nn.ModuleList(
            _linear(inside if i == 0 else width + (inside if i == skip else 0), width, rng) for i in range(depth)
        )
        self.density, self.features = _linear(width, 1, rng), _linear(width, width, rng)
        self.colour = nn.Sequential(
            _linear(width + seen, width // 2, rng), nn.ReLU(), _linear(width // 2, 3, rng), nn.Sigmoid()
        )

    def forward(self, points: Tensor, directions: Tensor) -> Outside:
        away = points.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        start = waves(torch.cat([points / away, 1 / away], dim=1), 10)
        x = start
        for i, layer in enumerate(self.trunk):
            x = layer(torch.cat([x, start], dim=1) if i == self.skip else x).relu()
        seen = [waves(directions, 4)] if self.view_dependence else []
        rgb = self.colour(torch.cat([self.features(x), *seen], dim=1))
        return Outside(F.softplus(self.density(x)[:, 0]), rgb)


class NetworkField(nn.Module):
    """The three networks as a `Field`. width: of all hidden layers, 256 as published."""

    def __init__(self, *, sharpness: float, view_dependence: bool, rng: torch.Generator, width: int = 256):
        super().__init__()
        self.distances = SdfNetwork(rng, width=width)
        self.colours = ColourNetwork(rng, view_dependence=view_dependence, width=width)
        self.surroundings = OutsideNetwork(rng, view_dependence=view_dependence, width=width)
        self.learned_sharpness = Sharpness(sharpness)

    def sdf(self, points: Tensor) -> Tensor:
        return self.distances(points)[0]

    def slopes(self, points: Tensor) -> Slopes:
        return Slopes(self._seen(points)[0], None)

    def shade(self, points: Tensor, directions: Tensor) -> Shaded:
        gradient, features = self._seen(points)
        return Shaded(self.colours(points, gradient, directions, features), Slopes(gradient, None))

    def _seen(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient [P, 3] and features [P, width]; differentiable again while training."""
        training = torch.is_grad_enabled()
        with torch.enable_grad():
            points = points.detach().requires_grad_()
            distance, features = self.distances(points)
            (gradient,) = torch.autograd.grad(distance.sum(), points, create_graph=training)
        return (gradient, features) if training else (gradient, features.detach())

    def outside(self, points: Tensor, directions: Tensor) -> Outside:
        return self.surroundings(points, directions)

    def reach(self, share: float) -> None:
        """Networks have no levels."""

    def groups(self) -> list[tuple[float, list[nn.Parameter]]]:
        return [(1.0, list(self.parameters()))]

    @property
    def sharpness(self) -> Tensor:
        return self.learned_sharpness()


def _linear(seen: int, made: int, rng: torch.Generator) -> nn.Linear:
    """PyTorch's own start, uniform within 1 / sqrt(seen), from a generator."""
    layer, bound = nn.Linear(seen, made), 1 / math.sqrt(seen)
    with torch.no_grad():
        for part in (layer.weight, layer.bias):
            part.copy_((2 * torch.rand(part.shape, generator=rng) - 1) * bound)
    return layer


def _normalised(layer: nn.Linear) -> nn.Module:
    return nn.utils.parametrizations.weight_norm(layer)
