"""What the landmark network learns from: procedural heads, thrown into new photographs again and again.

n heads, B pictures of a batch, S x S pixels; K = 68 landmarks in pixels as in `data/landmarks`. Frames and frame units
are those of `data/landmark_network`. Network pictures are in [-1, 1], and 0 outside the photograph.
"""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.image_files import open_files
from gramhd_core.data.labels import POSE_FILE
from gramhd_core.data.landmark_network import COUNT, Frames, crops_of, frames_of
from gramhd_core.data.landmarks import IBUG_68
from gramhd_core.data.procedural_heads import head_and_camera, render_head
from gramhd_core.data.processes import results
from gramhd_core.errors import BadDataset
from gramhd_core.geometry.camera import Camera, CameraPrior
from gramhd_core.progress import Progress, Silent

WIDE_FOV_DEGREES, WIDE_SIZE = 24.0, 208  # a photograph with room around the head
WIDE_CAMERAS = CameraPrior(pitch_sd=0.19, yaw_sd=0.36)
WIDE_FIRST_SEED = 500_000_000  # heads that no data set of ours shows
LARGEST_ROLL = math.radians(45)
SMALLEST_SIDE, LARGEST_SIDE = 0.25, 1.3  # of a frame, in widths of the photograph


class Heads(NamedTuple):
    """images uint8 [n, 4, S, S]: RGB, and 255 where a background may not be put; landmarks [n, K, 2] pixels."""

    images: Tensor
    landmarks: Tensor

    def part(self, start: int, stop: int | None) -> Heads:
        """Some of them."""
        return Heads(self.images[start:stop], self.landmarks[start:stop])


def read_heads(data: Path | str, *, progress: Progress | None = None) -> Heads:
    """The pictures and landmarks of a procedural data set. BadDataset if it has no landmarks."""
    progress, reader = progress or Silent(), DatasetReader(data)
    files = open_files(data)
    lines = files.read(POSE_FILE).decode("utf-8").splitlines() if POSE_FILE in files.sizes else []
    rows = {row["name"]: row.get("landmarks", []) for row in map(json.loads, filter(str.strip, lines))}
    if any(np.shape(rows.get(name, [])) != (COUNT, 2) for name in reader.names):
        raise BadDataset(
            f"{data} does not say where the landmarks are",
            expected=f"{POSE_FILE} of a procedural data set has {COUNT} of every image",
            remedy="make one with `gramhd prep-data --procedural 12000 --size 128 --out DATA`",
        )
    progress.start("Reading heads", len(reader))
    pictures = []
    for i in range(len(reader)):
        pictures.append(F.pad(reader.image(i), (0, 0, 0, 0, 0, 1), value=255))
        progress.advance()
    progress.finish()
    return Heads(torch.stack(pictures), torch.tensor([rows[name] for name in reader.names]))


def render_wide(count: int, *, workers: int = 1, progress: Progress | None = None) -> Heads:
    """Heads with their shoulders, small in their pictures: what the finder's photographs are made of."""
    progress = progress or Silent()
    progress.start("Making photographs", count)
    images = torch.empty(count, 4, WIDE_SIZE, WIDE_SIZE, dtype=torch.uint8)
    landmarks = torch.empty(count, COUNT, 2)
    tasks = (functools.partial(_wide, i, min(count, i + 16)) for i in range(0, count, 16))
    for start, pictures, points in results(tasks, workers=workers):
        images[start : start + len(pictures)] = torch.from_numpy(pictures)
        landmarks[start : start + len(points)] = torch.from_numpy(points)
        progress.advance(len(pictures))
    progress.finish()
    return Heads(images, landmarks)


def _wide(start: int, stop: int) -> tuple[int, np.ndarray, np.ndarray]:
    pictures, points = [], []
    for seed in range(WIDE_FIRST_SEED + start, WIDE_FIRST_SEED + stop):
        identity, camera = head_and_camera(seed, WIDE_CAMERAS, size=WIDE_SIZE)
        wide = torch.full_like(camera.fov_degrees, WIDE_FOV_DEGREES)
        view = render_head(identity, Camera(camera.world_from_camera, wide, WIDE_SIZE, WIDE_SIZE))
        mask = view.mask.astype(np.uint8) * np.uint8(255)
        pictures.append(np.concatenate([view.image.transpose(2, 0, 1), mask[None]]))
        points.append(view.landmarks_2d)
    return start, np.stack(pictures), np.stack(points)


def mean_shape_of(heads: Heads) -> Tensor:
    """[K, 2] the average landmarks of pictures with the published angle of view, and their mirror; frame units."""
    mean = (heads.landmarks / heads.images.shape[-1] - 0.5).mean(dim=0)
    return (mean + mean[list(IBUG_68.mirror)] * torch.tensor([-1.0, 1.0])) / 2


