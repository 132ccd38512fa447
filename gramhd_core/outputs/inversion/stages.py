"""A photograph into W, then W+, then into weights of its own; the camera moves along.

N candidates; K coordinates of W; poses [N, 6]: see spaces.py and photo_camera.py. The photograph is [1, 3, S, S] in
[-1, 1], S the model's image size. First the best latent, then the generator gives way around it (tuning.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from gramhd_core.configs import at_least
from gramhd_core.errors import Diverged
from gramhd_core.generators.generator import Generator, Latent
from gramhd_core.outputs.inversion.losses import Features, perceptual, pixels, reduced
from gramhd_core.outputs.inversion.photo_camera import camera_of, expected_pose
from gramhd_core.outputs.inversion.spaces import LatentSpaces, spaces_of
from gramhd_core.outputs.inversion.start import Candidates, draft_limit, draft_scene, search
from gramhd_core.progress import Progress, Silent
from gramhd_core.scenes.scene import Rendering

BETAS = (0.9, 0.99)
WARM, COOL = 0.05, 0.4  # shares of a stage in which the step grows, and in which it shrinks to nothing


@dataclass(frozen=True)
class InversionConfig:
    """How long every stage is and what it weighs. Steps are Adam's; latents and poses move in standard deviations."""

    seeds: int = 32  # heads the start is chosen from, beside the mean
    candidates: int = 3  # of them, all improved at draft size before one is taken
    draft_steps: int = 60
    draft_size: int = 32  # pixels and map cells
    w_steps: int = 80
    w_size: int = 64  # pixels and map cells in W and at the beginning of W+
    plus_draft_steps: int = 50  # in W+ before super-resolution
    plus_steps: int = 30  # in W+ with it
    tune_steps: int = 20  # of the weights
    map_steps: int = 40  # of what this head's maps have of their own
    w_rate: float = 0.08  # step of W's coordinates
    plus_rate: float = 0.06  # step of W+'s
    pose_rate: float = 0.08  # step of the pose at draft size; half of it in W; W+ leaves it where it is
    tune_rate: float = 0.003  # step of weights
    map_rate: float = 0.01  # step of maps, whose colours lie in [0, 1]; the background's is a tenth
    latent_prior: float = 0.003  # on the mean square of W's coordinates
    plus_prior: float = 0.003  # on the mean square of what W+ adds
    pose_prior: float = 0.002
    perceptual: float = 0.1
    guard: float = 1.0  # holds the geometry of other views to what it was before tuning
    guard_colour: float = 1.0  # and their colours to the photograph's where it shows them, else to what they were
    guard_views: int = 12
    locality: float = 0.3  # holds heads near this one to what they were (PTI: locality regularization)
    locality_every: int = 4  # steps
    locality_reach: float = 0.3  # of the way to another head

    def __post_init__(self) -> None:
        at_least(self, 1, "seeds", "candidates", "guard_views", "locality_every")
        at_least(self, 0, "draft_steps", "w_steps", "plus_draft_steps", "plus_steps", "tune_steps", "map_steps")
        at_least(self, 8, "draft_size", "w_size")


class Stage(NamedTuple):
    """Where a stage ended. w: [1, K]; latent: of one identity; pose: [1, 6]; picture: as the stage sees the photo."""

    name: str
    w: Tensor
    latent: Latent
    pose: Tensor
    picture: Rendering
    seconds: float


@dataclass(frozen=True)
class Problem:
    """One photograph and the model that shall make it. known: a pose that is not searched for. is_fixed: nor moved."""

    generator: Generator
    photo: Tensor
    spaces: LatentSpaces
    features: Features | None
    config: InversionConfig
    known: Tensor | None = None
    is_fixed: bool = False

    def pose_penalty(self, pose: Tensor) -> Tensor:
        """[N] mean square of a pose in standard deviations: from the known one, or from the model's cameras."""
        mean, sd = expected_pose(self.generator.cameras, like=pose)
        if self.known is not None:
            mean, sd = self.known.to(pose), sd / 3
        return ((pose - mean) / sd).square().mean(dim=1)

    def likeness(self, picture: Tensor) -> Tensor:
        """[N] loss of pictures [N, 3, s, s] against the photograph at their size."""
        photo = reduced(self.photo, picture.shape[-1]).expand(len(picture), -1, -1, -1)
        loss = pixels(picture, photo)
        if self.features is not None and self.config.perceptual:
            loss = loss + self.config.perceptual * perceptual(self.features, picture, photo)
        return loss

    def look(self, latent: Latent, pose: Tensor, *, size: int | None = None) -> Rendering:
        """One identity as the photograph's camera sees it."""
        camera = camera_of(pose, self.generator.cameras, size=size or self.photo.shape[-1])
        return self.generator.scene(latent).render(camera)

    def see(self, latent: Latent, pose: Tensor, *, size: int) -> Tensor:
        """Pictures [N, 3, size, size] of N identities: drafts if `size` is below the photograph's, else as `look`."""
        if size >= self.photo.shape[-1]:
            return self.look(latent, pose).rgb
        scene = draft_scene(self.generator, latent, size=size)
        return scene.render(camera_of(pose, self.generator.cameras, size=size)).rgb


def problem(
    generator: Generator,
    photo: Tensor,
    *,
    config: InversionConfig | None = None,
    features: Features | None = None,
    spaces: LatentSpaces | None = None,
    known: Tensor | None = None,
    is_fixed: bool = False,
) -> Problem:
    """photo: float [1, 3, S, S] in [-1, 1], S the model's image size; known: pose [1, 6]."""
    assert photo.shape == (1, 3, generator.image_size, generator.image_size), photo.shape
    return Problem(
        generator, photo, spaces or spaces_of(generator), features, config or InversionConfig(), known, is_fixed
    )


