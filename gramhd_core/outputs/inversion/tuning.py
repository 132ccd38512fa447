"""Pivotal tuning: the generator gives way around one latent, and nowhere else.

With the latent of W+ held, the weights learn the photograph (PTI: pivotal tuning), while heads part of the way from
this latent to others stay what they were (PTI: locality regularization). Then the surfaces themselves take what is left
of it: this head's maps get offsets (networks/map_offsets.py), which is quick since no network runs.

The guard is ours: it looks from other sides. The geometry there is held to what it was before. Colours are held to the
photograph's where it shows the same point of the head, by the distances from before tuning, and to what they were where
it does not: so that freckles land on the surface that is seen, and nothing grows where the photograph is silent.
V guarded views of s x s pixels, half the photograph's side S.
"""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gramhd_core.generators.generator import Generator, Latent
from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.rays import camera_rays
from gramhd_core.outputs.inversion.losses import departure
from gramhd_core.outputs.inversion.photo_camera import camera_of
from gramhd_core.outputs.inversion.stages import Problem, Stage, descend
from gramhd_core.progress import Progress
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.scene import Rendering, Scene

REACH = 1.5  # guarded views lie within so many standard deviations of the training cameras
UNIT = 0.02  # world units: a distance that has moved so far counts 1
HIDDEN = 0.01  # world units: farther than this behind what the photograph shows there, a point is hidden in it
EDGE = 0.02  # world units: where distances of neighbours differ by more, colours are left alone
LARGEST_OFFSETS = 512  # cells: the side of offsets, where maps are larger
BACKGROUND = 0.1  # share of map_rate: what can be on the head shall not be on the wall behind it


class Tuned(NamedTuple):
    """The stage, and the generator that makes it."""

    stage: Stage
    generator: Generator


class Guard(NamedTuple):
    """cameras: [V]; kept: what each saw before tuning; colours: [V, 3, s, s], what each should see; counts:
    [V, 1, s, s] in {0, 1}, where that is known."""

    cameras: Camera
    kept: list[Rendering]
    colours: Tensor
    counts: Tensor

    def loss(self, scene: Scene, view: int, *, colour: float) -> Tensor:
        """[1] what one view has lost, colours `colour` times."""
        view %= len(self.kept)
        seen = scene.render(self.cameras[view])
        off = (seen.rgb - self.colours[view : view + 1]).abs() * self.counts[view : view + 1]
        return departure(seen, self.kept[view], depth_unit=UNIT) + colour * off.mean(dim=(1, 2, 3))


def tuned_names(generator: Generator) -> list[str]:
    """Which weights may move: the field's heads and all of super-resolution but its mapping."""
    assert isinstance(generator, (Gram, GramHd)), f"no rule for {type(generator).__name__}"
    heads = ("field.output_", "low.field.output_", "foreground.", "background.")
    return [name for name, _ in generator.named_parameters() if name.startswith(heads) and ".mapping." not in name]


def tune(task: Problem, pivot: Stage, *, rng: torch.Generator, progress: Progress | None = None) -> Tuned:
    """A copy of the generator that makes the photograph at the pivot's latent and camera. Draws views and heads from
    rng; the task's generator stays as it is. Generators without super-resolution have no maps to give offsets to."""
    began = time.perf_counter()
    generator = copy.deepcopy(task.generator)
    camera = camera_of(pivot.pose, generator.cameras, size=task.photo.shape[-1])
    with torch.no_grad():
        guard = guard_of(task, generator.scene(pivot.latent), camera, rng=rng)
    _tune_weights(task, pivot, generator, guard, rng=rng, progress=progress)
    if isinstance(generator, GramHd):
        _tune_maps(task, pivot, generator, guard, progress=progress)
    with torch.no_grad():
        picture = generator.scene(pivot.latent).render(camera)
    stage = pivot._replace(name="tuned", picture=picture, seconds=time.perf_counter() - began)
    return Tuned(stage, generator)


def _tune_weights(
    task: Problem,
    pivot: Stage,
    generator: Generator,
    guard: Guard,
    *,
    rng: torch.Generator,
    progress: Progress | None,
) -> None:
    c, count = task.config, 0
    weights = dict(cast(nn.Module, generator).named_parameters())
    moved = [weights[name].requires_grad_() for name in tuned_names(generator)]
    camera = camera_of(pivot.pose, generator.cameras, size=task.photo.shape[-1])

    def loss() -> Tensor:
        nonlocal count
        scene = generator.scene(pivot.latent)
        total = task.likeness(scene.render(camera).rgb).sum()
        if c.guard:
            total = total + c.guard * guard.loss(scene, count, colour=c.guard_colour).sum()
        if c.locality and count % c.locality_every == 0:
            total = total + c.locality * c.locality_every * _elsewhere(task, generator, pivot.latent, camera, rng)
        count += 1
        return total

    descend([(weight, c.tune_rate) for weight in moved], loss, steps=c.tune_steps, progress=progress)
    cast(nn.Module, generator).requires_grad_(False)


