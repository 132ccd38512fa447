"""Epipolar strips as a number: a camera turns in small steps, and what it sees must move as the head's depth says.

V steps of S x S pixels, P points followed through all of them, levels of 8 bits. Two measures, of all lines of the
pictures (the strip that is shown is one of them):

    residual    every picture is warped through the distances to the one that follows by so many steps that the head
                has moved by about `MOTION` pixels (the next one moves a few hundredths of a pixel only, too little for
                texture that sticks to the screen to be left behind), as in `metrics/reprojection.py`.
    flicker     every point that the middle view shows and that nothing hides in any view is followed through all
                steps. What it looks like may change slowly, by how a pixel's footprint changes; what changes faster
                than `SLOW` times per radian is flicker, swimming or shimmer, by its power spectrum over time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gramhd_core.errors import BadDataset
from gramhd_core.geometry.rays import camera_rays
from gramhd_core.metrics.reprojection import (
    HIDDEN,
    agreement,
    angles_between,
    check_distance,
    chosen,
    head_of,
)
from gramhd_core.metrics.views import ViewSet
from gramhd_core.outputs.epi import EYES, epi_picture, line_row

MOTION = 1.0  # pixels that the head moves, on average, between two pictures that are compared
SLOW = 3.3  # cycles per radian: twice over the sweep of 0.6 that strips are made of
FEWEST = 16  # steps
WIDEST = 0.1  # radians between two steps
AT_ONCE = 2**21  # colours looked up together


class Epipolar(NamedTuple):
    """residual_psnr: dB of the pixels that both pictures show; percentage of the head's pixels these are, 0 to 100.

    flicker: root mean square, in levels, of what is faster than `SLOW`; followed: percentage of the middle view's head
    whose points are seen in all views. spectrum [V // 2 + 1]: mean squared levels, entry k of k cycles over the sweep;
    its sum is the variance. flicker and spectrum are nan where no point can be followed. strip: uint8 [H, W, 3], the
    middle view with its line marked above the lines of all views.
    """

    residual_psnr: float
    percentage: float
    flicker: float
    followed: float
    spectrum: Tensor
    strip: Tensor


class Tracks(NamedTuple):
    """colours float [V, 3, P] in levels of points that all views show; share of the middle view's head they are."""

    colours: Tensor
    share: float


def epi(sweep: ViewSet, *, line: float = EYES) -> Epipolar:
    """sweep: views with distances in the order in which the camera turned, such as those of `trajectories.epi`.
    line: height of the line that is shown, 0 top to 1 bottom.

    BadDataset if nobody knows distances, if there are fewer than 16 views or steps of more than 0.1 radians.
    """
    check_distance(sweep, wanted_for="epi")
    turn = check_sweep(sweep)
    steps, count = stride(sweep), len(sweep.cameras)
    start = torch.arange(count - steps)
    residual = agreement(sweep, torch.stack([start, start + steps], dim=1))
    followed = tracks(sweep)
    power = spectrum(followed.colours)
    slowest = max(1, math.ceil(SLOW * turn))
    fast = float(power[slowest:].sum())
    return Epipolar(
        residual.psnr,
        residual.percentage,
        math.sqrt(fast),
        100 * followed.share,
        power,
        strip(sweep, line=line),
    )


def check_sweep(sweep: ViewSet) -> float:
    """Radians that the camera turns in all; BadDataset if it does not turn in small steps."""
    count = len(sweep.cameras)
    steps = angles_between(sweep.cameras).diagonal(1) if count > 1 else torch.full((1,), math.inf)
    widest = float(steps.max())
    if count < FEWEST or widest > WIDEST:
        raise BadDataset(
            f"{sweep.name} has {count} views" + (f", up to {widest:.2f} radians apart" if count > 1 else ""),
            expected=f"an epipolar strip takes {FEWEST} or more in steps of at most {WIDEST} radians",
            remedy="give the views of a camera that turns smoothly, or leave epi out",
        )
    return float(steps.sum())


def strip(sweep: ViewSet, *, line: float = EYES) -> Tensor:
    """uint8 [H, W, 3]: the middle view with one line marked, above that line of all views, the first on top."""
    rgb = sweep.rgb.movedim(1, -1).numpy()
    row = line_row(sweep.cameras.height, line)
    return torch.from_numpy(epi_picture(rgb[len(rgb) // 2], rgb[:, row], row=row))


def stride(sweep: ViewSet) -> int:
    """Steps over which the points of the middle view's head move by about `MOTION` pixels; half of all at most, 1 where
    it shows none."""
    points, count = _points(sweep), len(sweep.cameras)
    pixels = sweep.cameras.project(points.expand(count, -1, -1))
    moved = float(pixels.diff(dim=0).norm(dim=-1).mean())
    if not math.isfinite(moved):  # the middle view shows no head
        return 1
    return max(1, min(count // 2, round(MOTION / max(moved, 1e-6))))


def tracks(sweep: ViewSet) -> Tracks:
    """What the points of the middle view's head look like in all views."""
    points, count = _points(sweep), len(sweep.cameras)
    colours, seen = [], torch.ones(points.shape[1], dtype=torch.bool)
    step = max(1, AT_ONCE // max(1, points.shape[1]))
    for part in torch.arange(count).split(step):
        views = chosen(sweep, part)
        assert views.distance is not None
        where = (2 * views.cameras.project(points.expand(len(part), -1, -1)) / views.cameras.width - 1)[:, None]
        rgb = F.grid_sample(views.rgb.float(), where, mode="bicubic", padding_mode="border", align_corners=False)
        there = F.grid_sample(views.distance[:, None], where, padding_mode="border", align_corners=False)[:, 0, 0]
        away = (points - views.cameras.position[:, None]).norm(dim=-1)
        seen &= (((away - there).abs() < HIDDEN) & (where[:, 0].abs() < 1).all(dim=-1)).all(dim=0)
        colours.append(rgb[:, :, 0].clamp(0, 255))
    return Tracks(torch.cat(colours)[:, :, seen], int(seen.sum()) / max(1, len(seen)))


def spectrum(colours: Tensor) -> Tensor:
    """float [V, 3, P] over time -> [V // 2 + 1], the mean power of k cycles over all of it, of what is left when every
    track's mean and slope are taken away (Hann window, whose loss is made up for); nan without points."""
    count = len(colours)
    if not colours.numel():
        return torch.full((count // 2 + 1,), math.nan)
    time = torch.linspace(-1, 1, count).to(colours)[:, None, None]
    level = colours - colours.mean(dim=0)
    level = level - time * (time * level).sum(dim=0) / time.square().sum()
    window = torch.hann_window(count).to(colours)[:, None, None]
    power = torch.fft.rfft(level * window, dim=0).abs().square() / (count * window.square().sum())
    twice = torch.full((len(power),), 2.0).to(power)
    twice[0] = 1
    if count % 2 == 0:
        twice[-1] = 1
    return twice * power.mean(dim=(1, 2))


def _points(sweep: ViewSet) -> Tensor:
    """[1, P, 3] what the middle view shows of the head."""
    middle = chosen(sweep, torch.tensor([len(sweep.cameras) // 2]))
    assert middle.distance is not None
    rays = camera_rays(middle.cameras)
    points = rays.origins + rays.directions * middle.distance.flatten(1)[..., None]
    return points[:, (head_of(middle) & middle.distance.isfinite()).flatten()]
