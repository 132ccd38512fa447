"""Crops: every point lands where it is said to, no detail is invented or folded, and edges are continued."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import torch
from posed_heads import FOV, SIZE, WIDTH, face, in_photo, known

from gramhd_core.data.crop import covered, crop, crop_points, crop_side, label_of
from gramhd_core.data.landmarks import IBUG_68
from gramhd_core.data.pose import HeadPose, PoseError, fit_pose
from gramhd_core.data.pose_conversions import Pose, camera_from_pose
from gramhd_core.data.subjects import PROCEDURAL_HEADS
from gramhd_core.data.templates import template_for


def pose_of(*, side: float, roll: float = 0.0, centre: tuple[float, float]) -> HeadPose:
    """A head whose crop is `side` photo pixels wide."""
    return HeadPose(0.1, -0.2, roll, centre, side / WIDTH, 0.0, (0.0, 0.0))


def ramps(height: int, width: int) -> np.ndarray:
    """A photograph whose colours are x and y of the pixels' centres, up to 255."""
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack([255 * x / width, 255 * y / height, 0 * x], axis=-1).round().astype(np.uint8)


@pytest.mark.parametrize("size", [32, 64, 256])
@pytest.mark.parametrize(("side", "roll"), [(90.0, 0.0), (200.0, 0.4), (333.3, -1.2), (601.7, 3.0), (640.0, 0.0)])
def test_a_spot_of_the_photograph_lands_where_crop_points_says(size: int, side: float, roll: float) -> None:
    pose, radius = pose_of(side=side, roll=roll, centre=(380.3, 390.8)), 2.5 * max(1.0, side / size)
    turn, (y, x) = (
        np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]]),
        np.mgrid[:800, :800] + 0.5,
    )
    for place in ((0.11, -0.07), (-0.23, 0.2)):
        spot = pose.centre + side * turn @ place
        light = 255 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * radius**2))
        photo = np.repeat(light.round().astype(np.uint8)[..., None], 3, axis=2)
        image = crop(photo, pose, size=size, fov_degrees=FOV)[..., 1].astype(float)
        image[image < 8] = 0
        rows, columns = np.mgrid[:size, :size] + 0.5
        shown = np.array([(columns * image).sum(), (rows * image).sum()]) / image.sum()
        expected = crop_points(spot, pose, size=size, fov_degrees=FOV)
        assert np.allclose(expected, size * (0.5 + np.array(place)), atol=1e-9)
        assert np.abs(shown - expected).max() < 0.04


def test_a_crop_in_place_is_the_photograph_itself() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    pose = pose_of(side=64.0, centre=(52.0, 45.0))
    assert (crop(photo, pose, size=64, fov_degrees=FOV) == photo[13:77, 20:84]).all()


def test_roll_is_taken_out_unless_it_is_kept() -> None:
    pose = pose_of(side=100.0, roll=0.5, centre=(50.0, 60.0))
    above = np.array([[50 - 20 * math.sin(0.5), 60 - 20 * math.cos(0.5)]])  # the head leans to the left
    assert np.allclose(crop_points(above, pose, size=100, fov_degrees=FOV), [[50, 30]])
    assert np.allclose(crop_points(above, pose, size=100, fov_degrees=FOV, keep_roll=True), above + (0, -10))
    assert label_of(pose) == Pose(0.1, -0.2) and label_of(pose, keep_roll=True).roll == 0.5
    assert math.isclose(crop_side(pose, FOV), 100.0)


@pytest.mark.parametrize("keep_roll", [False, True])
def test_the_camera_of_the_label_sees_the_template_where_the_crop_shows_it(keep_roll: bool) -> None:
    template = template_for(IBUG_68, PROCEDURAL_HEADS)
    taken = (
        camera_from_pose(Pose(0.2, -0.4, 0.0), size=SIZE).project(torch.from_numpy(template.points)[None])[0].numpy()
    )
    photo = in_photo(taken, roll=0.35, zoom=2.5, shift=(700.0, 300.0))
    pose = fit_pose(face(photo), template, fov_degrees=FOV)
    shown = crop_points(photo, pose, size=128, fov_degrees=FOV, keep_roll=keep_roll)
    camera = camera_from_pose(label_of(pose, fov_degrees=FOV, keep_roll=keep_roll), size=128)
    assert np.allclose(camera.project(torch.from_numpy(template.points)[None])[0].numpy(), shown, atol=0.2)


