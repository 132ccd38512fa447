"""A page of samples with the axes of the head drawn where its label says they are: wrong labels jump to the eye.

Red is x (the picture's right for a frontal head), green y (up), blue z (out of the face, so a dot when frontal); the
landmarks of heads that were found in photographs are yellow. Tiles are sorted by yaw, the camera moving from -x to +x;
captions are in radians. S is the side of a tile in pixels, K a number of landmarks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.image_files import open_files
from gramhd_core.data.labels import POSE_FILE, read_labels
from gramhd_core.data.pose_conversions import Pose, camera_from_pose
from gramhd_core.files import atomic

SHEET_FILE = "contact_sheet.png"
COLUMNS, ROWS = 8, 5
TILES = (128, 96, 64)  # sides to try until the file is small enough
MAX_BYTES = 300_000
AXIS_COLOURS = ((235, 60, 50), (50, 200, 70), (60, 110, 255))
LANDMARK_COLOUR = (255, 235, 60)
FEW = 12  # landmarks, drawn larger
AXIS_LENGTH = 0.55  # of half the width of the picture at the head
OVERSAMPLING = 3  # lines are drawn this much larger and scaled down: smooth edges


def axes_in_picture(pose: Pose, *, size: int) -> Tensor:
    """[4, 3] the head's centre and the tips of its x, y and z axes: column, row, distance from the camera."""
    camera = camera_from_pose(pose, size=size)
    half_width = pose.radius * math.tan(math.radians(pose.fov_degrees) / 2)
    points = torch.cat([torch.zeros(1, 3), AXIS_LENGTH * half_width * torch.eye(3)]).double()
    return torch.cat([camera.project(points[None])[0], (points - camera.position).norm(dim=-1, keepdim=True)], dim=-1)


def draw_axes(image: Tensor, pose: Pose, landmarks: NDArray[np.float64] | None = None) -> Image.Image:
    """uint8 [3, S, S], its pose and, if known, landmarks [K, 2] in pixels -> the picture with axes and a caption."""
    size, scale = image.shape[-1], OVERSAMPLING
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(
        (size * scale, size * scale), Image.Resampling.BICUBIC
    )
    draw = ImageDraw.Draw(picture)
    landmarks = np.zeros((0, 2)) if landmarks is None else landmarks
    for x, y in (scale * landmarks[np.isfinite(landmarks).all(axis=1)]).tolist():
        r = max(1.0, size / 128) * scale * (0.6 if len(landmarks) > FEW else 1.6)
        draw.ellipse([x - r, y - r, x + r, y + r], fill=LANDMARK_COLOUR)
    centre, *tips = (scale * axes_in_picture(pose, size=size)).tolist()
    width = max(1, size // 48) * scale
    far_to_near = sorted(zip(tips, AXIS_COLOURS, strict=True), key=lambda axis: -axis[0][2])
    for tip, colour in far_to_near:
        ends = [*centre[:2], *tip[:2]]
        draw.line(ends, fill=(20, 20, 20), width=width + scale)
        draw.line(ends, fill=colour, width=width)
        r = width
        draw.ellipse(
            [tip[0] - r, tip[1] - r, tip[0] + r, tip[1] + r], fill=colour, outline=(20, 20, 20), width=scale // 2
        )
    font = ImageFont.load_default(size=max(8, size // 11) * scale)
    caption = f"yaw {round(pose.yaw, 2) + 0.0:+.2f}  pitch {round(pose.pitch, 2) + 0.0:+.2f}"  # no -0.00
    place = (size * scale // 2, (size - 2) * scale)
    draw.text(place, caption, fill="white", font=font, anchor="md", stroke_width=scale, stroke_fill=(20, 20, 20))
    return picture.resize((size, size), Image.Resampling.LANCZOS)


def contact_sheet(
    samples: Sequence[tuple[Tensor, Pose, NDArray[np.float64] | None]], *, columns: int = COLUMNS
) -> Image.Image:
    """Samples (uint8 [3, S, S], pose, landmarks or None), in the order given, row by row."""
    size = samples[0][0].shape[-1]
    columns = min(columns, len(samples))
    sheet = Image.new("RGB", (columns * size, -(-len(samples) // columns) * size), "white")
    for i, sample in enumerate(samples):
        sheet.paste(draw_axes(*sample), (i % columns * size, i // columns * size))
    return sheet


def write_contact_sheet(data: Path | str, path: Path | str) -> None:
    """Samples from all over a data set, sorted by yaw, as a PNG of at most `MAX_BYTES`, with a palette if need be."""
    poses, landmarks = read_labels(data), _landmarks_of(data)
    for tile in TILES:
        reader = DatasetReader(data, size=tile)
        spread = np.linspace(0, len(reader) - 1, min(COLUMNS * ROWS, len(reader))).round().astype(int).tolist()
        chosen = sorted(spread, key=lambda i: poses[reader.names[i]].yaw)
        scale, names = tile / reader.resolution, [reader.names[i] for i in chosen]
        points = [scale * landmarks[name] if name in landmarks else None for name in names]
        images = [reader.image(i) for i in chosen]
        sheet = contact_sheet(list(zip(images, [poses[name] for name in names], points, strict=True)))
        for picture in (sheet, sheet.quantize(256, dither=Image.Dither.FLOYDSTEINBERG)):
            with atomic(path) as temporary:
                picture.save(temporary, optimize=True)
            if Path(path).stat().st_size <= MAX_BYTES:
                return


def _landmarks_of(data: Path | str) -> dict[str, NDArray[np.float64]]:
    """Image name -> [K, 2] pixels of the image, NaN where unknown; of images that were found in photographs."""
    files = open_files(data)
    lines = files.read(POSE_FILE).decode("utf-8", errors="replace") if POSE_FILE in files.sizes else ""
    records = [json.loads(line) for line in lines.splitlines() if line.strip()]
    return {
        record["name"]: np.array([point or (np.nan, np.nan) for point in record["landmarks"]], dtype=np.float64)
        for record in records
        if record.get("landmarks") and "source" in record
    }


def self_test(data: Path | str, out: Path | str | None = None) -> Path:
    """Draw the axes of the labels on sample images of any data set; by default into `<data>_axes.png` beside it."""
    path = Path(out) if out is not None else Path(data).resolve().with_name(f"{Path(data).resolve().stem}_axes.png")
    write_contact_sheet(data, path)
    return path
