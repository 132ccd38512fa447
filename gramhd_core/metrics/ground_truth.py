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
from gramhd_core.metrics.evaluation import Evaluation, Pictures, Turned, in_batches
from gramhd_core.metrics.reprojection import ANY_SCALE, AT_ONCE, overlap, psnr
from gramhd_core.metrics.views import ViewSet
from gramhd_core.networks.feature_network import FeatureNetwork

# x, y, z in u on the average head (data/head_anatomy.py): landmark 30, the middles of cheeks and ears. Whatever hair,
# glasses or size a procedural head has, seen from the front a ray through them meets the nose first, then the cheeks.
NOSE = (0.0, -2.1, 7.5)
CHEEKS = ((-2.45, -1.5, 4.8), (2.45, -1.5, 4.8))
EARS = ((-5.0, -0.2, 0.0), (5.0, -0.2, 0.0))


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
    return consistency_of(evaluation.turned)


def consistency_of(turned: Turned) -> dict[str, float]:
    """psnr: 0 where nothing is seen by both."""
    pairs = torch.cartesian_prod(torch.arange(len(turned.rgb)), torch.arange(1, len(turned.cameras)))
    found = []
    for head, view in (part.T for part in pairs.split(max(1, AT_ONCE // turned.cameras.width**2))):
        made, wanted, both, share = overlap(_views(turned, head, 0 * view), _views(turned, head, view), rule=ANY_SCALE)
        found.append(torch.stack([psnr(made, wanted, both), share]))
    noise, seen = torch.cat(found, dim=1)
    noise = noise[noise.isfinite()]
    return {
        "psnr": noise.mean().item() if len(noise) else 0.0,
        "seen_by_both": seen.mean().item(),
    }


def _views(turned: Turned, head: Tensor, view: Tensor) -> ViewSet:
    """So many views of as many heads."""
    cameras, rgb, alpha, distance = turned
    return ViewSet("turned", cameras[view], rgb[head, view], alpha[head, view], distance[head, view])


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
