"""RadianceManifolds: the scene this project is about, and FieldManifolds, its un-baked form.

N identities, K cameras, R rays, L level sets, M = map side. Maps are stored with y ascending
(row 0 is y = -half_width).
Colours inside a scene are in about [0, 1]; a Rendering is in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.compositing import FrontToBack, front_to_back
from gramhd_core.geometry.level_sets import Hits, plane_distance
from gramhd_core.geometry.rays import PixelSampling, Rays, camera_rays
from gramhd_core.networks.predictors import MlpPredictor
from gramhd_core.scenes.scene import Rendering
from gramhd_core.scenes.surfaces import HeightFields, Surfaces, stamp, tabulate

FADE = 0.1  # width of the soft map border, fraction of half_width
CHUNK_RAYS = 1 << 16  # rays looked up at once when no gradient is recorded
CHUNK_POINTS = 1 << 15  # points a field is asked for at once, likewise
SEGMENT = 4  # layers whose look-ups a backward pass holds at once
REMEMBERED = 1 << 20  # rays x layers up to which everything is held instead: small pictures are quicker so
LARGEST = 16.0  # colour that 16-bit steps keep to 1e-3
FAR_DELTA = 1e10  # published thickness of whatever comes last along a ray


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


Twin = Literal["auto", "readable"]


@dataclass(frozen=True)
class RadianceManifolds:
    """Surfaces with pictures on them: N identities as maps (GRAM-HD: manifold maps).

    maps [N, L, 4, M, M]: r, g, b, alpha of every level set over |x|, |y| <= half_width, nearest first, y ascending.
    background [N, 3, M, M]: the plane z = background_z over `background_point` coordinates.
    """

    surfaces: Surfaces
    maps: Tensor
    background: Tensor
    half_width: float = 0.12
    background_z: float = -0.12
    convention: RenderConvention = RenderConvention()
    _kept: tuple[tuple, Callable[[Camera], Rendering] | None] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        n, levels, channels, *sides = self.maps.shape
        assert channels == 4 and sides[0] == sides[1] and self.background.shape[:2] == (n, 3), (
            self.maps.shape,
            self.background.shape,
        )
        assert not isinstance(self.surfaces, HeightFields) or len(self.surfaces.z) == levels, self.maps.shape

    def layers(self) -> Tensor:
        """[N, L, 4, M, M] maps, nearest first."""
        return self.maps

    def save(self, path: Path | str, **about: Any) -> None:
        """Write a `.scene.safetensors`; cameras, image_size, provenance and storage as in `save_scene`."""
        from gramhd_core.scenes.scene_files import save_scene  # it imports this module

        save_scene(path, self, **about)

    @staticmethod
    def load(path: Path | str, *, device: torch.device | str = "cpu") -> RadianceManifolds:
        """The inverse of `save`. BadScene in one sentence for other files."""
        from gramhd_core.scenes.scene_files import load_scene

        return load_scene(path, device=device).scene

    def baked(self) -> RadianceManifolds:
        """The same scene on height fields: self-contained, and exact at any resolution (see `tabulate` about folds)."""
        if isinstance(self.surfaces, HeightFields) and self.convention.hits == "full":
            return self
        surfaces = self.surfaces
        if not isinstance(surfaces, HeightFields):
            surfaces = tabulate(surfaces, half_width=self.half_width, like=self.maps)
        return replace(self, surfaces=surfaces, convention=replace(self.convention, hits="full"))

    def render(self, camera: Camera, *, twin: Twin = "auto") -> Rendering:
        """K cameras of one identity, or N cameras of N identities.

        twin "auto": without gradients the compiled twin of this processor (scenes/fast_cpu.py, scenes/fast_gpu.py)
        where there is one; "readable": plain torch, always. The compiled twin keeps a copy of the scene, made again
        when its tensors have changed in place (which those made in inference mode do not tell).
        """
        n = len(self.maps)
        assert n in (1, len(camera)), f"{n} identities cannot be seen by {len(camera)} cameras"
        if twin == "auto" and not torch.is_grad_enabled():
            fast = self._fast()
            if fast is not None and _faces(camera):
                return fast(camera)
        return self._render(camera, n, compiled=twin == "auto")

    def _fast(self) -> Callable[[Camera], Rendering] | None:
        """The compiled twin, prepared for this scene as its tensors are now; None where there is none."""
        surfaces, geometry = self.surfaces, ()
        if isinstance(surfaces, HeightFields):
            geometry = (surfaces.z,)
        elif isinstance(surfaces, nn.Module):
            geometry = tuple(surfaces.parameters())
        now = stamp(self.maps, self.background, *geometry)
        kept = self._kept
        if kept is None or kept[0] != now:
            kept = (now, self._prepare())
            object.__setattr__(self, "_kept", kept)
        return kept[1]

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave the prepared twin behind."""
        return {**vars(self), "_kept": None}

    def _prepare(self) -> Callable[[Camera], Rendering] | None:
        tensors = (self.maps, self.background)
        if self.convention.hits != "full" or any(t.dtype != torch.float32 for t in tensors) or not self._ordinary():
            return None
        scene = self if isinstance(self.surfaces, MlpPredictor) else self.baked()  # one is kept because it folds
        if all(t.is_cuda for t in tensors):
            from gramhd_core.scenes import fast_gpu as fast
        elif all(t.device.type == "cpu" for t in tensors):
            from gramhd_core.scenes import fast_cpu as fast  # numba takes a second to import
        else:
            return None
        return partial(fast.render_prepared, fast.prepare(scene)) if fast.supports(scene) else None

    def _ordinary(self) -> bool:
        """Whether all numbers are what compiled twins can pack: finite, colours not huge, alpha in [0, 1]."""
        limits = [(self.background, -LARGEST, LARGEST)]
        for level in (level for item in self.maps for level in item):
            limits += [(level[:3], -LARGEST, LARGEST), (level[3], 0, 1)]
        return all(bool(((end := torch.aminmax(part)).min >= low) & (end.max <= high)) for part, low, high in limits)

    def _render(self, camera: Camera, n: int, *, compiled: bool) -> Rendering:
        pictures = [self._picture(part, compiled=compiled) for part in self._views(camera, n)]
        joined = pictures[0] if len(pictures) == 1 else FrontToBack.joined(pictures)
        return rendering(joined, camera, depth=self.convention.depth)

    def _views(self, camera: Camera, n: int) -> Iterator[View]:
        """Geometry of all pixels as [n, R] rays, in chunks unless gradients are recorded."""
        c = self.convention
        if c.hits == "upsampled":
            rays = camera_rays(camera.with_size(c.hit_size), sampling=c.pixel_sampling)
            small = intersect(rays, self.surfaces, background_z=self.background_z)
            view = _flat(upsample_view(small, camera, size=c.hit_size), n)
            yield from _chunks(view.slice, view.origins.shape[1], CHUNK_RAYS)
        else:
            rays = Rays(*(t.reshape(n, -1, 3) for t in camera_rays(camera, sampling=c.pixel_sampling)))
            for part in _chunks(rays.slice, rays.origins.shape[1], CHUNK_RAYS):
                yield intersect(part, self.surfaces, background_z=self.background_z)

    def _picture(self, view: View, *, compiled: bool) -> FrontToBack:
        u = background_coordinate(view.backdrop[..., :2], self.half_width)
        backdrop = _sample(self.background, u, padding="reflection")
        if compiled and self._compiled(view):
            return self._fast_picture(view, backdrop)
        maps = self.maps.unbind(dim=1)  # apart once: gradients come together once, not with every level
        return look(view, lambda level: self._layer(view, level, maps[level]), backdrop)

    def _compiled(self, view: View) -> bool:
        plain = all(t.device.type == "cpu" and t.dtype == torch.float32 for t in (self.maps, view.hits.distance))
        return plain and not torch.is_grad_enabled()

    def _fast_picture(self, view: View, backdrop: Tensor) -> FrontToBack:
        """`look` by its compiled twin."""
        from gramhd_core.scenes.fast_cpu import look_up  # numba takes a second to import

        points, distance, valid = view.hits
        seen = valid & (distance <= view.backdrop_distance[..., None])
        fade = FADE if self.convention.edge == "fade" else 0.0
        maps, points, distances, seen = (t.contiguous().numpy() for t in (self.maps, points, distance, seen))
        found = torch.from_numpy(
            np.stack(
                [look_up(maps[n], points[n], distances[n], seen[n], self.half_width, fade) for n in range(len(maps))]
            )
        )
        picture = FrontToBack(distance.shape[:2], like=distance)
        picture.colour, picture.weighted_distance = found[..., :3], found[..., 3]
        picture.weight = picture.foreground = found[..., 4]
        picture.transmittance = found[..., 5]
        picture.add(backdrop, torch.ones_like(picture.weight), view.backdrop_distance, background=True)
        return picture

    def _layer(self, view: View, level: int, maps: Tensor) -> Layer:
        xy = view.hits.points[:, :, level, :2] / self.half_width
        if self.convention.edge == "cut":
            rgba = _sample(maps, xy, padding="zeros")
            return Layer(rgba[..., :3], rgba[..., 3])
        limit = 1 - 1 / maps.shape[-1]  # the outermost cell centres: beyond them the map goes on as it ends
        rgba = _sample(maps, xy.clamp(-limit, limit), padding="zeros")
        inside = ((1 - xy.abs().amax(dim=-1)) / FADE).clamp(0, 1)
        return Layer(rgba[..., :3], rgba[..., 3] * inside)


