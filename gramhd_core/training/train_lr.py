"""Stage 1 (GRAM): field and manifold predictor, trained on rays of low-resolution images."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from gramhd_core.generators.gram import Gram, GramConfig
from gramhd_core.geometry.camera import Camera
from gramhd_core.progress import Progress
from gramhd_core.training.config import RunConfig
from gramhd_core.training.gan_step import Fakes
from gramhd_core.training.loop import train
from gramhd_core.training.recipe import Recipe, initialised_from
from gramhd_core.world import ALONE, World


def train_lr(
    data: Path,
    out: Path,
    *,
    config: RunConfig,
    start: Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    world: World = ALONE,
) -> Path:
    """Train (or go on training) stage 1 on `data` in the run folder `out`. Returns the newest checkpoint.

    start: a stage-1 checkpoint whose weights a new run begins with, typically of smaller images: a field has
    no resolution of its own, so it grows by changing generator.image_size.
    """
    return train(recipe_lr(config, start), data, out, device=device, progress=progress, world=world)


def recipe_lr(config: RunConfig, start: Path | None = None) -> Recipe:
    """Networks initialised from `train.seed`, how they make fakes, and what the weights are then taken from."""
    assert isinstance(config.generator, GramConfig)
    with initialised_from(config.train.seed):
        generator = Gram(config.generator)

    def draw(z: Tensor, camera: Camera) -> Fakes:
        picture = generator.field_scene(generator.latent(z)).render(camera)
        return Fakes(picture.rgb, torch.stack([camera.pitch, camera.yaw], dim=1), {})

    return Recipe(config, generator, list(generator.parameters()), draw, start)
