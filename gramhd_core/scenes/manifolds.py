"""RadianceManifolds: the scene this project is about.

N identities, K cameras, R rays, L level sets, M = map side. Maps are stored with y ascending
(row 0 is y = -half_width).
Colours inside a scene are in about [0, 1]; a Rendering is in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.compositing import FrontToBack
from gramhd_core.geometry.level_sets import Hits
from gramhd_core.geometry.rays import Rays, camera_rays
from gramhd_core.networks.predictors import MlpPredictor
from gramhd_core.scenes.scene import Rendering
from gramhd_core.scenes.surfaces import HeightFields, Surfaces, stamp, tabulate
from gramhd_core.scenes.views import (
    Layer,
    RenderConvention,
    View,
    background_coordinate,
    chunks,
    intersect,
    look,
    rendering,
    upsample_view,
)

FADE = 0.1  # width of the soft map border, fraction of half_width
CHUNK_RAYS = 1 << 16  # rays looked up at once when no gradient is recorded
LARGEST = 16.0  # colour that 16-bit steps keep to 1e-3
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
            yield from chunks(view.slice, view.origins.shape[1], CHUNK_RAYS)
        else:
            rays = Rays(*(t.reshape(n, -1, 3) for t in camera_rays(camera, sampling=c.pixel_sampling)))
            for part in chunks(rays.slice, rays.origins.shape[1], CHUNK_RAYS):
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
