"""Every label format is one pose said differently: conversions invert each other, and wrong labels are sentences."""

from __future__ import annotations

import json
import math
import zipfile

import numpy as np
import pytest
import scipy.io
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gramhd_core.data import labels
from gramhd_core.data import pose_conversions as convert
from gramhd_core.data.pose_conversions import Pose
from gramhd_core.errors import BadLabels
from gramhd_core.geometry.camera import Camera, angles_from_official

TOLERANCE = 1e-6
relaxed = settings(deadline=None)  # a busy machine is no failure
poses = st.builds(
    Pose,
    pitch=st.floats(-1.5, 1.5),
    yaw=st.floats(-3.1, 3.1),
    roll=st.floats(-3.1, 3.1),
    radius=st.floats(0.3, 5.0),
    fov_degrees=st.floats(3.0, 90.0),
)
FRONTAL_FFHQ = [1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 2.7, 0, 0, 0, 1, 4.2647, 0, 0.5, 0, 4.2647, 0.5, 0, 0, 1]


def close(a: Pose, b: Pose) -> bool:
    return bool(np.allclose(a, b, rtol=0, atol=TOLERANCE))


def image_of_head_axes(camera: Camera) -> np.ndarray:
    """[4, 2] pixels of the head's centre and of the tips of its three axes."""
    points = torch.cat([torch.zeros(1, 3), 0.05 * torch.eye(3)]).double()
    return camera.project(points[None])[0].numpy()


@relaxed
@given(poses)
def test_camera_and_pose_are_inverse(pose):
    assert close(convert.poses_from_camera(convert.camera_from_pose(pose))[0], pose)


@relaxed
@given(poses)
def test_eg3d_numbers_and_pose_are_inverse(pose):
    assert close(convert.pose_from_eg3d(convert.eg3d_from_pose(pose, radius=pose.radius)), pose)


@relaxed
@given(poses)
def test_the_radius_of_eg3d_numbers_is_a_matter_of_units(pose):
    there = convert.pose_from_eg3d(convert.eg3d_from_pose(pose))
    assert there.radius == pytest.approx(convert.EG3D_RADIUS)
    assert close(there._replace(radius=pose.radius), pose)


@relaxed
@given(poses)
def test_gram_angles_and_pose_are_inverse(pose):
    pose = Pose(*pose[:3])
    assert close(convert.pose_from_mat(convert.mat_from_pose(pose)), pose)
    assert close(convert.pose_from_npy(convert.npy_from_pose(pose)), pose._replace(roll=0.0))


@relaxed
@given(poses)
def test_the_mirrored_pose_is_the_pose_of_the_mirrored_camera(pose):
    mirrored = convert.poses_from_camera(convert.camera_from_pose(pose).mirrored())[0]
    assert close(mirrored, pose.mirrored())


@pytest.mark.slow
def test_a_pose_without_roll_is_an_orbit_camera():
    orbit = Camera.orbit(torch.tensor([0.2], dtype=torch.float64), torch.tensor([-0.4], dtype=torch.float64))
    ours = convert.camera_from_pose(Pose(0.2, -0.4))
    torch.testing.assert_close(ours.world_from_camera, orbit.world_from_camera)


def test_positive_roll_leans_the_head_to_the_left_of_the_picture():
    up = image_of_head_axes(convert.camera_from_pose(Pose(0.0, 0.0, roll=0.3), size=64))
    assert up[2, 0] < up[0, 0] and up[2, 1] < up[0, 1]


def test_the_frontal_ffhq_label_by_hand():
    pose = convert.pose_from_eg3d(FRONTAL_FFHQ)
    assert close(pose, Pose(0, 0, 0, 2.7, math.degrees(2 * math.atan(0.5 / 4.2647))))
    ours = convert.eg3d_from_pose(Pose(0, 0))
    np.testing.assert_allclose(ours[:16], FRONTAL_FFHQ[:16], atol=1e-12)
    assert ours[16] == pytest.approx(4.7572, abs=1e-4)  # 0.5 / tan 6 degrees