def test_crops_of_one_head_from_different_photographs_agree() -> None:
    rng, template = np.random.default_rng(4), template_for(IBUG_68, PROCEDURAL_HEADS)
    for seed in range(2):
        shown = []
        for _ in range(8):
            roll, zoom, shift = rng.uniform(-0.6, 0.6), rng.uniform(0.4, 4), tuple(rng.uniform(0, 900, 2))
            photo = in_photo(known(seed).points, roll=roll, zoom=zoom, shift=shift)
            found = photo + rng.normal(0, zoom, photo.shape)
            pose = fit_pose(face(found), template, fov_degrees=FOV)
            shown.append(crop_points(photo, pose, size=SIZE, fov_degrees=FOV))
        scatter = np.array(shown) - np.mean(shown, axis=0)
        assert np.sqrt((scatter**2).sum(axis=-1).mean()) < 0.015 * SIZE


@pytest.mark.parametrize("step", [1.5, 2.3, 4.4, 7.9, 13.0])
def test_detail_finer_than_the_crop_becomes_grey_instead_of_moire(step: float) -> None:
    y, x = np.mgrid[:900, :900]
    stripes = np.where((x + y) % 2 == 0, 255, 0).astype(np.uint8)  # the finest checks there are
    photo = np.repeat(stripes[..., None], 3, axis=2)
    image = crop(
        photo, pose_of(side=64 * step, roll=0.3, centre=(450.0, 450.0)), size=64, fov_degrees=FOV, padding="reflect"
    )
    assert np.abs(image[8:-8, 8:-8].astype(float) - 127.5).max() < 12


def test_nothing_jumps_at_the_edge_of_the_photograph_and_far_outside_is_smooth() -> None:
    photo = np.random.default_rng(1).integers(0, 256, (25, 25, 3)).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    pose = pose_of(side=200.0, centre=(60.0, 100.0))
    hard = crop(photo, pose, size=200, fov_degrees=FOV, padding="reflect")
    soft = crop(photo, pose, size=200, fov_degrees=FOV)
    assert (hard[:, 40:] == photo[:, :160]).all() and (soft[:, 40:] == photo[:, :160]).all()
    assert (hard[:, :40] == photo[:, 39::-1]).all()
    assert np.abs(soft[:, 39].astype(int) - soft[:, 40]).mean() < 3
    roughness = [np.abs(np.diff(image[:, :18].astype(int), axis=0)).max() for image in (hard, soft)]
    assert roughness[1] < 0.3 * roughness[0]
    assert math.isclose(covered(photo.shape, pose, fov_degrees=FOV), 0.8, abs_tol=0.02)


def test_a_head_that_fills_more_than_the_photograph_is_continued_on_all_sides() -> None:
    image = crop(ramps(40, 30), pose_of(side=150.0, roll=0.2, centre=(15.0, 20.0)), size=64, fov_degrees=FOV)
    assert image.shape == (64, 64, 3) and 90 < image[32, 32, 0] < 165
    assert image[..., 0].min() >= 0 and image[..., 2].max() == 0


def test_a_head_outside_of_the_photograph_is_refused_with_a_reason() -> None:
    with pytest.raises(PoseError, match="head outside of the photograph"):
        crop(ramps(50, 50), pose_of(side=40.0, centre=(80.0, 20.0)), size=32, fov_degrees=FOV)


def test_a_large_photograph_is_not_copied() -> None:
    photo = np.broadcast_to(np.full((1, 1, 3), 90, np.uint8), (3000, 9000, 3)).copy()
    tracemalloc.start()
    try:
        small = crop(photo, pose_of(side=700.0, centre=(8000.0, 1500.0)), size=128, fov_degrees=FOV)
        whole = crop(photo, pose_of(side=2900.0, centre=(4500.0, 1500.0)), size=128, fov_degrees=FOV)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (small == 90).all() and (whole == 90).all()
    assert peak < 0.05 * photo.nbytes
