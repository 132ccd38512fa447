"""Which detector is chosen, and what is said about it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from gramhd_core.data import landmark_fan
from gramhd_core.data.detectors import DETECTORS, describe, find_detector
from gramhd_core.data.landmark_fan import Weights
from gramhd_core.data.landmarks import FACE_5, Scheme
from gramhd_core.data.subjects import CATS, FACES, PROCEDURAL_HEADS, Subject
from gramhd_core.errors import BadArgument, BadLabels, MissingDependency

DOG_6 = Scheme("dog-6", (1, 0, 2, 4, 3, 5))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "landmarks.json"
    path.write_text(json.dumps({"a.jpg": [[1, 2]] * 5}), "utf-8")
    return path


def fan(monkeypatch: pytest.MonkeyPatch, *, ready: bool) -> None:
    monkeypatch.setattr(landmark_fan, "is_installed", lambda: True)
    missing = () if ready else ("s3fd.pth",)
    monkeypatch.setattr(landmark_fan, "weights_found", lambda: Weights(Path("hub"), "TWO_D", missing))


def test_a_file_is_preferred_to_everything(labels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fan(monkeypatch, ready=True)
    for subject in (FACES, CATS, PROCEDURAL_HEADS):
        for name in ("auto", "file"):
            detector = find_detector(name, subject, labels=labels)
            assert detector.name == "file" and detector.scheme == FACE_5 and str(labels) in describe(detector)


def test_faces_take_face_alignment_where_it_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    fan(monkeypatch, ready=True)
    assert find_detector("auto", FACES).name == "face-alignment"
    assert find_detector("auto", PROCEDURAL_HEADS).name == "procedural"
    fan(monkeypatch, ready=False)
    detector = find_detector("auto", FACES)
    assert detector.name == "haar" and detector.coarse and "hardly for a pose" in describe(detector)
    with pytest.raises(MissingDependency, match=r"s3fd\.pth is not in hub"):
        find_detector("face-alignment", FACES)


def test_a_name_is_a_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    fan(monkeypatch, ready=True)
    for name in DETECTORS:
        if name not in ("auto", "file"):
            detector = find_detector(name, FACES)
            assert detector.name == name and describe(detector).startswith(f"Landmarks: {name} (")
            assert pickle.loads(pickle.dumps(detector)) == detector


def test_what_cannot_be_found_is_refused(labels: Path) -> None:
    for name, subject, path, says in (
        ("mediapipe", FACES, None, "the detectors are auto"),
        ("file", FACES, None, "without a file"),
        ("haar", FACES, labels, "with the file"),
        ("auto", CATS, None, "subject cats"),
        ("auto", Subject("dogs", FACES.cameras, scheme=DOG_6), None, "subject dogs"),
    ):
        with pytest.raises(BadArgument, match=says):
            find_detector(name, subject, labels=path)
    with pytest.raises(BadLabels, match=r"6 \(dog-6\) was expected"):
        find_detector("auto", Subject("dogs", FACES.cameras, scheme=DOG_6), labels=labels)
