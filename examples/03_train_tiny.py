"""The whole method from Python, at a size that takes seconds: data, both stages, a picture.

    python examples/03_train_tiny.py OUT [--heads 64] [--images 512]

`tiny` shows that everything fits together, not heads: for those, use the preset `demo` and some minutes.
The same command again goes on where the runs stopped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from gramhd_core.checkpoints.checkpoint import load_generator
from gramhd_core.data.prepare import prepare_procedural
from gramhd_core.outputs.sample import sample
from gramhd_core.outputs.sample_request import SampleRequest
from gramhd_core.training.presets import run_config
from gramhd_core.training.train_hr import train_hr
from gramhd_core.training.train_lr import train_lr


def main(out: Path, *, heads: int, images: int) -> None:
    data = prepare_procedural(heads, out / "heads", size=32).out

    settings = [f"train.images={images}"]  # any field of a preset, as with --set on the command line
    low = train_lr(data, out / "lr", config=run_config("tiny", "lr", settings))
    print(f"stage 1: {low}  {last_line(out / 'lr')}")

    high = train_hr(data, out / "hr", lr_checkpoint=low, config=run_config("tiny", "hr", settings))
    print(f"stage 2: {high}  {last_line(out / 'hr')}")

    request = SampleRequest(seeds=(0, 1, 2), view="multiview1x3")
    done = sample(load_generator(high), request, out / "pictures")
    print(f"{done.pictures} pictures of {done.scenes} heads in {done.seconds:.1f} s")
    for file in done.files:
        print(file.path)


def last_line(run: Path) -> str:
    """What `stats.jsonl` says at the end."""
    stats = json.loads((run / "stats.jsonl").read_text().splitlines()[-1])
    return f"{stats['images']} images, {stats['images_per_s']} images/s"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--heads", type=int, default=64)
    parser.add_argument("--images", type=int, default=512)
    arguments = parser.parse_args()
    main(arguments.out, heads=arguments.heads, images=arguments.images)
