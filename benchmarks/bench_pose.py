"""How right poses are that come from landmarks alone, and how many photographs a second become crops.

    python benchmarks/bench_pose.py [--heads 500] [--pictures 500] [--noise 1.0] [--size 256] [--workers N]

Procedural heads, seen by the cameras of the data set. Errors are degrees of pitch and yaw: for the true landmarks with
`noise` pixels at 256; the same with a template learnt from them (after one rotation for all); and for the built-in
landmark network, if it is there, on `pictures` rendered photographs whose roll, scale and place are unknown. Scatter:
rms distance of a head's landmarks among its crops from 8 photographs, shares of the crop's width. Photographs a second
are fitted, cropped and written as PNG, no detector. Prints one JSON line; ratio: all workers over one.
"""

from __future__ import annotations

import argparse
import functools
import math
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from report import report

from gramhd_core.data.crop import crop, crop_points
from gramhd_core.data.head_anatomy import landmarks_of, shape_of
from gramhd_core.data.head_shapes import WORLD_PER_U
from gramhd_core.data.image_files import encode_png
from gramhd_core.data.landmarks import IBUG_68, Face, box_of
from gramhd_core.data.pose import HeadPose, PoseError, fit_pose
from gramhd_core.data.pose_conversions import Pose, camera_from_pose
from gramhd_core.data.procedural_heads import head_and_camera, render_head
from gramhd_core.data.processes import cores, results
from gramhd_core.data.self_calibration import self_calibrate
from gramhd_core.data.subjects import PROCEDURAL_HEADS
from gramhd_core.data.templates import Template, template_for

SEEN = 256  # pixels of the picture whose landmarks have `noise` pixels of noise
TIMED = 200  # photographs
PHOTOS = 8  # of one head, for the scatter
FOV = PROCEDURAL_HEADS.cameras.fov_degrees
UNSEEN = 3_000_000  # seeds of no data set
NETWORK = Path(__file__).resolve().parents[1] / "gramhd_core" / "assets" / "procedural_landmarks.safetensors"

Points = NDArray[np.float64]


class Similarity(NamedTuple):
    """Where a picture of SEEN pixels lies in a photograph."""

    roll: float
    zoom: float
    shift: tuple[float, float]

    @staticmethod
    def draw(rng: np.random.Generator) -> Similarity:
        return Similarity(rng.uniform(-0.5, 0.5), rng.uniform(0.5, 4), (rng.uniform(0, 900), rng.uniform(0, 900)))

    def __call__(self, points: Points) -> Points:
        c, s = math.cos(self.roll), math.sin(self.roll)
        return (points - SEEN / 2) @ (self.zoom * np.array([[c, -s], [s, c]])) + self.shift


def face_of(points: Points) -> Face:
    return Face(IBUG_68, points, np.ones(len(points)), box_of(points))


def directions(angles: Points) -> Points:
    """[N, 2] pitch and yaw -> [N, 3] from the head to the camera."""
    pitch, yaw = angles.T
    return np.stack([np.cos(pitch) * np.sin(yaw), np.sin(pitch), np.cos(pitch) * np.cos(yaw)], axis=1)


def errors(poses: list[HeadPose], true: Points, *, align: bool = False) -> dict[str, Any]:
    """Median and 95 % of |error| of pitch and yaw, degrees; `align`: after the one rotation that suits all best."""
    found = np.array([pose[:2] for pose in poses])
    if align:
        seen = directions(found)
        u, _, v = np.linalg.svd(directions(true).T @ seen)
        x, y, z = (u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v) @ seen.T
        found = np.stack([np.arcsin(y), np.arctan2(x, z)], axis=1)
    wrong = np.abs(np.degrees(found - true))
    quantiles = {"median": np.median(wrong, axis=0), "95 %": np.percentile(wrong, 95, axis=0)}
    return {
        name: dict(zip(("pitch", "yaw"), value.round(3).tolist(), strict=True)) for name, value in quantiles.items()
    }


def scatter(pictures: list[Points], template: Template, *, noise: float, rng: np.random.Generator) -> float:
    """Shares of the crop's width."""
    squares = []
    for points in pictures:
        shown = []
        for _ in range(PHOTOS):
            place = Similarity.draw(rng)
            pose = fit_pose(face_of(place(points + rng.normal(0, noise, points.shape))), template, fov_degrees=FOV)
            shown.append(crop_points(place(points), pose, size=1, fov_degrees=FOV))
        squares.append((np.array(shown) - np.mean(shown, axis=0)) ** 2)
    return float(np.sqrt(np.sum(squares, axis=-1).mean()))


