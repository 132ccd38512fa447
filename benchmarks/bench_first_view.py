"""What the first view of a new identity costs, from seed to finished picture: plainly, and as it is done.

    python benchmarks/bench_first_view.py [gramhd256-ffhq|gramhd1024-ffhq|tiny|...] [--repeats 2] [--variants A,B]

"plain" runs each network once over everything, in float32; "fp32" and "bf16" are the two precisions of
`gramhd sample --precision`. All have the allocator of the program. Every measurement is a process of its own: its first
view is "cold", its second one counts ("seconds", the best of the repeats), and its memory is that of both; repeats of
the variants take turns. Surfaces and grids, made once for all identities, are "geometry". bf16 is measured where the
machine is made for it, or where --variants asks for it. Weights are random. Prints one JSON line; differences of
pictures are to "plain", between -1 and 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import peak_mb, report

from gramhd_cli import allocator

allocator.install()  # as the program does, before torch is loaded

import numpy as np  # noqa: E402
import torch  # noqa: E402

from gramhd_core.generators import PUBLISHED  # noqa: E402
from gramhd_core.generators.generator import Latent  # noqa: E402
from gramhd_core.generators.gram_hd import GramHd, GramHdConfig, fast_in_bf16, set_precision  # noqa: E402
from gramhd_core.outputs import trajectories  # noqa: E402
from gramhd_core.outputs.images import rgb8  # noqa: E402
from gramhd_core.outputs.shots import latent_of_seed  # noqa: E402
from gramhd_core.scenes.manifolds import RadianceManifolds  # noqa: E402
from gramhd_core.training.presets import PRESETS  # noqa: E402

RUNS = {name: run.generator for (name, _), run in PRESETS.items()} | PUBLISHED  # of two stages, the second
CONFIGS = {name: config for name, config in RUNS.items() if isinstance(config, GramHdConfig)}


def plain_scene(generator: GramHd, latent: Latent) -> RadianceManifolds:
    """As gradients are recorded: one pass of each network. The weights are frozen, so that no graph is kept."""
    with torch.enable_grad():
        return generator.scene(latent)


def measure(preset: str, variant: str, picture: Path, *, device: str) -> dict[str, float]:
    """Two first views in this process; the second one's picture is kept. Seconds, and peak memory in MB."""
    torch.manual_seed(0)
    generator = GramHd(CONFIGS[preset]).eval().requires_grad_(False).to(device)
    set_precision(generator, "fp32" if variant == "plain" else variant)
    camera = trajectories.frontal(generator.cameras, size=generator.image_size).to(device)
    started = time.perf_counter()
    generator.grid()
    generator.surfaces()
    made = {"geometry": time.perf_counter() - started}
    for name, seed in (("cold", 1), ("seconds", 0)):
        started, worked = time.perf_counter(), time.process_time()
        latent, _ = latent_of_seed(generator, seed, truncation=0.7)
        scene = plain_scene(generator, latent) if variant == "plain" else generator.scene(latent)
        rgb = scene.render(camera).rgb.cpu()
        rgb8(rgb)
        made[name] = time.perf_counter() - started
        made["cpu_seconds"] = time.process_time() - worked  # of the second one; steadier on a busy machine
        del scene
    np.save(picture, rgb.numpy())
    made["peak_mb"] = peak_mb()
    if device.startswith("cuda"):
        made["peak_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return made


def main(preset: str, *, variants: list[str], repeats: int, device: str) -> None:
    runs: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    with tempfile.TemporaryDirectory() as folder:
        pictures = {variant: Path(folder) / f"{variant}.npy" for variant in variants}
        for _ in range(repeats):
            for variant in variants:
                arguments = [preset, "--device", device, "--measure", variant, str(pictures[variant])]
                command = [sys.executable, __file__, *arguments]
                runs[variant].append(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))
        shown = {variant: np.load(path) for variant, path in pictures.items()}
    best = {key: {v: min(run[key] for run in made) for v, made in runs.items()} for key in runs[variants[0]][0]}
    seconds = best["seconds"]
    others = [variant for variant in variants if variant != variants[0]]
    ratios = {variant: round(seconds[variant] / seconds[variants[0]], 3) for variant in others}
    report(
        benchmark="first_view",
        preset=preset,
        device=device,
        pixels=CONFIGS[preset].image_size,
        **{key: {v: round(value, 3) for v, value in values.items()} for key, values in best.items()},
        ratio=min(ratios.values(), default=1.0),
        ratios=ratios,
        differences={v: float(f"{np.abs(shown[v] - shown[variants[0]]).max():.2g}") for v in others},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="gramhd256-ffhq", choices=sorted(CONFIGS))
    parser.add_argument("--variants", help="of plain, fp32, bf16; others are compared to the first", metavar="A,B")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--measure", nargs=2, metavar=("VARIANT", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        with torch.no_grad():
            print(json.dumps(measure(options.preset, options.measure[0], options.measure[1], device=options.device)))
    else:
        native = ["plain", "fp32"] + ["bf16"] * fast_in_bf16(torch.device(options.device))
        chosen = options.variants.split(",") if options.variants else native
        main(options.preset, variants=chosen, repeats=options.repeats, device=options.device)
