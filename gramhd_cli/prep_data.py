"""`gramhd prep-data`: a posed, aligned data set from labelled images, or the built-in one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gramhd_cli import console, options
from gramhd_core.errors import BadArgument

PROCEDURAL_SIZE = 256


def prep_data(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="SRC", help="Folder or zip of aligned square images.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "--outdir", help="Folder of the new data set.", show_default=False)
    ] = None,
    procedural: Annotated[
        int | None,
        typer.Option("--procedural", metavar="N", help="Make N procedural heads instead.", show_default=False),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            help="Where the poses are: dataset.json (EG3D), poses.jsonl, or a folder with GRAM *.mat or *_pose.npy "
            "files. Looked for in SRC, if not given.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            help=f"Side of the images in pixels; as they are, if not given ({PROCEDURAL_SIZE} for procedural heads).",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Which procedural heads: no two seeds share one; 0, if not given.", show_default=False),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; all cores, if not given.", show_default=False)] = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Leave unusable images out and list them in rejects.jsonl.")
    ] = False,
    self_test: Annotated[
        bool,
        typer.Option("--self-test", help="Only draw the axes of the labels on sample images of the data set SRC."),
    ] = False,
    json: options.Json = False,
) -> None:
    """Turn images into a posed, aligned data set.

    The folder holds images/, dataset.json (EG3D layout), poses.jsonl,
    rejects.jsonl, contact_sheet.png and about.json. The same command again
    finishes an interrupted run and repeats nothing. Prints the folder.

    Examples:
        gramhd prep-data --procedural 4000 --size 256 --out heads
        gramhd prep-data FFHQ_eg3d.zip --size 256 --out ffhq256
        gramhd prep-data ffhq --labels ffhq/poses --out ffhq-set --keep-going
        gramhd prep-data cats --labels cats/poses --size 512 --out cats512 --json
        gramhd prep-data ffhq256 --self-test --out axes.png
    """
    _refuse_contradictions(source, out, procedural=procedural, self_test=self_test)
    given = {
        "--labels": labels is not None,
        "--size": size is not None,
        "--seed": seed is not None,
        "--workers": workers is not None,
        "--keep-going": keep_going,
    }
    _refuse_idle([option for option in given if given[option]], procedural=procedural is not None, self_test=self_test)
    if self_test:
        from gramhd_core.data import contact_sheet

        assert source is not None
        sheet = contact_sheet.self_test(source, out)
        console.result({"contact_sheet": sheet} if json else sheet, json=json)
        return
    from gramhd_core.data import journal, prepare

    assert out is not None
    with console.progress() as progress:
        if procedural is not None:
            made = prepare.prepare_procedural(
                procedural,
                out,
                size=PROCEDURAL_SIZE if size is None else size,
                seed=0 if seed is None else seed,
                workers=workers,
                progress=progress,
            )
        else:
            assert source is not None
            made = prepare.prepare_labelled(
                source, labels, out, size=size, workers=workers, progress=progress, keep_going=keep_going
            )
    if made.rejected:
        console.warn(f"{made.rejected} left out, see {made.out / journal.REJECT_FILE}")
    console.result(made._asdict() if json else made.out, json=json)


def _refuse_contradictions(source: Path | None, out: Path | None, *, procedural: int | None, self_test: bool) -> None:
    """Say which argument is missing or one too many."""
    if self_test and (source is None or procedural is not None):
        given, expected = "--self-test without a data set", "it looks at one that exists"
        raise BadArgument(given, expected=expected, remedy="write gramhd prep-data DATA --self-test")
    if (source is None) == (procedural is None):
        given = "No images were named" if source is None else f"{source} and --procedural were both given"
        expected = "the data set is made either from a folder or zip SRC or with --procedural N"
        raise BadArgument(given, expected=expected, remedy="give one of the two")
    if out is None and not self_test:
        raise BadArgument("No --out was given", expected="the data set needs a place", remedy="give --out FOLDER")


def _refuse_idle(options: list[str], *, procedural: bool, self_test: bool) -> None:
    """Say which of the given options would do nothing."""
    way, meaningful = "SRC", {"--labels", "--size", "--workers", "--keep-going"}
    why = "only procedural heads have a seed"
    if self_test:
        way, meaningful, why = "--self-test", set(), "it only draws the labels that the data set has"
    elif procedural:
        way, meaningful = "--procedural", {"--size", "--seed", "--workers"}
        why = "procedural heads come with their labels and none is unusable"
    idle = [option for option in options if option not in meaningful]
    if idle:
        names = " and ".join(idle)
        raise BadArgument(f"{names} and {way} were given together", expected=why, remedy=f"leave {names} out")
