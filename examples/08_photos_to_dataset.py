"""Photographs become a data set: landmarks give the pose, the pose gives the crop, what is no use has its reason.

    python examples/08_photos_to_dataset.py OUT [--photos 24]

The photographs are made here, of procedural heads, tilted and off-centre, with a file of words among them. Their
landmarks are known and written to a CSV; for photographs of your own use a detector (`gramhd prep-data --landmarks`).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from gramhd_core.data.photo_request import PhotoRequest
from gramhd_core.data.photos import prepare_photos
from gramhd_core.data.procedural_heads import render_item
from gramhd_core.data.subjects import PROCEDURAL_HEADS


def photograph(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A head somewhere in a picture of 320 x 240, and its 68 landmarks in pixels."""
    rng, view = np.random.default_rng(seed), render_item(seed, size=160).view
    matrix = cv2.getRotationMatrix2D((80, 80), rng.uniform(-20, 20), rng.uniform(0.8, 1.3))
    matrix[:, 2] += (80, 40) + rng.uniform(-30, 30, 2)
    colour = tuple(int(value) for value in rng.integers(60, 200, 3))
    picture = cv2.warpAffine(view.image, matrix, (320, 240), borderValue=colour)
    return picture, view.landmarks_2d @ matrix[:, :2].T + matrix[:, 2]


def main(out: Path, photos: int) -> None:
    folder, lines = out / "photos", []
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(photos):
        picture, landmarks = photograph(seed)
        Image.fromarray(picture).save(folder / f"photo{seed:03d}.jpg", quality=92)
        lines.append(",".join([f"photo{seed:03d}.jpg", *(f"{value:.1f}" for value in landmarks.ravel())]))
    (folder / "words.jpg").write_text("not a photograph")
    (out / "landmarks.csv").write_text("\n".join(lines) + "\n")

    request = PhotoRequest(PROCEDURAL_HEADS, landmark_file=out / "landmarks.csv", size=64, prior="measured")
    made = prepare_photos(folder, out / "set", request=request)
    about = json.loads((made.out / "about.json").read_text())
    print(f"{made.images} heads of {about['photos']} photographs; left out: {about['reasons']}")
    print(f"yaw {about['yaw']['mean']:+.2f} +- {about['yaw']['sd']:.2f} rad, training draws {about['cameras']}")
    print(f"look at {made.contact_sheet}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--photos", type=int, default=24)
    arguments = parser.parse_args()
    main(arguments.out, arguments.photos)
