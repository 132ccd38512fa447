"""How rays see layers: geometry of a picture, layers over a background, the background's coordinates.

N identities, K cameras, R rays, L level sets. Colours inside a scene are in about [0, 1]; a Rendering is in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.compositing import FrontToBack, front_to_back
from gramhd_core.geometry.level_sets import Hits, plane_distance
from gramhd_core.geometry.rays import PixelSampling, Rays
from gramhd_core.scenes.scene import Rendering
from gramhd_core.scenes.surfaces import Surfaces

SEGMENT = 4  # layers whose look-ups a backward pass holds at once
REMEMBERED = 1 << 20  # rays x layers up to which everything is held instead: small pictures are quicker so


@dataclass(frozen=True)
class RenderConvention:
    """How pictures are taken. Defaults: new trainings; `compatible()` of a config sets the published side."""

    pixel_sampling: PixelSampling = "area"
    hits: Literal["full", "upsampled"] = "full"  # per pixel, or at `hit_size` and interpolated
    hit_size: int = 64
    edge: Literal["fade", "cut"] = "fade"  # alpha at the border of a map
    depth: Literal["mean", "sum"] = "mean"  # sum(w d) / sum(w), or sum(w d)
    opaque_background: bool = True  # False: 1 - exp(-1e10 sigma), and the last layer along a ray is opaque too


class Layer(NamedTuple):
    """One surface as seen by rays: colour [N, R, 3], alpha [N, R]."""

    colour: Tensor
    alpha: Tensor


class View(NamedTuple):
    """The geometry of a picture, before any colour.

    origins [N, R, 3]; hits of L level sets; backdrop [N, R, 3] on the background plane, its distance [N, R].
    """

    origins: Tensor
    hits: Hits
    backdrop: Tensor
    backdrop_distance: Tensor

    def slice(self, start: int, stop: int) -> View:
        """Rays start..stop of every item."""
        part = slice(start, stop)
        hits = Hits(*(t[:, part] for t in self.hits))
        return View(self.origins[:, part], hits, self.backdrop[:, part], self.backdrop_distance[:, part])


def intersect(rays: Rays, surfaces: Surfaces, *, background_z: float) -> View:
    """Meet all surfaces and the background plane."""
    t = plane_distance(rays, background_z)
    return View(rays.origins, surfaces.hits(rays), rays.at(t)[:, :, 0], t[..., 0])


def upsample_view(view: View, camera: Camera, *, size: int) -> View:
    """Published short cut: positions met at `size` x `size` rays, interpolated (corners aligned) to the camera's size.

    A pixel is valid if all rays around it are (interpolated validity > 0.99).
    """
    n, _, levels = view.hits.valid.shape

    def up(t: Tensor) -> Tensor:  # [N, r, C] -> [N, R, C], channels last all the way
        grid = t.contiguous().reshape(n, size, size, -1).permute(0, 3, 1, 2)
        big = F.interpolate(grid, size=(camera.height, camera.width), mode="bilinear", align_corners=True)
        return big.permute(0, 2, 3, 1).reshape(n, camera.height * camera.width, -1)

    points = up(view.hits.points.flatten(2)).unflatten(2, (levels, 3))
    valid = up(view.hits.valid.to(points.dtype)) > 0.99
    backdrop = up(view.backdrop)
    origins = camera.position[:, None].expand_as(backdrop)
    distance = (points - origins[:, :, None]).norm(dim=-1)
    return View(origins, Hits(points, distance, valid), backdrop, (backdrop - origins).norm(dim=-1))


def look(view: View, layer: Callable[[int], Layer], backdrop: Tensor) -> FrontToBack:
    """Composite L layers over an opaque backdrop colour [N, R, 3].

    `layer(l)` is asked for one level at a time, so memory is one layer's; where gradients of large pictures are
    recorded, that of `SEGMENT` layers (the backward pass asks for them again). Layers behind the backdrop are hidden.
    Rays along which levels are out of order (a predictor that is not monotone) make all layers be held and sorted.
    """
    hits = view.hits
    seen = hits.valid & (hits.distance <= view.backdrop_distance[..., None])
    picture = FrontToBack(hits.distance.shape[:2], like=hits.distance)
    with torch.no_grad():
        order = front_to_back(hits.distance, seen)
    if order is None:
        levels, forget = seen.shape[-1], torch.is_grad_enabled() and seen.numel() > REMEMBERED

        def add(first: int, last: int, *state: Tensor) -> tuple[Tensor, ...]:
            picture = FrontToBack.resumed(*state)
            for level in range(first, last):
                colour, alpha = layer(level)
                picture.add(colour, alpha * seen[..., level], hits.distance[..., level])
            return picture.state()

        state = picture.state()
        for first in range(0, levels, SEGMENT):
            part = (first, min(first + SEGMENT, levels), *state)
            state = checkpoint(add, *part, use_reentrant=False, preserve_rng_state=False) if forget else add(*part)
        picture = FrontToBack.resumed(*state)
    else:
        layers = [layer(level) for level in range(seen.shape[-1])]
        colour = torch.stack([one.colour for one in layers], dim=2)
        alpha = torch.stack([one.alpha for one in layers], dim=2) * seen
        colour = colour.gather(2, order[..., None].expand_as(colour))
        alpha, distance = alpha.gather(2, order), hits.distance.gather(2, order)
        for i in range(order.shape[-1]):
            picture.add(colour[:, :, i], alpha[:, :, i], distance[:, :, i])
    picture.add(backdrop, torch.ones_like(picture.weight), view.backdrop_distance, background=True)
    return picture


def rendering(picture: FrontToBack, camera: Camera, *, depth: Literal["mean", "sum"]) -> Rendering:
    """Composited rays [*, R] of all cameras -> images; colours [0, 1] -> [-1, 1]."""
    n, h, w = len(camera), camera.height, camera.width
    distance = picture.weighted_distance
    if depth == "mean":
        distance = distance / picture.weight.clamp_min(1e-6)
    return Rendering(
        (2 * picture.colour - 1).reshape(n, h, w, 3).permute(0, 3, 1, 2),
        picture.foreground.reshape(n, 1, h, w),
        distance.reshape(n, 1, h, w),
    )


def background_point(u: Tensor, half_width: float) -> Tensor:
    """Map coordinate u in [-1, 1] -> world coordinate on the background plane; odd, C1 at |u| = 1/2.

    The inner half covers |x| <= half_width evenly, the outer half stretches to 2.09 x half_width
    (GRAM-HD: background map).
    """
    outer = half_width * (2 * torch.tan((u.abs() - 0.5).clamp_min(0)) + 1)
    return torch.where(u.abs() <= 0.5, 2 * half_width * u, u.sign() * outer)


def background_coordinate(x: Tensor, half_width: float) -> Tensor:
    """Inverse of `background_point`; any x, |u| > 1 is outside the map."""
    outer = torch.atan((x.abs() / half_width - 1).clamp_min(0) / 2) + 0.5
    return torch.where(x.abs() <= half_width, x / (2 * half_width), x.sign() * outer)


def chunks(part: Callable, rays: int, step: int) -> Iterator:
    """Parts of `step` rays; all at once where gradients are recorded."""
    step = rays if torch.is_grad_enabled() else step
    return (part(i, min(i + step, rays)) for i in range(0, rays, step))