def test_an_eg3d_camera_to_the_right_and_above_by_hand():
    yaw, pitch, r = 0.5, 0.25, 2.7
    centre = r * np.array([math.cos(pitch) * math.sin(yaw), math.sin(pitch), math.cos(pitch) * math.cos(yaw)])
    forward = -centre / r
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3] = np.stack([right, np.cross(forward, right), forward, centre], axis=1)
    assert close(
        convert.pose_from_eg3d([*matrix.ravel(), *FRONTAL_FFHQ[16:]])._replace(fov_degrees=0), Pose(pitch, yaw, 0, r, 0)
    )


def test_opencv_pixels_of_an_eg3d_label_are_the_pixels_of_our_camera():
    pose = Pose(0.21, -0.37, 0.15)
    numbers = np.array(convert.eg3d_from_pose(pose))
    opencv, intrinsics = numbers[:16].reshape(4, 4), numbers[16:].reshape(3, 3)
    points = np.concatenate([np.zeros((1, 3)), 0.05 * np.eye(3)]) * convert.EG3D_RADIUS
    local = (np.concatenate([points, np.ones((4, 1))], axis=1) @ np.linalg.inv(opencv).T)[:, :3] @ intrinsics.T
    pixels = 64 * local[:, :2] / local[:, 2:]
    np.testing.assert_allclose(pixels, image_of_head_axes(convert.camera_from_pose(pose, size=64)), atol=1e-6)


def test_gram_files_follow_the_published_angles():
    mat, npy = convert.pose_from_mat(np.array([[0.3, 0.2, 0.1]])), convert.pose_from_npy(np.array([1.5, 1.4]))
    for pose, phi, theta in ((mat, math.pi / 2 - (0.3 - 0.1), math.pi / 2 + 0.2), (npy, 1.5 + 0.14, 1.4)):
        pitch, yaw = angles_from_official(torch.tensor(phi), torch.tensor(theta))
        assert pose.pitch == pytest.approx(float(pitch), abs=TOLERANCE) and pose.yaw == pytest.approx(
            float(yaw), abs=TOLERANCE
        )
    assert mat.roll == 0.1


@settings(max_examples=20, deadline=None)
@given(
    st.dictionaries(st.text("abcxyz019_", min_size=1, max_size=6).map("{}.png".format), poses, min_size=1, max_size=4)
)
def test_every_label_file_reads_back_what_was_written(tmp_path_factory, written):
    folder = tmp_path_factory.mktemp("labels")
    written = {name: Pose(*pose[:3]) for name, pose in written.items()}
    stems = {name.removesuffix(".png"): pose for name, pose in written.items()}
    labels.write_eg3d(folder / "dataset.json", written, radius=1.0)
    labels.write_poses(folder / "poses.jsonl", written, extra={name: {"source": "x"} for name in written})
    labels.write_gram_mat(folder / "mat" / "poses", written)
    labels.write_gram_npy(folder / "npy" / "poses", written)
    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        archive.write(folder / "dataset.json", "dataset.json")
    level = {stem: pose._replace(roll=0.0) for stem, pose in stems.items()}
    cases = [
        ("dataset.json", written),
        ("poses.jsonl", written),
        ("set.zip", written),
        ("", written),
        ("mat", stems),
        ("mat/poses", stems),
        ("npy", level),
    ]
    for place, expected in cases:
        found = labels.read_labels(folder / place)
        assert found.keys() == expected.keys(), place
        assert all(close(found[name], expected[name]) for name in expected), place


def eg3d_file(folder, numbers, name="a.png"):
    (folder / "dataset.json").write_text(json.dumps({"labels": [[name, numbers]]}))
    return folder / "dataset.json"


