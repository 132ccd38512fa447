"""A template out of landmarks alone: poses nearly as good as with the true one, and a sentence where it cannot be."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from posed_heads import FOV, SIZE, face, in_photo, known

from gramhd_core.data.landmarks import EYES_2, IBUG_68, Face, Scheme
from gramhd_core.data.pose import fit_pose
from gramhd_core.data.pose_conversions import Pose, camera_from_pose
from gramhd_core.data.self_calibration import self_calibrate
from gramhd_core.data.subjects import PROCEDURAL_HEADS
from gramhd_core.data.templates import Template, template_for
from gramhd_core.errors import BadDataset

HEADS = template_for(IBUG_68, PROCEDURAL_HEADS)


@functools.cache
def faces_of(heads: int, *, noise: float = 1.0, missing: float = 0.0, wrong: float = 0.0) -> list[Face]:
    rng, faces = np.random.default_rng(6), []
    for seed in range(heads):
        points = known(seed).points + rng.normal(0, noise, (68, 2))
        spoilt = rng.random(68) < wrong
        points[spoilt] = rng.uniform(0, SIZE, (spoilt.sum(), 2))
        zoom, shift = rng.uniform(0.5, 4), tuple(rng.uniform(0, 900, 2))
        points = in_photo(points, roll=rng.normal(0, 0.3), zoom=zoom, shift=shift)
        points[rng.random(68) < missing] = np.nan
        faces.append(face(points))
    return faces


def errors_degrees(template: Template, faces: list[Face]) -> np.ndarray:
    """[N, 2] |error| of pitch and yaw after one rotation for all photographs."""
    poses = [fit_pose(one, template, fov_degrees=FOV) for one in faces]
    found, true = [], []
    for seed, pose in enumerate(poses):
        found.append(camera_from_pose(Pose(pose.pitch, pose.yaw)).world_from_camera[0, :3, 2].numpy())
        true.append(camera_from_pose(Pose(known(seed).pitch, known(seed).yaw)).world_from_camera[0, :3, 2].numpy())
    u, _, v = np.linalg.svd(np.array(true).T @ np.array(found))
    x, y, z = (u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v) @ np.array(found).T
    angles = np.stack([np.arcsin(y), np.arctan2(x, z)], axis=1)
    return np.abs(np.degrees(angles - [(known(seed).pitch, known(seed).yaw) for seed in range(len(faces))]))


def test_photographs_of_sixty_heads_teach_a_template_that_poses_them() -> None:
    template = self_calibrate(faces_of(60), fov_degrees=FOV)
    errors = errors_degrees(template, faces_of(60))
    assert (np.median(errors, axis=0) <= 1.2).all() and (np.percentile(errors, 95, axis=0) <= 3.5).all()
    assert np.abs(template.points - HEADS.points).max() < 0.004  # the true one, in the same frame
    assert 0.0005 < template.spread < 0.003 and "60 photographs" in template.origin


def test_missing_and_wrong_landmarks_are_overcome() -> None:
    faces = faces_of(60, noise=2.0, missing=0.3, wrong=0.05)
    assert (np.median(errors_degrees(self_calibrate(faces, fov_degrees=FOV), faces), axis=0) <= 2.0).all()


def test_a_template_is_its_own_mirror_image_and_exact_for_one_head_without_noise() -> None:
    rng = np.random.default_rng(0)
    faces = []
    for _ in range(40):
        camera = camera_from_pose(Pose(rng.normal(0, 0.15), rng.normal(0, 0.3), rng.normal(0, 0.2)), size=SIZE)
        faces.append(face(camera.project(torch.from_numpy(HEADS.points)[None])[0].numpy() * rng.uniform(0.5, 3)))
    template = self_calibrate(faces, fov_degrees=FOV)
    assert np.allclose(template.points[list(IBUG_68.mirror)] * (-1, 1, 1), template.points, atol=1e-12)
    poses = [fit_pose(one, template, fov_degrees=FOV) for one in faces]
    assert max(pose.residual for pose in poses) < 1e-3
    assert abs(np.median([pose.pitch for pose in poses])) < 0.01  # level is the median
    turned = HEADS.points - HEADS.points.mean(axis=0), template.points - template.points.mean(axis=0)
    u, s, v = np.linalg.svd(turned[0].T @ turned[1])
    scale = s.sum() / (turned[1] ** 2).sum()
    assert np.abs(turned[0] - scale * turned[1] @ (u @ v).T).max() < 5e-4


def test_the_mirrored_photographs_teach_the_same_template() -> None:
    faces = faces_of(60)
    there = [Face(f.scheme, f.points[list(IBUG_68.mirror)] * (-1, 1) + (900, 0), f.confidence, f.box) for f in faces]
    one, twin = (self_calibrate(some, fov_degrees=FOV) for some in (faces, there))
    assert np.allclose(one.points, twin.points, atol=1e-6)


def test_a_scheme_without_built_in_template_fills_half_of_the_crop() -> None:
    some = [k for k in range(17, 68) if k not in range(48, 60)]  # brows, nose, eyes, inner lips
    place = {k: i for i, k in enumerate(some)}
    scheme = Scheme("half a face", tuple(place[IBUG_68.mirror[k]] for k in some))
    template = self_calibrate([face(f.points[some], scheme) for f in faces_of(60)], fov_degrees=FOV)
    size = np.ptp(template.points, axis=0).max()
    assert math.isclose(size, math.tan(math.radians(FOV) / 2), rel_tol=1e-6)
    assert np.allclose(template.points[:, :2].min(axis=0) + template.points[:, :2].max(axis=0), 0, atol=1e-9)
    assert template.points[place[30], 2] == template.points[:, 2].max()  # the tip of the nose is nearest
    assert template.points[place[20], 1] > template.points[place[62], 1]  # brows above the mouth


def from_one_side(count: int) -> list[Face]:
    rng, faces = np.random.default_rng(0), []
    for _ in range(count):
        camera = camera_from_pose(Pose(rng.normal(0, 0.1), 0.3 + rng.normal(0, 0.01)), size=SIZE)
        faces.append(
            face(camera.project(torch.from_numpy(HEADS.points)[None])[0].numpy() + rng.normal(0, 0.5, (68, 2)))
        )
    return faces


def test_what_cannot_teach_a_template_is_refused_with_numbers() -> None:
    with pytest.raises(BadDataset, match="3 photographs with enough landmarks.*needs 20 at least"):
        self_calibrate(faces_of(60)[:3], fov_degrees=FOV)
    with pytest.raises(BadDataset, match="0 photographs"):
        self_calibrate([], fov_degrees=FOV)
    with pytest.raises(BadDataset, match="one side only.*4 degrees at least"):
        self_calibrate(from_one_side(40), fov_degrees=FOV)
    blind = [
        Face(f.scheme, np.where(np.arange(68)[:, None] == 5, np.nan, f.points), f.confidence, f.box)
        for f in faces_of(60)
    ]
    with pytest.raises(BadDataset, match="landmark 5, which was found in 0 of 60 photographs"):
        self_calibrate(blind, fov_degrees=FOV)
    with pytest.raises(BadDataset, match="eyes-2 landmarks, 1 pairs"):
        self_calibrate([face(np.array([[1.0, 2.0], [3.0, 4.0]]), EYES_2)] * 30, fov_degrees=FOV)
