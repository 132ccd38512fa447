"""Poses and depth of heads that nobody drew, read from the landmarks of their pictures: a regressor, not a truth.

n pictures of S x S pixels, K landmarks; radians and world units. Landmarks are those of `gramhd prep-data`, and so is
the pose that is fitted to them: data prepared by it, and samples of a model trained on that, are read alike. Procedural
heads have better: `ground_truth.py` and `depth.py`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gramhd_core.data import landmark_fan
from gramhd_core.data.detectors import find_detector
from gramhd_core.data.landmarks import Face, LandmarkDetector
from gramhd_core.data.pose import HeadPose, PoseError, fit_pose
from gramhd_core.data.subjects import FACES
from gramhd_core.data.templates import Template, template_for
from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.rays import camera_rays
from gramhd_core.metrics.reprojection import head_of
from gramhd_core.metrics.shooting import Pictures
from gramhd_core.metrics.views import ViewSet

FEWEST = 10  # landmarks on the head before its relief says something


class LandmarkReader(NamedTuple):
    """Who finds landmarks, and where these are on the average head."""

    detector: LandmarkDetector
    template: Template


class Reading(NamedTuple):
    """One head: its landmarks, and the pose fitted to them."""

    face: Face
    pose: HeadPose


def can_read_faces() -> bool:
    """Whether face-alignment and its weights are on this machine."""
    return landmark_fan.is_installed() and not landmark_fan.weights_found().missing


def face_reader() -> LandmarkReader:
    """For photographs of faces. MissingDependency without face-alignment or its weights."""
    detector = find_detector("face-alignment", FACES)
    return LandmarkReader(detector, template_for(detector.scheme, FACES))


def read(reader: LandmarkReader, image: Tensor, *, fov_degrees: float) -> Reading | None:
    """uint8 [3, S, S] -> its largest head; None if there is none whose landmarks fit a view of a head."""
    faces = reader.detector(np.ascontiguousarray(image.permute(1, 2, 0).numpy()), name="a picture")
    try:
        pose = fit_pose(faces[0], reader.template, fov_degrees=fov_degrees) if faces else None
    except PoseError:
        pose = None
    if pose is None or not pose.residual <= FACES.limits.residual:
        return None
    return Reading(faces[0], pose)


def angle_errors(reader: LandmarkReader, pictures: Pictures, *, fov_degrees: float) -> Tensor:
    """[n, 2] |read - asked| of pitch and yaw; nan where no head is found."""
    found = torch.full((len(pictures.images), 2), math.nan)
    for place, image in enumerate(pictures.images):
        seen = read(reader, image, fov_degrees=fov_degrees)
        if seen is not None:
            found[place] = torch.tensor([seen.pose.pitch, seen.pose.yaw])
    return (found - pictures.angles).abs()


def relief_error(reader: LandmarkReader, views: ViewSet, view: int) -> float:
    """Mean |difference| along the optical axis, world units, between where a view's distances put its landmarks and
    where the average head has them in that pose; the median difference is taken away first, for pictures hardly tell
    how far away a head is. nan where no head is found. views: with distances; alpha None: all head."""
    assert views.distance is not None
    camera = views.cameras[view : view + 1]
    seen = read(reader, views.rgb[view], fov_degrees=float(camera.fov_degrees[0]))
    if seen is None:
        return math.nan
    rays = camera_rays(camera)
    points = rays.origins + rays.directions * views.distance[view].flatten()[None, :, None]
    back = F.normalize(camera.position, dim=-1)
    along = (points * back[:, None]).sum(dim=-1).reshape(1, 1, camera.height, camera.width)
    shown = (head_of(views)[view] & views.distance[view].isfinite()).float()[None, None]
    places = torch.from_numpy(seen.face.points).float()
    grid = (2 * places / camera.width - 1)[None, None]
    there, whole = (
        F.grid_sample(values, grid, mode="nearest", align_corners=False)[0, 0, 0]
        for values in (along.nan_to_num(), shown)
    )
    axis = Camera.orbit(seen.pose.pitch, seen.pose.yaw, size=1).position[0]
    expected = torch.from_numpy(reader.template.points).float() @ axis
    apart = (there - expected)[(whole > 0) & torch.from_numpy(seen.face.found)]
    return float((apart - apart.median()).abs().mean()) if len(apart) >= FEWEST else math.nan
