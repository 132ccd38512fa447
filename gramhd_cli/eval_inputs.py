"""What `gramhd eval` is given and what it writes: options that belong together, and loading what they name."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from gramhd_cli import console
from gramhd_core.errors import BadArgument

if TYPE_CHECKING:
    from gramhd_core.metrics.evaluation import Evaluation
    from gramhd_core.metrics.request import EvaluationRequest

Ckpt = Annotated[
    str | None,
    typer.Option(
        "--ckpt",
        help="The model: a checkpoint file, a run folder (its newest), or demo: the built-in one.",
        show_default=False,
    ),
]
Views = Annotated[
    Path | None,
    typer.Option(
        "--views",
        help="Instead of a model: pictures of heads from many sides, with transforms.json or dataset.json; for epi a "
        "folder sweep beside them.",
        show_default=False,
    ),
]
Images = Annotated[
    Path | None,
    typer.Option("--images", help="Instead of a model: a folder of plain pictures.", show_default=False),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="The data set to compare with.", show_default=False),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "--outdir", help="A folder for the report and its pictures.", show_default=False),
]
Samples = Annotated[
    int | None, typer.Option(help="How many heads to make: seeds 0 and up; 200 if not given.", show_default=False)
]
Identities = Annotated[
    int | None,
    typer.Option(
        help="How many heads to look at from many sides; if not given, 10 of a model and all of --views.",
        show_default=False,
    ),
]
Protocols = Annotated[
    list[str] | None,
    typer.Option(
        "--protocol",
        metavar="NAME",
        help="How pictures are counted and compared: house (if none), paper, official-eval, eg3d; may be repeated.",
        show_default=False,
    ),
]
Features = Annotated[
    str,
    typer.Option(
        help="What sees pictures: inception, procedural or a name torch-fidelity knows; auto takes Inception where its "
        "weights are."
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache", help="Where features of pictures are kept; ~/.cache/gramhd if not given.", show_default=False
    ),
]
Neus = Annotated[
    str, typer.Option("--neus", metavar="fast|paper", help="How NeuS is fitted: paper takes a GPU and hours per head.")
]
Quick = Annotated[
    bool, typer.Option("--quick", help="A preview in minutes: few heads, short fits; the report says so.")
]
Literature = Annotated[
    bool, typer.Option("--literature", help="With compare: published numbers beside the measured ones, marked as such.")
]


class Inputs(NamedTuple):
    """Paths as they were typed."""

    ckpt: str | None
    views: Path | None
    images: Path | None
    data: Path | None
    untrained: bool

    def check(self) -> None:
        """BadArgument unless exactly one thing is judged."""
        judged = [name for name in ("ckpt", "views", "images") if getattr(self, name) is not None]
        if len(judged) != 1:
            given = " and ".join(f"--{name}" for name in judged) + " were given" if judged else "no model was given"
            raise BadArgument(
                given,
                expected="one thing is judged at a time",
                remedy="give one of --ckpt, --views and --images",
            )
        if self.untrained and self.ckpt is None:
            raise BadArgument("--untrained", expected="it is about a model", remedy="give --ckpt or drop it")


class Judged(NamedTuple):
    """An evaluation, and what a report says of who is judged in it."""

    evaluation: Evaluation
    system: dict[str, Any]


def load(given: Inputs, request: EvaluationRequest, *, device: str, every: bool = False, **how: Any) -> Judged:
    """Everything the options name, read and checked. every: all identities of views are judged, whatever the request
    says. how: what `Evaluation` takes besides."""
    from dataclasses import replace

    from gramhd_core.data.dataset import DatasetReader
    from gramhd_core.metrics.evaluation import Evaluation

    reader = DatasetReader(given.data) if given.data else None
    if given.ckpt is not None:
        judged, system = _model(given.ckpt, untrained=given.untrained, device=device)
    elif given.views:
        judged, system = _views(given.views, request.size, most=None if every else request.identities)
        request = replace(request, identities=len(judged))
    else:
        judged, system = _images(given.images, request.size)
    return Judged(Evaluation(judged, reader, request=request, device=device, **how), system)


def _images(path: Path | None, size: int | None) -> tuple[Any, dict[str, Any]]:
    assert path is not None
    from gramhd_core.metrics.image_files import PlainImages

    images = PlainImages(path, size=size)
    facts = [f"{images.count:,} pictures, {images.size} × {images.size}"]
    return images, _system("images", path, images.fingerprint, size=images.size, facts=facts)


def _views(path: Path, size: int | None, *, most: int | None) -> tuple[Any, dict[str, Any]]:
    if size is not None:
        raise BadArgument(
            f"--size {size} with --views",
            expected="views are judged as they are",
            remedy="drop it, or resize the files",
        )
    from gramhd_core.metrics.view_files import identity_folders, load_views
    from gramhd_core.metrics.views import fingerprint_of_views

    sets, there = load_views(path, most=most), len(identity_folders(path))
    size, counts = sets[0].cameras.width, sorted({len(views.cameras) for views in sets})
    many = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    heads = f"{len(sets)}{f' of {there}' if there > len(sets) else ''} identit{'ies' if there > 1 else 'y'}"
    facts = [f"{heads}, {many} views each, {size} × {size}"]
    return sets, _system("views", path, fingerprint_of_views(sets), size=size, facts=facts)


def _system(kind: str, path: Path, fingerprint: str, *, size: int, facts: list[str]) -> dict[str, Any]:
    return {"kind": kind, "name": path.resolve().name, "fingerprint": fingerprint, "size": size, "facts": facts}


def _model(ckpt: str, *, untrained: bool, device: str) -> tuple[Any, dict[str, Any]]:
    from gramhd_core.checkpoints.checkpoint import find_checkpoint, load_generator, name_of
    from gramhd_core.metrics.evaluation import untrained_twin

    generator = untrained_twin(ckpt, device=device) if untrained else load_generator(ckpt, device=device)
    name = name_of(ckpt) + (", untrained" if untrained else "")
    size = generator.image_size
    return generator, {
        "kind": "model",
        "name": name,
        "fingerprint": hashlib.sha256(find_checkpoint(ckpt).read_bytes()).hexdigest()[:16],
        "untrained": untrained,
        "size": size,
        "facts": [f"{type(generator).__name__}, {size} × {size}"],
    }


def one_form(**asked: bool) -> None:
    """BadArgument if the result is to be printed in several forms at once."""
    words = [f"--{name}" for name, wanted in asked.items() if wanted]
    if len(words) > 1:
        raise BadArgument(
            f"{' and '.join(words)} were given",
            expected="the result is printed in one form",
            remedy="choose one, or write all of them with --out",
        )


def write_forms(document: dict[str, Any], out: Path) -> list[Path]:
    """Everything beside report.json, which is there already."""
    from gramhd_core import files
    from gramhd_core.metrics import report
    from gramhd_core.metrics.report_page import write_page
    from gramhd_core.metrics.report_tables import csv_of, latex_of, system_of

    files.write_text(out / "report.csv", csv_of([document]))
    files.write_text(out / "report.tex", latex_of([system_of(document)]))
    return [out / report.NAME, write_page(document, out), out / "report.csv", out / "report.tex"]


def print_forms(document: dict[str, Any], *, csv: bool, latex: bool) -> None:
    """The result on stdout, as JSON if nothing else is asked for."""
    from gramhd_core.metrics.report_tables import csv_of, latex_of, system_of

    if csv or latex:
        console.result((csv_of([document]) if csv else latex_of([system_of(document)])).rstrip("\n"), json=False)
    else:
        console.result(document, json=True)
