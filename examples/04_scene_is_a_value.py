"""A scene is a value: the network runs once per identity, every further view only looks at it.

    python examples/04_scene_is_a_value.py OUT [--ckpt runs/hr] [--views 21] [--size 64]

Without --ckpt the networks of the preset `demo` are taken with random weights: no heads, but the same cost.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from gramhd_core.checkpoints.checkpoint import load_generator
from gramhd_core.generators import FAMILIES
from gramhd_core.outputs.images import rgb8, save_png, sheet
from gramhd_core.outputs.sample import latent_of_seed
from gramhd_core.training.presets import run_config


@torch.no_grad()
def main(out: Path, *, ckpt: Path | None, views: int, size: int) -> None:
    if ckpt is None:
        kind, _ = FAMILIES["gram-hd"]
        generator = kind(run_config("demo", "hr", []).generator).eval()
    else:
        generator = load_generator(ckpt)

    latent, _ = latent_of_seed(generator, 0, truncation=0.7)
    started = time.perf_counter()
    scene = generator.scene(latent)  # the expensive step
    made = time.perf_counter()
    cameras = generator.cameras.at(0.0, torch.linspace(-0.4, 0.4, views), size=size)
    pictures = scene.render(cameras)  # rgb [views, 3, S, S], alpha and distance [views, 1, S, S]
    seen = time.perf_counter()
    print(f"scene: {made - started:.3f} s, once; each of {views} views: {(seen - made) / views:.4f} s")

    again = scene.render(cameras[0])  # a value: nothing that was rendered before changes it
    assert torch.allclose(again.rgb, pictures.rgb[:1], atol=1e-5)
    save_png(out / "views.png", sheet(rgb8(pictures.rgb), columns=7))
    print(out / "views.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--ckpt", type=Path)
    parser.add_argument("--views", type=int, default=21)
    parser.add_argument("--size", type=int, default=64)
    arguments = parser.parse_args()
    main(arguments.out, ckpt=arguments.ckpt, views=arguments.views, size=arguments.size)
