"""One photograph through all stages, and what to warn of afterwards."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gramhd_core.generators.generator import Generator
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.outputs.inversion.photo_camera import degrees_between, expected_pose, photo_camera
from gramhd_core.outputs.inversion.scores import psnr
from gramhd_core.outputs.inversion.stages import Problem, Stage, into_w, into_w_plus, start
from gramhd_core.outputs.inversion.start import Candidates
from gramhd_core.outputs.inversion.tuning import tune
from gramhd_core.progress import Progress, Silent

POOR = 19.0  # decibels in W: below it the head is hardly one that the model knows (20 held-out ones: 20.1 to 26.2)
FAR = 3.0  # standard deviations of the model's cameras
ASTRAY = 6.0  # degrees from where the landmarks put the camera; they are right to 3.5 in 19 of 20 photographs
UNUSUAL = 2.0  # root mean square of W's coordinates; heads of the model have about 1


class Inversion(NamedTuple):
    """stages: start, w, w+ and, unless it was left out, tuned. generator: the one that makes the last of them."""

    stages: tuple[Stage, ...]
    generator: Generator
    warnings: tuple[str, ...]

    @property
    def last(self) -> Stage:
        """The best reconstruction."""
        return self.stages[-1]


def steps_of(task: Problem, *, tuned: bool = True) -> int:
    """How many steps `invert` takes."""
    c = task.config
    last = c.tune_steps + (c.map_steps if isinstance(task.generator, GramHd) else 0)
    return c.draft_steps + c.w_steps + c.plus_draft_steps + c.plus_steps + (last if tuned else 0)


def invert(
    task: Problem,
    *,
    rng: torch.Generator,
    guesses: Candidates | None = None,
    tuned: bool = True,
    progress: Progress | None = None,
) -> Inversion:
    """Find the photograph's head and camera. Draws (heads to start from, views and heads to guard) come from rng.

    guesses: where to start instead of a search (encoder.py). tuned: whether the weights give way in the end. A progress
    that was started is advanced by `steps_of`. Diverged if a loss is not finite.
    """
    progress = progress or Silent()
    first = start(task, rng=rng, guesses=guesses, progress=progress)
    w = into_w(task, first, progress=progress)
    plus = into_w_plus(task, w, progress=progress)
    stages, generator = [first, w, plus], task.generator
    if tuned:
        done = tune(task, plus, rng=rng, progress=progress)
        stages.append(done.stage)
        generator = done.generator
    return Inversion(tuple(stages), generator, tuple(warnings_of(task, w, plus)))


def warnings_of(task: Problem, w: Stage, plus: Stage) -> list[str]:
    """Sentences, with numbers, about a photograph that is none of the model's: poor, far from its cameras, or an
    unusual head."""
    found = []
    reached = psnr(w.picture.rgb, task.photo)
    if reached < POOR:
        found.append(
            f"the nearest head of the model reaches {reached:.1f} dB (below {POOR:.0f}): the photograph is hardly one "
            "of the heads this model knows, and other views of it are guesses, however good the reconstruction is"
        )
    mean, sd = expected_pose(task.generator.cameras, like=plus.pose)
    pitch, yaw = ((plus.pose - mean) / sd)[0, :2].tolist()
    if max(abs(pitch), abs(yaw)) > FAR:
        found.append(
            f"the camera is {abs(pitch):.1f} standard deviations of the model's pitch and {abs(yaw):.1f} of its yaw "
            f"from the mean (above {FAR:.0f}): the model was trained on other poses"
        )
    if task.known is not None:
        off = degrees_between(photo_camera(plus.pose), photo_camera(task.known))
        if off > ASTRAY:
            found.append(
                f"the camera has moved {off:.1f} degrees from where the landmarks or --camera put it (above "
                f"{ASTRAY:.0f}): the likeness may be that of a head turned another way, and --fix-camera holds it"
            )
    spread = float(plus.w.square().mean().sqrt())
    if spread > UNUSUAL:
        found.append(f"the head is {spread:.1f} standard deviations from the model's mean (usual is 1)")
    return found


def to_photo(image: Tensor) -> Tensor:
    """uint8 [3, S, S] -> [1, 3, S, S] in [-1, 1]."""
    return image[None].float() / 127.5 - 1
