"""What is known of heads, in numbers: poses, nose before cheeks before ears, one head in several views, variety.

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
from gramhd_core.metrics.evaluation import Pictures, Turned, in_batches
from gramhd_core.metrics.reprojection import ANY_SCALE, AT_ONCE, overlap, psnr
from gramhd_core.metrics.views import ViewSet
from gramhd_core.networks.feature_network import FeatureNetwork

# x, y, z in u on the average head (data/head_anatomy.py): landmark 30, the middles of cheeks and ears. Whatever hair,
# glasses or size a procedural head has, seen from the front a ray through them meets the nose first, then the cheeks.
NOSE = (0.0, -2.1, 7.5)
CHEEKS = ((-2.45, -1.5, 4.8), (2.45, -1.5, 4.8))
EARS = ((-5.0, -0.2, 0.0), (5.0, -0.2, 0.0))


def angle_errors(network: FeatureNetwork, pictures: Pictures) -> Tensor:
    """[n, 2] |read - asked| of pitch and yaw."""
    return (in_batches(network.pose, pictures.images) - pictures.angles).abs()


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


def consistency_of(turned: Turned) -> dict[str, float]:
    """How well the frontal picture, moved along its own distances, is what the turned cameras see: `psnr` in dB of
    pixels that show the head and that both see (0 where there are none), and which share of the head's pixels that is.
    """
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


def spread_of(features: Tensor) -> tuple[float, float]:
    """Features [n, F] -> mean distance of all pairs, mean distance to the nearest other one."""
    apart = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    n = len(apart)
    apart.fill_diagonal_(math.inf)
    nearest = apart.amin(dim=1).mean().item()
    return apart.fill_diagonal_(0).sum().item() / (n * (n - 1)), nearest
