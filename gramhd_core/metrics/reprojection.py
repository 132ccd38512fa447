"""Warping between views of one head through its distances: what a solid scene shows twice must look the same twice.

P pairs of views, V views, S x S pixels, colours in levels of 8 bits. Every pixel of the target is a point in space by
its distance; the source's colour there is what the target should show, unless

    the source does not see the point: it is outside of the picture, or the source sees something nearer there;
    the two pictures show it at different scales: neighbouring pixels of the target fall less than 1 / 1.5 or more than
    1.5 pixels apart in the source. There (silhouettes, flanks seen askew) one picture holds detail that the other
    cannot, and even true heads differ.

Colours are looked up with a bicubic filter: a bilinear one blurs, which costs true heads half a decibel. The ceiling is
what the analytic heads score, views of 64 pixels: about 33 dB between neighbours with 2 x 2 rays per pixel, 36 with
4 x 4. What is missing there is shimmer: of edges thinner than a pixel, no two pictures have the same samples.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gramhd_core.errors import BadDataset
from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.rays import camera_rays
from gramhd_core.metrics.views import ViewSet

OPAQUE = 0.5  # alpha from which a pixel shows the head
HIDDEN = 0.01  # world units: farther than this behind what a view sees there, a point is hidden in it
NEAR = 1.5  # neighbours of a view: others within so many times the angle to its nearest
WINDOW = 7  # side of SSIM's window, pixels
MOST = 99.0  # decibels of equal pictures
AT_ONCE = 2**19  # pixels warped together


class Rule(NamedTuple):
    """How colours are looked up, "bicubic" or "bilinear", and how far neighbouring pixels may be drawn apart (or, one
    over it, together)."""

    mode: str = "bicubic"
    stretch: float = 1.5


RULE = Rule()
ANY_SCALE = Rule("bilinear", math.inf)  # everything that both see, which is what `consistency` compares


class Warped(NamedTuple):
    """Of P pairs: rgb float [P, 3, S, S] in levels, the source's colours where the target's pixels look; visible
    [P, S, S], the source sees the point; even [P, S, S], both pictures show it at about the same scale."""

    rgb: Tensor
    visible: Tensor
    even: Tensor


class Overlap(NamedTuple):
    """Of P pairs: made and wanted float [P, 3, S, S] in levels, what the sources say (0 where nothing can be compared)
    and what the targets see; both [P, S, S], the pixels that can be compared; share [P], 0 to 1, of the head's pixels
    that these are."""

    made: Tensor
    wanted: Tensor
    both: Tensor
    share: Tensor


class Agreement(NamedTuple):
    """Means over pairs. psnr in dB and ssim of the pixels that can be compared; percentage, 0 to 100: which part of the
    head's pixels these are. psnr and ssim are nan where nothing could be compared."""

    psnr: float
    ssim: float
    percentage: float


class Reprojection(NamedTuple):
    """neighbours: every view against those next to it (angles up to `NEAR` times that to its nearest), both ways.
    frontal: the middle view moved to all others. pictures: uint8 [3, S, S] each, of the view farthest from the middle:
    that view, the middle view moved there (grey where it is not compared), and their difference around grey."""

    neighbours: Agreement
    frontal: Agreement
    pictures: tuple[Tensor, Tensor, Tensor]


def reprojection(views: ViewSet) -> Reprojection:
    """BadDataset if nobody knows the views' distances, or if they are fewer than two."""
    check_distance(views, wanted_for="reprojection")
    if len(views.cameras) < 2:
        raise BadDataset(f"{views.name} is one view", expected="reprojection compares views", remedy="give two or more")
    middle, angles = middle_view(views.cameras), angles_between(views.cameras)
    others = [view for view in range(len(views.cameras)) if view != middle]
    farthest = max(others, key=lambda view: float(angles[middle, view]))
    return Reprojection(
        agreement(views, neighbours(views.cameras)),
        agreement(views, torch.tensor([(middle, view) for view in others])),
        _shown(chosen(views, torch.tensor([middle])), chosen(views, torch.tensor([farthest]))),
    )


def check_distance(views: ViewSet, *, wanted_for: str) -> Tensor:
    """The distances [V, S, S], or BadDataset."""
    if views.distance is None:
        raise BadDataset(
            f"nobody knows how far away the pixels of {views.name} are",
            expected=f"{wanted_for} follows points from view to view by their distance",
            remedy="add a depth_file_path to every frame of its transforms.json, or ask for metrics without it",
        )
    return views.distance