@dataclass(frozen=True)
class FieldManifolds:
    """Surfaces whose colours are asked of a field for every ray (GRAM: rendering).

    field(points [N, P, 3], directions [N, P, 3]) -> (rgb [N, P, 3], sigma [N, P]); one network pass per view.
    """

    surfaces: Surfaces
    field: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    identities: int
    levels: int
    delta: float = 0.04
    background_z: float = -0.12
    convention: RenderConvention = RenderConvention()

    def density(self, points: Tensor) -> Tensor:
        """Points [N, P, 3] -> sigma [N, P, 1]; on a manifold, alpha = 1 - exp(-delta sigma)."""
        along = points.new_tensor([0.0, 0.0, -1.0]).expand_as(points)
        return self.field(points, along)[1][..., None]

    def render(self, camera: Camera) -> Rendering:
        """K cameras of one identity, or N cameras of N identities."""
        n = self.identities
        assert n in (1, len(camera)), f"{n} identities cannot be seen by {len(camera)} cameras"
        rays = Rays(*(t.reshape(n, -1, 3) for t in camera_rays(camera, sampling=self.convention.pixel_sampling)))
        step = max(1, CHUNK_POINTS // (self.levels + 1))
        pictures = [self._picture(part) for part in _chunks(rays.slice, rays.origins.shape[1], step)]
        joined = pictures[0] if len(pictures) == 1 else FrontToBack.joined(pictures)
        return rendering(joined, camera, depth=self.convention.depth)

    def _picture(self, rays: Rays) -> FrontToBack:
        view = intersect(rays, self.surfaces, background_z=self.background_z)
        points = torch.cat([view.hits.points, view.backdrop[:, :, None]], dim=2)  # [N, R, L + 1, 3]
        directions = rays.directions[:, :, None].expand_as(points)
        rgb, sigma = self.field(points.flatten(1, 2), directions.flatten(1, 2))
        rgb, sigma = rgb.reshape(points.shape), sigma.reshape(points.shape[:3])
        if not self.convention.opaque_background:
            return self._published(view, rgb, sigma)
        alpha = 1 - torch.exp(-self.delta * sigma)
        return look(view, lambda level: Layer(rgb[:, :, level], alpha[:, :, level]), rgb[:, :, -1])

    def _published(self, view: View, rgb: Tensor, sigma: Tensor) -> FrontToBack:
        """Sorted with the background; delta is 1e10 for the background and for the last entry after sorting."""
        distance = torch.cat([view.hits.distance, view.backdrop_distance[..., None]], dim=-1)
        valid = torch.cat([view.hits.valid, torch.ones_like(view.hits.valid[..., :1])], dim=-1)
        order = distance.argsort(dim=-1, stable=True)
        backdrop = order == distance.shape[-1] - 1
        delta = torch.where(backdrop, FAR_DELTA, self.delta)
        delta[..., -1] = FAR_DELTA
        sigma, valid, distance = (t.gather(-1, order) for t in (sigma, valid, distance))
        rgb = rgb.gather(2, order[..., None].expand_as(rgb))
        alpha = (1 - torch.exp(-delta * sigma)) * valid
        picture = FrontToBack(alpha.shape[:2], like=alpha)
        for i in range(alpha.shape[-1]):
            picture.add(rgb[:, :, i], alpha[..., i], distance[..., i], background=backdrop[..., i])
        return picture


def _sample(maps: Tensor, xy: Tensor, *, padding: str) -> Tensor:
    """Bilinear look-up: maps [N, C, M, M] (y ascending) at xy [N, R, 2] in [-1, 1] -> [N, R, C]."""
    found = F.grid_sample(maps.to(xy.dtype), xy[:, :, None], mode="bilinear", padding_mode=padding, align_corners=False)
    return found[..., 0].mT


def _faces(camera: Camera) -> bool:
    """Whether every ray goes down z, as all do that see a head from in front. Cameras on a GPU are not asked."""
    pose, focal = camera.world_from_camera, 1 / torch.tan(torch.deg2rad(camera.fov_degrees) / 2)
    if pose.device.type != "cpu":
        return True
    return bool((pose[:, 2, :2].abs().sum(dim=1) < pose[:, 2, 2] * focal).all())


def _flat(view: View, n: int) -> View:
    """Fold cameras into rays so that the batch is n identities."""
    hits = Hits(*(t.reshape(n, -1, *t.shape[2:]) for t in view.hits))
    return View(
        view.origins.reshape(n, -1, 3), hits, view.backdrop.reshape(n, -1, 3), view.backdrop_distance.reshape(n, -1)
    )


def _chunks(part: Callable, rays: int, step: int) -> Iterator:
    """Parts of `step` rays; all at once where gradients are recorded."""
    step = rays if torch.is_grad_enabled() else step
    return (part(i, min(i + step, rays)) for i in range(0, rays, step))