WRONG_NUMBERS = {
    "has 24 numbers": FRONTAL_FFHQ[:24],
    "has 1 numbers": 7,
    "not numbers": [*FRONTAL_FFHQ[:24], math.nan],
    "not a rotation": [2, *FRONTAL_FFHQ[1:]],
    "into the head": [*FRONTAL_FFHQ[:11], 0.0, *FRONTAL_FFHQ[12:]],
    "away from the head": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2.7, *FRONTAL_FFHQ[12:]],  # OpenGL axes
    "no positive focal": [*FRONTAL_FFHQ[:16], -1, *FRONTAL_FFHQ[17:]],
}


@pytest.mark.parametrize("sentence", WRONG_NUMBERS)
def test_a_wrong_eg3d_label_is_a_sentence_that_names_the_image(tmp_path, sentence):
    with pytest.raises(BadLabels, match=f"a.png.*{sentence}"):
        labels.read_labels(eg3d_file(tmp_path, WRONG_NUMBERS[sentence]))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"labels": null}', '{"labels": [["a.png"]]}', '{"labels": [[1, []]]}']
)
def test_a_file_that_is_no_label_list_is_a_sentence(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(BadLabels, match="dataset.json"):
        labels.read_labels(tmp_path)


def test_text_among_the_numbers_is_a_sentence(tmp_path):
    with pytest.raises(BadLabels, match="not numbers"):
        labels.read_labels(eg3d_file(tmp_path, [*FRONTAL_FFHQ[:24], "one"]))


@pytest.mark.parametrize(
    "line",
    [
        '{"name": "a.png", "pitch": 0}',
        '{"name": "a", "pitch": 0, "yaw": "left"}',
        "[1]",
        "{",
        '{"name": "a", "pitch": NaN, "yaw": 0}',
    ],
)
def test_a_wrong_line_of_poses_is_a_sentence_with_its_number(tmp_path, line):
    (tmp_path / "poses.jsonl").write_text('{"name": "b.png", "pitch": 0, "yaw": 0}\n' + line + "\n")
    with pytest.raises(BadLabels, match="Line 2"):
        labels.read_labels(tmp_path)


def test_wrong_gram_files_are_sentences_that_name_the_file(tmp_path):
    scipy.io.savemat(str(tmp_path / "short.mat"), {"angle": np.zeros((1, 2))})
    scipy.io.savemat(str(tmp_path / "other.mat"), {"pose": np.zeros((1, 3))})
    np.save(tmp_path / "long_pose.npy", np.zeros(3))
    np.save(tmp_path / "nan_pose.npy", np.full(2, np.nan))
    np.save(tmp_path / "object_pose.npy", np.array([{}, {}], dtype=object))
    whole = convert.mat_from_pose(Pose(0, 0))
    scipy.io.savemat(str(tmp_path / "cut.mat"), {"angle": whole})
    (tmp_path / "cut.mat").write_bytes((tmp_path / "cut.mat").read_bytes()[:150])
    for file in sorted(tmp_path.iterdir()):
        folder = tmp_path / f"only_{file.stem}"
        folder.mkdir()
        file.rename(folder / file.name)
        with pytest.raises(BadLabels, match=file.name):
            labels.read_labels(folder)


@pytest.mark.parametrize("name", ["a.mat", "a_pose.npy", "a.jsonl", "a.json"])
def test_a_label_file_that_cannot_be_opened_is_a_sentence(tmp_path, monkeypatch, name):
    def refused(self):
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr("pathlib.Path.read_bytes", refused)
    with pytest.raises(BadLabels, match=rf"{name} cannot be read \(Permission denied\)"):
        labels.read_labels(tmp_path / name if "json" in name else tmp_path)


def test_a_twice_labelled_image_is_a_sentence(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [["a.png", FRONTAL_FFHQ]] * 2}))
    with pytest.raises(BadLabels, match=r"a\.png twice"):
        labels.read_labels(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "empty", "picture.png"])
def test_a_place_without_labels_is_a_sentence(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "picture.png").write_bytes(b"x")
    with pytest.raises(BadLabels, match=name):
        labels.read_labels(tmp_path / name)
