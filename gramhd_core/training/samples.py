"""The sheet by which a run is watched: the same seeds from the same cameras, again and again."""

from __future__ import annotations

from pathlib import Path

import torch

from gramhd_core.generators.gram import Gram
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.outputs.images import rgb8, save_png, sheet
from gramhd_core.training.alarms import Look, variety

SEEDS = 8
YAWS = (-0.4, 0.0, 0.4)  # radians
FRONTAL = 1  # of them
LEAST_SIZE = 64  # samples are shown at least this large: a field can be rendered at any size


@torch.no_grad()
def save_samples(generator: Gram | GramHd, file: Path) -> Look:
    """PNG of fixed seeds, two in a row, x three yaws. Returns what it shows."""
    device = next(generator.parameters()).device
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(SEEDS, generator.latent_dim, generator=rng).to(device)
    size = max(LEAST_SIZE, generator.image_size)
    camera = generator.cameras.at(0.0, torch.tensor(YAWS), size=size).to(device)
    latent = generator.latent(z)
    views = [generator.scene(latent[i]).render(camera) for i in range(SEEDS)]
    save_png(file, sheet(rgb8(torch.cat([view.rgb for view in views]).cpu()), columns=2 * len(YAWS)))
    frontal = torch.stack([view.rgb[FRONTAL] for view in views])
    return Look(variety(frontal), float(torch.stack([view.alpha.mean() for view in views]).mean()))
