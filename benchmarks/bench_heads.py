"""How fast the built-in data set is made: heads rendered by one core, and a whole data set folder by all of them.

    python benchmarks/bench_heads.py [--heads 200] [--size 64] [--workers N]

The folder includes PNG files, labels and the contact sheet. Prints one JSON line; ratio is folder over one core.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from report import report

from gramhd_core.data.prepare import prepare_procedural
from gramhd_core.data.procedural_heads import render_item
from gramhd_core.data.processes import cores


def main(heads: int, *, size: int, workers: int) -> None:
    render_item(0, size=size)  # compiles, or reads what was compiled earlier
    started = time.perf_counter()
    for seed in range(heads):
        render_item(seed, size=size)
    alone = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        prepare_procedural(heads, Path(folder) / "heads", size=size, workers=workers)
        whole = time.perf_counter() - started
    report(
        benchmark="heads",
        heads=heads,
        pixels=size,
        workers=workers,
        seconds={"one core": round(alone, 3), "folder": round(whole, 3)},
        images_per_s={"one core": round(heads / alone, 1), "folder": round(heads / whole, 1)},
        ratio=round(alone / whole, 3),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=200)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=cores())
    options = parser.parse_args()
    main(options.heads, size=options.size, workers=options.workers)
