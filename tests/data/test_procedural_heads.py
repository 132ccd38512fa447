"""Procedural heads: exact, repeatable, symmetric, and the same from every side."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.data.procedural_heads import HeadView, head_and_camera, render_head, render_item
from gramhd_core.geometry.camera import Camera, CameraPrior


def digest(seed: int) -> str:
    view = render_item(seed, size=32).view
    return hashlib.sha256(b"".join(array.tobytes() for array in view)).hexdigest()


def front(seed: int, *, pitch: float = 0.0, yaw: float = 0.0, size: int = 128) -> tuple[HeadView, Camera]:
    camera = Camera.orbit(pitch, yaw, size=size)
    return render_head(HeadIdentity.from_seed(seed), camera), camera


def directions(camera: Camera) -> np.ndarray:
    """[H, W, 3] unit directions of the rays through pixel centres, by the definition of the camera."""
    ndc = 2 * (np.arange(camera.width) + 0.5) / camera.width - 1
    slope = ndc * np.tan(np.radians(camera.fov_degrees[0].item()) / 2)
    local = np.stack([*np.meshgrid(slope, -slope), -np.ones((camera.height, camera.width))], axis=-1)
    world = local @ camera.world_from_camera[0, :3, :3].double().numpy().T
    return world / np.linalg.norm(world, axis=-1, keepdims=True)


def points(view: HeadView, camera: Camera) -> np.ndarray:
    """[H, W, 3] what the pixel centres show, in the world."""
    return camera.position[0].double().numpy() + view.distance[..., None] * directions(camera)


@pytest.mark.slow
def test_same_seed_gives_the_same_bytes_in_threads_and_in_another_process():
    here = [digest(seed) for seed in range(3)]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(digest, range(3))) == here
    program = "from test_procedural_heads import digest; print(*[digest(s) for s in range(3)])"
    folder = str(Path(__file__).parent)
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{folder!r}, {sys.path[0]!r}, '.']; {program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == here


def test_different_seeds_are_different_heads():
    images = [front(seed, size=32)[0].image.astype(float) for seed in range(8)]
    for i in range(8):
        for j in range(i):
            assert np.abs(images[i] - images[j]).mean() > 5


def test_an_item_is_its_head_seen_by_its_camera():
    item = render_item(5, size=32)
    identity, camera = head_and_camera(5, size=32)
    assert item.identity == identity and item.pitch == camera.pitch.item() and item.yaw == camera.yaw.item()
    assert np.array_equal(item.view.image, render_head(identity, camera).image)


def test_cameras_follow_the_prior():
    cameras = [head_and_camera(seed, size=8)[1] for seed in range(400)]
    pitch, yaw = torch.cat([c.pitch for c in cameras]), torch.cat([c.yaw for c in cameras])
    assert abs(yaw.mean()) < 0.05 and abs(yaw.std() - 0.3) < 0.04
    assert abs(pitch.mean()) < 0.03 and abs(pitch.std() - 0.155) < 0.02
    still = CameraPrior(pitch_sd=0, yaw_sd=0, yaw_mean=0.4)
    assert head_and_camera(3, still, size=8)[1].yaw.item() == pytest.approx(0.4, abs=1e-6)


def test_landmarks_are_projected_by_the_camera():
    view, camera = front(1, pitch=0.1, yaw=-0.3)
    assert view.landmarks_2d.shape == (68, 2) and view.landmarks_3d.shape == (68, 3) and view.visible.shape == (68,)
    assert np.allclose(camera.project(torch.from_numpy(view.landmarks_3d)[None])[0], view.landmarks_2d, atol=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_distance_at_visible_landmarks_is_the_way_to_them(seed):
    view, camera = front(seed, pitch=0.1, yaw=0.25, size=256)
    assert view.visible.sum() > 25
    way = np.linalg.norm(view.landmarks_3d - camera.position[0].numpy(), axis=1)
    for x, y, length in np.column_stack([view.landmarks_2d, way])[view.visible]:
        around = view.distance[max(int(y) - 1, 0) : int(y) + 2, max(int(x) - 1, 0) : int(x) + 2]
        assert around.min() - 1.5e-3 < length < around.max() + 1.5e-3


def test_landmarks_are_numbered_like_ibug_68():
    right = [*range(8), *range(17, 22), 31, 32, 36, 37, 38, 39, 40, 41, 48, 49, 50, 59, 58, 60, 61, 67]
    left = [*range(16, 8, -1), *range(26, 21, -1), 35, 34, 45, 44, 43, 42, 47, 46, 54, 53, 52, 55, 56, 64, 63, 65]
    for seed in range(4):
        p = front(seed, size=16)[0].landmarks_3d
        assert np.allclose(p[right], p[left] * [-1, 1, 1], atol=2e-4)
        assert (p[right, 0] < 0).all()  # the subject's right is at -x
        assert p[:17, 1].argmin() == 8 and p[:36, 2].argmax() == 30  # chin lowest, nose tip foremost
        assert p[19, 1] > p[37, 1] > p[41, 1] > p[33, 1] > p[51, 1] > p[57, 1] > p[8, 1]


def test_background_distance_is_the_planes():
    view, camera = front(2, pitch=0.2, yaw=-0.5)
    plane = (-0.12 - camera.position[0, 2].item()) / directions(camera)[..., 2]
    assert np.allclose(view.distance[~view.mask], plane[~view.mask], atol=1e-6)
    assert (view.distance[view.mask] < plane[view.mask]).all()


def test_rays_that_meet_nothing_go_to_infinity():
    view, _ = front(2, yaw=2.8, size=32)
    assert np.isinf(view.distance[~view.mask]).all() and np.isfinite(view.distance[view.mask]).all()


@pytest.mark.slow
def test_heads_stay_in_the_published_volume_and_fill_the_frame():
    heights = []
    for seed in range(24):
        for yaw in (0.0, 0.6):
            view, camera = front(seed, yaw=yaw, size=32)
            p = points(view, camera)[view.mask]
            assert np.abs(p[:, :2]).max() < 0.14 and -0.12 < p[:, 2].min() and p[:, 2].max() < 0.1
            if yaw == 0:
                heights.append((view.landmarks_2d[8, 1] - view.mask.any(axis=1).argmax()) / 32)
    assert 0.72 < np.median(heights) < 0.88 and min(heights) > 0.62


def test_mirrored_head_seen_by_the_mirrored_camera_is_the_mirrored_image():
    for seed in range(6):
        identity = HeadIdentity.from_seed(seed)
        camera = Camera.orbit(0.1, 0.35, size=64)
        view, other = render_head(identity, camera), render_head(identity.mirrored(), camera.mirrored())
        difference = np.abs(view.image.astype(int) - other.image[:, ::-1])
        assert difference.mean() < 0.4 and (difference > 12).mean() < 0.003
        assert (view.mask != other.mask[:, ::-1]).mean() < 0.002


def test_small_images_are_averages_of_larger_ones():
    coarse, fine = front(4, size=16)[0], front(4, size=64)[0]
    average = fine.image.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(coarse.image - average).max() <= 1
    assert coarse.distance.shape == coarse.mask.shape == (16, 16)


@pytest.mark.parametrize("seed", [1, 4, 9])
def test_shading_sticks_to_the_head(seed):
    view, camera = front(seed, size=256)
    other, turned = front(seed, pitch=-0.15, yaw=0.35, size=256)
    p = points(view, camera)
    pixels = turned.project(torch.from_numpy(p.reshape(1, -1, 3)).float())[0].numpy().reshape(256, 256, 2)
    way = np.linalg.norm(p - turned.position[0].numpy(), axis=-1)
    x, y = np.clip(pixels.astype(int), 0, 255)[..., 0], np.clip(pixels.astype(int), 0, 255)[..., 1]
    seen = view.mask & (np.abs(other.distance[y, x] - way) < 5e-4) & (pixels > 0).all(-1) & (pixels < 256).all(-1)
    assert seen.sum() > 8000
    difference = np.abs(view.image.astype(int) - other.image[y, x])[seen].max(axis=-1)
    assert np.median(difference) <= 3 and np.percentile(difference, 90) < 20


def test_more_rays_change_edges_only():
    identity, camera = head_and_camera(6, size=64)
    two, four = render_head(identity, camera), render_head(identity, camera, supersample=4)
    assert np.abs(two.image.astype(int) - four.image).mean() < 1.5
    assert np.array_equal(two.distance, four.distance) and np.array_equal(two.mask, four.mask)


def test_attributes_are_flat_numbers_that_tell_heads_apart():
    first, second = (HeadIdentity.from_seed(seed).attributes() for seed in (0, 1))
    assert first.keys() == second.keys() and all(isinstance(value, float) for value in first.values())
    assert {"skin_r", "hair_b", "eye_distance", "glasses", "beard"} <= first.keys()
    assert sum(first[name] != second[name] for name in first) > 30
    assert HeadIdentity.from_seed(0) == HeadIdentity.from_seed(0)


@pytest.mark.slow
def test_one_core_renders_25_images_of_64_pixels_per_second():
    render_item(0, size=64)
    start = time.process_time()
    for seed in range(60):
        render_item(seed, size=64)
    assert 60 / (time.process_time() - start) > 25