def _tune_maps(task: Problem, pivot: Stage, generator: GramHd, guard: Guard, *, progress: Progress | None) -> None:
    c, count = task.config, 0
    with torch.no_grad():
        before = generator.scene(pivot.latent)
    offsets = generator.give_offsets(pivot.latent, side=min(LARGEST_OFFSETS, generator.image_size))
    camera = camera_of(pivot.pose, generator.cameras, size=task.photo.shape[-1])

    def made() -> RadianceManifolds:
        maps, background = offsets(before.maps, before.background)
        return replace(before, maps=maps, background=background)

    def loss() -> Tensor:
        nonlocal count
        scene = made()
        total = task.likeness(scene.render(camera).rgb).sum()
        if c.guard:
            total = total + c.guard * guard.loss(scene, count, colour=c.guard_colour).sum()
        count += 1
        return total

    groups: list[tuple[Tensor, float]] = [
        (offsets.maps, c.map_rate),
        (offsets.background, BACKGROUND * c.map_rate),
    ]
    descend(groups, loss, steps=c.map_steps, progress=progress)
    generator.requires_grad_(False)


def guard_of(task: Problem, scene: Scene, photo_camera: Camera, *, rng: torch.Generator) -> Guard:
    """Views evenly drawn from what the cameras of training saw, and what they should show."""
    prior, n = task.generator.cameras, task.config.guard_views
    u = (2 * torch.rand(n, 2, generator=rng) - 1).to(task.photo)
    cameras = prior.at(
        prior.pitch_mean + REACH * prior.pitch_sd * u[:, 0],
        prior.yaw_mean + REACH * prior.yaw_sd * u[:, 1],
        size=max(8, task.photo.shape[-1] // 2),
    )
    kept = [scene.render(cameras[i]) for i in range(n)]
    shown = scene.render(photo_camera)
    found = [_expected(task.photo, shown, photo_camera, cameras[i], kept[i]) for i in range(n)]
    colours, counts = (torch.cat(parts) for parts in zip(*found, strict=True))
    return Guard(cameras, kept, colours, counts)


def _expected(
    photo: Tensor, shown: Rendering, photo_camera: Camera, camera: Camera, kept: Rendering
) -> tuple[Tensor, Tensor]:
    """Colours [1, 3, s, s] of one guarded view, and where they count [1, 1, s, s]."""
    if kept.distance is None or shown.distance is None:
        return kept.rgb, torch.ones_like(kept.alpha)
    side, rays = camera.height, camera_rays(camera)
    points = rays.origins + rays.directions * kept.distance.reshape(1, -1, 1)  # [1, s s, 3]
    away = (points - photo_camera.position[:, None]).norm(dim=-1)
    grid = (2 * photo_camera.project(points) / photo_camera.width - 1)[:, None]  # [1, 1, s s, 2]
    there = torch.cat([photo, shown.distance], dim=1)
    there = F.grid_sample(there, grid, padding_mode="border", align_corners=False).reshape(1, 4, side, side)
    inside = (grid[:, 0].abs() < 1).all(dim=-1).reshape(1, 1, side, side)
    is_shown = inside & ((away.reshape(1, 1, side, side) - there[:, 3:]).abs() < HIDDEN)
    step = F.max_pool2d(kept.distance, 3, 1, 1) + F.max_pool2d(-kept.distance, 3, 1, 1)
    is_edge = F.max_pool2d((step > EDGE).float(), 3, 1, 1) > 0
    colours = torch.where(is_shown, there[:, :3], kept.rgb)
    return colours, (~(is_shown & is_edge)).to(colours)


def _elsewhere(task: Problem, generator: Generator, pivot: Latent, camera: Camera, rng: torch.Generator) -> Tensor:
    """A head part of the way to another, before and now, seen small (PTI: locality regularization)."""
    z = torch.randn(1, generator.latent_dim, generator=rng).to(task.photo)
    with torch.no_grad():
        near = pivot.lerp(task.generator.latent(z), task.config.locality_reach)
        small = camera.with_size(max(8, camera.height // 2))
        before = task.generator.scene(near).render(small).rgb
    return (generator.scene(near).render(small).rgb - before).abs().mean()
