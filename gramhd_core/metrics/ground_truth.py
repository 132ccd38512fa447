"""What is known of heads, asked of a model: poses, nose before cheeks before ears, one head in several views, variety.

n samples, T turned heads, V views, S x S pixels. Angles in radians, lengths in world units, u = 0.0105 of them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gramhd_core.data.head_shapes import WORLD_PER_U
from gramhd_core.geometry.camera import Camera
from gramhd_core.geometry.rays import camera_rays
from gramhd_core.metrics.evaluation import Evaluation, Pictures, in_batches
from gramhd_core.networks.feature_network import FeatureNetwork

# x, y, z in u on the average head (data/head_anatomy.py): landmark 30, the middles of cheeks and ears. Whatever hair,
# glasses or size a procedural head has, seen from the front a ray through them meets the nose first, then the cheeks.
NOSE = (0.0, -2.1, 7.5)
CHEEKS = ((-2.45, -1.5, 4.8), (2.45, -1.5, 4.8))
EARS = ((-5.0, -0.2, 0.0), (5.0, -0.2, 0.0))
OPAQUE = 0.5  # alpha from which a pixel shows the head
HIDDEN = 0.01  # world units: farther than this behind what a view sees there, a point is hidden in it


def pose(evaluation: Evaluation) -> dict[str, float]:
    """Mean |error| of pitch and yaw between what a sample's camera was and what the network reads in its picture.

    The network's own error is beside it: what it reads in the data set, against the labels there.
    """
    mine = angle_errors(evaluation.network, evaluation.samples)
    theirs = (angle_errors(evaluation.network, evaluation.halves[0])
              + angle_errors(evaluation.network, evaluation.halves[1])) / 2  # fmt: skip
    named = {"pitch_error": mine[0], "yaw_error": mine[1], "pitch_error_data": theirs[0], "yaw_error_data": theirs[1]}
    return {name: value.item() for name, value in named.items()}


def angle_errors(network: FeatureNetwork, pictures: Pictures) -> Tensor:
    """[2] mean |read - asked| of pitch and yaw."""
    return (in_batches(network.pose, pictures.images) - pictures.angles).abs().mean(dim=0)


def geometry(evaluation: Evaluation) -> dict[str, float]:
    """The share of heads, seen from the front, whose nose is nearer than both cheeks and those nearer than both ears;
    and the mean distances between them (a procedural head: 1.9 and 4.0 u, 0.020 and 0.042)."""
    turned = evaluation.turned
    relief = relief_of(turned.cameras[0], turned.distance[:, 0])
    return {
        "ordered": relief.ordered.float().mean().item(),
        "nose_to_cheeks": relief.nose_to_cheeks.mean().item(),
        "cheeks_to_ears": relief.cheeks_to_ears.mean().item(),
    }


class Relief(NamedTuple):
    """Of T heads: whether the order is right [T], and how much farther cheeks and ears are [T], world units."""

    ordered: Tensor
    nose_to_cheeks: Tensor
    cheeks_to_ears: Tensor


def relief_of(camera: Camera, distance: Tensor) -> Relief:
    """One frontal camera and what T heads are away from it [T, S, S]."""
    places = torch.tensor([NOSE, *CHEEKS, *EARS]) * WORLD_PER_U
    pixels = camera.project(places[None])[0]  # [5, 2]
    grid = (2 * pixels / camera.width - 1).expand(len(distance), 1, -1, -1)
    found = F.grid_sample(distance[:, None], grid, align_corners=False)[:, 0, 0]  # [T, 5]
    nose, cheeks, ears = found[:, 0], found[:, 1:3], found[:, 3:5]
    ordered = (nose < cheeks.amin(dim=1)) & (cheeks.amax(dim=1) < ears.amin(dim=1))
    return Relief(ordered, cheeks.mean(dim=1) - nose, ears.mean(dim=1) - cheeks.mean(dim=1))


def consistency(evaluation: Evaluation) -> dict[str, float]:
    """How well the frontal picture, moved along its own distances, is what the turned cameras see: PSNR in dB of pixels
    that show the head and that both see, and which share of the head's pixels that is."""
    turned = evaluation.turned
    found = [
        moved(turned.cameras[0], turned.cameras[view], turned.rgb[:, [0, view]], turned.alpha[:, view],
              turned.distance[:, [0, view]])
        for view in range(1, len(turned.cameras))
    ]  # fmt: skip
    noise = torch.cat([view.psnr for view in found])
    noise = noise[noise.isfinite()]
    return {
        "psnr": noise.mean().item() if len(noise) else 0.0,
        "seen_by_both": torch.cat([view.seen for view in found]).mean().item(),
    }


class Moved(NamedTuple):
    """Of T heads: psnr [T] in dB, nan where nothing is seen by both; seen [T], the share of the head's pixels."""

    psnr: Tensor
    seen: Tensor


def moved(first: Camera, second: Camera, rgb: Tensor, alpha: Tensor, distance: Tensor) -> Moved:
    """Two views of T heads: rgb uint8 [T, 2, 3, S, S], distance [T, 2, S, S]; alpha of the second [T, S, S].

    Every pixel of the second view is a point in space by its distance; the first view's colour there is compared,
    unless the first view sees something nearer there.
    """
    heads, size = len(rgb), second.width
    rays = camera_rays(second)
    points = rays.origins + rays.directions * distance[:, 1].reshape(heads, -1, 1)  # [T, S S, 3]
    away = (points - first.position[:, None]).norm(dim=-1)
    grid = (2 * first.project(points) / size - 1)[:, None]  # [T, 1, S S, 2]
    before = torch.cat([rgb[:, 0].float() / 255, distance[:, :1]], dim=1)
    found = F.grid_sample(before, grid, padding_mode="border", align_corners=False)[:, :, 0]  # [T, 4, S S]
    head = alpha.flatten(1) > OPAQUE
    both = head & (grid[:, 0].abs() < 1).all(dim=-1) & ((away - found[:, 3]).abs() < HIDDEN)
    error = (found[:, :3] - rgb[:, 1].flatten(2).float() / 255).square().mean(dim=1)
    count = both.sum(dim=1)
    mean = (error * both).sum(dim=1) / count  # nan where nothing is compared
    psnr = -10 * (mean + 1e-10).log10()
    return Moved(psnr, count / head.sum(dim=1).clamp(min=1))


def diversity(evaluation: Evaluation) -> dict[str, float]:
    """Mean distance between the features of two samples, and from a sample to the nearest other one, divided by the
    same of as many images of the data set: 1 is as varied as the data, 0 is one head for every seed."""
    mine = spread_of(evaluation.sample_features)
    theirs = [spread_of(half) for half in evaluation.half_features]
    pairs, nearest = (sum(values) / 2 for values in zip(*theirs, strict=True))
    return {"diversity": mine[0] / pairs, "diversity_nearest": mine[1] / nearest}


def spread_of(features: Tensor) -> tuple[float, float]:
    """Features [n, F] -> mean distance of all pairs, mean distance to the nearest other one."""
    apart = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    n = len(apart)
    apart.fill_diagonal_(math.inf)
    nearest = apart.amin(dim=1).mean().item()
    return apart.fill_diagonal_(0).sum().item() / (n * (n - 1)), nearest
