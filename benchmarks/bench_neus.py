"""NeuS by tables and by the published networks on the same views: do they put view sets in the same order?

    python benchmarks/bench_neus.py [--preset fast] [--iterations N] [--heads 2] [--size 64] [--views clean flicker:4]
                                    [--set rays=256 ...] [--device cpu]
    python benchmarks/bench_neus.py --again FILE

`--views` are the undamaged analytic head and damage as metrics/damage.py plants it (kind:strength). With several
`--preset`, correlation and rank correlation of their PSNR are given for every pair: over all view sets, and within
heads (of the PSNR of a head less its mean over its view sets; the mean over heads of rank correlations).
`--iterations` and `--set` hold for the published networks (`paper`) only: 300,000 iterations of them take days on a
CPU. Prints one JSON line; seconds are the processor's for one identity, one thread; ratio is of the last preset's over
the first's. `--again` prints the agreement of the last such line in a file.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from report import report

from gramhd_core.configs import override
from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.metrics.damage import Damage, damaged, look_at_head
from gramhd_core.metrics.neus_config import PAPER, PRESETS, NeusConfig
from gramhd_core.metrics.neus_fitting import fit
from gramhd_core.metrics.views import ViewSet, around, views_of_head

FIRST = 5_200_000  # heads of no data set


def views_of(seed: int, kind: str, *, size: int) -> ViewSet:
    """`clean`, or `kind:strength` of planted damage."""
    head = HeadIdentity.from_seed(seed)
    clean = views_of_head(head, around(CameraPrior(), size=size), name=f"head {seed}")
    if kind == "clean":
        return clean
    name, _, strength = kind.partition(":")
    rng = torch.Generator().manual_seed(seed)
    return damaged(clean, Damage(name, float(strength)), look=look_at_head(head), rng=rng)


def correlations(first: list[float], second: list[float]) -> dict[str, float]:
    """Pearson's and Spearman's."""
    both = torch.tensor([first, second], dtype=torch.float64)
    ranks = both.argsort(dim=1).argsort(dim=1).double()
    return {
        "correlation": round(float(torch.corrcoef(both)[0, 1]), 3),
        "rank_correlation": round(float(torch.corrcoef(ranks)[0, 1]), 3),
    }


def agreement(psnr: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    """Of every pair of presets; psnr: preset -> views -> one number per head."""
    tables = {name: torch.tensor(list(rows.values()), dtype=torch.float64) for name, rows in psnr.items()}
    found = {}
    for (one, first), (other, second) in itertools.combinations(tables.items(), 2):
        heads = [correlations(a.tolist(), b.tolist()) for a, b in zip(first.T, second.T, strict=True)]
        within = [(table - table.mean(dim=0)).flatten().tolist() for table in (first, second)]
        found[f"{one} {other}"] = {
            **correlations(first.flatten().tolist(), second.flatten().tolist()),
            "correlation_within_heads": correlations(*within)["correlation"],
            "rank_correlation_within_heads": round(sum(h["rank_correlation"] for h in heads) / len(heads), 3),
        }
    return found


def main(configs: list[NeusConfig], *, heads: int, size: int, kinds: list[str], device: str) -> None:
    torch.set_num_threads(1)
    found: dict[str, dict[str, list[float]]] = {config.name: {} for config in configs}
    seconds = {config.name: 0.0 for config in configs}
    for kind, seed in itertools.product(kinds, range(FIRST, FIRST + heads)):
        views = views_of(seed, kind, size=size)
        for config in configs:
            started = time.process_time()
            scored = fit(views, config, rng=torch.Generator().manual_seed(0), device=device)
            seconds[config.name] += time.process_time() - started
            found[config.name].setdefault(kind, []).append(round(scored.psnr, 2))
            print(f"{config.name} {views.name}: {scored.psnr:.2f} dB, {scored.ssim:.3f}", file=sys.stderr, flush=True)
    each = {name: round(s / (heads * len(kinds)), 2) for name, s in seconds.items()}
    report(
        benchmark="neus",
        heads=heads,
        pixels=size,
        device=device,
        iterations={config.name: config.iterations for config in configs},
        psnr=found,
        seconds=each,
        ratio=round(each[configs[-1].name] / each[configs[0].name], 2),
        agreement=agreement(found),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", nargs="+", choices=list(PRESETS), default=["fast", "paper"])
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--views", nargs="+", default=["clean", "flicker:4", "flicker:8", "upsampled:2"])
    parser.add_argument("--device", default="cpu", help="where NeuS is fitted; on a GPU seconds say little")
    parser.add_argument("--again", type=Path, metavar="FILE", help="a file that has a line of this benchmark")
    options = parser.parse_args()
    if options.again:
        lines = [line for line in options.again.read_text("utf-8").splitlines() if '"benchmark": "neus"' in line]
        print(json.dumps(agreement(json.loads(lines[-1])["psnr"])))
        sys.exit()
    warm_up = min(PAPER.warm_up, options.iterations // 10)
    shorter = override(replace(PAPER, iterations=options.iterations, warm_up=warm_up), options.set)
    chosen = [shorter if name == "paper" else PRESETS[name] for name in options.preset]
    main(chosen, heads=options.heads, size=options.size, kinds=options.views, device=options.device)
