"""Photographs as inversion wants them: a square at the model's size, and what is known of its camera.

S: the model's image size. A photograph is either cropped by its landmarks, which also say where its camera was, or
taken as an aligned square as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from gramhd_core.checkpoints.saved_latent import PhotoCamera
from gramhd_core.data.alignment import SMALLEST_PHOTO, aligned_heads
from gramhd_core.data.detectors import find_detector
from gramhd_core.data.image_files import decode_image
from gramhd_core.data.landmarks import LandmarkDetector
from gramhd_core.data.photo_files import HEIC_SUFFIXES, PhotoFile, heic, open_photos
from gramhd_core.data.photo_request import SEVERAL, PhotoRequest, Reject
from gramhd_core.data.photos import template_of
from gramhd_core.data.subjects import Subject
from gramhd_core.errors import BadArgument, BadImage

SQUARE = 0.02  # share by which the sides of an aligned photograph may differ


class Photograph(NamedTuple):
    """image: uint8 [3, S, S]; camera: where its landmarks say it was taken from, None
    where they do not know; file: where it came from."""

    image: Tensor
    camera: PhotoCamera | None
    file: Path


@dataclass(frozen=True)
class Aligner:
    """How photographs become squares. detector None: they are squares already."""

    request: PhotoRequest
    detector: LandmarkDetector | None

    def __call__(self, file: Path) -> Photograph:
        """BadImage in one sentence: unreadable, too small, no square, no face, or several."""
        return self._square(file) if self.detector is None else self._cropped(file, self.detector)

    def _square(self, file: Path) -> Photograph:
        photo = _opened(file)
        if min(photo.height, photo.width) < SMALLEST_PHOTO:
            raise BadImage(
                f"{file} has {photo.width} x {photo.height} pixels",
                expected=f"at least {SMALLEST_PHOTO} x {SMALLEST_PHOTO} are needed",
                remedy="give a larger picture",
            )
        if abs(photo.height - photo.width) > SQUARE * photo.width:
            raise BadImage(
                f"{file} has {photo.width} x {photo.height} pixels",
                expected="with --no-crop a photograph is an aligned square already",
                remedy="leave --no-crop out, or crop it first",
            )
        size = self.request.size
        return Photograph(decode_image(file.read_bytes(), name=str(file), size=size), None, file)

    def _cropped(self, file: Path, detector: LandmarkDetector) -> Photograph:
        request = self.request
        template = template_of(detector.scheme, request.subject)
        head = aligned_heads(_opened(file), detector=detector, template=template, request=request)[0]
        if isinstance(head, Reject):
            choose = "crop the photograph to the one that is meant, or take the largest with --faces largest"
            lead = "crop it to a square around the head and give --no-crop, or landmarks with --landmark-file"
            raise BadImage(
                f"{file} was left out: {head.reason}",
                expected="one clear face is needed",
                remedy=choose if head.kind == SEVERAL else lead,
            )
        camera = None if detector.coarse else PhotoCamera(head.label.pitch, head.label.yaw, head.label.roll)
        return Photograph(torch.from_numpy(head.image).permute(2, 0, 1).contiguous(), camera, file)


def aligner_for(
    subject: Subject, *, size: int, landmarks: str, landmark_file: Path | None, faces: str, is_cropped: bool
) -> Aligner:
    """BadArgument, MissingDependency, BadLabels: as `find_detector`."""
    request = PhotoRequest(
        subject=subject,
        landmarks=landmarks,
        landmark_file=landmark_file,
        faces=faces,  # type: ignore[arg-type]
        size=size,
        keep_roll=False,
    )
    return Aligner(request, None if is_cropped else find_detector(landmarks, subject, labels=landmark_file))


def photo_files(sources: Sequence[Path]) -> list[Path]:
    """Files as they are, folders -> the photographs in them. BadDataset, BadArgument: nothing there, one name twice."""
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            found += [source / name for name in open_photos(source).sizes]
        elif source.is_file():
            found.append(source)
        else:
            raise BadArgument(f"{source} does not exist", expected="a photograph is needed", remedy="check its path")
    stems = [file.stem for file in found]
    doubles = sorted({stem for stem in stems if stems.count(stem) > 1})
    if doubles:
        raise BadArgument(
            f"several photographs are called {doubles[0]}",
            expected="results go into a folder per name",
            remedy="rename them, or do one at a time",
        )
    return found


def _opened(file: Path) -> PhotoFile:
    if file.suffix.lower() in HEIC_SUFFIXES:
        raise heic(str(file))
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadImage(
            f"{file} cannot be read ({error.strerror})", expected="a photograph is needed", remedy="check its path"
        ) from error
    return PhotoFile(data, name=str(file))
