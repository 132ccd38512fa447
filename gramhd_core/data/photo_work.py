"""Photographs in any process: finding landmarks, settling, and the records of both. What crosses processes is small.

K landmarks. A record is a JSON object (`journal.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gramhd_core.data.alignment import align_faces, find_faces, unreadable
from gramhd_core.data.image_files import ImageFiles, encode_png
from gramhd_core.data.landmark_files import FileLandmarks
from gramhd_core.data.landmarks import Face, LandmarkDetector, Scheme
from gramhd_core.data.photo_files import HEIC_SUFFIXES, PhotoFile, heic
from gramhd_core.data.photo_request import Aligned, PhotoRequest, Reject
from gramhd_core.data.set_files import Record, image_name, record_of, write_image
from gramhd_core.data.subjects import Subject
from gramhd_core.data.templates import Template
from gramhd_core.errors import BadImage


class Means(NamedTuple):
    """How heads are found in any process. detector: an object, or a name that is looked up where it is used."""

    detector: LandmarkDetector | str
    request: PhotoRequest

    def __call__(self) -> LandmarkDetector:
        if not isinstance(self.detector, str):
            return self.detector
        return _detector(self.detector, self.request.subject, self.request.landmark_file)


@functools.lru_cache(maxsize=1)
def _detector(name: str, subject: Subject, labels: Path | None) -> LandmarkDetector:
    """One per process: some take seconds to load."""
    from gramhd_core.data.detectors import find_detector

    return find_detector(name, subject, labels=labels)


class PhotoJob(NamedTuple):
    index: int
    name: str
    seen: Record | None  # by an earlier pass


def look(photos: Sequence[PhotoJob], files: ImageFiles, *, means: Means) -> list[Record]:
    """Find landmarks, and leave them for later."""
    records = []
    for photo in photos:
        record: Record = {"seen": photo.name, "faces": []}
        try:
            faces, _ = find_faces(_opened(files, photo.name), means())
            record["faces"] = [_plain_face(face) for face in faces]
        except BadImage:
            pass  # why is said when it is settled
        records.append(record)
    return records


def align(
    photos: Sequence[PhotoJob], files: ImageFiles, *, means: Means, template: Template, out: Path | None
) -> list[Record]:
    """Settle photographs: write their crops (None: nowhere) and say what is known about them, or why there is none."""
    records: list[Record] = []
    for photo in photos:
        try:
            opened, detector = _opened(files, photo.name), means()
            faces, picture = [face_from(p, detector.scheme) for p in (photo.seen or {}).get("faces", [])], None
            if photo.seen is None:
                faces, picture = find_faces(opened, detector)
            heads = align_faces(opened, faces, template=template, request=means.request, picture=picture)
            if isinstance(detector, FileLandmarks) and not detector.knows(photo.name):
                heads = [Reject("no landmarks", f"no landmarks of it are in {detector.source}")]
        except BadImage as error:
            heads = [unreadable(error)]
        images = []
        for head in heads:
            if isinstance(head, Reject):
                records.append(_reject_record(photo.name, head))
                continue
            images.append(image_name(photo.index, face=head.face))
            if out is not None:
                write_image(out / images[-1], encode_png(torch.from_numpy(head.image).permute(2, 0, 1)))
            records.append(_image_record(images[-1], photo.name, head))
        records.append({"settled": photo.name, "images": images})
    return records


def _opened(files: ImageFiles, name: str) -> PhotoFile:
    if name.lower().endswith(HEIC_SUFFIXES):
        raise heic(name)
    return PhotoFile(files.read(name), name=name)


def _image_record(image: str, photo: str, head: Aligned) -> Record:
    known: Record = {
        "scale": round(head.pose.scale, 2),
        "residual": round(head.pose.residual, 5),
        "landmarks": [None if np.isnan(x) else [round(float(x), 2), round(float(y), 2)] for x, y in head.points],
        "sd": [round(value, 4) for value in head.pose.sd],
        "centre": [round(value, 2) for value in head.pose.centre],
        "leaning": round(head.pose.roll, 5),
        "sharpness": round(head.sharpness, 1),
        "source": photo,
    }
    return record_of(image, head.label, **known, **({"face": head.face} if head.face else {}))


def _reject_record(photo: str, reject: Reject) -> Record:
    face = {"face": reject.face} if reject.face else {}
    return {"file": photo, **face, "kind": reject.kind, "reason": reject.reason}


def _plain_face(face: Face) -> Record:
    points = [None if np.isnan(x) else [round(float(x), 3), round(float(y), 3)] for x, y in face.points]
    return {"points": points, "confidence": face.confidence.round(4).tolist(), "box": [round(v, 2) for v in face.box]}


def face_from(plain: Record, scheme: Scheme) -> Face:
    points = np.array([point or (np.nan, np.nan) for point in plain["points"]], dtype=np.float64)
    left, top, right, bottom = plain["box"]
    return Face(scheme, points, np.array(plain["confidence"], dtype=np.float64), (left, top, right, bottom))
