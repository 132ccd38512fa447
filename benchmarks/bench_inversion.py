"""How well photographs of procedural heads are inverted: reconstruction, novel views, depth and camera per stage.

    python benchmarks/bench_inversion.py [--heads 20] [--ckpt demo] [--known-camera] [--encoder FILE] [--set NAME=VALUE]

The heads are none of the training set (seeds from 5,000,000 on); a photograph is all that is given. Prints a table of
means on stderr and one JSON line on stdout; seconds are those of the processor, all threads together; ratio is novel
views (dB) after tuning over before.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from report import report

from gramhd_core.checkpoints.checkpoint import find_checkpoint, load_generator
from gramhd_core.configs import override, to_dict
from gramhd_core.outputs.inversion.encoder import guess, load_encoder
from gramhd_core.outputs.inversion.invert import invert
from gramhd_core.outputs.inversion.losses import find_features
from gramhd_core.outputs.inversion.photo_camera import pose_of
from gramhd_core.outputs.inversion.scores import procedural_truth, scores
from gramhd_core.outputs.inversion.spaces import spaces_of
from gramhd_core.outputs.inversion.stages import InversionConfig, problem

HELD_OUT = 5_000_000
COLUMNS = ("psnr", "ssim", "novel_psnr", "depth_correlation", "camera_error_degrees", "processor_seconds")


def main(options: argparse.Namespace) -> None:
    generator = load_generator(options.ckpt)
    config = override(InversionConfig(), options.set)
    spaces = spaces_of(generator)
    features = find_features(options.perceptual, checkpoint=find_checkpoint(options.ckpt), is_procedural=True)
    encoder = None if options.encoder is None else load_encoder(options.encoder, generator)
    rows: dict[str, list[dict[str, float]]] = {}
    for head in range(options.first, options.first + options.heads):
        truth = procedural_truth(HELD_OUT + head, generator.cameras, size=generator.image_size)
        known = pose_of(truth.camera) if options.known_camera else None
        task = problem(
            generator,
            truth.photo,
            config=config,
            features=features,
            spaces=spaces,
            known=known,
            is_fixed=options.known_camera,
        )
        began = time.process_time()
        guesses = None if encoder is None else guess(encoder, generator, truth.photo, known=known)
        done = invert(task, rng=torch.Generator().manual_seed(0), guesses=guesses)
        spent = time.process_time() - began
        whole = sum(stage.seconds for stage in done.stages)
        for stage in done.stages:
            made_by = done.generator if stage.name == "tuned" else generator
            found: dict[str, Any] = scores(made_by, stage.latent, stage.pose, truth.photo, truth=truth)._asdict()
            rows.setdefault(stage.name, []).append(found | {"processor_seconds": spent * stage.seconds / whole})
            print(head, line(stage.name, rows[stage.name][-1]), file=sys.stderr, flush=True)
    means = {
        name: {column: statistics.fmean(row[column] for row in found) for column in COLUMNS}
        for name, found in rows.items()
    }
    for name, mean in means.items():
        print("mean", line(name, mean), file=sys.stderr)
    report(
        benchmark="inversion",
        ckpt=options.ckpt,
        heads=options.heads,
        known_camera=options.known_camera,
        encoder=options.encoder is not None,
        config=to_dict(config),
        seconds={name: round(mean["processor_seconds"], 2) for name, mean in means.items()},
        ratio=round(means["tuned"]["novel_psnr"] / means["w+"]["novel_psnr"], 4),
        stages={name: {column: round(value, 3) for column, value in mean.items()} for name, mean in means.items()},
        worst={
            name: {
                column: round(pick(row[column] for row in found), 3)
                for column, pick in (("psnr", min), ("novel_psnr", min), ("camera_error_degrees", max))
            }
            for name, found in rows.items()
        },
        tuning_keeps_novel_views=sum(
            after["novel_psnr"] >= before["novel_psnr"] for before, after in zip(rows["w+"], rows["tuned"], strict=True)
        ),
    )


def line(name: str, row: dict[str, float]) -> str:
    """One row of the table."""
    return f"{name:6s} " + "  ".join(f"{column} {row[column]:.3f}" for column in COLUMNS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="which of the held-out heads comes first")
    parser.add_argument("--ckpt", default="demo")
    parser.add_argument("--perceptual", default="auto")
    parser.add_argument("--known-camera", action="store_true")
    parser.add_argument("--encoder", type=Path)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    main(parser.parse_args())
