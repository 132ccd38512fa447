"""`gramhd eval`: scores of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gramhd_cli import console, launch, options

# Repeated from gramhd_core.metrics, which imports torch; a test keeps both equal.
METRICS = ("fid-procedural", "pose", "geometry", "consistency", "diversity")


def evaluate(
    ckpt: options.Ckpt,
    data: Annotated[Path, typer.Option("--data", help="The data set to compare with.", show_default=False)],
    metrics: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="METRIC...",
            help=f"Some of {', '.join(METRICS)}; all if none is named.",
            autocompletion=lambda: list(METRICS),
            show_default=False,
        ),
    ] = None,
    samples: Annotated[int, typer.Option(help="How many heads to make: seeds 0 and up.")] = 200,
    trunc: Annotated[
        float, typer.Option("--trunc", "--psi", help="Truncation: 0 is the average head, 1 full variety.")
    ] = 1.0,
    size: Annotated[
        int | None, typer.Option(help="Side of all pictures in pixels; as trained, if not given.", show_default=False)
    ] = None,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Judge the same model with random weights: the other end of the scale.")
    ] = False,
    device: options.Device = "auto",
    devices: launch.Devices = 1,
    json: options.Json = False,
) -> None:
    """Score a model: how near its heads are to a data set's, and how true.

    fid-procedural: FID and KID in features of a small network trained on
    procedural heads (comparable with each other, not with published FID), of the
    samples and of one half of the data against the other. pose: radians between
    what was asked for and what that network reads in the picture. geometry: the
    share of heads whose nose is nearer than the cheeks and those nearer than the
    ears. consistency: PSNR between a turned head and its frontal picture moved
    along its distances. diversity: distances between samples, in those of the
    data. The data set needs twice as many images as there are samples. Several
    GPUs (--devices) share the heads.

    Examples:
        gramhd eval --ckpt runs/hr --data heads
        gramhd eval pose geometry --ckpt runs/hr --data heads --samples 500
        gramhd eval fid-procedural --ckpt hr --data heads --samples 2000
        gramhd eval fid-procedural --ckpt runs/hr --data heads --untrained
    """
    import time

    from gramhd_core.checkpoints.checkpoint import load_generator, name_of
    from gramhd_core.data.dataset import DatasetReader
    from gramhd_core.metrics import evaluate as scores_of
    from gramhd_core.metrics import known_metrics
    from gramhd_core.metrics.evaluation import Evaluation, EvaluationRequest, untrained_twin

    names = known_metrics(metrics or ())  # wrong input is refused before anything is loaded
    request = EvaluationRequest(samples, truncation=trunc, size=size)
    reader = DatasetReader(data)
    launch.shared(devices)
    place = launch.place(device)
    generator = untrained_twin(ckpt, device=place) if untrained else load_generator(ckpt, device=place)
    started = time.monotonic()
    with launch.world(place) as world, launch.progress() as progress:
        scores = scores_of(Evaluation(generator, reader, request=request, progress=progress, world=world), names)
    if not launch.speaks():
        return
    document: dict[str, Any] = {
        "checkpoint": name_of(ckpt),
        "untrained": untrained,
        "data": reader.fingerprint,
        "samples": samples,
        "truncation": trunc,
        "size": size or generator.image_size,
        "seconds": round(time.monotonic() - started, 1),
        "scores": {metric: {name: float(f"{v:.6g}") for name, v in part.items()} for metric, part in scores.items()},
    }
    console.result(document if json else lines(scores), json=json)


def lines(scores: dict[str, dict[str, float]]) -> dict[str, str]:
    """Every score by its name, to read."""
    return {name.replace("_", " "): f"{value:.4g}" for metric in scores.values() for name, value in metric.items()}
