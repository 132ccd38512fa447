"""Which landmark detector to use: by name, or the best that this machine has for a subject."""

from __future__ import annotations

from pathlib import Path

import torch

from gramhd_core.data import landmark_fan
from gramhd_core.data.landmark_fan import FanLandmarks
from gramhd_core.data.landmark_files import FileLandmarks, landmarks_from_file
from gramhd_core.data.landmark_haar import HaarLandmarks
from gramhd_core.data.landmark_search import ProceduralLandmarks
from gramhd_core.data.landmarks import IBUG_68, SCHEMES, LandmarkDetector
from gramhd_core.data.subjects import PROCEDURAL_HEADS, Subject
from gramhd_core.errors import BadArgument

AUTO = "auto"
DETECTORS = (AUTO, "face-alignment", "file", "haar", "procedural")
KINDS = {
    "face-alignment": "68 landmarks of photographed faces by face-alignment",
    "file": "the landmarks of {source}",
    "haar": "OpenCV's cascades, which find a face and two eyes: good enough to crop by, hardly for a pose",
    "procedural": "68 landmarks by the built-in network, which knows procedural heads only",
}


def find_detector(name: str, subject: Subject, *, labels: Path | str | None = None) -> LandmarkDetector:
    """The detector of that name; `auto`: the file if there is one, the built-in network for procedural heads,
    face-alignment for faces if it and its weights are here, else OpenCV's cascades. labels: what `file` reads.

    BadArgument: an unknown name, a file without detector or the reverse, a subject that nothing here can find.
    MissingDependency: a detector asked for by name whose library or weights are absent. BadLabels: of the file.
    """
    if name not in DETECTORS:
        raise BadArgument(
            f"--landmarks {name}", expected=f"the detectors are {', '.join(DETECTORS)}", remedy="choose one of them"
        )
    if name == AUTO:
        name = _best(subject, has_labels=labels is not None)
    if (name == "file") != (labels is not None):
        given = "--landmarks file without a file" if labels is None else f"--landmarks {name} with the file {labels}"
        raise BadArgument(
            given,
            expected="one needs the other",
            remedy="give both --landmarks file and --landmark-file, or neither",
        )
    if labels is not None:
        return landmarks_from_file(labels, None if _is_house(subject) else subject.scheme)
    if name == "face-alignment":
        landmark_fan.check()
        return FanLandmarks(device=_device())
    return HaarLandmarks() if name == "haar" else ProceduralLandmarks()


def describe(detector: LandmarkDetector) -> str:
    """A sentence that says which detector it is and what to expect of it."""
    source = detector.source if isinstance(detector, FileLandmarks) else ""
    kind = KINDS.get(detector.name, "{count} landmarks").format(source=source, count=len(detector.scheme))
    return f"Landmarks: {detector.name} ({kind})."


def _best(subject: Subject, *, has_labels: bool) -> str:
    if has_labels:
        return "file"
    if subject.name == PROCEDURAL_HEADS.name:
        return "procedural"
    if subject.scheme != IBUG_68:
        raise BadArgument(
            f"--landmarks auto with the subject {subject.name}",
            expected="no detector here finds its landmarks",
            remedy="make landmarks with a tool of yours and give them with --landmark-file",
        )
    ready = landmark_fan.is_installed() and not landmark_fan.weights_found().missing
    return "face-alignment" if ready else "haar"


def _is_house(subject: Subject) -> bool:
    """Whether files of this subject may hold any scheme of the house: five points describe a face as well as 68."""
    return SCHEMES.get(subject.scheme.name) == subject.scheme


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
