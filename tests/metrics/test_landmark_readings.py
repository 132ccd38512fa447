"""Poses and depth by landmarks: the truth of analytic heads is read, wrong angles and flat heads are found out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.data.landmark_search import ProceduralLandmarks
from gramhd_core.data.prepare import prepare_procedural
from gramhd_core.data.subjects import PROCEDURAL_HEADS
from gramhd_core.data.templates import template_for
from gramhd_core.errors import BadArgument, MissingDependency
from gramhd_core.generators.gram_hd import GramHd
from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.metrics import consistency_scores, evaluate, landmark_readings
from gramhd_core.metrics import evaluation as evaluations
from gramhd_core.metrics.evaluation import Evaluation
from gramhd_core.metrics.landmark_readings import LandmarkReader, angle_errors, read, relief_error
from gramhd_core.metrics.request import EvaluationRequest
from gramhd_core.metrics.shooting import Pictures
from gramhd_core.metrics.views import ViewSet, views_of_head

pytestmark = pytest.mark.slow

FOV = 12.0
PITCH, YAW = torch.tensor([0.0, 0.1, -0.1]), torch.tensor([0.0, 0.3, -0.4])


@pytest.fixture(scope="module")
def reader() -> LandmarkReader:
    """The built-in network stands in for face-alignment, and knows the heads we can draw."""
    detector = ProceduralLandmarks()
    return LandmarkReader(detector, template_for(detector.scheme, PROCEDURAL_HEADS))


@pytest.fixture(scope="module")
def head() -> ViewSet:
    cameras = CameraPrior().at(PITCH, YAW, size=128)
    return views_of_head(HeadIdentity.from_seed(5_400_000), cameras, name="head", supersample=1)


def test_angles_are_read_and_wrong_ones_found(reader: LandmarkReader, head: ViewSet) -> None:
    asked = torch.stack([PITCH, YAW], dim=1)
    assert angle_errors(reader, Pictures(head.rgb, asked), fov_degrees=FOV).max() < 0.05
    wrong = angle_errors(reader, Pictures(head.rgb, asked + torch.tensor([0.0, 0.2])), fov_degrees=FOV)
    assert wrong[:, 1].min() > 0.15 and wrong[:, 0].max() < 0.05
    order = torch.tensor([2, 0, 1])
    again = angle_errors(reader, Pictures(head.rgb[order], asked[order]), fov_degrees=FOV)
    assert torch.equal(again, angle_errors(reader, Pictures(head.rgb, asked), fov_degrees=FOV)[order])


def test_what_shows_no_head_is_nan(reader: LandmarkReader, head: ViewSet) -> None:
    grey = torch.full_like(head.rgb[:1], 128)
    assert read(reader, grey[0], fov_degrees=FOV) is None
    assert angle_errors(reader, Pictures(grey, torch.zeros(1, 2)), fov_degrees=FOV).isnan().all()
    assert math.isnan(relief_error(reader, head._replace(rgb=grey), 0))
    assert head.alpha is not None
    assert math.isnan(relief_error(reader, head._replace(alpha=0 * head.alpha), 0))


@pytest.mark.parametrize("view", [0, 1])
def test_relief_is_worse_the_flatter_a_head_is(reader: LandmarkReader, head: ViewSet, view: int) -> None:
    distance = head.distance
    assert distance is not None
    errors = [
        relief_error(reader, head._replace(distance=1 + share * (distance - 1)), view) for share in (1.0, 0.5, 0.0)
    ]
    assert errors[0] < 0.006 and errors[0] < 0.7 * errors[1] < 0.7 * 0.9 * errors[2]
    farther = relief_error(reader, head._replace(distance=distance + 0.02), view)
    assert farther == pytest.approx(errors[0], abs=5e-4), "the median is taken away"


def test_data_that_nobody_drew_is_read_by_landmarks(
    reader: LandmarkReader, small_gram_hd: GramHd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = prepare_procedural(32, tmp_path / "heads", size=64, workers=1).out
    (out / "about.json").unlink()  # now they are photographs
    request = EvaluationRequest(samples=16, identities=1, size=64)
    with pytest.raises((MissingDependency, BadArgument)):  # here without the library or its weights
        evaluate(Evaluation(small_gram_hd.eval(), DatasetReader(out), request=request), ["pose"])
    monkeypatch.setattr(evaluations, "can_read_faces", lambda: True)
    for module in (landmark_readings, consistency_scores):
        monkeypatch.setattr(module, "face_reader", lambda: reader)
    found = evaluate(Evaluation(small_gram_hd.eval(), DatasetReader(out), request=request), ["pose", "depth"])
    assert found["pose"].protocol["read_by"] == found["depth"].protocol["read_by"] == "procedural"
    assert found["pose"].ceiling["yaw_error"] < 0.1 and found["pose"].ceiling["pitch_error"] < 0.1
    assert found["pose"].values.get("heads found", 1.0) < 0.5, "pictures of random weights show no head"
    assert list(found["depth"].values) == ["depth error of landmarks"] and not found["depth"].ceiling
