"""Poses from landmarks: right to a fraction of a degree, whatever the photograph does; bad landmarks have a reason."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from posed_heads import FOV, SIZE, WIDTH, errors_degrees, face, in_photo, known

from gramhd_core.data.landmarks import EYES_2, FACE_5, IBUG_68, Face, Scheme, mirrored
from gramhd_core.data.pose import PoseError, fit_pose, project
from gramhd_core.data.pose_conversions import Pose, camera_from_pose
from gramhd_core.data.subjects import PROCEDURAL_HEADS
from gramhd_core.data.templates import Template, template_for

HEADS = template_for(IBUG_68, PROCEDURAL_HEADS)
FIVE = template_for(FACE_5, PROCEDURAL_HEADS)


def five(points: np.ndarray) -> np.ndarray:
    return np.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0), *points[[30, 48, 54]]])


def fitted_errors(*, noise: float, heads: int = 60, wrong: float = 0.0, missing: float = 0.0) -> np.ndarray:
    """[heads, 2] |error| of pitch and yaw in degrees for landmarks with `noise` pixels at 256."""
    rng, rows = np.random.default_rng(5), []
    for seed in range(heads):
        points = known(seed).points + rng.normal(0, noise, (68, 2))
        spoilt = rng.random(68) < wrong
        points[spoilt] = rng.uniform(0, SIZE, (spoilt.sum(), 2))
        points[rng.random(68) < missing] = np.nan
        rows.append(errors_degrees(fit_pose(face(points), HEADS, fov_degrees=FOV), known(seed)))
    return np.array(rows)


def test_landmarks_with_a_pixel_of_noise_give_angles_within_a_degree() -> None:
    errors = fitted_errors(noise=1.0)
    assert (np.median(errors, axis=0) <= 0.6).all()
    assert (np.percentile(errors, 95, axis=0) <= 1.5).all()


def test_a_third_of_the_landmarks_may_be_wrong_and_two_thirds_missing() -> None:
    assert (np.percentile(fitted_errors(noise=1.0, heads=40, wrong=0.3), 90, axis=0) <= 3).all()
    assert (np.percentile(fitted_errors(noise=1.0, heads=40, missing=0.67), 90, axis=0) <= 3).all()


def test_five_points_are_enough_for_a_rough_pose() -> None:
    rng = np.random.default_rng(1)
    poses = [
        fit_pose(face(five(known(s).points) + rng.normal(0, 1, (5, 2)), FACE_5), FIVE, fov_degrees=FOV)
        for s in range(60)
    ]
    errors = np.array([errors_degrees(pose, known(seed)) for seed, pose in enumerate(poses)])
    assert (np.median(errors, axis=0) <= (4, 3)).all()


def test_the_average_head_without_noise_is_recovered_exactly_from_any_side() -> None:
    for pitch, yaw, roll in [(0.0, 0.0, 0.0), (0.3, -0.9, 2.5), (-0.5, 1.3, -1.0), (0.1, 0.4, math.pi - 0.01)]:
        camera = camera_from_pose(Pose(pitch, yaw, roll), size=SIZE)
        points = camera.project(torch.from_numpy(HEADS.points)[None])[0].numpy() * 3 + (40, -70)
        pose = fit_pose(face(points), HEADS, fov_degrees=FOV)
        assert np.allclose(pose[:3], (pitch, yaw, roll), atol=4e-3)  # the prior pulls a little
        assert np.allclose(pose.centre, (SIZE / 2 * 3 + 40, SIZE / 2 * 3 - 70), atol=1)
        assert math.isclose(pose.scale, 3 * SIZE / WIDTH, rel_tol=5e-3)
        assert np.allclose(project(HEADS.points, pose), points, atol=1)
        assert pose.residual < 1e-3


def test_turning_enlarging_and_shifting_the_photograph_changes_only_roll_scale_and_centre() -> None:
    points = known(3).points + np.random.default_rng(0).normal(0, 1, (68, 2))
    plain = fit_pose(face(points), HEADS, fov_degrees=FOV)
    moved = fit_pose(face(in_photo(points, roll=0.7, zoom=5.0, shift=(900.0, -50.0))), HEADS, fov_degrees=FOV)
    assert np.allclose(moved[:3], (plain.pitch, plain.yaw, plain.roll + 0.7), atol=1e-3)
    assert math.isclose(moved.scale, 5 * plain.scale, rel_tol=1e-3)
    expected = in_photo(np.array([plain.centre]), roll=0.7, zoom=5.0, shift=(900.0, -50.0))
    assert np.allclose(moved.centre, expected[0], atol=0.5)
    assert math.isclose(moved.residual, plain.residual, rel_tol=0.02)


def test_the_mirrored_photograph_has_the_mirrored_pose() -> None:
    there = face(in_photo(known(4).points, roll=0.3, zoom=1.0, shift=(120.0, 140.0)))
    pose, twin = (fit_pose(one, HEADS, fov_degrees=FOV) for one in (there, mirrored(there, SIZE)))
    assert np.allclose(twin[:3], (pose.pitch, -pose.yaw, -pose.roll), atol=1e-3)
    assert np.allclose(twin.centre, (SIZE - pose.centre[0], pose.centre[1]), atol=0.1)


def test_the_standard_deviations_are_those_of_the_errors() -> None:
    rng, scores = np.random.default_rng(2), []
    for seed in range(60):
        pose = fit_pose(face(known(seed).points + rng.normal(0, 1.5, (68, 2))), HEADS, fov_degrees=FOV)
        scores.append(((pose.pitch - known(seed).pitch) / pose.sd[0], (pose.yaw - known(seed).yaw) / pose.sd[1]))
    assert (np.abs(np.sqrt(np.mean(np.square(scores), axis=0)) - 1) < 0.35).all()


def test_the_residual_tells_noise_and_things_that_are_no_heads() -> None:
    rng = np.random.default_rng(3)
    noisy = fit_pose(face(known(0).points + rng.normal(0, 2.56, (68, 2))), HEADS, fov_degrees=FOV)
    assert 0.008 < noisy.residual < 0.018  # 1 % of the crop per coordinate, sqrt 2 per landmark
    assert fit_pose(face(rng.uniform(0, SIZE, (68, 2))), HEADS, fov_degrees=FOV).residual > 0.08


def test_landmarks_without_confidence_are_not_looked_at() -> None:
    gone, spoilt = known(7).points.copy(), known(7).points.copy()
    gone[:30], spoilt[:30] = np.nan, spoilt[:30] + 60
    doubted = Face(IBUG_68, spoilt, np.where(np.arange(68) < 30, 0.0, 1.0), (0, 0, SIZE, SIZE))
    assert fit_pose(doubted, HEADS, fov_degrees=FOV) == fit_pose(face(gone), HEADS, fov_degrees=FOV)


def test_two_eyes_give_roll_and_place_and_leave_the_view_to_the_prior() -> None:
    eyes = template_for(EYES_2, PROCEDURAL_HEADS)
    pose = fit_pose(face(np.array([[100.0, 120.0], [160.0, 100.0]]), EYES_2), eyes, fov_degrees=FOV)
    assert abs(pose.pitch) < 1e-6 and abs(pose.yaw) < 1e-6
    assert math.isclose(pose.roll, math.atan2(20, 60), abs_tol=1e-6)
    assert min(pose.sd) > 0.2
    assert np.allclose(project(eyes.points, pose), [[100, 120], [160, 100]], atol=1e-6)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (np.full((5, 2), np.nan), "too few landmarks (0 of 5, 4 are needed)"),
        (np.array([[1, 2], [3, 9], [4, 4], [np.nan, 1], [2, np.nan]]), "too few landmarks (3 of 5, 4 are needed)"),
        (np.array([[k, 2.0 * k] for k in range(5)]), "landmarks on one line"),
        (np.full((5, 2), 77.0), "landmarks all in one place"),
    ],
)
def test_landmarks_that_say_nothing_are_refused_with_a_reason(points: np.ndarray, reason: str) -> None:
    with pytest.raises(PoseError) as refused:
        fit_pose(Face(FACE_5, points, np.ones(5), (0, 0, 1, 1)), FIVE, fov_degrees=FOV)
    assert refused.value.reason == reason
    assert pickle.loads(pickle.dumps(refused.value)).reason == reason  # it comes home from worker processes


def test_a_scheme_of_ones_own_needs_no_more_than_points() -> None:
    scheme = Scheme("box", (1, 0, 3, 2, 4, 5))
    corners = [
        (-0.05, 0.05, 0.0),
        (0.05, 0.05, 0.0),
        (-0.05, -0.05, 0.0),
        (0.05, -0.05, 0.0),
        (0, 0, 0.06),
        (0, 0.03, 0.04),
    ]
    template = Template(scheme, np.array(corners), "a pyramid")
    camera = camera_from_pose(Pose(-0.2, 0.5), size=SIZE)
    points = camera.project(torch.from_numpy(template.points)[None])[0].numpy()
    assert np.allclose(fit_pose(face(points, scheme), template, fov_degrees=FOV)[:2], (-0.2, 0.5), atol=0.01)
