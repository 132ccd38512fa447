"""`gramhd eval`: scores of a model, of views or of plain pictures, and reports of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gramhd_cli import console, eval_compare, eval_inputs, launch, options
from gramhd_core.errors import BadArgument

# Repeated from gramhd_core.metrics, which imports torch; a test keeps both equal.
METRICS = (
    "fid",
    "kid",
    "precision",
    "fid3d",
    "pose",
    "geometry",
    "consistency",
    "diversity",
    "depth",
    "epi",
    "reprojection",
    "identity",
    "neus",
    "speed",
)
COMPARE, ALL = "compare", "all"


def evaluate(
    metrics: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="METRIC...",
            help=f"Some of {', '.join(METRICS)}, or all; {COMPARE} and reports to put side by side.",
            autocompletion=lambda: [*METRICS, ALL, COMPARE],
            show_default=False,
        ),
    ] = None,
    ckpt: eval_inputs.Ckpt = None,
    views: eval_inputs.Views = None,
    images: eval_inputs.Images = None,
    data: eval_inputs.Data = None,
    out: eval_inputs.Out = None,
    samples: eval_inputs.Samples = None,
    identities: eval_inputs.Identities = None,
    trunc: Annotated[
        float, typer.Option("--trunc", "--psi", help="Truncation: 0 is the average head, 1 full variety.")
    ] = 1.0,
    size: Annotated[
        int | None, typer.Option(help="Side of all pictures in pixels; as trained, if not given.", show_default=False)
    ] = None,
    protocols: eval_inputs.Protocols = None,
    features: eval_inputs.Features = "auto",
    neus: eval_inputs.Neus = "fast",
    quick: eval_inputs.Quick = False,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Judge the same model with random weights: the other end of the scale.")
    ] = False,
    cache: eval_inputs.Cache = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a report of another request in --out.")] = False,
    device: options.Device = "auto",
    devices: launch.Devices = 1,
    literature: eval_inputs.Literature = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the scores as CSV.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print the tables of the paper's layout.")] = False,
    json: options.Json = False,
) -> None:
    """Score a model, sets of views or plain pictures, and say how it was measured.

    fid, kid, precision (and recall): how like the data the pictures are, in
    features of Inception or, without its weights, of a small network for
    procedural heads, which the name then says. fid3d: of heads made for the
    front. diversity: distances between samples, in those of the data.

    neus: PSNR and SSIM of NeuS fitted to 30 views of a head. reprojection: views
    moved to each other through their distances. epi: the same along a slow turn,
    and what flickers. consistency: the frontal view moved to two others.
    identity: how far what is read of a head drifts while it turns.

    pose: radians between what was asked for and what is read in the picture.
    depth: distances beside those of the procedural head it looks like. Of other
    heads both are read from landmarks (face-alignment). geometry: the share of
    heads whose nose is nearer than the cheeks and those nearer than the ears.
    speed: seconds, memory, parameters and operations of a head.

    Without metrics, or with all, everything is measured that the inputs allow.
    Beside procedural data the ceiling is what analytic heads get. With --out a
    folder gets report.json, report.html, report.csv and report.tex; the same
    command goes on where it was interrupted. Several GPUs (--devices) share the
    heads.

    Examples:
        gramhd eval --ckpt demo --data heads --quick --out report
        gramhd eval pose geometry --ckpt runs/hr --data heads --samples 500
        gramhd eval neus reprojection --views other-system --out report
        gramhd eval compare ours/report.json theirs/report.json --latex
    """
    eval_inputs.one_form(csv=csv, latex=latex, json=json)
    if metrics and metrics[0] == COMPARE:
        eval_compare.compare(metrics[1:], literature=literature, out=out, csv=csv, latex=latex, json=json)
        return
    if literature:
        raise BadArgument(
            "--literature", expected=f"it goes with {COMPARE}", remedy=f"write gramhd eval {COMPARE} REPORT"
        )
    from gramhd_core.metrics import known_metrics
    from gramhd_core.metrics.feature_cache import default_cache
    from gramhd_core.metrics.report import make_report
    from gramhd_core.metrics.request import EvaluationRequest

    names = known_metrics(metrics or ())  # wrong input is refused before anything is loaded
    request = EvaluationRequest.of(
        samples=samples,
        identities=identities,
        truncation=trunc,
        size=size,
        protocols=tuple(protocols or ("house",)),
        features=features,
        neus=neus,
        quick=quick,
    )
    given = eval_inputs.Inputs(ckpt, views, images, data, untrained)
    given.check()
    launch.shared(devices)
    place = launch.place(device)
    with launch.world(place) as world, launch.progress() as progress:
        judged = eval_inputs.load(
            given,
            request,
            device=place,
            every=identities is None and not quick,
            cache=cache or default_cache(),
            world=world,
            progress=progress,
        )
        asked = metrics or () if ALL in (metrics or (ALL,)) else names
        document = make_report(judged.evaluation, asked, system=judged.system, out=out, force=force)
        if launch.speaks() and out:
            written = eval_inputs.write_forms(document, out)
    if not launch.speaks():
        return
    for name, reason in document["left_out"].items():
        console.note(f"Left out: {name}, since {reason}.")
    if csv or latex or json:
        eval_inputs.print_forms(document, csv=csv, latex=latex)
    else:
        console.result(written if out else lines(document), json=False)


def lines(document: dict[str, Any]) -> dict[str, str]:
    """Every score by its name, to read."""
    found: dict[str, str] = {}
    for metric, part in document["metrics"].items():
        measured = document["times"][metric]["measured"]
        for name, value in {**part["values"], **measured}.items():
            ends = part["intervals"].get(name)
            sure = f" ({ends[0]:.4g} to {ends[1]:.4g})" if ends and None not in ends else ""
            ceiling = part["ceiling"].get(name)
            best = f", ceiling {ceiling:.4g}" if ceiling is not None else ""
            found[name.replace("_", " ")] = ("none" if value is None else f"{value:.4g}") + sure + best
    return found
