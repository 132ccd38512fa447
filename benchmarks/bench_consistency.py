"""Whether metrics of consistency find planted damage, and how much of it: analytic heads, clean and damaged.

    python benchmarks/bench_consistency.py [--heads 3] [--size 64] [--steps 129] [--supersample 4] [--neus none]

A row per damage (metrics/damage.py): what was planted (root mean square in levels), and every score, means over the
heads, larger is better (flicker counts against). `wrong` lists what is ranked wrongly by the means: in every column the
clean heads must be best and of every kind the stronger damage worse. `ratio` is the share of comparisons that come out
right head by head. `minutes` are those of the processor per row and head. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import time

import torch
from report import report

from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.metrics import neus_config, neus_fitting
from gramhd_core.metrics.damage import KINDS, TABLE, damaged, look_at_head, planted_rms
from gramhd_core.metrics.epipolar import epi
from gramhd_core.metrics.reprojection import reprojection
from gramhd_core.metrics.views import ViewSet, around, views_of_head
from gramhd_core.outputs import trajectories

FRESH = 5_300_000  # heads of no data set
LESS_IS_MORE = ("epi_flicker",)
Row = dict[str, float]


def scores(views: ViewSet, sweep: ViewSet, *, neus: str) -> Row:
    """Everything that is measured of one head."""
    moved, strip = reprojection(views), epi(sweep)
    found = {
        "reprojection_psnr": moved.neighbours.psnr,
        "reprojection_ssim": moved.neighbours.ssim,
        "frontal_psnr": moved.frontal.psnr,
        "frontal_ssim": moved.frontal.ssim,
        "epi_psnr": strip.residual_psnr,
        "epi_flicker": strip.flicker,
    }
    if neus == "none":
        return found
    fit = neus_fitting.fit(views, neus_config.PRESETS[neus], rng=torch.Generator().manual_seed(0))
    return found | {"neus_psnr": fit.psnr, "neus_ssim": fit.ssim}


def table_of(seed: int, *, size: int, steps: int, supersample: int, neus: str) -> dict[str, Row]:
    """Damage -> scores of one head."""
    identity, prior = HeadIdentity.from_seed(seed), CameraPrior()
    paths = around(prior, size=size), trajectories.epi(prior, size=size, steps=steps)
    clean = [views_of_head(identity, path, name=str(seed), supersample=supersample) for path in paths]
    found = {"consistent": {"planted": 0.0} | scores(clean[0], clean[1], neus=neus)}
    for damage in TABLE:
        spoilt = [
            damaged(part, damage, look=look_at_head(identity), rng=torch.Generator().manual_seed(seed))
            for part in clean
        ]
        planted = {"planted": planted_rms(spoilt[0], clean[0])}
        found[f"{damage.kind} {damage.strength:.3g}"] = planted | scores(spoilt[0], spoilt[1], neus=neus)
    return found


def comparisons(table: dict[str, Row]) -> dict[str, bool]:
    """What must hold -> whether it does."""
    found = {}
    for kind in KINDS:
        rows = ["consistent", *(name for name in table if name.startswith(kind))]
        for better, worse in zip(rows, rows[1:], strict=False):
            for column in table[better]:
                one, other = table[better][column], table[worse][column]
                rises = column in LESS_IS_MORE or column == "planted"
                found[f"{column}: {better} before {worse}"] = one < other if rises else one > other
    return found


def mean_of(tables: list[dict[str, Row]]) -> dict[str, Row]:
    """The means of the same places."""
    return {
        name: {column: sum(table[name][column] for table in tables) / len(tables) for column in row}
        for name, row in tables[0].items()
    }


def main(heads: int, *, size: int, steps: int, supersample: int, neus: str) -> None:
    torch.set_num_threads(1)
    started, used = time.perf_counter(), time.process_time()
    tables = [table_of(FRESH + i, size=size, steps=steps, supersample=supersample, neus=neus) for i in range(heads)]
    whole = mean_of(tables)
    single = [held for table in tables for held in comparisons(table).values()]
    report(
        benchmark="consistency",
        settings={"heads": heads, "size": size, "steps": steps, "supersample": supersample, "neus": neus},
        table={name: {column: round(value, 3) for column, value in row.items()} for name, row in whole.items()},
        wrong=[name for name, held in comparisons(whole).items() if not held],
        ratio=round(sum(single) / len(single), 4),
        minutes=round((time.process_time() - used) / 60 / heads / len(whole), 3),
        seconds=round(time.perf_counter() - started, 1),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=3)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=129)
    parser.add_argument("--supersample", type=int, default=4, help="rays per pixel and axis of the clean heads")
    parser.add_argument("--neus", choices=["none", "quick", "fast"], default="none")
    options = parser.parse_args()
    main(options.heads, size=options.size, steps=options.steps, supersample=options.supersample, neus=options.neus)