def start(
    task: Problem,
    *,
    rng: torch.Generator,
    guesses: Candidates | None = None,
    progress: Progress | None = None,
) -> Stage:
    """The best of many heads (drawn with rng), or of guesses (an encoder's), after a few steps at draft size."""
    began, c = time.perf_counter(), task.config
    if guesses is None:
        guesses = search(
            task.generator, task.spaces, task.photo, seeds=c.seeds, keep=c.candidates, known=task.known, rng=rng
        )
    w, pose = guesses.w.clone().requires_grad_(), _Moved(task, guesses.pose)
    size = min(c.draft_size, task.photo.shape[-1])
    small = reduced(task.photo, size)

    def each() -> Tensor:
        picture = task.see(task.spaces.latent(w), pose(), size=size)
        likeness = pixels(picture, small.expand(len(picture), -1, -1, -1))
        return likeness + c.latent_prior * w.square().mean(dim=1) + c.pose_prior * task.pose_penalty(pose())

    groups = [(w, c.w_rate), *pose.group(c.pose_rate)]
    descend(groups, lambda: each().sum(), steps=c.draft_steps, progress=progress)
    with torch.no_grad():
        best = int(each().argmin())
    return finished(task, "start", w[best : best + 1], None, pose()[best : best + 1], began)


def into_w(task: Problem, before: Stage, *, progress: Progress | None = None) -> Stage:
    """The head in W and its camera, as drafts of `w_size`."""
    began, c = time.perf_counter(), task.config
    size = min(c.w_size, draft_limit(task.generator))
    w, pose = before.w.clone().requires_grad_(), _Moved(task, before.pose)

    def loss() -> Tensor:
        picture = task.see(task.spaces.latent(w), pose(), size=size)
        return task.likeness(picture) + c.latent_prior * w.square().mean() + c.pose_prior * task.pose_penalty(pose())

    descend([(w, c.w_rate), *pose.group(c.pose_rate / 2)], loss, steps=c.w_steps, progress=progress)
    return finished(task, "w", w, None, pose(), began)


def into_w_plus(task: Problem, before: Stage, *, progress: Progress | None = None) -> Stage:
    """Every frequency, phase and style by itself, held near W: first as drafts, then with super-resolution. The camera
    stays: with so much freedom it would drift (by 1 to 2 degrees on procedural heads)."""
    began, c = time.perf_counter(), task.config
    w, pose, beside = before.w.clone().requires_grad_(), before.pose, task.spaces.nothing()
    free = [t for t in (beside.film, beside.style) if t.numel()]
    for tensor in free:
        tensor.requires_grad_()

    def loss(size: int) -> Tensor:
        picture = task.see(task.spaces.latent(w, beside), pose, size=size)
        added = torch.cat([tensor.flatten() for tensor in free]).square().mean()
        return task.likeness(picture) + c.latent_prior * w.square().mean() + c.plus_prior * added

    groups = [(w, c.w_rate / 3), *((t, c.plus_rate) for t in free)]
    small = min(c.w_size, draft_limit(task.generator))
    for size, steps in ((small, c.plus_draft_steps), (task.photo.shape[-1], c.plus_steps)):
        descend(groups, partial(loss, size), steps=steps, progress=progress)
    return finished(task, "w+", w, beside, pose, began)


def finished(task: Problem, name: str, w: Tensor, beside: Latent | None, pose: Tensor, began: float) -> Stage:
    """What a stage hands on, without gradients."""
    w, pose = w.detach().clone(), pose.detach().clone()
    with torch.no_grad():
        latent = task.spaces.latent(w, beside)
        latent = Latent(latent.film.detach(), latent.style.detach())
        picture = task.look(latent, pose)
    return Stage(name, w, latent, pose, picture, time.perf_counter() - began)


class _Moved:
    """Poses in standard deviations of what is expected, so that one step suits all six numbers."""

    def __init__(self, task: Problem, pose: Tensor):
        self.mean, self.sd = expected_pose(task.generator.cameras, like=task.photo)
        self.value = ((pose.to(task.photo) - self.mean) / self.sd).detach().clone()
        self.is_free = not task.is_fixed
        if self.is_free:
            self.value.requires_grad_()

    def __call__(self) -> Tensor:
        return self.mean + self.sd * self.value

    def group(self, rate: float) -> list[tuple[Tensor, float]]:
        return [(self.value, rate)] if self.is_free else []


def descend(
    groups: list[tuple[Tensor, float]],
    loss: Callable[[], Tensor],
    *,
    steps: int,
    progress: Progress | None = None,
) -> None:
    """`steps` of Adam on each tensor at its own rate, begun gently and ended at rest. Diverged if the loss is not
    finite."""
    progress = progress or Silent()
    optimiser = torch.optim.Adam([{"params": [tensor], "lr": rate} for tensor, rate in groups], betas=BETAS)
    for step in range(steps):
        share = min(1.0, (step + 1) / max(1.0, WARM * steps), _rest((steps - step) / max(1.0, COOL * steps)))
        for group, (_, rate) in zip(optimiser.param_groups, groups, strict=True):
            group["lr"] = rate * share
        optimiser.zero_grad(set_to_none=True)
        value = loss().sum()
        if not bool(value.isfinite()):
            raise Diverged(
                f"an inversion whose loss is {value.item()} at step {step}",
                expected="it should be a number",
                remedy="lower its rates, like --set w_rate=0.03",
            )
        value.backward()
        optimiser.step()
        progress.advance(note=f"loss {value.item():.3f}")


def _rest(left: float) -> float:
    """1 -> 0 along a half wave as `left`, in units of its length, goes from 1 to 0."""
    return 0.5 - 0.5 * math.cos(math.pi * min(1.0, left))
