"""Whether a head stays who it is while it is turned: how far what a network reads in its pictures drifts.

T heads, V views, A attributes. The package's feature network reads the exact parameters of procedural heads; those it
can read at all are compared, each in its standard deviation among heads. The unit is how far apart different heads are,
so 0 is the same head in every view and 1 another head in each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.data.procedural_heads import render_head
from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.metrics.views import ViewSet
from gramhd_core.networks.feature_network import FeatureNetwork, LoadedFeatures, images_from_bytes, load_feature_network

READABLE = 0.5  # r2 that the network reaches on heads it has not seen, from which an attribute counts
POSE = ("pitch", "yaw")  # what turning changes
UNIT_HEADS, UNIT_SEED, UNIT_SIZE = 48, 6_200_000, 128  # frontal analytic heads that are the unit
BATCH = 64


class Identity(NamedTuple):
    """drift: root mean square over heads of how far two views of one are apart, in the distance of two different heads.
    each: of every head. attributes: of every attribute that was compared, in its own distance between heads."""

    drift: float
    each: list[float]
    attributes: dict[str, float]


def identity(views: Sequence[ViewSet]) -> Identity:
    """How much the heads of T sets drift between the views of each (two or more views; their order does not matter)."""
    assert views and all(len(one.rgb) > 1 for one in views)
    loaded = load_feature_network()
    names = readable(loaded)
    within = torch.stack([_apart(read(loaded.network, one.rgb, names)) for one in views])  # [T, A]
    between = _unit()  # [A]
    each = (within.sum(dim=1) / between.sum()).sqrt()
    own = (within.mean(dim=0) / between).sqrt()
    drift = math.sqrt(float(within.mean(dim=0).sum() / between.sum()))
    return Identity(drift, each.tolist(), dict(zip(names, own.tolist(), strict=True)))


def readable(loaded: LoadedFeatures) -> tuple[str, ...]:
    """Attributes of a head, the pose not among them, that the network reads well."""
    scores: dict[str, float] = loaded.provenance["r2"]
    return tuple(name for name in loaded.network.attributes if scores.get(name, 0) >= READABLE and name not in POSE)


@torch.no_grad()
def read(network: FeatureNetwork, images: Tensor, names: Sequence[str]) -> Tensor:
    """uint8 [V, 3, S, S] -> [V, A]: attributes in standard deviations."""
    columns = [network.attributes.index(name) for name in names]
    found = torch.cat([network(images_from_bytes(part)).attributes for part in images.split(BATCH)])
    return ((found - network.attribute_mean) / network.attribute_sd)[:, columns]


def _apart(readings: Tensor) -> Tensor:
    """[n, A] -> [A]: mean squared difference of two different ones."""
    return 2 * readings.double().var(dim=0)


@cache
def _unit() -> Tensor:
    """[A]: mean squared difference between two analytic heads seen from the front."""
    loaded = load_feature_network()
    camera = CameraPrior().at(0.0, 0.0, size=UNIT_SIZE)
    seeds = range(UNIT_SEED, UNIT_SEED + UNIT_HEADS)
    shown = [render_head(HeadIdentity.from_seed(seed), camera, supersample=1).image for seed in seeds]
    images = torch.stack([torch.from_numpy(image).movedim(-1, 0) for image in shown])
    return _apart(read(loaded.network, images, readable(loaded)))
