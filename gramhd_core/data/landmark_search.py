"""Looking for procedural heads in photographs of any size with the networks of `landmark_network`.

H x W photograph, F frames found in it, K = 68 landmarks. Frames are in pixels of the photograph.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gramhd_core.data.landmark_network import (
    ASSET,
    Finder,
    Frames,
    LandmarkNetwork,
    crops_of,
    frames_of,
    load_landmark_network,
)
from gramhd_core.data.landmarks import IBUG_68, Face, Scheme

LOOKS = 2  # the finder's frame, then that of the landmarks
SURE_OF_A_HEAD = 0.5
APART = 0.4  # sides between the centres of two heads
LEAST_CONFIDENCE, LEAST_SHARE = 0.6, 0.8  # of a head's landmarks, on average; of that of the surest head
HEAD = 0.72  # sides of the frame across a head
_MIRROR = list(IBUG_68.mirror)


@dataclass(frozen=True)
class ProceduralLandmarks:
    """The 68 landmarks of procedural heads. See `LandmarkDetector`. weights: a file of `make landmarks`."""

    weights: Path = ASSET
    name: str = "procedural"
    scheme: Scheme = IBUG_68
    coarse: bool = False

    def __call__(self, image: NDArray[np.uint8], *, name: str) -> list[Face]:
        """Photograph [H, W, 3] RGB -> its heads, the largest first. Heads are a quarter of the photograph's longer side
        or more, and lean by 45 degrees at most."""
        del name
        network = _network(self.weights)
        frames = find_frames(network.finder, image, size=network.config.finder_size)
        faces = [point(network, image, frames.take(torch.tensor([i]))) for i in range(len(frames.side))]
        return sorted(_distinct(faces), key=lambda face: -face.area)


@functools.lru_cache(maxsize=2)
def _network(path: Path) -> LandmarkNetwork:
    """Once per process."""
    return load_landmark_network(path).network


@torch.no_grad()
def find_frames(finder: Finder, image: NDArray[np.uint8], *, size: int) -> Frames:
    """Photograph [H, W, 3] -> the frames of its heads, the surest first."""
    height, width = image.shape[:2]
    longer = max(height, width)
    across, down = max(1, round(width * size / longer)), max(1, round(height * size / longer))
    way = cv2.INTER_AREA if longer > size else cv2.INTER_LINEAR
    small = _network_image(cv2.resize(image, (across, down), interpolation=way))
    left, top = (size - across) // 2, (size - down) // 2
    padded = F.pad(small, (left, size - across - left, top, size - down - top))
    grid = finder(padded)
    presence = grid.presence[0].sigmoid()
    peaks = presence == F.max_pool2d(presence[None, None], 3, stride=1, padding=1)[0, 0]
    rows, columns = torch.nonzero(peaks & (presence > SURE_OF_A_HEAD), as_tuple=True)
    order = presence[rows, columns].argsort(descending=True)
    answers = torch.stack([_around(presence, grid.frames[0], int(rows[i]), int(columns[i])) for i in order.tolist()]
                          or [torch.zeros(5)])  # fmt: skip
    centre, roll = answers[:, :2], torch.atan2(answers[:, 4], answers[:, 3])
    side = size * answers[:, 2].exp()
    kept: list[int] = []
    for i in range(len(order)):
        if all(float((centre[i] - centre[k]).norm()) > APART * float(side[[i, k]].max()) for k in kept):
            kept.append(i)
    scale = torch.tensor([width / across, height / down])
    found = Frames((centre - torch.tensor([left, top])) * scale, side * longer / size, roll)
    return found.take(torch.tensor(kept, dtype=torch.long))


def _around(presence: Tensor, frames: Tensor, row: int, column: int) -> Tensor:
    """[5] what the cells around a peak answer together."""
    rows, columns = slice(max(0, row - 1), row + 2), slice(max(0, column - 1), column + 2)
    weight = presence[rows, columns] * (presence[rows, columns] > SURE_OF_A_HEAD)
    return (frames[rows, columns] * weight[..., None]).sum(dim=(0, 1)) / weight.sum()


@torch.no_grad()
def point(network: LandmarkNetwork, image: NDArray[np.uint8], frames: Frames) -> Face:
    """The landmarks of the head in one frame: the mean of what a crop and its mirror say, looked at LOOKS times."""
    points = confidence = torch.zeros(0)
    for _ in range(LOOKS):
        crop = crop_of(image, frames, size=network.config.crop_size, width=network.config.crop)
        seen = network.pointer(torch.cat([crop, crop.flip(-1)]))
        mirrored = seen.points[1, _MIRROR] * torch.tensor([-1.0, 1.0])
        points = frames.photo_from_unit(((seen.points[0] + mirrored) / 2)[None])
        confidence = (seen.confidence[0] + seen.confidence[1, _MIRROR]) / 2
        frames = frames_of(points, network.mean_shape)
    (x, y), half = frames.centre[0].tolist(), HEAD / 2 * float(frames.side)
    pixels = points[0].double().numpy()
    return Face(IBUG_68, pixels, confidence.double().numpy(), (x - half, y - half, x + half, y + half))


def crop_of(image: NDArray[np.uint8], frames: Frames, *, size: int, width: float) -> Tensor:
    """Photograph [H, W, 3], one frame -> its crop [1, 3, size, size] in [-1, 1]; only what it needs is touched."""
    side, reach = float(frames.side), float(frames.side) * width * 0.71 + 2
    (x, y), (height, wide) = frames.centre[0].tolist(), image.shape[:2]
    left, top = (int(min(max(0, middle - reach), most - 1)) for middle, most in ((x, wide), (y, height)))
    right, bottom = (int(min(max(least + 1, middle + reach + 1), most))
                     for middle, least, most in ((x, left, wide), (y, top, height)))  # fmt: skip
    window, factor = image[top:bottom, left:right], max(1, round(side * width / size))
    if factor > 1:
        rows, columns = (-(-n // factor) * factor for n in window.shape[:2])
        below, beside = rows - window.shape[0], columns - window.shape[1]
        whole = cv2.copyMakeBorder(window, 0, below, 0, beside, cv2.BORDER_REPLICATE)
        window = cv2.resize(whole, (columns // factor, rows // factor), interpolation=cv2.INTER_AREA)
    centre = (frames.centre - torch.tensor([[left, top]])) / factor
    return crops_of(_network_image(window), Frames(centre, frames.side / factor, frames.roll), size=size, width=width)


def _distinct(faces: list[Face]) -> list[Face]:
    """Without doubtful heads and those that are another one, found twice."""
    kept: list[Face] = []
    least = max([LEAST_CONFIDENCE, *(LEAST_SHARE * face.confidence.mean() for face in faces)])
    for face in faces:
        middle, size = np.array(face.box).reshape(2, 2).mean(axis=0), (face.box[2] - face.box[0]) / HEAD
        near = (np.linalg.norm(middle - np.array(other.box).reshape(2, 2).mean(axis=0)) for other in kept)
        if face.confidence.mean() >= least and all(distance > APART * size for distance in near):
            kept.append(face)
    return kept


def _network_image(image: Any) -> Tensor:
    """uint8 [H, W, 3] -> float32 [1, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 127.5 - 1
