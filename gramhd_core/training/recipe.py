"""What one stage brings to the loop: its networks, and how they make fakes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.geometry.camera import Camera
from gramhd_core.training.config import RunConfig
from gramhd_core.training.gan_step import Fakes

Score = Callable[[Gram | GramHd], float]


@dataclass
class Recipe:
    """What one stage adds to the loop. `draw(z [B, z_dim], camera of B) -> Fakes`, by the live weights.

    start: the checkpoint or run that a new training begins with; a training that goes on does not look at it again.
    score: how good a checkpoint's model is, the lower the better; the best one is kept. None: nobody knows which it is.
    """

    config: RunConfig
    generator: Gram | GramHd
    trainable: list[nn.Parameter]
    draw: Callable[[Tensor, Camera], Fakes]
    start: Path | None = None
    score: Score | None = None


@contextlib.contextmanager
def initialised_from(seed: int) -> Iterator[None]:
    """New layers made inside draw their weights from `seed`; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
