"""One HTML file in which heads turn: no server, no network, no GPU.

    python examples/07_page_of_heads.py OUT [--ckpt runs/hr] [--heads 3] [--size 256]

Without --ckpt the heads are procedural ones, painted on 24 surfaces.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

from gramhd_core.checkpoints.checkpoint import load_generator
from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.outputs.shots import latent_of_seed
from gramhd_core.outputs.viewer import write_viewer
from gramhd_core.scenes.head_manifolds import head_manifolds
from gramhd_core.scenes.scene import Scene


@torch.no_grad()
def main(out: Path, *, ckpt: Path | None, heads: int, size: int) -> None:
    generator = None if ckpt is None else load_generator(ckpt)

    def scenes() -> Iterator[Scene]:  # one at a time: a page of many heads needs the memory of one
        for seed in range(heads):
            if generator is None:
                yield head_manifolds(HeadIdentity.from_seed(seed), size=size)
            else:
                yield generator.scene(latent_of_seed(generator, seed, truncation=0.7)[0])

    cameras = CameraPrior() if generator is None else generator.cameras
    names = [f"Seed {seed}" for seed in range(heads)]
    page = write_viewer(scenes(), names, out / "heads.html", cameras=cameras, size=size)
    print(f"{page.identities} heads, {page.size / 1e6 / page.identities:.2f} MB each: open it in a browser")
    print(page.path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--ckpt", type=Path)
    parser.add_argument("--heads", type=int, default=3)
    parser.add_argument("--size", type=int, default=256)
    arguments = parser.parse_args()
    main(arguments.out, ckpt=arguments.ckpt, heads=arguments.heads, size=arguments.size)
