"""Generators: one family per file, named here, with the published configurations of each.

Numbers of the published configurations: GRAM-HD (ICCV 2023) and its reference configs; see docs/papers.md.
"""

from __future__ import annotations

from gramhd_core.generators.gram import Gram, GramConfig
from gramhd_core.generators.gram_hd import GramHd, GramHdConfig
from gramhd_core.networks.fields import FieldConfig
from gramhd_core.networks.super_resolution import SuperResolutionConfig

FAMILIES = {"gram": (Gram, GramConfig), "gram-hd": (GramHd, GramHdConfig)}

_LOW = GramConfig(field=FieldConfig(features=32))
_HD256 = GramHdConfig(_LOW, SuperResolutionConfig())
_HD512 = GramHdConfig(_LOW, SuperResolutionConfig(up_channels=(64, 64, 32), background_up_channels=(64, 32, 16)))
_HD1024 = GramHdConfig(
    _LOW, SuperResolutionConfig(up_channels=(64, 64, 32, 16), background_up_channels=(64, 32, 16, 8))
)

PUBLISHED: dict[str, GramConfig | GramHdConfig] = {
    "gram64-ffhq": GramConfig(),
    "gram64-afhq": GramConfig(),
    "gramhd256-ffhq": _HD256,
    "gramhd512-ffhq": _HD512,
    "gramhd1024-ffhq": _HD1024,
    "gramhd256-afhq": _HD256,
    "gramhd512-afhq": _HD512,
}
