"""Make the pictures of README.md with the built-in model: docs/pictures/{heads,multiview,epi}.png and turning.gif.

python docs/make_pictures.py [--ckpt demo]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gramhd_core.checkpoints.checkpoint import load_generator
from gramhd_core.generators.generator import Generator
from gramhd_core.outputs.images import sheet
from gramhd_core.outputs.sample import sample
from gramhd_core.outputs.sample_request import SampleRequest
from gramhd_core.outputs.shots import joined, latent_of_seed, render_shots
from gramhd_core.outputs.trajectories import orbit

PICTURES = Path(__file__).parent / "pictures"
LARGEST = 300_000  # bytes of a committed picture
SEEDS, COLUMNS = range(24), 8
TURNS, FRAMES, FRAME_MS = range(3), 24, 90  # heads of the loop side by side


def main(ckpt: str) -> None:
    generator = load_generator(ckpt)
    quarters = torch.tensor([-0.45, -0.15, 0.15, 0.45])
    heads = [pictures(generator, seed, generator.cameras.at(0.0, quarters[seed % 4], size=112)) for seed in SEEDS]
    save(Image.fromarray(sheet(np.concatenate(heads), columns=COLUMNS)), PICTURES / "heads.png")
    path = orbit(generator.cameras, size=112, frames=FRAMES, yaw=0.45)
    turning = np.concatenate([pictures(generator, seed, path) for seed in TURNS], axis=2)
    frames = [Image.fromarray(frame) for frame in turning]
    palette = Image.fromarray(np.concatenate(turning[::8])).quantize(63)
    small = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    loop = {"save_all": True, "append_images": small[1:], "duration": FRAME_MS, "loop": 0, "optimize": True}
    small[0].save(PICTURES / "turning.gif", **loop)
    check(PICTURES / "turning.gif")
    for view, size, seed in (("multiview3x7", 128, 3), ("epi", 256, 3)):
        with tempfile.TemporaryDirectory() as folder:
            done = sample(generator, SampleRequest((seed,), view=view, size=size), Path(folder))
            save(Image.open(done.files[0].path).convert("RGB"), PICTURES / f"{view.removesuffix('3x7')}.png")


@torch.no_grad()
def pictures(generator: Generator, seed: int, cameras) -> np.ndarray:
    """uint8 [V, S, S, 3]: one head from all cameras."""
    scene = generator.scene(latent_of_seed(generator, seed, truncation=1.0)[0])
    return joined(list(render_shots(scene, cameras))).rgb


def save(picture: Image.Image, path: Path) -> None:
    """As a PNG; of 256 colours if it is too large with all of them."""
    picture.save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        picture.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    check(path)


def check(path: Path) -> None:
    """Committed files stay small."""
    assert path.stat().st_size <= LARGEST, f"{path} has {path.stat().st_size} bytes"
    print(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt", default="demo")
    main(parser.parse_args().ckpt)
