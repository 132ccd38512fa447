"""Manifold predictors: the scalar field whose level sets are the radiance manifolds (GRAM: manifold predictor).

N items, R rays, S samples, L levels. Neither predictor knows z: surfaces are shared by every identity.
`MlpPredictor` is the published network M; `SpherePredictor` is its ideal initialisation, held fixed, with
intersections in closed form (an economy for small budgets).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from gramhd_core.configs import at_least
from gramhd_core.geometry.level_sets import Hits, first_crossings, sphere_hits
from gramhd_core.geometry.rays import Rays

SLOPE = 10.0  # field units per box half-width: the published output weight makes M(x) = 10 |x / box - centre| at init


@dataclass(frozen=True)
class ManifoldsConfig:
    """Number, place and kind of the surfaces. Lengths in world units; `centre` in units of `box`. Defaults: FFHQ."""

    predictor: Literal["mlp", "spheres"] = "mlp"
    hidden: int = 128
    layers: int = 3
    centre: tuple[float, float, float] = (0.0, 0.0, -1.5)
    count: int = 24  # level sets and the background plane
    level_near: float = 23.0
    level_far: float = 8.0
    box: float = 0.12  # half side of the cube scaled to +-1
    background_z: float = -0.12
    near: float = 0.88  # search range along camera and gridding rays, distances
    far: float = 1.12
    samples: int = 64
    # how the field's own pictures find MLP surfaces: searched along every ray (published), or met in a table of their
    # heights and refined: scenes/refined.py
    hits: Literal["dense", "refined"] = "refined"

    def __post_init__(self) -> None:
        at_least(self, 2, "count", "samples")
        at_least(self, 1, "hidden", "layers")

    @property
    def level_sets(self) -> int:
        """Number of level sets (without the background plane)."""
        return self.count - 1

    def levels(self, *, like: Tensor) -> Tensor:
        """[L] level values, nearest surface first."""
        return torch.linspace(self.level_near, self.level_far, self.level_sets, device=like.device, dtype=like.dtype)


class MlpPredictor(nn.Module):
    """M: 3 -> hidden x layers -> 1, ReLU. Precise as its weights are, whatever autocast says: its values need it."""

    def __init__(self, config: ManifoldsConfig):
        super().__init__()
        self.config = config
        widths = [3] + [config.hidden] * config.layers
        parts: list[nn.Module] = []
        for i in range(config.layers):
            linear = nn.Linear(widths[i], widths[i + 1])
            nn.init.normal_(linear.weight, 0.0, math.sqrt(2 / widths[i + 1]))
            nn.init.zeros_(linear.bias)
            parts += [linear, nn.ReLU(inplace=True)]
        self.network = nn.Sequential(*parts)
        self.output_layer = nn.Linear(config.hidden, 1)
        nn.init.constant_(self.output_layer.weight, SLOPE * math.sqrt(math.pi / config.hidden))
        nn.init.zeros_(self.output_layer.bias)

    @property
    def slab(self) -> float:
        """Valid hits lie in |z| <= slab, world units."""
        return self.config.box

    def forward(self, points: Tensor) -> Tensor:
        """World points [..., 3] -> field values [...]."""
        with torch.autocast(points.device.type, enabled=False):
            x = points.to(self.output_layer.weight.dtype) * (1 / self.config.box) - points.new_tensor(
                self.config.centre
            )
            return self.output_layer(self.network(x))[..., 0]

    def _scaled(self, points: Tensor) -> Tensor:
        x = points.to(self.output_layer.weight.dtype)
        return x * (1 / self.config.box) - x.new_tensor(self.config.centre)

    def along(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """World points and directions [P, 3] -> field values [P] and their rates along the directions [P], per world
        unit; the rates carry no gradient."""
        with torch.autocast(points.device.type, enabled=False):
            x = points.to(self.output_layer.weight.dtype) * (1 / self.config.box) - points.new_tensor(
                self.config.centre
            )
            rate = directions.to(x.dtype) * (1 / self.config.box)
            for part in self.network:
                x = part(x)
                with torch.no_grad():
                    rate = rate @ part.weight.mT if isinstance(part, nn.Linear) else rate * (x > 0)
            with torch.no_grad():
                rate = rate @ self.output_layer.weight.mT
            return self.output_layer(x)[..., 0], rate[..., 0]

    def hits(self, rays: Rays, *, beyond: float = 0.0) -> Hits:
        """First crossings of every level along rays, found among `samples` points (linear root). Differentiable.

        beyond: search this much further than `far`, at the same spacing (world units).
        """
        c = self.config
        extra = round(beyond * (c.samples - 1) / (c.far - c.near))
        step = (c.far - c.near) / (c.samples - 1)
        positions = torch.linspace(
            c.near, c.far + extra * step, c.samples + extra, device=rays.origins.device, dtype=rays.origins.dtype
        )
        values = self._sample(rays, positions)
        distance, valid = first_crossings(values, positions, c.levels(like=positions))
        return Hits(rays.at(distance), distance, valid)

    def _sample(self, rays: Rays, positions: Tensor) -> Tensor:
        """[N, R, S] field values; without gradients in chunks that stay in the processor's cache."""
        if torch.is_grad_enabled() and self.output_layer.weight.requires_grad:
            return self(rays.at(positions.expand(*rays.directions.shape[:2], -1)))
        n, r, _ = rays.directions.shape
        origins, directions = rays.origins.reshape(-1, 3), rays.directions.reshape(-1, 3)
        values = origins.new_empty(n * r, len(positions))
        step = 64 if origins.device.type == "cpu" else 1 << 14
        for i in range(0, n * r, step):
            points = origins[i : i + step, None] + positions[:, None] * directions[i : i + step, None]
            values[i : i + step] = self(points)
        return values.reshape(n, r, -1)


class SpherePredictor(nn.Module):
    """s(x) = 10 |x / box - centre|: concentric spheres, no parameters."""

    def __init__(self, config: ManifoldsConfig):
        super().__init__()
        self.config = config

    @property
    def slab(self) -> float:
        """Valid hits lie in |z| <= slab, world units."""
        return self.config.box

    def forward(self, points: Tensor) -> Tensor:
        """World points [..., 3] -> field values [...]."""
        return SLOPE * (points / self.config.box - points.new_tensor(self.config.centre)).norm(dim=-1)

    def radii(self, *, like: Tensor) -> Tensor:
        """[L] radii of the level sets, world units."""
        return self.config.levels(like=like) * (self.config.box / SLOPE)

    def hits(self, rays: Rays, *, slab: float | None = None) -> Hits:
        """Exact first crossings, valid where |z| <= slab (default: box)."""
        x, y, z = (self.config.box * c for c in self.config.centre)
        return sphere_hits(rays, self.radii(like=rays.origins), (x, y, z), slab=slab or self.slab)


def build_predictor(config: ManifoldsConfig) -> MlpPredictor | SpherePredictor:
    """The predictor a config names."""
    return MlpPredictor(config) if config.predictor == "mlp" else SpherePredictor(config)
