"""View files: what was written comes back, whatever the units of the world; what is no set of views is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gramhd_core.data.exports import TRANSFORMS_FILE
from gramhd_core.data.pose_conversions import OPENCV_FROM_OPENGL
from gramhd_core.errors import GramhdError
from gramhd_core.geometry.camera import Camera
from gramhd_core.metrics.view_cameras import house_frame
from gramhd_core.metrics.view_files import load_views, write_views
from gramhd_core.metrics.views import ViewSet, fingerprint_of_views

SIZE = 8


def views(size: int = SIZE, *, count: int = 4) -> ViewSet:
    rng = torch.Generator().manual_seed(size)
    cameras = Camera.orbit(torch.linspace(-0.1, 0.2, count), torch.linspace(-0.3, 0.4, count), size=size)
    rgb = torch.randint(0, 256, (count, 3, size, size), generator=rng, dtype=torch.uint8)
    alpha, distance = torch.rand(2, count, size, size, generator=rng)
    return ViewSet("set", cameras, rgb, alpha, 0.9 + 0.2 * distance)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_views(tmp_path / "set", views())
    return tmp_path / "set"


def edit(folder: Path, change: Callable[[dict], object]) -> Path:
    """The transforms.json of a folder, changed."""
    path = folder / TRANSFORMS_FILE
    document = json.loads(path.read_text("utf-8"))
    change(document)
    path.write_text(json.dumps(document), "utf-8")
    return folder


def test_what_is_written_comes_back(folder: Path) -> None:
    wanted, (found,) = views(), load_views(folder)
    assert found.name == "set" and torch.equal(found.rgb, wanted.rgb)
    assert found.alpha is not None and wanted.alpha is not None
    assert found.distance is not None and wanted.distance is not None
    assert torch.allclose(found.alpha, wanted.alpha, atol=0.51 / 255)
    assert torch.allclose(found.distance, wanted.distance, atol=2e-5)
    assert torch.allclose(found.cameras.world_from_camera, wanted.cameras.world_from_camera, atol=1e-5)
    assert torch.allclose(found.cameras.fov_degrees, wanted.cameras.fov_degrees, atol=1e-4)


def test_units_origin_and_axes_of_the_world_do_not_matter(folder: Path) -> None:
    (before,) = load_views(folder)
    angle = 1.1  # about x: y up becomes something else, as where z is up
    turn = torch.eye(4, dtype=torch.float64)
    turn[1:3, 1:3] = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])

    def elsewhere(document: dict) -> None:
        document["depth_unit_scale_factor"] *= 3.0
        for frame in document["frames"]:
            matrix = turn @ torch.tensor(frame["transform_matrix"], dtype=torch.float64)
            matrix[:3, 3] = 3.0 * matrix[:3, 3] + torch.tensor([5.0, -2.0, 1.0])
            frame["transform_matrix"] = matrix.tolist()

    (after,) = load_views(edit(folder, elsewhere))
    assert before.distance is not None and after.distance is not None
    assert torch.allclose(after.distance, before.distance, atol=1e-5)
    position = after.cameras.position
    assert position.norm(dim=-1).mean() == pytest.approx(1, abs=1e-5)
    mine, theirs = position.double(), before.cameras.position.double()
    assert torch.allclose(torch.cdist(mine, mine), torch.cdist(theirs, theirs), atol=1e-5)
    assert position.mean(dim=0)[2] > 0.9 and after.cameras.world_from_camera[:, 1, 1].mean() > 0.9


def test_depth_along_the_axis_is_turned_into_distance_along_the_ray(folder: Path) -> None:
    for place in range(4):
        np.save(folder / f"distance/{place:04d}.npy", np.full((SIZE, SIZE), 1000.0))

    def planes(document: dict) -> None:
        for place, frame in enumerate(document["frames"]):
            frame["depth_file_path"] = f"distance/{place:04d}.npy"
        for key in ("depth_unit_scale_factor", "is_euclidean_depth"):
            del document[key]

    (found,) = load_views(edit(folder, planes))
    corner = math.sqrt(1 + 2 * (math.tan(math.radians(6)) * (SIZE - 1) / SIZE) ** 2)
    assert found.distance is not None
    assert found.distance[0, 0, 0] == pytest.approx(corner, abs=1e-5)  # a thousand millimetres
    assert found.distance.amin() == pytest.approx(1, abs=2e-4)


def test_unknown_depth_is_nan(folder: Path) -> None:
    Image.fromarray(np.zeros((SIZE, SIZE), np.uint16)).save(folder / "distance/0001.png")
    (found,) = load_views(folder)
    assert found.distance is not None and found.distance[1].isnan().all() and found.distance[0].isfinite().all()


def test_one_lens_for_all_suffixes_left_out_and_transparency(folder: Path) -> None:
    for path in (folder / "images").iterdir():
        glass = Image.open(path).convert("RGBA")
        glass.putalpha(51)
        glass.save(path)

    def plain(document: dict) -> None:
        for key in ("w", "h", "cx", "cy"):
            del document[key]
        document["camera_angle_x"] = math.radians(12)
        document["frames"] = [
            {"file_path": f["file_path"].removesuffix(".png"), "transform_matrix": f["transform_matrix"]}
            for f in document["frames"]
        ]

    (found,) = load_views(edit(folder, plain))
    assert found.distance is None and torch.allclose(found.cameras.fov_degrees, torch.tensor(12.0))
    assert found.alpha is not None and torch.allclose(found.alpha, torch.tensor(0.2))


def test_a_sweep_lies_beside_the_views(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_views(tmp_path / name, views())
        write_views(tmp_path / name / "sweep", views(count=6)._replace(alpha=None))
    first, second = load_views(tmp_path)
    assert (first.name, second.name) == ("a", "b") and len(first.rgb) == 4
    assert first.sweep is not None and first.sweep.name == "a" and len(first.sweep.rgb) == 6
    assert [found.name for found in load_views(tmp_path, most=1)] == ["a"]
    before = fingerprint_of_views([first])
    assert before != fingerprint_of_views([first._replace(sweep=None)])
    write_views(tmp_path / "b" / "sweep", views(2 * SIZE))
    with pytest.raises(GramhdError, match="all views must have one size"):
        load_views(tmp_path)


@pytest.mark.parametrize("pitch", [0.0, 0.8])
def test_cameras_all_around_keep_their_axes(pitch: float) -> None:
    ring = Camera.orbit(torch.full((12,), pitch), torch.arange(12) * (2 * math.pi / 12), size=8).world_from_camera
    found, scale = house_frame(ring.double(), source="a ring")
    assert torch.allclose(found[:, :3, :3], ring[:, :3, :3].double(), atol=1e-6)
    assert torch.allclose(torch.linalg.det(found[:, :3, :3]), torch.ones(12, dtype=torch.float64))
    assert scale == pytest.approx(1, abs=1e-4)


def test_labels_of_eg3d_are_the_same_cameras(folder: Path) -> None:
    (wanted,) = load_views(folder)
    focal, labels = 0.5 / math.tan(math.radians(6)), []
    for place, matrix in enumerate(wanted.cameras.world_from_camera.double().numpy()):
        far = matrix.copy()
        far[:3, 3] *= 2.7
        intrinsics = [focal, 0.0, 0.5, 0.0, focal, 0.5, 0.0, 0.0, 1.0]
        labels.append([f"images/{place:04d}.png", [*(far @ OPENCV_FROM_OPENGL).ravel().tolist(), *intrinsics]])
    (folder / TRANSFORMS_FILE).unlink()
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}), "utf-8")
    (found,) = load_views(folder)
    assert torch.allclose(found.cameras.world_from_camera, wanted.cameras.world_from_camera, atol=1e-5)
    assert torch.allclose(found.cameras.fov_degrees, wanted.cameras.fov_degrees, atol=1e-4)
    assert torch.equal(found.rgb, wanted.rgb) and found.distance is None


def test_an_identity_per_subfolder_in_order_of_names(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_views(tmp_path / name, views())
    assert [found.name for found in load_views(tmp_path)] == ["a", "b"]


def matrix_of(document: dict) -> list[list[float]]:
    return document["frames"][1]["transform_matrix"]


def no_lens(document: dict) -> None:
    for frame in document["frames"]:
        del frame["fl_x"]


def all_the_same_way(document: dict) -> None:
    for place, frame in enumerate(document["frames"]):
        frame["transform_matrix"] = [[1, 0, 0, place], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(frames=d["frames"][:2]), "2 views"),
        (lambda d: d.pop("frames"), "no list of frames"),
        (lambda d: matrix_of(d)[0].__setitem__(0, math.nan), "not numbers"),
        (lambda d: matrix_of(d)[0].__setitem__(0, 5.0), "not a rotation"),
        (lambda d: matrix_of(d).pop(), ""),  # 3 x 4 is enough
        (lambda d: matrix_of(d)[2].pop(), "no transform_matrix"),
        (lambda d: d["frames"][2].update(file_path="images/gone.png"), "not there"),
        (lambda d: d["frames"][2].update(fl_x="wide"), "holds fl_x wide"),
        (lambda d: d.update(cx=1.0), "principal point"),
        (no_lens, "camera_angle_x"),
        (all_the_same_way, "all look the same way"),
    ],
)
def test_cameras_that_are_none_are_refused_in_a_sentence(folder: Path, change: Callable, words: str) -> None:
    edit(folder, change)
    if not words:
        assert len(load_views(folder)) == 1
        return
    with pytest.raises(GramhdError, match=words) as caught:
        load_views(folder)
    assert str(caught.value).count("\n") == 0


def test_folders_and_pictures_that_are_no_views_are_refused_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    def refused(words: str, place: Path = folder) -> None:
        with pytest.raises(GramhdError, match=words):
            load_views(place)

    picture = folder / "images/0002.png"
    whole = picture.read_bytes()
    Image.new("RGB", (SIZE, SIZE + 1)).save(picture)
    refused("one size")
    picture.write_bytes(whole[:60])
    refused("cannot be read")
    picture.write_bytes(whole)
    for path in sorted((folder / "images").iterdir()):
        Image.new("RGB", (SIZE, SIZE + 2)).save(path)
    refused("square")
    (folder / TRANSFORMS_FILE).write_text("{", "utf-8")
    refused("not JSON")
    (folder / TRANSFORMS_FILE).unlink()
    refused("pictures without cameras")
    (tmp_path / "empty").mkdir()
    refused("no views", tmp_path / "empty")
    refused("no folder", tmp_path / "nowhere")
    write_views(tmp_path / "two" / "a", views())
    write_views(tmp_path / "two" / "b", views(16))
    refused("one size", tmp_path / "two")
