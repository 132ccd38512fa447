"""Faces for recognition: cut where the cameras see them, weights of the published shape, sentences for others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.errors import BadCheckpoint, MissingDependency
from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.metrics import faces
from gramhd_core.metrics.faces import PLACES, SIDE, Recogniser, faces_of, recognition, similarity_to_picture
from gramhd_core.metrics.views import ViewSet, views_of_head

VIEWS = 3


@pytest.fixture(scope="module")
def sets() -> list[ViewSet]:
    cameras = CameraPrior().at(0.1, torch.linspace(-0.3, 0.3, VIEWS), size=96)
    return [views_of_head(HeadIdentity.from_seed(i), cameras, name=str(i), supersample=1) for i in (1, 2)]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the file of a small network is looked for; it is not there yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(faces, "UNITS", (1, 1, 1, 1))
    monkeypatch.setattr(faces, "WIDTHS", (4, 4, 8, 8))
    faces.weights_path().parent.mkdir(parents=True)
    return faces.weights_path()


def small() -> Recogniser:
    torch.manual_seed(0)
    return Recogniser((1, 1, 1, 1), (4, 4, 8, 8))


def test_the_network_has_the_published_shape() -> None:
    with torch.device("meta"):
        network = Recogniser(faces.UNITS, faces.WIDTHS)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(43.59e6, rel=1e-3)
    names = set(network.state_dict())
    assert {"conv1.weight", "layer1.0.downsample.0.weight", "layer3.13.prelu.weight", "features.running_mean"} <= names
    assert network.get_submodule("fc").in_features == 512 * 7 * 7
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 1 + 2 * 24 + 4


def test_features_of_a_face_come_where_the_network_expects_them() -> None:
    cameras = CameraPrior().at(0.1, torch.tensor([-0.3, 0.0, 0.4]), size=96)
    scale, shift = similarity_to_picture(cameras)
    points = torch.from_numpy(faces.template_for(faces.FACE_5, faces.FACES).points).float()
    seen = torch.view_as_complex(cameras.project(points.expand(3, -1, -1)).double().contiguous())
    back = (seen - shift[:, None]) / scale[:, None]
    wanted = torch.view_as_complex(torch.tensor(PLACES, dtype=torch.float64))
    assert (back - wanted).abs().amax(dim=1)[1] < 8 and (back - wanted).abs().mean() < 8
    larger = similarity_to_picture(cameras.with_size(192))
    assert torch.allclose(larger[0], 2 * scale, atol=1e-4) and torch.allclose(larger[1], 2 * shift, atol=1e-3)
    assert scale[1].imag.abs() < 0.02 * scale[1].real  # a level head stands upright


def test_a_face_is_the_picture_around_it(sets: list[ViewSet]) -> None:
    shown = faces_of(sets[0])
    assert shown.shape == (VIEWS, 3, SIDE, SIDE) and shown.abs().amax() <= 1
    plain = sets[0]._replace(rgb=torch.full_like(sets[0].rgb, 255))
    assert torch.allclose(faces_of(plain), torch.ones(VIEWS, 3, SIDE, SIDE), atol=1e-5)


def test_the_same_face_in_all_views_is_one_person(sets: list[ViewSet], weights: Path) -> None:
    torch.save(small().state_dict(), weights)
    cameras = sets[0].cameras[torch.zeros(VIEWS, dtype=torch.long)]
    still = [one._replace(cameras=cameras, rgb=one.rgb[:1].expand(VIEWS, -1, -1, -1)) for one in sets]
    found = recognition(still)
    assert found.similarity == pytest.approx(1, abs=1e-5) and found.others is not None and found.others < 0.9999
    straight, turned = recognition(sets), recognition([sets[0], _turned(sets[1])])
    assert turned.each == pytest.approx(straight.each, abs=1e-5) and straight.similarity < 1
    assert recognition(sets[:1]).others is None


def _turned(views: ViewSet) -> ViewSet:
    order = torch.arange(len(views.rgb)).flip(0)
    return views._replace(cameras=views.cameras[order], rgb=views.rgb[order])


def test_without_weights_there_is_a_sentence_with_file_folder_and_address(sets: list[ViewSet], weights: Path) -> None:
    with pytest.raises(MissingDependency, match=r"ms1mv3_arcface_r50_fp16\.pth is not in .*checkpoints.*https://"):
        recognition(sets)
    torch.save({"conv1.weight": torch.zeros(2)}, weights)
    with pytest.raises(BadCheckpoint, match="does not fit"):
        recognition(sets)
    weights.write_bytes(b"no weights")
    with pytest.raises(BadCheckpoint):
        recognition(sets)
