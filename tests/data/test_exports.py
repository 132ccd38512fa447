"""Other programs get the same images and the same cameras, in their own layouts."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
import torch

from gramhd_cli import prep_options
from gramhd_core.data import exports
from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.detectors import DETECTORS
from gramhd_core.data.labels import has_labels, read_labels
from gramhd_core.data.photo_request import Padding, Prior, Which
from gramhd_core.data.pose_conversions import camera_from_pose
from gramhd_core.data.prepare import prepare_procedural
from gramhd_core.data.subjects import SUBJECTS
from gramhd_core.errors import BadArgument


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare_procedural(3, tmp_path_factory.mktemp("exports") / "heads.v1", size=16, workers=1).out


def test_the_zip_of_eg3d_is_the_same_data_set_and_not_compressed(data):
    path = exports.export_eg3d_zip(data)
    assert path == data.with_name("heads.v1_eg3d.zip")
    with zipfile.ZipFile(path) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.read("dataset.json") == (data / "dataset.json").read_bytes()
    ours, theirs = DatasetReader(data), DatasetReader(path)
    assert ours.fingerprint == theirs.fingerprint and all(
        torch.equal(a.image, b.image) for a, b in zip(ours, theirs, strict=True)
    )
    before = path.read_bytes()
    assert exports.export_eg3d_zip(data).read_bytes() == before


@pytest.mark.parametrize(("subject", "ending"), [("procedural-heads", ".mat"), ("cats", "_pose.npy")])
def test_the_folders_of_gram_hold_the_same_images_and_angles(data, monkeypatch, subject, ending):
    about = json.loads((data / "about.json").read_text())
    (data / "about.json").write_text(json.dumps({**about, "subject": subject}))
    folder = exports.export_gram(data)
    assert folder == data.with_name("heads.v1_gram") and len(list((folder / "poses").glob(f"*{ending}"))) == 3
    for file in (folder / "poses").iterdir():
        if not file.name.endswith(ending):
            file.unlink()
    theirs = read_labels(folder / "poses")
    for name, pose in read_labels(data).items():
        stem = name.split("/")[-1].removesuffix(".png")
        assert theirs[stem][:2] == pytest.approx(pose[:2], abs=1e-6)
        assert (folder / "images" / f"{stem}.png").read_bytes() == (data / name).read_bytes()


def test_the_cameras_of_transforms_json_see_the_head_where_ours_do(data):
    document = json.loads(exports.export_transforms(data).read_text())
    point = np.array([0.02, -0.03, 0.05, 1.0])
    poses = read_labels(data)
    assert [frame["file_path"] for frame in document["frames"]] == list(poses)
    for frame in document["frames"]:
        assert (data / frame["file_path"]).is_file()
        x, y, z, _ = np.linalg.inv(frame["transform_matrix"]) @ point
        pixel = document["cx"] + frame["fl_x"] * x / -z, document["cy"] - frame["fl_y"] * y / -z
        camera = camera_from_pose(poses[frame["file_path"]]._replace(radius=1.0), size=16)
        assert pixel == pytest.approx(camera.project(torch.tensor(point[None, None, :3]))[0, 0].tolist(), abs=1e-5)


def test_unknown_formats_are_a_sentence():
    exports.check_formats(list(exports.FORMATS))
    with pytest.raises(BadArgument, match="eg3d-zip, gram, transforms"):
        exports.check_formats(["gram", "coco"])


def test_labels_are_found_where_they_are_read(data, tmp_path):
    exports.export_gram(data)
    zipped = exports.export_eg3d_zip(data)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photo.png").write_bytes(b"x")
    labelled = [data, data.with_name("heads.v1_gram"), data.with_name("heads.v1_gram") / "poses", zipped]
    assert [has_labels(place) for place in labelled] == [True] * 4
    assert not any(has_labels(tmp_path / name) for name in ("photos", "photo.png", "nowhere"))


def test_the_options_name_what_the_library_knows():
    assert prep_options.SUBJECTS == tuple(SUBJECTS) and prep_options.FORMATS == tuple(exports.FORMATS)
    assert prep_options.LANDMARKS == DETECTORS
    for names, kind in ((prep_options.FACES, Which), (prep_options.PADDINGS, Padding), (prep_options.PRIORS, Prior)):
        assert set(names) == set(kind.__args__)
