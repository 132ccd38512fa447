"""The landmark network of the package, made anew: what `make landmarks` runs.

    python examples/train_landmarks.py demo-model/heads --out gramhd_core/assets/procedural_landmarks.safetensors

The data set is procedural (`gramhd prep-data --procedural 12000 --size 128`); photographs with room around heads are
made here. One core takes about a quarter of an hour. The same data set and options give the same network on the same
machine; its errors on heads it never sees are printed and kept in the file.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import gramhd_core
from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.landmark_network import ASSET, LandmarkConfig, save_landmark_network
from gramhd_core.data.processes import cores
from gramhd_core.progress import Silent
from gramhd_core.training.landmark_photos import read_heads, render_wide
from gramhd_core.training.landmark_training import LandmarkPlan, train_landmarks

WIDE = 2000  # photographs with room around the head


class Notes(Silent):
    """A line now and then."""

    def start(self, title: str, total: int, *, done: int = 0) -> None:
        self.title, self.total, self.done = title, total, done

    def advance(self, steps: int = 1, note: str = "") -> None:
        before, self.done = self.done, self.done + steps
        part = max(1, self.total // 20)
        if before // part != self.done // part:
            print(f"{self.title}: {self.done}/{self.total} {note}", file=sys.stderr, flush=True)


def main() -> None:
    """Read, make, train, save, print the figures."""
    default = LandmarkPlan()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=ASSET)
    parser.add_argument("--wide", type=int, default=WIDE)
    parser.add_argument("--pointer-steps", type=int, default=default.pointer_steps)
    parser.add_argument("--finder-steps", type=int, default=default.finder_steps)
    parser.add_argument("--held-out", type=int, default=default.held_out)
    options = parser.parse_args()
    plan = LandmarkPlan(options.finder_steps, options.pointer_steps, held_out=options.held_out)
    heads = read_heads(options.data, progress=Notes())
    wide = render_wide(options.wide, workers=cores() if options.wide > 100 else 1, progress=Notes())
    trained = train_landmarks(heads, wide, LandmarkConfig(), plan, progress=Notes())
    data = DatasetReader(options.data)
    provenance = {"version": gramhd_core.__version__, "recipe": "make landmarks", "data": data.fingerprint}
    provenance |= {"images": data.stored, "photographs": options.wide}
    save_landmark_network(options.out, trained.network, {**provenance, **trained.figures})
    print(json.dumps(trained.figures, indent=1))


if __name__ == "__main__":
    main()
