"""Where the camera goes: the published multi-view sets, loops for video, sweeps for epipolar strips.

Every function returns a `Camera` batch [N] on the CPU at the prior's radius and field of view. Angles are radians in
the convention of `geometry/camera.py` (positive pitch = camera above, positive yaw = camera towards +x), counted from
the prior's mean pose, which is level and frontal for faces and cats. Sheets are read in rows from the top: the top
row looks from above, the left column from -x.

The official scripts have the same numbers with both signs turned (their +0.2 looks from below, their +0.3 from -x):
the sets of views are equal, but an official sheet has its rows and columns in the opposite order.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gramhd_core.geometry.camera import Camera, CameraPrior

VIDEO_YAW = 0.3  # half sweep of the official video
VIDEO_PITCH = 0.1  # ours: half height of the elliptical orbit
VIDEO_FRAMES = 60  # two seconds at 30 frames a second
TRANSITION_FRAMES = 30  # of an interpolation, from one seed to the next
EPI_STEPS = 129  # odd, so that the middle view is exactly frontal


def frontal(prior: CameraPrior, *, size: int) -> Camera:
    """One camera at the mean pose."""
    return _around(prior, torch.zeros(1), torch.zeros(1), size=size)


def multiview1x3(prior: CameraPrior, *, size: int) -> Camera:
    """The official three views: yaw -0.3, 0, 0.3, level."""
    return _around(prior, torch.zeros(3), torch.tensor([-0.3, 0.0, 0.3]), size=size)


def multiview3x7(prior: CameraPrior, *, size: int) -> Camera:
    """The official 21 views, row by row: pitch 0.2, 0, -0.2, each with seven yaws from -0.4 to 0.4."""
    pitch, yaw = torch.meshgrid(torch.tensor([0.2, 0.0, -0.2]), torch.linspace(-0.4, 0.4, 7), indexing="ij")
    return _around(prior, pitch.flatten(), yaw.flatten(), size=size)


def grid(prior: CameraPrior, *, size: int, columns: int = 5, yaw: float = 0.4) -> Camera:
    """One row of a seeds x yaws grid: `columns` level views from -yaw to yaw."""
    return _around(prior, torch.zeros(columns), torch.linspace(-yaw, yaw, columns), size=size)


def rand(prior: CameraPrior, rng: torch.Generator, *, size: int) -> Camera:
    """One camera drawn from the prior with `rng`: nothing else decides which."""
    return prior.sample(1, rng, size=size)


def orbit(
    prior: CameraPrior,
    *,
    size: int,
    frames: int = VIDEO_FRAMES,
    yaw: float = VIDEO_YAW,
    pitch: float = VIDEO_PITCH,
) -> Camera:
    """A closed ellipse around the mean pose, never standing still: frame `frames` would be frame 0 again."""
    turn = 2 * math.pi * torch.arange(frames, dtype=torch.float64) / frames
    return _around(prior, (pitch * turn.cos()).float(), (yaw * turn.sin()).float(), size=size)


def ping_pong(prior: CameraPrior, *, size: int, frames: int = VIDEO_FRAMES, yaw: float = VIDEO_YAW) -> Camera:
    """The official video: level, yaw at constant speed from -0.3 to 0.3 and back, no end shown twice."""
    phase = torch.arange(frames, dtype=torch.float64) / frames
    return _around(prior, torch.zeros(frames), (yaw * (1 - 4 * (phase - 0.5).abs())).float(), size=size)


def still(prior: CameraPrior, *, size: int, frames: int = VIDEO_FRAMES) -> Camera:
    """The mean pose `frames` times (for interpolations that should show nothing but the change of identity)."""
    return _around(prior, torch.zeros(frames), torch.zeros(frames), size=size)


def epi(prior: CameraPrior, *, size: int, steps: int = EPI_STEPS, yaw: float = VIDEO_YAW) -> Camera:
    """Many small level steps from -yaw to yaw, whose image lines make an epipolar strip."""
    return _around(prior, torch.zeros(steps), torch.linspace(-yaw, yaw, steps), size=size)


PATHS = {"orbit": orbit, "pingpong": ping_pong, "still": still}


def _around(prior: CameraPrior, pitch: Tensor, yaw: Tensor, *, size: int) -> Camera:
    return prior.at(prior.pitch_mean + pitch, prior.yaw_mean + yaw, size=size)
