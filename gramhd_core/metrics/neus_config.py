"""What can be chosen when NeuS is fitted to views, and the settings that have names.

Lengths are in radii of the region of interest, which is the unit sphere once views are normalised (`neus_rays.py`).
`PAPER` is the published network and schedule (NeuS: networks); nobody fits it on a CPU in a day.
`FAST` keeps NeuS - the SDF, its unbiased weights, the learned sharpness, the eikonal term, mask-free views - and
replaces the networks by multi-resolution hash tables, views by few samples around the surface, and colour that may
depend on the direction by one that may not: what cannot be explained by one painted surface is then an error, which is
what the test is for. (Tables whose colour sees direction and normal score the same within 0.2 dB, damaged or not: one
analytic head at 32 pixels, 400 iterations.) `QUICK` is the same with fewer steps, for previews.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from gramhd_core.configs import at_least
from gramhd_core.errors import BadConfig


@dataclass(frozen=True)
class NeusConfig:
    """name: of the setting, for reports.

    field: what SDF and colour are made of. view_dependence: whether colour sees the direction and the normal.
    iterations, rays per iteration. coarse: samples along a ray, evenly; fine: samples added around the surface in each
    of `rounds`; every: of the coarse ones each how-manieth is kept once the fine ones are known; outside: samples
    behind the region of interest.
    lightest: weight of a section below which its colour is left out.
    learning_rate grows over `warm_up` iterations, then falls by a cosine to `final_rate` of it; beta2: of Adam.
    eikonal: weight of (|grad f| - 1)^2; bend: of the curvature that finite differences see. sharpness: s of Phi_s at
    the start. loss: of colours, mean absolute or squared differences.
    """

    name: str
    field: Literal["networks", "tables"] = "networks"
    view_dependence: bool = True
    iterations: int = 300_000
    rays: int = 512
    coarse: int = 64
    fine: int = 16
    rounds: int = 4
    every: int = 1
    outside: int = 32
    lightest: float = 0.0
    learning_rate: float = 5e-4
    beta2: float = 0.999
    warm_up: int = 5000
    final_rate: float = 0.05
    eikonal: float = 0.1
    bend: float = 0.0
    sharpness: float = 20.0
    loss: Literal["l1", "l2"] = "l1"

    def __post_init__(self) -> None:
        at_least(self, 1, "iterations", "rays", "fine", "every")
        at_least(self, 0, "rounds", "warm_up", "lightest", "eikonal", "bend")
        at_least(self, 2, "coarse", "outside")
        if self.learning_rate <= 0 or self.sharpness <= 0:
            raise BadConfig(
                f"learning_rate={self.learning_rate:g} and sharpness={self.sharpness:g}",
                expected="both must be positive",
                remedy="give positive numbers",
            )


PAPER = NeusConfig("paper")
FAST = NeusConfig(
    "fast",
    field="tables",
    view_dependence=False,
    iterations=1500,
    rays=1024,
    coarse=32,
    fine=8,
    rounds=2,
    every=4,
    outside=12,
    lightest=1e-3,
    learning_rate=0.04,
    beta2=0.99,
    warm_up=50,
    sharpness=60.0,
    eikonal=0.01,
    bend=0.0005,
    loss="l2",
)
QUICK = replace(FAST, name="quick", iterations=500)
PRESETS = {config.name: config for config in (PAPER, FAST, QUICK)}