def agreement(views: ViewSet, pairs: Tensor) -> Agreement:
    """pairs: int64 [P, 2], source and target."""
    found = []
    for part in pairs.split(max(1, AT_ONCE // views.cameras.width**2)):
        made, wanted, both, share = overlap(chosen(views, part[:, 0]), chosen(views, part[:, 1]))
        found.append(torch.stack([psnr(made, wanted, both), ssim(made, wanted, both), 100 * share]))
    return Agreement(*(float(row[row.isfinite()].mean()) for row in torch.cat(found, dim=1)))


def overlap(source: ViewSet, target: ViewSet, *, rule: Rule = RULE) -> Overlap:
    """P views moved to P others of the same heads."""
    moved, head = warped(source, target, rule=rule), head_of(target)
    both = moved.visible & moved.even & head
    share = both.flatten(1).sum(dim=1) / head.flatten(1).sum(dim=1).clamp(min=1)
    made = torch.where(both[:, None], moved.rgb, 0)  # where a distance is unknown there is no colour, not even to skip
    return Overlap(made, target.rgb.float(), both, share)


def warped(source: ViewSet, target: ViewSet, *, rule: Rule = RULE) -> Warped:
    """P views and P others of the same heads, both with distances -> what the sources say the targets see."""
    assert source.distance is not None and target.distance is not None
    size = target.cameras.width
    rays = camera_rays(target.cameras)
    points = rays.origins + rays.directions * target.distance.flatten(1)[..., None]
    return _found(source, points, size, rule)


def _found(source: ViewSet, points: Tensor, size: int, rule: Rule) -> Warped:
    """Points [P, S S, 3] that S x S pixels see, in the sources."""
    assert source.distance is not None
    pixels = source.cameras.project(points)  # [P, S S, 2]
    seen = (2 * pixels / source.cameras.width - 1).unflatten(1, (size, size))
    rgb = F.grid_sample(source.rgb.float(), seen, mode=rule.mode, padding_mode="border", align_corners=False)
    there = F.grid_sample(source.distance[:, None], seen, padding_mode="border", align_corners=False)[:, 0]
    away = (points - source.cameras.position[:, None]).norm(dim=-1).unflatten(1, (size, size))
    visible = (seen.abs() < 1).all(dim=-1) & ((away - there).abs() < HIDDEN)
    return Warped(rgb.clamp(0, 255), visible, _even(pixels.unflatten(1, (size, size)), rule.stretch))


def _even(pixels: Tensor, stretch: float) -> Tensor:
    """[P, S, S, 2] where neighbours fall -> [P, S, S]: all four neighbours are at about a pixel's distance."""
    across, down = pixels.diff(dim=2).norm(dim=-1), pixels.diff(dim=1).norm(dim=-1)
    fine = [(length >= 1 / stretch) & (length <= stretch) for length in (across, down)]
    return (
        F.pad(fine[0], (1, 0), value=True)
        & F.pad(fine[0], (0, 1), value=True)
        & F.pad(fine[1], (0, 0, 1, 0), value=True)
        & F.pad(fine[1], (0, 0, 0, 1), value=True)
    )


def psnr(made: Tensor, wanted: Tensor, both: Tensor) -> Tensor:
    """float [P, 3, S, S] in levels and which pixels count [P, S, S] -> [P] dB; nan where none does."""
    error = ((made - wanted) / 255).square().mean(dim=1)
    mean = (error * both).flatten(1).sum(dim=1) / both.flatten(1).sum(dim=1)
    return (-10 * mean.log10()).clamp(max=MOST)


def ssim(made: Tensor, wanted: Tensor, both: Tensor) -> Tensor:
    """Structural similarity of float [P, 3, S, S] in levels -> [P], the mean over the pixels of `both` [P, S, S].

    Windows are uniform, 7 x 7, with sample covariances (SSIM: index; as scikit-image has it); pixels that do not
    count are left out of every window, and windows of which less than half counts out of the mean: nan if all are.
    """
    weight = both[:, None].float()
    n = _window_sum(weight)
    whole = n.clamp(min=2)

    def mean(values: Tensor) -> Tensor:
        return _window_sum(values * weight) / whole

    x, y = made.double(), wanted.double()
    mx, my = mean(x), mean(y)
    unbiased = whole / (whole - 1)
    xx, yy, xy = (unbiased * part for part in (mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    index = (2 * mx * my + c1) * (2 * xy + c2) / ((mx * mx + my * my + c1) * (xx + yy + c2))
    counts = both & (n[:, 0] > WINDOW * WINDOW / 2)
    return ((index.mean(dim=1) * counts).flatten(1).sum(dim=1) / counts.flatten(1).sum(dim=1)).float()


def _window_sum(values: Tensor) -> Tensor:
    padded = F.pad(values.double(), (WINDOW // 2,) * 4)
    return WINDOW * WINDOW * F.avg_pool2d(padded, WINDOW, 1)


def head_of(views: ViewSet) -> Tensor:
    """[V, S, S]: the pixels that show the head; all where alpha is unknown."""
    if views.alpha is None:
        return torch.ones_like(views.rgb[:, 0], dtype=torch.bool)
    return views.alpha > OPAQUE


def chosen(views: ViewSet, places: Tensor) -> ViewSet:
    """Some of the views, by their places int64 [n]."""
    alpha, distance = (None if part is None else part[places] for part in (views.alpha, views.distance))
    return ViewSet(views.name, views.cameras[places], views.rgb[places], alpha, distance)


def angles_between(cameras: Camera) -> Tensor:
    """[V, V] radians between the directions in which the cameras stand, seen from the origin; float64."""
    towards = F.normalize(cameras.position.double(), dim=-1)
    return 2 * ((towards[:, None] - towards[None]).norm(dim=-1) / 2).clamp(max=1).asin()


def neighbours(cameras: Camera) -> Tensor:
    """int64 [P, 2] source and target: every view as target, those next to it as sources."""
    angles = angles_between(cameras).fill_diagonal_(math.inf)
    near = angles <= NEAR * angles.amin(dim=1, keepdim=True)
    return near.nonzero().flip(1)


def middle_view(cameras: Camera) -> int:
    """The view nearest to the mean direction of all; of several as near, the one farthest to the right, then up."""
    towards = F.normalize(cameras.position.double(), dim=-1)
    away = (towards - F.normalize(towards.mean(dim=0), dim=0)).norm(dim=-1)
    places = range(len(cameras))
    return min(places, key=lambda view: (round(float(away[view]), 4), -round(float(towards[view, 0]), 4),
                                         -round(float(towards[view, 1]), 4)))  # fmt: skip


def _shown(source: ViewSet, target: ViewSet) -> tuple[Tensor, Tensor, Tensor]:
    made, wanted, both, _ = overlap(source, target)
    difference = (128 + (made - wanted) * both[:, None]).round().clamp(0, 255).byte()
    shown = torch.where(both[:, None], made, torch.full_like(made, 128)).round().byte()
    return target.rgb[0], shown[0], difference[0]
