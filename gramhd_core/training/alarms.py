"""Signs that a run is going nowhere: all heads become one, the discriminator wins, heads vanish or fill the picture.

Each is told once per episode, which is over when the figure is well beyond its limit. Part of what is saved.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

CHANCE = 2 * math.log(2)  # loss of a discriminator that knows nothing: softplus(0) on fakes and on reals
MEMORY = 0.99  # decay of the running mean of D's losses: about 100 steps
D_WINS = 0.02  # its running mean
ALIKE = 0.25  # variety of samples, of that of the reals
FALLEN = 0.5  # and of the highest that it was
NEVER = 0.1  # variety, of that of the reals, too low for a run that has had time
TIME = 4  # sheets
FAINT, SOLID = 0.02, 0.995  # mean opacity
RECOVERY = 1.5  # factor beyond the limit that ends an episode
COMPARED_SIZE = 16  # pixels: differences of heads, not of grain

TRY = {
    "alike": "raise train.r1_weight, lower train.d_lr, set discriminator.minibatch_std=true, or start from an earlier "
    "checkpoint",
    "d_wins": "lower train.d_lr, raise train.r1_weight or train.g_lr, or add data",
    "faint": "raise generator.field.start_density (stage 1), lower train.d_lr, or go back to an earlier checkpoint",
    "solid": "lower generator.field.start_density (stage 1) or train.g_lr; harmless if the data shows no background",
}


class Look(NamedTuple):
    """What a sheet of samples shows. variety: `variety` of its identities, frontal; opacity: mean alpha, 0 to 1."""

    variety: float
    opacity: float


class Alarm(NamedTuple):
    """name: which; figure: what was measured; sentence: for people."""

    name: str
    figure: float
    sentence: str


class Alarms:
    """Follows the figures of one run."""

    def __init__(self) -> None:
        self.d_mean = CHANCE
        self.highest = 0.0  # variety
        self.sheets = 0
        self.ringing: list[str] = []

    def hear(self, values: dict[str, float]) -> list[Alarm]:
        """The losses of one step. Returns what has to be told now."""
        loss = values.get("d_fake", math.nan) + values.get("d_real", math.nan)
        if not math.isfinite(loss):
            return []
        self.d_mean = MEMORY * self.d_mean + (1 - MEMORY) * loss
        said = f"the discriminator tells all images apart (its loss is {self.d_mean:.3f}, {CHANCE:.2f} would be chance)"
        wrong, over = self.d_mean < D_WINS, self.d_mean > D_WINS * RECOVERY
        return list(self._episode("d_wins", self.d_mean, wrong=wrong, over=over, said=said))

    def look(self, seen: Look, *, reals: float) -> list[Alarm]:
        """A new sheet, and the variety of real images. Returns what has to be told now."""
        self.sheets += 1
        self.highest = max(self.highest, seen.variety)
        limit = min(ALIKE * reals, FALLEN * self.highest)
        if self.sheets >= TIME:
            limit = max(limit, NEVER * reals)
        alike = f"samples of different seeds look alike (they differ by {seen.variety:.3f}, real images by {reals:.3f})"
        faint = f"heads vanish (the mean opacity of samples is {seen.opacity:.3f})"
        solid = f"heads fill the whole picture (the mean opacity of samples is {seen.opacity:.3f})"
        return [
            alarm
            for name, figure, room, said in (
                ("alike", seen.variety, seen.variety / max(limit, 1e-6), alike),
                ("faint", seen.opacity, seen.opacity / FAINT, faint),
                ("solid", seen.opacity, (1 - seen.opacity) / (1 - SOLID), solid),
            )
            for alarm in self._episode(name, figure, wrong=room < 1, over=room > RECOVERY, said=said)
        ]

    def _episode(self, name: str, figure: float, *, wrong: bool, over: bool, said: str) -> Iterator[Alarm]:
        """The alarm if an episode begins now; `over` ends it."""
        if wrong and name not in self.ringing:
            self.ringing.append(name)
            yield Alarm(name, figure, f"{said[0].upper()}{said[1:]}: {TRY[name]}.")
        elif over and name in self.ringing:
            self.ringing.remove(name)

    def state(self) -> dict[str, Any]:
        return {"d_mean": self.d_mean, "highest": self.highest, "sheets": self.sheets, "ringing": self.ringing}

    def restore(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


def variety(images: Tensor) -> float:
    """Mean absolute difference of all pairs of images [B, 3, S, S] in [-1, 1], made small; 0 for fewer than two."""
    if len(images) < 2:
        return 0.0
    small = F.adaptive_avg_pool2d(images.float(), COMPARED_SIZE).flatten(1).cpu()
    return float(F.pdist(small, p=1).mean() / small.shape[1])
