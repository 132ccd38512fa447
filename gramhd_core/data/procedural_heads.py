"""Procedural heads: the built-in data set whose camera, depth, landmarks and identity are known exactly.

A `HeadIdentity` is every number of one head; `render_head` looks at it. Same seed, same bytes. A head is its own mirror
image except for `part` (side parting) and `light_yaw` (the lamp); `HeadIdentity.mirrored` flips both. H x W is the
image size. Landmarks follow iBUG 68: 0 is the jaw at the subject's right ear, which is on the left of the image.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gramhd_core.data import head_shading, head_shapes
from gramhd_core.data.head_anatomy import landmarks_of, shape_of
from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.data.head_shapes import WORLD_PER_U
from gramhd_core.geometry.camera import Camera, CameraPrior

COARSEST = 64  # pixels per side


class HeadView(NamedTuple):
    """One look at one head, with everything that is true about it."""

    image: NDArray[np.uint8]  # [H, W, 3] RGB
    distance: NDArray[np.float32]  # [H, W] along the ray of the pixel's centre to head or background plane, world units
    mask: NDArray[np.bool_]  # [H, W] the pixel's centre shows the head, neck or shirt
    landmarks_2d: NDArray[np.float32]  # [68, 2] pixels, x right, y down, the first pixel's centre is 0.5, 0.5
    landmarks_3d: NDArray[np.float32]  # [68, 3] world
    visible: NDArray[np.bool_]  # [68] inside the image and hidden by nothing


class HeadItem(NamedTuple):
    """Item number `seed` of the data set."""

    view: HeadView
    identity: HeadIdentity
    camera: Camera
    pitch: float
    yaw: float


def head_and_camera(seed: int, prior: CameraPrior | None = None, *, size: int) -> tuple[HeadIdentity, Camera]:
    """Who item number `seed` is and the camera that sees it, drawn from `prior` (default: the published FFHQ prior)."""
    rng = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, 12]).generate_state(1, np.uint64)[0] >> 1))
    return HeadIdentity.from_seed(seed), (prior or CameraPrior()).sample(1, rng, size=size)


def render_item(seed: int, *, size: int, prior: CameraPrior | None = None, supersample: int = 2) -> HeadItem:
    """Item number `seed` of the data set: same seed, same bytes."""
    identity, camera = head_and_camera(seed, prior, size=size)
    view = render_head(identity, camera, supersample=supersample)
    return HeadItem(view, identity, camera, float(camera.pitch[0]), float(camera.yaw[0]))


def render_head(identity: HeadIdentity, camera: Camera, *, supersample: int = 2) -> HeadView:
    """Look at a head with one camera (N = 1, square); supersample^2 rays per pixel make the colours.

    Images under 64 pixels are averages of pictures of 64 or a little more: features are thinner than their pixels.
    """
    assert len(camera) == 1 and camera.height == camera.width, "one square camera at a time"
    size, shape = camera.width, shape_of(identity)
    pose = camera.world_from_camera[0].double().cpu().numpy()
    frame = np.zeros((3, 5))
    frame[:, :4] = pose[:3]
    frame[:, 3] /= WORLD_PER_U
    frame[0, 4] = math.tan(math.radians(float(camera.fov_degrees[0])) / 2)
    fine = size * math.ceil(COARSEST / size)
    traced = head_shapes.trace(shape, frame, fine, supersample)
    image = np.empty((size, size, 3), np.uint8)
    head_shading.shade(head_shading.paint_of(identity, shape), traced[0], traced[1], image)
    distances, parts = (traced if fine == size else head_shapes.trace(shape, frame, size, 0))[2:]
    landmarks = landmarks_of(identity, shape)
    world = torch.from_numpy(landmarks * WORLD_PER_U).to(camera.world_from_camera)
    pixels = camera.project(world[None])[0].cpu().numpy()
    reached, origins = np.empty(68), np.repeat(frame[None, :, 3], 68, axis=0)
    head_shapes.cast(shape, origins, landmarks, False, reached)
    seen = reached > np.linalg.norm(landmarks - origins, axis=1) - 0.1
    inside = ((pixels > 0) & (pixels < size)).all(axis=1)
    return HeadView(
        image,
        (distances * WORLD_PER_U).astype(np.float32),
        parts != head_shapes.BACKGROUND,
        pixels.astype(np.float32),
        (landmarks * WORLD_PER_U).astype(np.float32),
        seen & inside,
    )
