"""Images per second of training at a preset, with and without the allocator setting (see gramhd_cli/allocator.py).

    python benchmarks/bench_training.py [demo|tiny|...] [--steps 10] [--set train.batch=8]

Every measurement has a process of its own, for the setting is made before torch is loaded. The first steps, in which
memory and caches fill, do not count. A stage 2 starts from a stage 1 with random weights. Prints one JSON line; seconds
are those of one step, ratio is images per second with the setting over without it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import report
from training_runs import new_run

WARM_UP = 2  # steps
PIXELS = 64  # of the data set: all its images are kept decoded


def main(preset: str, *, steps: int, settings: list[str], device: str) -> None:
    from gramhd_core.training.presets import PRESETS, run_config

    figures = {"images_per_s": {}, "seconds": {}, "ratio": {}}
    for stage in ("lr", "hr"):
        if (preset, stage) not in PRESETS:
            continue
        task = {"preset": preset, "stage": stage, "steps": steps, "settings": settings, "device": device}
        batch = run_config(preset, stage, settings).train.batch
        kept, system = (in_fresh_process(task, allocator=allocator) for allocator in ("keep", "system"))
        figures["seconds"][stage] = {"with": round(kept, 4), "without": round(system, 4)}
        figures["images_per_s"][stage] = {"with": round(batch / kept, 2), "without": round(batch / system, 2)}
        figures["ratio"][stage] = round(system / kept, 3)
    if not figures["seconds"]:
        print(
            f"There is no preset {preset}: choose one of {', '.join(sorted({n for n, _ in PRESETS}))}.", file=sys.stderr
        )
        sys.exit(2)
    report(benchmark="training", preset=preset, settings=settings, device=device, steps=steps, **figures)


def in_fresh_process(task: dict, *, allocator: str) -> float:
    """`work` with or without the allocator setting."""
    command = [sys.executable, __file__, "--worker", json.dumps(task)]
    environment = {**os.environ, "GRAMHD_ALLOCATOR": allocator}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.split()[-1])


def work(task: dict) -> float:
    """Seconds of one step, in this process."""
    from gramhd_cli import allocator

    allocator.install()
    from gramhd_core.training.presets import run_config

    config = run_config(task["preset"], task["stage"], [*task["settings"], "train.grow_discriminator=false"])
    with tempfile.TemporaryDirectory() as name:
        run = new_run(config, Path(name), pixels=PIXELS, device=task["device"])
        for _ in range(WARM_UP):
            run.advance()
        started = time.perf_counter()
        for _ in range(task["steps"]):
            run.advance()  # its losses come back as numbers: nothing is still running
        seconds = time.perf_counter() - started
        run.stream.close()
    return seconds / task["steps"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", nargs="?", default="demo")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(work(options.worker))
    else:
        main(options.preset, steps=options.steps, settings=options.settings, device=options.device)
