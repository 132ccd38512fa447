"""Whoever is looked at from many sides: heads of a model, folders of views, and analytic heads as the ceiling.

V views of S x S pixels. A sitter holds still; metrics of consistency ask for views and do not know who it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.metrics.evaluation import Evaluation
from gramhd_core.metrics.scores import Picture
from gramhd_core.metrics.views import ViewSet, around, views_of_head, views_of_scene
from gramhd_core.outputs import trajectories
from gramhd_core.outputs.shots import device_of, latent_of_seed

SHEET = (3, 5)  # rows, columns of a sheet of views
SHEET_SIDE = 128  # pixels of one of them


class Sitter(NamedTuple):
    """name; look: cameras -> what they see (a folder of views has one set, whatever is asked for); cameras: its prior,
    None of folders; size: side of its pictures."""

    name: str
    look: Callable[[Camera], ViewSet]
    cameras: CameraPrior | None
    size: int

    def around(self, *, size: int | None = None) -> ViewSet:
        """The views of the paper's test, at this size or its own."""
        if self.cameras is None:
            return shrunk(self.look(Camera.orbit(torch.zeros(1), torch.zeros(1), size=self.size)), size)
        return shrunk(self.look(around(self.cameras, size=self.size)), size)

    def front(self) -> ViewSet:
        """One view from the mean pose; of a folder of views all of them."""
        return self.look(trajectories.frontal(self.cameras, size=self.size)) if self.cameras else self.around()

    def sweep(self, *, steps: int) -> ViewSet:
        """Level views in small steps; of a folder those of its sweep, or its views, whatever they are."""
        if self.cameras is None:
            return strip_of(self.around())
        return self.look(trajectories.epi(self.cameras, size=self.size, steps=steps))


def sitter(evaluation: Evaluation, place: int) -> Sitter:
    """An identity that is judged: of the views that were given, or the model's seed."""
    if evaluation.views:
        views = evaluation.views[place]
        return Sitter(views.name, lambda _: views, None, views.cameras.width)
    generator, device = evaluation.generator, device_of(evaluation.generator)
    with torch.no_grad():
        scene = generator.scene(latent_of_seed(generator, place, truncation=evaluation.request.truncation)[0])

    def look(cameras: Camera) -> ViewSet:
        return views_of_scene(scene, cameras, name=f"seed {place}", device=device)

    return Sitter(f"seed {place}", look, generator.cameras, evaluation.size)


def heads_of_data(evaluation: Evaluation) -> Sequence[int]:
    """Seeds of the heads of the data set; none unless it has procedural heads."""
    return (evaluation.head_seeds or ()) if "heads" in evaluation.given else ()


def analytic(evaluation: Evaluation, place: int) -> Sitter:
    """A head of the data set, drawn by the very code that made it, as the judged ones are seen."""
    seed = heads_of_data(evaluation)[place]
    size = evaluation.views[0].cameras.width if evaluation.views else evaluation.size
    cameras = CameraPrior() if evaluation.views else evaluation.generator.cameras

    def look(cameras: Camera) -> ViewSet:
        return views_of_head(HeadIdentity.from_seed(seed), cameras, name=f"head {seed}")

    return Sitter(f"head {seed}", look, cameras, size)


def strip_of(views: ViewSet) -> ViewSet:
    """The views in small steps that came with those of a folder, or these."""
    return views if views.sweep is None else views.sweep


def shrunk(views: ViewSet, size: int | None) -> ViewSet:
    """Views of fewer pixels: each the mean of those it covers, as a camera of fewer pixels sees them. Distances are
    left out: a mean of distances is none. Views that are as small already stay as they are."""
    if size is None or size >= views.cameras.width:
        return views

    def smaller(images: Tensor) -> Tensor:
        return F.interpolate(images, size=(size, size), mode="area")

    rgb = smaller(views.rgb.float()).round().clamp(0, 255).byte()
    alpha = None if views.alpha is None else smaller(views.alpha[:, None])[:, 0]
    return ViewSet(views.name, views.cameras.with_size(size), rgb, alpha)


def sheet(views: ViewSet, caption: str) -> Picture:
    """Some of the views in rows."""
    rows, columns = SHEET
    count = min(rows * columns, len(views.rgb))
    places = torch.linspace(0, len(views.rgb) - 1, count).round().long()
    small = shrunk(views, SHEET_SIDE).rgb[places]
    blank = torch.full((rows * columns - count, *small.shape[1:]), 128, dtype=torch.uint8)
    return Picture(tiled(torch.cat([small, blank]), columns), caption)


def tiled(images: Tensor, columns: int) -> np.ndarray:
    """uint8 [n, 3, S, S] with n a multiple of `columns` -> uint8 [rows S, columns S, 3]."""
    n, _, side, _ = images.shape
    grid = images.reshape(n // columns, columns, 3, side, side).permute(0, 3, 1, 4, 2)
    return grid.reshape(n // columns * side, columns * side, 3).contiguous().numpy()
