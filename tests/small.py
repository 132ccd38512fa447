"""Small generators whose pictures show something."""

from __future__ import annotations

from dataclasses import replace

import torch

from gramhd_core.generators.gram import Gram, GramConfig
from gramhd_core.generators.gram_hd import GramHd, GramHdConfig
from gramhd_core.networks.fields import FieldConfig
from gramhd_core.networks.predictors import ManifoldsConfig
from gramhd_core.networks.super_resolution import SuperResolutionConfig

SMALL_LOW = GramConfig(
    image_size=8,
    field=FieldConfig(z_dim=8, hidden=16, layers=3, mapping_hidden=16, mapping_layers=2),
    manifolds=ManifoldsConfig(hidden=32, count=5),
    map_size=16,
)
SMALL_SR = SuperResolutionConfig(
    z_dim=8,
    features=4,
    width=8,
    growth=4,
    blocks=1,
    up_channels=(8, 4),
    style_hidden=8,
    background_blocks=1,
    background_up_channels=(8, 4),
)
SMALL_HIGH = GramHdConfig(replace(SMALL_LOW, field=replace(SMALL_LOW.field, features=4)), SMALL_SR)


def thicken(generator: Gram | GramHd) -> None:
    """Random fields are nearly transparent; raise density and spread colours so that pictures show something."""
    field = generator.low.field if isinstance(generator, GramHd) else generator.field
    with torch.no_grad():
        field.output_sigma[0].bias.add_(20.0)
        for head in [*field.output_sigma, *field.output_color]:
            head.weight.mul_(40.0)
