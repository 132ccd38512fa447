"""Photographs of procedural heads as somebody would have taken them: any size, place, tilt and background, and files
that are no use. The truth is returned, not written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gramhd_core.data.head_anatomy import landmarks_of, shape_of
from gramhd_core.data.head_shapes import WORLD_PER_U
from gramhd_core.data.landmarks import IBUG_68, Face, box_of
from gramhd_core.data.procedural_heads import head_and_camera, render_head
from gramhd_core.geometry.camera import Camera

WIDE_DEGREES, RENDERED = 22.0, 256
CROP_SHARE = math.tan(math.radians(6)) / math.tan(
    math.radians(WIDE_DEGREES / 2)
)  # of a rendering: a crop of 12 degrees


class Truth(NamedTuple):
    """What is true about a photograph. landmarks [68, 2], centre, side (of the right crop): pixels; angles: radians."""

    landmarks: NDArray[np.float64]
    pitch: float
    yaw: float
    roll: float
    centre: tuple[float, float]
    side: float


def photograph(
    seed: int, *, width: int = 320, height: int = 240, share: float | None = None, roll: float | None = None
) -> tuple[NDArray[np.uint8], Truth]:
    """Head number `seed`. share: side of its crop, of the shorter side of the photograph; roll: of the camera."""
    rng = np.random.default_rng(seed)
    identity, camera = head_and_camera(seed, size=RENDERED)
    wide = Camera(camera.world_from_camera, camera.fov_degrees * 0 + WIDE_DEGREES, RENDERED, RENDERED)
    view = render_head(identity, wide)
    drawn = rng.uniform(0.6, 1.0), math.radians(rng.uniform(-25, 25))
    side = (drawn[0] if share is None else share) * min(width, height)
    roll = drawn[1] if roll is None else roll
    free = np.maximum(0, np.array([width, height]) / 2 - 0.45 * side)
    centre = np.array([width, height]) / 2 + rng.uniform(-1, 1, 2) * free
    scale = side / (CROP_SHARE * RENDERED)
    turn = scale * np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
    moved = np.column_stack([turn, centre - turn @ [RENDERED / 2, RENDERED / 2]])
    by_index = moved + np.column_stack([np.zeros((2, 2)), turn @ [0.5, 0.5] - 0.5])  # OpenCV counts from pixel centres
    layers = np.dstack([view.image, np.where(view.mask, np.uint8(255), np.uint8(0))])
    layers = cv2.warpAffine(layers, by_index, (width, height), flags=cv2.INTER_AREA).astype(np.float64)
    alpha = layers[..., 3:] / 255
    image = alpha * layers[..., :3] + (1 - alpha) * _background(rng, width, height)
    landmarks = view.landmarks_2d.astype(np.float64) @ moved[:, :2].T + moved[:, 2]
    truth = Truth(landmarks, float(camera.pitch), float(camera.yaw), roll, (float(centre[0]), float(centre[1])), side)
    return image.round().astype(np.uint8), truth


def _background(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float64]:
    cells = rng.uniform(40, 215, (rng.integers(3, 7), rng.integers(3, 7), 3)).astype(np.float32)
    smooth = cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)
    return (smooth + rng.normal(0, 4, (height, width, 3))).clip(0, 255)


class TruthDetector:
    """Finds what is known to be there, off by `noise` pixels, in pictures of any size."""

    scheme, coarse = IBUG_68, False

    def __init__(self, truths: dict[str, list[Truth]], *, noise: float = 0.5):
        self.name, self.truths, self.noise = "truth", truths, noise
        self.widths: dict[str, int] = {}
        self.asked: list[str] = []

    def __call__(self, image: NDArray[np.uint8], *, name: str) -> list[Face]:
        self.asked.append(name)
        factor = image.shape[1] / self.widths.get(name, image.shape[1])
        rng = np.random.default_rng(len(name))
        faces = []
        for truth in self.truths.get(name, []):
            points = factor * (truth.landmarks + rng.normal(0, self.noise, (68, 2)))
            faces.append(Face(IBUG_68, points, np.ones(68), box_of(points)))
        return sorted(faces, key=lambda face: -face.area)


def make_photos(folder: Path, count: int, *, seed: int = 0) -> dict[str, list[Truth]]:
    """`count` photographs of one head each, PNG and JPEG, upright and on their sides."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, truths = np.random.default_rng(seed), {}
    for i in range(count):
        width, height = (int(value) for value in rng.integers(200, 400, 2))
        image, truth = photograph(1000 * seed + i, width=width, height=height)
        name = f"photo{i:03d}.{'jpg' if i % 2 else 'png'}"
        Image.fromarray(image).save(folder / name, quality=92)
        truths[name] = [truth]
    return truths


def make_noise(folder: Path, count: int) -> dict[str, list[Truth]]:
    """Pictures of nothing that stand for photographs of `count` heads: quick, and all that landmarks alone need."""
    folder.mkdir(parents=True, exist_ok=True)
    truths = {}
    for seed in range(count):
        rng, size = np.random.default_rng(seed), 160
        identity, camera = head_and_camera(seed, size=size)
        points = torch.from_numpy(landmarks_of(identity, shape_of(identity)) * WORLD_PER_U).to(camera.world_from_camera)
        name, seen = f"noise{seed:03d}.png", camera.project(points[None])[0].double().numpy()
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(folder / name)
        truths[name] = [Truth(seen, float(camera.pitch), float(camera.yaw), 0.0, (size / 2, size / 2), size)]
    return truths


def make_faulty(folder: Path) -> list[str]:
    """Files of every kind that is no use, whose names sort behind the others."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "zz_text.jpg").write_text("these are words")
    (folder / "zz_empty.png").write_bytes(b"")
    (folder / "zz_phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    (folder / "zz_renamed.jpg").write_bytes(b"\0\0\0\x18ftypmif1" + bytes(64))
    Image.new("RGB", (48, 48), "pink").save(folder / "zz_small.png")
    Image.new("RGB", (200, 150), "grey").save(folder / "zz_wall.jpg")
    whole = folder / "zz_torn.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)).save(whole)
    whole.write_bytes(whole.read_bytes()[:5000])
    return sorted(path.name for path in folder.glob("zz_*"))


def two_heads(folder: Path) -> dict[str, list[Truth]]:
    """One photograph of a large head and a small one beside it."""
    (left, first), (right, second) = photograph(3, width=240, share=0.95), photograph(4, width=240, share=0.6)
    folder.mkdir()
    Image.fromarray(np.hstack([right, left])).save(folder / "two.png")
    moved = first._replace(landmarks=first.landmarks + (240, 0), centre=(first.centre[0] + 240, first.centre[1]))
    return {"two.png": [second, moved]}