class Crops(NamedTuple):
    """images [B, 3, S, S]; points [B, K, 2] in the units of the crops' frames."""

    images: Tensor
    points: Tensor


def draw_crops(
    heads: Heads, index: Tensor, rng: torch.Generator, *, mean_shape: Tensor, size: int, width: float
) -> Crops:
    """Crops around heads, as far off as the finder is (half of them) or as the pointer's first look is."""
    images, landmarks = _drawn(heads, index, rng)
    frames, count = frames_of(landmarks, mean_shape), len(index)
    amount = torch.where(torch.rand(count, generator=rng) < 0.5, 1.0, 0.3)
    off = _uniform(count, 4, rng=rng) * amount[:, None]
    side = frames.side * (0.25 * off[:, 0]).exp()
    centre = frames.centre + 0.1 * side[:, None] * off[:, 1:3]
    frames = Frames(centre, side, frames.roll + math.radians(18) * off[:, 3])
    pictures = composed(images, frames, rng, size=size, width=width)
    return Crops(photographed(pictures, rng), frames.unit_from_photo(landmarks))


class Photographs(NamedTuple):
    """images [B, 3, S, S]; frames of the first head of each (pixels of the picture); shown [B, H] which of H heads per
    photograph are there, with their frames [B * H]."""

    images: Tensor
    frames: Frames
    shown: Tensor


def draw_photographs(
    heads: Heads, index: Tensor, rng: torch.Generator, *, mean_shape: Tensor, size: int
) -> Photographs:
    """Photographs of one head, some of two or none, of every size, place and roll."""
    count = len(index)
    number = torch.rand(count, generator=rng)
    first, second = _places(count, rng, size=size), _places(count, rng, size=size)
    both = number > 0.75
    side = torch.where(both, first.side.clamp(max=0.55 * size), first.side)  # two have to fit beside each other
    first, second = first._replace(side=side), _inside(second._replace(side=side), size)
    both &= (first.centre - second.centre).norm(dim=-1) > 0.8 * side
    shown = torch.stack([number > 0.1, both], dim=1)
    images, landmarks = _drawn(heads, index, rng)
    shape = frames_of(landmarks, mean_shape)
    behind = backgrounds(count, size, rng)
    own = torch.rand(count, generator=rng) < 0.4
    pictures = _pasted(images, shape, first, behind, torch.where(shown[:, 0] & own, 2, shown[:, 0].long()))
    turned = torch.roll(torch.arange(count), 1)
    pictures = _pasted(images[turned], shape.take(turned), second, pictures, shown[:, 1].long())
    room = torch.minimum(_room(first, size), torch.where(both[:, None], _room(second, size), size))
    pairs = (torch.stack([a, b], dim=1).flatten(0, 1) for a, b in zip(first, second, strict=True))
    return Photographs(_barred(photographed(pictures, rng), room, rng), Frames(*pairs), shown)


def _places(count: int, rng: torch.Generator, *, size: int) -> Frames:
    low, high = math.log(SMALLEST_SIDE), math.log(LARGEST_SIDE)
    side = size * (low + (high - low) * torch.rand(count, generator=rng)).exp()
    free = (size / 2 - 0.3 * side).clamp(min=0.06 * size)
    centre = size / 2 + _uniform(count, 2, rng=rng) * free[:, None]
    return Frames(centre, side, _uniform(count, rng=rng) * LARGEST_ROLL)


def _inside(frames: Frames, size: int) -> Frames:
    """The same heads, no face cut off."""
    least = (0.3 * frames.side)[:, None]
    return frames._replace(centre=torch.maximum(torch.minimum(frames.centre, size - least), least))


def _room(frames: Frames, size: int) -> Tensor:
    """[B, 2] how many pixels of either side, and above or below, show nothing of a head."""
    return torch.minimum(frames.centre, size - frames.centre) - 0.3 * frames.side[:, None].clamp(max=size / 2)


