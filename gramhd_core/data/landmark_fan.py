"""The `face-alignment` backend: S3FD finds faces, FAN 68 landmarks (Bulat and Tzimiropoulos, ICCV 2017, through the
library face-alignment, whose weights are not ours to ship).

The library counts pixel centres from 0, we from 0.5. Its "2.5D" network answers where points of the face are even if
they are hidden, which is what a 3D template needs; the "2D" one follows the visible contour.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gramhd_core.data.landmarks import IBUG_68, Face, Scheme, box_of
from gramhd_core.errors import MissingDependency

ADDRESS = "https://www.adrianbulat.com/downloads/python-fan/"
FACES_FILE = "s3fd-619a316812.pth"
LANDMARK_FILES = {"TWO_HALF_D": "3DFAN4-7835d9f11d.pth.tar", "TWO_D": "2DFAN4-11f355bf06.pth.tar"}  # the better first
FROM_INDICES = 0.5


class Weights(NamedTuple):
    """folder: where torch looks for them; kind: the library's name of the landmarks that can be had, "" for none;
    missing: files without which nothing works."""

    folder: Path
    kind: str
    missing: tuple[str, ...]


def weights_found() -> Weights:
    """What of face-alignment's weights is on this machine; nothing is downloaded."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    kind = next((kind for kind, file in LANDMARK_FILES.items() if (folder / file).is_file()), "")
    missing = () if (folder / FACES_FILE).is_file() else (FACES_FILE,)
    return Weights(folder, kind, missing if kind else (*missing, LANDMARK_FILES["TWO_HALF_D"]))


def is_installed() -> bool:
    """Whether the library can be imported."""
    try:
        import face_alignment  # noqa: F401
    except (ImportError, RuntimeError):  # RuntimeError: a torchvision that does not fit torch
        return False
    return True


@dataclass(frozen=True)
class FanLandmarks:
    """Faces of photographs by face-alignment. See `LandmarkDetector`. device: "cpu", "cuda", ..."""

    device: str = "cpu"
    name: str = "face-alignment"
    scheme: Scheme = IBUG_68
    coarse: bool = False

    def __call__(self, image: NDArray[np.uint8], *, name: str) -> list[Face]:
        """Photograph [H, W, 3] RGB -> faces, the largest first. MissingDependency without the library or weights."""
        del name
        aligner = _aligner(self.device)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No faces were detected")  # an empty list says it
            answer = aligner.get_landmarks_from_image(image, return_bboxes=True, return_landmark_score=True)
        points, scores, boxes = answer or (None, None, None)
        if points is None or boxes is None:
            return []
        scores = scores if scores is not None else [None] * len(points)
        faces = [_face(p, s, b) for p, s, b in zip(points, scores, boxes, strict=True)]
        return sorted(faces, key=lambda face: -face.area)


def _face(points: Any, scores: Any, box: Any) -> Face:
    pixels = np.asarray(points, dtype=np.float64)[:, :2] + FROM_INDICES
    scores = np.ones(len(pixels)) if scores is None else np.asarray(scores, dtype=np.float64).reshape(-1)
    bounds = tuple(float(x) + FROM_INDICES for x in np.ravel(box)[:4])
    left, top, right, bottom = bounds if len(bounds) == 4 else box_of(pixels)
    return Face(IBUG_68, pixels, np.clip(np.nan_to_num(scores), 0, 1), (left, top, right, bottom))


def check() -> Weights:
    """The weights, or a MissingDependency that names what is missing, where it belongs and where it is to be had."""
    if not is_installed():
        raise MissingDependency(
            "face-alignment cannot be imported",
            expected="--landmarks face-alignment needs it",
            remedy="run pip install face-alignment, or choose --landmarks haar or file",
        )
    found = weights_found()
    if found.missing:
        raise MissingDependency(
            f"{' and '.join(found.missing)} {'is' if len(found.missing) == 1 else 'are'} not in {found.folder}",
            expected="--landmarks face-alignment needs these weights",
            remedy=f"download {' and '.join(ADDRESS + file for file in found.missing)} into that folder, or choose "
            "--landmarks haar or file",
        )
    return found


@functools.cache
def _aligner(device: str) -> Any:
    """The library's networks, loaded once per process."""
    kind = check().kind
    import face_alignment

    landmarks = getattr(face_alignment.LandmarksType, kind)
    return face_alignment.FaceAlignment(landmarks, device=device, compile=False)