def network_errors(count: int, *, size: int, rng: np.random.Generator) -> dict[str, Any]:
    """The procedural detector on photographs of `count` heads that it has not learnt from; `missed`: where it found
    none, or no pose."""
    from gramhd_core.data.detectors import find_detector

    detector, template = find_detector("procedural", PROCEDURAL_HEADS), template_for(IBUG_68, PROCEDURAL_HEADS)
    poses, true = [], []
    for seed in range(UNSEEN, UNSEEN + count):
        identity, camera = head_and_camera(seed, size=SEEN)
        angles, roll = (float(camera.pitch[0]), float(camera.yaw[0])), rng.uniform(-0.4, 0.4)
        seen = camera_from_pose(Pose(*angles, roll=roll), size=int(size * rng.uniform(0.75, 1.5)))
        picture = render_head(identity, seen).image
        edges = [tuple(rng.integers(0, len(picture) // 3, 2)) for _ in range(2)]
        photo = np.pad(picture, [*edges, (0, 0)], mode="edge")
        faces = detector(photo, name=f"{seed}")
        try:
            poses.append(fit_pose(faces[0], template, fov_degrees=FOV))
        except (IndexError, PoseError):
            continue
        true.append(angles)
    return {"missed": count - len(poses), **(errors(poses, np.array(true)) if poses else {})}


def write_crop(index: int, *, folder: Path, photo: NDArray[np.uint8], points: Points, size: int) -> None:
    pose = fit_pose(face_of(points), template_for(IBUG_68, PROCEDURAL_HEADS), fov_degrees=FOV)
    image = crop(photo, pose, size=size, fov_degrees=FOV)
    (folder / f"{index}.png").write_bytes(encode_png(torch.from_numpy(image).permute(2, 0, 1)))


class Rate(NamedTuple):
    photos_per_s: float
    seconds: float
    cpu_ms: float  # of this process for a photograph: all there is with one worker


def rate(count: int, *, size: int, workers: int) -> Rate:
    """Of photographs of half again the size, turned, decoded already."""
    identity, camera = head_and_camera(0, size=size)
    photo = render_head(identity, camera_from_pose(Pose(0.1, 0.2, 0.2), size=size * 3 // 2)).image
    world = torch.from_numpy(landmarks_of(identity, shape_of(identity)) * WORLD_PER_U)[None]
    points = camera_from_pose(Pose(0.1, 0.2, 0.2), size=size * 3 // 2).project(world)[0].numpy()
    with tempfile.TemporaryDirectory() as folder:
        task = functools.partial(write_crop, folder=Path(folder), photo=photo, points=points, size=size)
        tasks = [functools.partial(task, index) for index in range(count)]
        stream = results(tasks, workers=workers)
        for _ in range(min(4 * workers, count // 2)):  # processes start, files are read
            next(stream)
        done, started, busy = min(4 * workers, count // 2), time.perf_counter(), time.process_time()
        rest = sum(1 for _ in stream)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
    assert rest == count - done
    return Rate(rest / seconds, seconds, 1000 * busy / rest)


def main(heads: int, *, pictures: int, noise: float, size: int, workers: int) -> None:
    rng, template = np.random.default_rng(0), template_for(IBUG_68, PROCEDURAL_HEADS)
    flat, true = [], []
    for seed in range(heads):
        identity, camera = head_and_camera(seed, size=SEEN)
        world = torch.from_numpy(landmarks_of(identity, shape_of(identity)) * WORLD_PER_U)
        flat.append(camera.project(world.to(camera.world_from_camera)[None])[0].double().numpy())
        true.append((float(camera.pitch[0]), float(camera.yaw[0])))
    faces = [face_of(Similarity.draw(rng)(points + rng.normal(0, noise, points.shape))) for points in flat]
    started = time.perf_counter()
    poses = [fit_pose(face, template, fov_degrees=FOV) for face in faces]
    seconds = {"fit": time.perf_counter() - started}
    started = time.perf_counter()
    own = self_calibrate(faces, fov_degrees=FOV)
    seconds["self-calibration"] = time.perf_counter() - started
    rows = {
        "true landmarks": errors(poses, np.array(true)),
        "self-calibrated": errors([fit_pose(face, own, fov_degrees=FOV) for face in faces], np.array(true), align=True),
    }
    if NETWORK.exists() and pictures:
        started = time.perf_counter()
        rows["procedural network"] = network_errors(pictures, size=size, rng=rng)
        seconds["network"] = time.perf_counter() - started
    rates = {n: rate(max(8 * n, min(2 * heads, TIMED)), size=size, workers=n) for n in {1, workers}}
    seconds["crops"] = rates[workers].seconds
    report(
        benchmark="pose",
        heads=heads,
        noise=noise,
        size=size,
        workers=workers,
        seconds={name: round(value, 3) for name, value in seconds.items()},
        errors_degrees=rows,
        scatter=round(scatter(flat[: max(1, heads // PHOTOS)], template, noise=noise, rng=rng), 5),
        photos_per_s={"one": round(rates[1].photos_per_s, 1), "all": round(rates[workers].photos_per_s, 1)},
        cpu_ms_per_photo=round(rates[1].cpu_ms, 2),
        ratio=round(rates[workers].photos_per_s / rates[1].photos_per_s, 3),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=500)
    parser.add_argument("--pictures", type=int, default=500, help="for the landmark network; 0: leave it out")
    parser.add_argument("--noise", type=float, default=1.0, help="pixels at 256")
    parser.add_argument("--size", type=int, default=256, help="pixels of a crop's side")
    parser.add_argument("--workers", type=int, default=cores())
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = {"pictures": options.pictures, "noise": options.noise, "size": options.size, "workers": options.workers}
    main(options.heads, **figures)
