"""Whether a head is as deep as its picture says: its distances beside those of the procedural head it looks like.

S x S pixels, lengths in world units. The package's network reads the parameters of a head in its frontal picture; the
analytic head of these parameters is seen by the same camera. What the network misreads is an error of every head's,
and is what analytic heads themselves get: their score is the ceiling, of which nothing can be better for long.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.data.procedural_heads import render_head
from gramhd_core.metrics.reprojection import OPAQUE
from gramhd_core.metrics.views import ViewSet
from gramhd_core.networks.feature_network import LoadedFeatures, images_from_bytes, load_feature_network

READABLE = 0.3  # r2 from which a parameter is taken as read; below it the average head's is the better guess
SPREAD = 2.5  # standard deviations of a parameter beyond which no reading goes
SWITCHES = ("glasses", "glasses_square", "stripes")  # are there or are not


class DepthError(NamedTuple):
    """Mean |difference| of distances, world units; relief: the same when the median difference is taken away first, for
    pictures hardly tell how far away a head is. nan where no pixel shows the head in both."""

    distance: float
    relief: float


def depth_error(views: ViewSet, view: int = 0) -> DepthError:
    """Of one of the views, over pixels that show the head in both. views: with distances; alpha None: all head."""
    assert views.distance is not None
    true = render_head(read_identity(views.rgb[view]), views.cameras[view], supersample=1)
    head = torch.from_numpy(true.mask) & views.distance[view].isfinite()
    if views.alpha is not None:
        head &= views.alpha[view] > OPAQUE
    apart = (views.distance[view] - torch.from_numpy(true.distance))[head]
    if not len(apart):
        return DepthError(math.nan, math.nan)
    return DepthError(float(apart.abs().mean()), float((apart - apart.median()).abs().mean()))


@torch.no_grad()
def read_identity(image: Tensor, loaded: LoadedFeatures | None = None) -> HeadIdentity:
    """uint8 [3, S, S], frontal -> the procedural head that the network takes it for; colours are left as they are."""
    loaded = loaded or load_feature_network()
    network, scores = loaded.network, loaded.provenance["r2"]
    both = images_from_bytes(torch.stack([image, image.flip(-1)]))
    found = network(both).attributes.mean(dim=0)
    low = network.attribute_mean - SPREAD * network.attribute_sd
    high = network.attribute_mean + SPREAD * network.attribute_sd
    values = dict(zip(network.attributes, found.clamp(low, high).tolist(), strict=True))
    chosen: dict[str, Any] = {}
    for field in dataclasses.fields(HeadIdentity):
        if isinstance(field.default, float) and scores.get(field.name, 0) >= READABLE:
            bounds = field.metadata.get("range", (-99.0, 99.0))
            chosen[field.name] = min(max(values[field.name], bounds[0]), bounds[1])
    for name in {"hair_top", "hair_side", "hair_back", "bun", "curl", "beard"} & set(chosen):
        chosen[name] = max(chosen[name], 0.0)
    for name in set(SWITCHES) & set(chosen):
        chosen[name] = float(chosen[name] > 0.5)
    return HeadIdentity(**chosen)
