"""Heads made of two: the shape and colours of one, the finish of another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from gramhd_core.checkpoints.saved_latent import latent_space
from gramhd_core.errors import BadArgument
from gramhd_core.generators.generator import Generator, Latent
from gramhd_core.outputs import images, trajectories
from gramhd_core.outputs.edit import Subject, captioned, check_size, pictures_of
from gramhd_core.progress import Progress, Silent


@torch.no_grad()
def mix(
    generator: Generator,
    rows: Sequence[Subject],
    columns: Sequence[Subject],
    out: Path | str,
    *,
    from_layer: int | None = None,
    size: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write mix.png: the field of every row with the super-resolution style of every column, seen from the front
    (StyleGAN: style mixing). The top row and the left column are the heads themselves.

    from_layer: FiLM layers from this one on (0: the first) come from the column as well. BadArgument: nothing to mix.
    """
    latent_space(generator)
    progress = progress or Silent()
    layers, styles = rows[0].latent.film.shape[1], rows[0].latent.style.shape[1]
    if from_layer is None and not styles:
        raise BadArgument(
            "a mix of styles was asked for",
            expected="this model has no super-resolution style",
            remedy=f"mix its field instead: --from-layer 1 to {layers - 1}",
        )
    if from_layer is not None and not 0 <= from_layer < layers:
        raise BadArgument(
            f"--from-layer {from_layer}", expected=f"the field has layers 0 to {layers - 1}", remedy="use one of them"
        )
    check_size(size)
    camera = trajectories.frontal(generator.cameras, size=size or generator.image_size)

    def seen(latent: Latent, name: str) -> np.ndarray:
        progress.advance(1, name)
        return pictures_of(generator, latent, camera)[0]

    progress.start("mixing", (len(rows) + 1) * (len(columns) + 1) - 1)
    heads = [seen(subject.latent, subject.name) for subject in columns]
    tiles = [np.full_like(heads[0], 255), *heads]
    for row in rows:
        tiles.append(seen(row.latent, row.name))
        for column in columns:
            mixed = mixture(row.latent, column.latent, from_layer=from_layer)
            tiles.append(seen(mixed, row.name))
    progress.finish()
    path = Path(out) / "mix.png"
    names = [["", *(subject.name for subject in side)] for side in (rows, columns)]
    images.save_png(path, captioned(np.stack(tiles), names[0], names[1]))
    return path


def mixture(coarse: Latent, fine: Latent, *, from_layer: int | None = None) -> Latent:
    """film of `coarse` up to `from_layer` (None: all of it) and of `fine` from there on; style of `fine`."""
    cut = coarse.film.shape[1] if from_layer is None else from_layer
    return Latent(torch.cat([coarse.film[:, :cut], fine.film[:, cut:]], dim=1), fine.style)
