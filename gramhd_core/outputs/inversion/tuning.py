"""Pivotal tuning: the generator gives way around one latent, and nowhere else.

With the latent of W+ held, the weights learn the photograph (PTI: pivotal tuning), while heads part of the way from
this latent to others stay what they were (PTI: locality regularization). The guard is ours: other views of this
head are held to what they were before, their geometry strongly and their colours weakly, since a photograph says
nothing about them.
"""

from __future__ import annotations

import copy
import time
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from gramhd_core.generators.generator import Generator, Latent
from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.geometry.camera import Camera
from gramhd_core.outputs.inversion.losses import departure
from gramhd_core.outputs.inversion.photo_camera import camera_of
from gramhd_core.outputs.inversion.stages import Problem, Stage, descend
from gramhd_core.progress import Progress
from gramhd_core.scenes.scene import Rendering

REACH = 1.5  # guarded views lie within so many standard deviations of the training cameras
UNIT = 0.02  # world units: a distance that has moved so far counts 1


class Tuned(NamedTuple):
    """The stage, and the generator that makes it."""

    stage: Stage
    generator: Generator


def tuned_names(generator: Generator) -> list[str]:
    """Which weights may move: the field's heads and all of super-resolution but its mapping."""
    assert isinstance(generator, (Gram, GramHd)), f"no rule for {type(generator).__name__}"
    heads = ("field.output_", "low.field.output_", "foreground.", "background.")
    return [name for name, _ in generator.named_parameters() if name.startswith(heads) and ".mapping." not in name]


def tune(task: Problem, pivot: Stage, *, rng: torch.Generator, progress: Progress | None = None) -> Tuned:
    """A copy of the generator that makes the photograph at the pivot's latent and camera. Draws views and heads from
    rng; the task's generator stays as it is."""
    began, c = time.perf_counter(), task.config
    generator = copy.deepcopy(task.generator)
    weights = dict(cast(nn.Module, generator).named_parameters())
    names = tuned_names(generator)
    for name in names:
        weights[name].requires_grad_()
    views = _guarded(task, rng)
    with torch.no_grad():
        kept = _kept(task, pivot.latent, views)
    camera = camera_of(pivot.pose, generator.cameras, size=task.photo.shape[-1])
    count = 0

    def loss() -> Tensor:
        nonlocal count
        scene = generator.scene(pivot.latent)
        total = task.likeness(scene.render(camera).rgb).sum()
        if c.guard:
            view = count % len(kept)
            seen = scene.render(views[view])
            total = total + c.guard * departure(seen, kept[view], depth_unit=UNIT, colour=c.guard_colour).sum()
        if c.locality and count % c.locality_every == 0:
            total = total + c.locality * c.locality_every * _elsewhere(task, generator, pivot.latent, camera, rng)
        count += 1
        return total

    descend([(weights[name], c.tune_rate) for name in names], loss, steps=c.tune_steps, progress=progress)
    cast(nn.Module, generator).requires_grad_(False)
    with torch.no_grad():
        picture = generator.scene(pivot.latent).render(camera)
    stage = pivot._replace(name="tuned", picture=picture, seconds=time.perf_counter() - began)
    return Tuned(stage, generator)


def _guarded(task: Problem, rng: torch.Generator) -> Camera:
    """Views evenly drawn from what the cameras of training saw, at half the photograph's size."""
    prior, n = task.generator.cameras, task.config.guard_views
    u = (2 * torch.rand(n, 2, generator=rng) - 1).to(task.photo)
    pitch = prior.pitch_mean + REACH * prior.pitch_sd * u[:, 0]
    yaw = prior.yaw_mean + REACH * prior.yaw_sd * u[:, 1]
    return prior.at(pitch, yaw, size=max(8, task.photo.shape[-1] // 2))


def _kept(task: Problem, latent: Latent, views: Camera) -> list[Rendering]:
    scene = task.generator.scene(latent)
    return [scene.render(views[i]) for i in range(len(views))]


def _elsewhere(task: Problem, generator: Generator, pivot: Latent, camera: Camera, rng: torch.Generator) -> Tensor:
    """A head part of the way to another, before and now, seen small (PTI: locality regularization)."""
    z = torch.randn(1, generator.latent_dim, generator=rng).to(task.photo)
    with torch.no_grad():
        near = pivot.lerp(task.generator.latent(z), task.config.locality_reach)
        small = camera.with_size(max(8, camera.height // 2))
        before = task.generator.scene(near).render(small).rgb
    return (generator.scene(near).render(small).rgb - before).abs().mean()
