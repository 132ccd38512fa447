"""The feature network of the package, made anew: what `make features` runs.

    python examples/train_features.py demo/feature-heads --out gramhd_core/assets/procedural_features.safetensors

The data set is procedural (`gramhd prep-data --procedural 12000 --size 128`). One core takes a quarter of an hour. The
same data set and options give the same network on the same machine; its errors on the last heads of the data set, which
it never sees, are printed and kept in the file.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import gramhd_core
from gramhd_core.data.dataset import DatasetReader
from gramhd_core.metrics.feature_training import TrainingPlan, read_heads, train_features
from gramhd_core.networks.feature_network import ASSET, FeatureConfig, save_feature_network
from gramhd_core.progress import Silent


class Notes(Silent):
    """A line now and then."""

    def start(self, title: str, total: int, *, done: int = 0) -> None:
        self.title, self.total, self.done = title, total, done

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.done += steps
        if self.done % max(1, self.total // 20) == 0:
            print(f"{self.title}: {self.done}/{self.total} {note}", file=sys.stderr, flush=True)


def main() -> None:
    """Read, train, save, print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=ASSET)
    parser.add_argument("--size", type=int, default=FeatureConfig().image_size)
    parser.add_argument("--epochs", type=int, default=TrainingPlan().epochs)
    parser.add_argument("--held-out", type=int, default=TrainingPlan().held_out)
    options = parser.parse_args()
    config, plan = FeatureConfig(options.size), TrainingPlan(epochs=options.epochs, held_out=options.held_out)
    heads = read_heads(options.data, size=options.size, progress=Notes())
    trained = train_features(heads, config, plan, progress=Notes())
    data = DatasetReader(options.data)
    provenance = {"version": gramhd_core.__version__, "recipe": "make features", "data": data.fingerprint}
    save_feature_network(options.out, trained.network, {**provenance, "images": data.stored, **trained.figures})
    print(json.dumps(trained.figures, indent=1))


if __name__ == "__main__":
    main()
