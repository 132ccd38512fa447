"""The adapter of face-alignment: what it needs, what it says when that is absent, and whose pixels are whose."""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from gramhd_core.data import landmark_fan
from gramhd_core.data.landmark_fan import ADDRESS, FACES_FILE, LANDMARK_FILES, FanLandmarks, check, weights_found
from gramhd_core.data.landmarks import IBUG_68
from gramhd_core.errors import MissingDependency

POINTS = np.random.default_rng(0).uniform(10, 90, (2, 68, 2))
SCORES = [np.full(68, 0.7), np.full(68, 1.3)]
BOXES = [np.array([10, 10, 30, 40, 0.9]), np.array([5, 5, 95, 95, 0.99])]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where torch looks for weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """A face_alignment that answers POINTS; what it was built with."""
    built: dict[str, object] = {"answer": (list(POINTS), SCORES, BOXES)}

    class FaceAlignment:
        def __init__(self, landmarks_type: str, *, device: str, compile: bool):
            built.update(kind=landmarks_type, device=device, compile=compile, times=int(str(built.get("times", 0))) + 1)

        def get_landmarks_from_image(self, image: np.ndarray, *, return_bboxes: bool, return_landmark_score: bool):
            assert image.dtype == np.uint8 and return_bboxes and return_landmark_score
            if not (built["answer"] or [None])[0]:
                warnings.warn("No faces were detected.", stacklevel=2)  # as the library does
            return built["answer"]

    module = types.ModuleType("face_alignment")
    module.FaceAlignment = FaceAlignment  # pyright: ignore
    module.LandmarksType = types.SimpleNamespace(TWO_D="2D", TWO_HALF_D="2.5D")  # pyright: ignore
    monkeypatch.setitem(sys.modules, "face_alignment", module)
    landmark_fan._aligner.cache_clear()
    yield built
    landmark_fan._aligner.cache_clear()


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"")


def test_missing_weights_are_named_with_folder_and_address(weights: Path, library: dict[str, object]) -> None:
    with pytest.raises(MissingDependency) as refusal:
        FanLandmarks()(np.zeros((9, 9, 3), np.uint8), name="a")
    for word in (FACES_FILE, LANDMARK_FILES["TWO_HALF_D"], str(weights), ADDRESS + FACES_FILE):
        assert word in str(refusal.value)
    put(weights, FACES_FILE)
    with pytest.raises(MissingDependency) as refusal:
        check()
    assert FACES_FILE not in str(refusal.value) and "is not in" in str(refusal.value)


def test_points_that_are_hidden_are_preferred_to_the_contour(weights: Path) -> None:
    put(weights, FACES_FILE, LANDMARK_FILES["TWO_D"])
    assert weights_found().kind == "TWO_D" and not weights_found().missing
    put(weights, LANDMARK_FILES["TWO_HALF_D"])
    assert weights_found().kind == "TWO_HALF_D"


def test_faces_come_in_our_pixels_the_largest_first(weights: Path, library: dict[str, object]) -> None:
    put(weights, FACES_FILE, *LANDMARK_FILES.values())
    detector, image = FanLandmarks(), np.zeros((100, 100, 3), np.uint8)
    large, small = detector(image, name="a")
    assert large.scheme == detector.scheme == IBUG_68 and not detector.coarse
    assert np.allclose(large.points, POINTS[1] + 0.5) and np.allclose(small.points, POINTS[0] + 0.5)
    assert large.box == (5.5, 5.5, 95.5, 95.5) and (large.confidence == 1).all() and (small.confidence == 0.7).all()
    detector(image, name="b")
    assert (library["kind"], library["device"], library["compile"], library["times"]) == ("2.5D", "cpu", False, 1)


@pytest.mark.filterwarnings("error")
def test_nobody_is_an_empty_list(weights: Path, library: dict[str, object]) -> None:
    put(weights, FACES_FILE, *LANDMARK_FILES.values())
    for answer in (None, (None, None, None), ([], [], [])):
        library["answer"] = answer
        assert FanLandmarks()(np.zeros((9, 9, 3), np.uint8), name="a") == []


def test_without_the_library_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    with pytest.raises(MissingDependency, match="pip install face-alignment"):
        check()
