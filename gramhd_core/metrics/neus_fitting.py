"""The paper's test of consistency: train NeuS on the views of one head, and compare its re-renderings with them.

V views of S x S pixels. Views of one solid head can be explained by one surface with one paint; views that contradict
each other cannot, and the contradiction is what is missing in the re-renderings (GRAM-HD: consistency test; 30 views
of 50 identities; the fit is scored on the very views it was trained on).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gramhd_core.metrics.neus_config import NeusConfig
from gramhd_core.metrics.neus_fields import TableField
from gramhd_core.metrics.neus_networks import NetworkField
from gramhd_core.metrics.neus_rays import Region, ViewRays, rays_of, region_of
from gramhd_core.metrics.neus_rendering import Rendered, render
from gramhd_core.metrics.views import ViewSet
from gramhd_core.progress import Progress, Silent

AT_ONCE = 4096  # rays of tables rendered together, after training; networks take as many as in training
SOME = 512  # points where a field without normals is asked for its slopes, near the surface and as many anywhere
MOST = 99.0  # decibels of equal pictures


class NeusFit(NamedTuple):
    """psnr (decibels) and ssim: means over the views; per_view_psnr: V of them. rgb: uint8 [V, 3, S, S], the
    re-rendered pictures. distance: float [V, S, S] along the rays in world units, mean over what the ray meets.
    sharpness: the learned s, in radii of the region of interest. seconds: wall clock; iterations: done."""

    psnr: float
    ssim: float
    per_view_psnr: list[float]
    rgb: Tensor
    distance: Tensor
    sharpness: float
    seconds: float
    iterations: int


def fit(
    views: ViewSet,
    config: NeusConfig,
    *,
    rng: torch.Generator,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
) -> NeusFit:
    """Train NeuS on the views and re-render them.

    views: cameras at distance 1 that look at the origin, as `view_files.load_views` and `views.around` have them. rng:
    on the CPU; weights, rays and samples come from it. On a CPU the same seed is the same fit, bit by bit. Results are
    on the CPU.
    """
    started, progress = time.perf_counter(), progress or Silent()
    region = region_of(views.cameras)
    rays = rays_of(views.cameras.to(device), Region(region.centre.to(device), region.radius))
    colours = views.rgb.movedim(1, -1).reshape(-1, 3).to(device).float() / 255
    field = field_of(config, size=views.cameras.width, rng=rng).to(device)
    train(field, rays, colours, config=config, rng=rng, progress=progress)
    rgb, t = seen(field, rays, config)
    size = len(views.rgb), views.cameras.height, views.cameras.width
    pictures = (rgb.reshape(*size, 3).movedim(-1, 1).clamp(0, 1) * 255).round().byte().cpu()
    scores = [_psnr(a, b) for a, b in zip(pictures, views.rgb, strict=True)]
    likeness = [_ssim(a, b) for a, b in zip(pictures, views.rgb, strict=True)]
    return NeusFit(
        float(np.mean(scores)),
        float(np.mean(likeness)),
        scores,
        pictures,
        (t * region.radius).reshape(size).cpu(),
        float(field.sharpness.detach()),
        time.perf_counter() - started,
        config.iterations,
    )


def field_of(config: NeusConfig, *, size: int, rng: torch.Generator) -> TableField | NetworkField:
    """What is learned, with its first weights, on the CPU."""
    if config.field == "networks":
        return NetworkField(sharpness=config.sharpness, view_dependence=config.view_dependence, rng=rng)
    return TableField(size=size, sharpness=config.sharpness, view_dependence=config.view_dependence, rng=rng)


def train(
    field: TableField | NetworkField,
    rays: ViewRays,
    colours: Tensor,
    *,
    config: NeusConfig,
    rng: torch.Generator,
    progress: Progress,
) -> None:
    """rays of all pixels of all views, colours [R, 3] in [0, 1]; the field learns in place."""
    groups = field.groups()
    optimiser = torch.optim.Adam(
        [{"params": part} for _, part in groups], betas=(0.9, config.beta2), eps=1e-15, fused=True
    )
    progress.start(f"Fitting NeuS ({config.name})", config.iterations)
    batches = batches_of(len(colours), config.rays, rng)
    for step in range(config.iterations):
        field.reach(step / config.iterations)
        rate = config.learning_rate * rate_at(step, config)
        for group, (times, _) in zip(optimiser.param_groups, groups, strict=True):
            group["lr"] = rate * times
        index = next(batches).to(colours.device)
        rendered = render(field, rays.pick(index), config, rng=rng)
        error = rendered.rgb - colours[index]
        colour = error.abs().mean() if config.loss == "l1" else error.square().mean()
        optimiser.zero_grad(set_to_none=True)
        (colour + regularity(field, rendered, config, rng)).backward()
        optimiser.step()
        progress.advance(note=f"{-10 * math.log10(float(error.detach().square().mean()) + 1e-10):.1f} dB")
    field.reach(1.0)
    progress.finish()


def regularity(
    field: TableField | NetworkField, rendered: Rendered, config: NeusConfig, rng: torch.Generator
) -> Tensor:
    """(|grad f| - 1)^2 (NeuS: eikonal term) and the squared bend, means over points that weigh something and, where
    the field did not need slopes for its colours, as many anywhere in the region."""
    slopes = rendered.slopes
    if slopes is None:
        surface = rendered.surface
        chosen = torch.randint(max(1, len(surface)), (SOME,), generator=rng)
        anywhere = F.normalize(torch.randn(SOME, 3, generator=rng), dim=-1) * torch.rand(SOME, 1, generator=rng)
        some = surface[chosen.to(surface.device)][: len(surface)] if len(surface) else surface
        slopes = field.slopes(torch.cat([some, anywhere.to(rendered.rgb)]))
    total = config.eikonal * (slopes.gradient.norm(dim=-1) - 1).square().mean()
    return total if slopes.bend is None else total + config.bend * slopes.bend.square().mean()


def rate_at(step: int, config: NeusConfig) -> float:
    """Share of the learning rate: a warm-up, then half a cosine down to `final_rate`."""
    if step < config.warm_up:
        return (step + 1) / config.warm_up
    done = (step - config.warm_up) / max(1, config.iterations - config.warm_up)
    return config.final_rate + (1 - config.final_rate) * (1 + math.cos(math.pi * done)) / 2


def batches_of(total: int, count: int, rng: torch.Generator) -> Iterator[Tensor]:
    """Endless places [count] of `total` things, each once in every round."""
    left = torch.empty(0, dtype=torch.long)
    while True:
        while len(left) < count:
            left = torch.cat([left, torch.randperm(total, generator=rng)])
        yield left[:count]
        left = left[count:]


@torch.no_grad()
def seen(field: TableField | NetworkField, rays: ViewRays, config: NeusConfig) -> tuple[Tensor, Tensor]:
    """Colours [R, 3] and distances [R] of all rays, without chance."""
    count = AT_ONCE if isinstance(field, TableField) else config.rays
    parts = [render(field, rays.pick(slice(i, i + count)), config) for i in range(0, len(rays.near), count)]
    return torch.cat([part.rgb for part in parts]), torch.cat([part.t for part in parts])


def _psnr(made: Tensor, wanted: Tensor) -> float:
    """Decibels of 255 over the root mean square difference of pictures uint8 [3, S, S]."""
    error = float((made.float() - wanted.float()).square().mean())
    return min(MOST, 10 * math.log10(255**2 / error)) if error > 0 else MOST


def _ssim(made: Tensor, wanted: Tensor) -> float:
    """Structural similarity with the usual window of 7 pixels, of pictures uint8 [3, S, S]."""
    from skimage.metrics import structural_similarity

    found = structural_similarity(made.numpy(), wanted.numpy(), channel_axis=0, data_range=255)
    return float(found)  # type: ignore[arg-type]