def _pasted(images: Tensor, shape: Frames, place: Frames, behind: Tensor, how: Tensor) -> Tensor:
    """Heads of frames `shape` put at `place` into pictures. how [B]: 0 not, 1 the head, 2 with its own background."""
    size = behind.shape[-1]
    middle = torch.full((len(images), 1, 2), size / 2)
    centre = shape.photo_from_unit(place.unit_from_photo(middle))[:, 0]
    frames = Frames(centre, size * shape.side / place.side, shape.roll - place.roll)
    pictures, coarser = behind.clone(), frames.side / size
    for level, (least, most) in enumerate(((0.0, 1.4), (1.4, 2.8), (2.8, math.inf))):
        chosen = ((coarser >= least) & (coarser < most) & (how > 0)).nonzero()[:, 0]
        if len(chosen):
            part, factor = frames.take(chosen), 2**level
            reduced = F.avg_pool2d(images[chosen].float(), factor) if level else images[chosen].float()
            part = part._replace(centre=part.centre / factor, side=part.side / factor)
            colour = crops_of(reduced[:, :3] / 127.5 - 1, part, size=size)
            alpha = crops_of(reduced[:, 3:] / 255, part, size=size, outside="zeros")
            alpha = torch.where((how[chosen] == 2).view(-1, 1, 1, 1), torch.ones_like(alpha), alpha)
            pictures[chosen] = alpha * colour + (1 - alpha) * behind[chosen]
    return pictures


def composed(images: Tensor, frames: Frames, rng: torch.Generator, *, size: int, width: float) -> Tensor:
    """Crops [B, 3, size, size] of pictures [B, 4, S, S]; what lies outside is their edge or a new background."""
    colour = crops_of(images[:, :3].float() / 127.5 - 1, frames, size=size, width=width)
    alpha = crops_of(images[:, 3:].float() / 255, frames, size=size, width=width, outside="zeros")
    own = torch.rand(len(images), 1, 1, 1, generator=rng) < 0.5
    return torch.where(own, colour, alpha * colour + (1 - alpha) * backgrounds(len(images), size, rng))


def backgrounds(count: int, size: int, rng: torch.Generator) -> Tensor:
    """[count, 3, size, size] in [-1, 1]: a colour with clouds of one coarseness per batch."""
    cells = int(torch.randint(2, 20, (1,), generator=rng))
    clouds = torch.randn(count, 3, cells, cells, generator=rng) * 0.5 * torch.rand(count, 1, 1, 1, generator=rng)
    fine = F.interpolate(clouds, size=(size, size), mode="bilinear", align_corners=False)
    return (fine + _uniform(count, 3, 1, 1, rng=rng)).clamp(-1, 1)


def photographed(images: Tensor, rng: torch.Generator) -> Tensor:
    """Other light, other colours, a coarser picture, noise."""
    count = len(images)
    gain = (0.25 * _uniform(count, 3, 1, 1, rng=rng) + 0.2 * _uniform(count, 1, 1, 1, rng=rng)).exp()
    images = (images + 1) * gain - 1 + 0.15 * _uniform(count, 1, 1, 1, rng=rng)
    grey = torch.rand(count, 1, 1, 1, generator=rng) < 0.15
    images = torch.where(grey, images.mean(dim=1, keepdim=True).expand_as(images), images)
    parts = []
    for group in images.split(8):
        side = round(images.shape[-1] / 2 ** max(0.0, float(torch.empty(1).uniform_(-1.5, 1.3, generator=rng))))
        if side < images.shape[-1]:
            small = F.interpolate(group, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
            group = F.interpolate(small, size=images.shape[-2:], mode="bilinear", align_corners=False)
        parts.append(group)
    noise = (0.08 * _uniform(count, 1, 1, 1, rng=rng)).clamp(min=0)
    return (torch.cat(parts) + noise * torch.randn(images.shape, generator=rng)).clamp(-1, 1)


def _barred(images: Tensor, room: Tensor, rng: torch.Generator) -> Tensor:
    """Nothing beside photographs that are not square: bars of 0, as broad as there is room [B, 2]."""
    count, size = len(images), images.shape[-1]
    bar = (torch.rand(count, generator=rng) * 0.6 - 0.35).clamp(min=0) * size
    upright = torch.rand(count, generator=rng) < 0.5
    bar = torch.minimum(bar, torch.where(upright, room[:, 0], room[:, 1]))
    steps = torch.arange(size) + 0.5
    kept = (steps > bar[:, None]) & (steps < size - bar[:, None])  # [B, S]
    mask = torch.where(upright[:, None, None], kept[:, None, :], kept[:, :, None])
    return images * mask[:, None]


def _drawn(heads: Heads, index: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures and landmarks of some heads, half of them mirrored."""
    images, landmarks = heads.images[index].clone(), heads.landmarks[index].clone()
    mirrored = torch.rand(len(index), generator=rng) < 0.5
    images[mirrored] = images[mirrored].flip(-1)
    flipped = landmarks[:, list(IBUG_68.mirror)] * torch.tensor([-1.0, 1.0]) + torch.tensor([images.shape[-1], 0.0])
    return images, torch.where(mirrored[:, None, None], flipped, landmarks)


def _uniform(*shape: int, rng: torch.Generator) -> Tensor:
    """Between -1 and 1."""
    return torch.rand(shape, generator=rng) * 2 - 1
