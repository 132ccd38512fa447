"""What further views of one identity cost: one view against 21 of them (the multiview3x7 sheet), scene included.

    python benchmarks/bench_views.py [demo|tiny|gramhd256-ffhq|...] [--compatible] [--repeats 3]

Weights are random: the cost does not depend on them. --compatible renders with the conventions of official weights,
as imported checkpoints do. Prints one JSON line; the best of the repeats counts.
"""

from __future__ import annotations

import argparse
import time

from report import report

from gramhd_cli import allocator

allocator.install()  # as the program does, before torch is loaded

import torch  # noqa: E402

from gramhd_core.generators import PUBLISHED  # noqa: E402
from gramhd_core.generators.gram import Gram, GramConfig  # noqa: E402
from gramhd_core.generators.gram_hd import GramHd, GramHdConfig  # noqa: E402
from gramhd_core.geometry.camera import Camera  # noqa: E402
from gramhd_core.outputs import trajectories  # noqa: E402
from gramhd_core.outputs.sample import latent_of_seed, render_shots  # noqa: E402
from gramhd_core.training.presets import PRESETS  # noqa: E402

CONFIGS = {name: run.generator for (name, _), run in PRESETS.items()} | PUBLISHED  # of two stages, the second


@torch.no_grad()
def seconds(generator: Gram | GramHd, cameras: Camera, *, device: str) -> float:
    """From a seed to finished 8-bit pictures."""
    started = time.perf_counter()
    latent, _ = latent_of_seed(generator, 0, truncation=0.7)
    scene = generator.scene(latent)
    for _ in render_shots(scene, cameras, device=device):  # pictures arrive in main memory
        pass
    return time.perf_counter() - started


def build(config: GramConfig | GramHdConfig, *, device: str) -> Gram | GramHd:
    """Random weights, ready to render."""
    generator = Gram(config) if isinstance(config, GramConfig) else GramHd(config)
    return generator.eval().to(device)


def main(preset: str, *, compatible: bool, repeats: int, device: str) -> None:
    config = CONFIGS[preset].compatible() if compatible else CONFIGS[preset]
    generator, tiny = build(config, device=device), build(CONFIGS["tiny"], device=device)
    size = generator.image_size
    sheet = trajectories.multiview3x7(generator.cameras, size=size)
    one = trajectories.frontal(generator.cameras, size=size)
    if isinstance(generator, GramHd):  # made on first use, for all identities
        generator.grid()
        generator.surfaces()
    seconds(tiny, one, device=device)  # what torch does on first use belongs to nobody
    best = {"1": float("inf"), "21": float("inf")}
    for _ in range(repeats):
        best["1"] = min(best["1"], seconds(generator, one, device=device))
        best["21"] = min(best["21"], seconds(generator, sheet, device=device))
    report(
        benchmark="views",
        preset=preset,
        compatible=compatible,
        device=device,
        pixels=size,
        seconds={views: round(value, 4) for views, value in best.items()},
        ratio=round(best["21"] / best["1"], 3),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="demo", choices=sorted(CONFIGS))
    parser.add_argument("--compatible", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    main(options.preset, compatible=options.compatible, repeats=options.repeats, device=options.device)
