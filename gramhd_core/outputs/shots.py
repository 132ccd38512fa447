"""Looking at one identity: the latent a seed means, and its pictures from any number of cameras.

V views of S x S pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from gramhd_core.errors import BadCheckpoint
from gramhd_core.generators.generator import Generator, Latent
from gramhd_core.geometry.camera import Camera
from gramhd_core.outputs import images
from gramhd_core.scenes.scene import Scene

PIXELS_AT_ONCE = 2**18  # rendered together: 4 views at 256 x 256, 1 at 512 and more


class Shots(NamedTuple):
    """V finished pictures. rgb: uint8 [V, S, S, 3]; alpha: uint8 [V, S, S]; distance: float32 [V, S, S] or None."""

    rgb: np.ndarray
    alpha: np.ndarray
    distance: np.ndarray | None


def latent_of_seed(generator: Generator, seed: int, *, truncation: float) -> tuple[Latent, torch.Generator]:
    """The latent [1] that a seed means everywhere in the house, and its random stream after z was drawn."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randn(1, generator.latent_dim, generator=rng)
    return generator.latent(z.to(device_of(generator)), truncation), rng


def render_shots(scene: Scene, cameras: Camera, *, device: torch.device | str = "cpu") -> Iterator[Shots]:
    """Look at one identity from any number of cameras, a few at a time (see `PIXELS_AT_ONCE`), in order.

    BadCheckpoint for colours that are not finite: 8 bits would hide them.
    """
    step = max(1, PIXELS_AT_ONCE // (cameras.height * cameras.width))
    for start in range(0, len(cameras), step):
        picture = scene.render(cameras[start : start + step].to(device))
        if not picture.rgb.isfinite().all():
            raise BadCheckpoint(
                "a head of this model has colours that are not numbers",
                expected="pictures are made of finite ones",
                remedy="use another checkpoint, training that went wrong leaves such weights",
            )
        distance = None if picture.distance is None else picture.distance[:, 0].detach().float().cpu().numpy()
        yield Shots(images.rgb8(picture.rgb), images.alpha8(picture.alpha), distance)


def joined(parts: list[Shots]) -> Shots:
    """All views in one."""
    distances = [part.distance for part in parts if part.distance is not None]
    return Shots(
        np.concatenate([part.rgb for part in parts]),
        np.concatenate([part.alpha for part in parts]),
        np.concatenate(distances) if distances else None,
    )


def device_of(generator: Generator) -> torch.device:
    """Where the generator's weights are (of a saved scene: its maps)."""
    tensors = [*generator.parameters(), *generator.buffers()] if isinstance(generator, torch.nn.Module) else []
    return tensors[0].device if tensors else torch.device("cpu")
