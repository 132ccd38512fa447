"""One procedural head with everything that is true about it: colours, distance, mask and landmarks.

    python examples/01_procedural_head.py OUT [--seed 3] [--size 256]

Same seed, same head, same bytes. The picture that is written shows, from left to right: the image with its 68
landmarks (red: hidden), the distance (pale is near), the mask of the head.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from gramhd_core.data.procedural_heads import HeadItem, render_item
from gramhd_core.outputs.depth_images import depth_preview
from gramhd_core.outputs.images import save_png, sheet


def main(out: Path, *, seed: int, size: int) -> None:
    item = render_item(seed, size=size)
    view = item.view  # image uint8 [S, S, 3]; distance float32 [S, S] in world units; mask bool [S, S]
    print(
        f"seed {seed}: pitch {item.pitch:+.3f}, yaw {item.yaw:+.3f} rad; {view.visible.sum()} landmarks of 68 in sight"
    )
    on_head = view.distance[view.mask]
    print(f"the head is {on_head.min():.3f} to {on_head.max():.3f} world units away; the camera is 1 from its middle")

    far = view.distance.max()
    tiles = [
        with_landmarks(item),
        depth_preview(view.distance[None], (float(on_head.min()), float(far)))[0],
        view.mask[..., None].repeat(3, axis=-1).astype(np.uint8) * 255,
    ]
    save_png(out / f"head{seed:04d}.png", sheet(np.stack(tiles), columns=3, gap=4))
    print(out / f"head{seed:04d}.png")


def with_landmarks(item: HeadItem) -> np.ndarray:
    """The image with a dot per landmark; x runs right, y down, the first pixel's centre is at (0.5, 0.5)."""
    image = item.view.image.copy()
    for (x, y), seen in zip(item.view.landmarks_2d, item.view.visible, strict=True):
        if 0 <= x < len(image) and 0 <= y < len(image):
            image[max(int(y) - 1, 0) : int(y) + 1, max(int(x) - 1, 0) : int(x) + 1] = (
                (255, 255, 255) if seen else (255, 0, 0)
            )
    return image


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--size", type=int, default=256)
    arguments = parser.parse_args()
    main(arguments.out, seed=arguments.seed, size=arguments.size)
