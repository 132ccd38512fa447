"""A data set and a finished run, for whoever needs one. Neither may be changed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_runs import lr

from gramhd_core.data.labels import write_eg3d
from gramhd_core.data.pose_conversions import Pose
from gramhd_core.training.train_lr import train_lr


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve coloured squares with poses: training code does not care what they show."""
    folder = tmp_path_factory.mktemp("heads")
    rng = torch.Generator().manual_seed(0)
    poses = {}
    for i in range(12):
        pixels = (torch.rand(8, 8, 3, generator=rng) * 255).to(torch.uint8).numpy()
        Image.fromarray(pixels).resize((32, 32)).save(folder / f"img{i:02d}.png")
        poses[f"img{i:02d}.png"] = Pose(pitch=0.1 * (i % 3 - 1), yaw=0.05 * (i - 6))
    write_eg3d(folder / "dataset.json", poses)
    return folder


@pytest.fixture(scope="session")
def low_run(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six steps of stage 1."""
    out = tmp_path_factory.mktemp("runs") / "lr"
    train_lr(heads, out, config=lr())
    return out
