"""The options of `gramhd prep-data`, and which of them go together. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gramhd_core.errors import BadArgument

PROCEDURAL_SIZE, PHOTO_SIZE = 256, 256
PANEL = "Photographs"
# Repeated from gramhd_core.data, which imports torch; a test keeps both equal.
SUBJECTS = ("faces", "cats", "procedural-heads")
LANDMARKS = ("auto", "face-alignment", "file", "haar", "procedural")
FACES = ("largest", "all", "one")
PADDINGS = ("blur", "reflect")
PRIORS = ("subject", "measured")
FORMATS = ("eg3d-zip", "gram", "transforms")

Source = Annotated[
    Path | None,
    typer.Argument(
        metavar="SRC",
        help="Folder or zip of photographs, or of aligned square images with labels.",
        show_default=False,
    ),
]
MaybeOut = Annotated[
    Path | None, typer.Option("--out", "--outdir", help="Folder of the new data set.", show_default=False)
]
Procedural = Annotated[
    int | None, typer.Option("--procedural", metavar="N", help="Make N procedural heads instead.", show_default=False)
]
Labels = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE|DIR",
        help="Where the poses are: dataset.json (EG3D), poses.jsonl, or a folder with GRAM *.mat or *_pose.npy "
        "files. Looked for in SRC, if not given; where there are none, SRC holds photographs.",
        show_default=False,
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        help=f"Side of the images in pixels; {PHOTO_SIZE}, if not given (labelled images: as they are).",
        show_default=False,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(help="Which procedural heads: no two seeds share one; 0, if not given.", show_default=False),
]
Workers = Annotated[int | None, typer.Option(help="Processes; all cores, if not given.", show_default=False)]
KeepGoing = Annotated[
    bool,
    typer.Option("--keep-going", help="Leave unusable images out and list them in rejects.jsonl; photographs always."),
]
SelfTest = Annotated[
    bool, typer.Option("--self-test", help="Only draw the axes of the labels on sample images of the data set SRC.")
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="|".join(FORMATS),
        help="Write it for other programs as well: OUT_eg3d.zip, OUT_gram/, OUT/transforms.json; may be repeated.",
        show_default=False,
        autocompletion=lambda: list(FORMATS),
    ),
]

Subject = Annotated[
    str | None,
    typer.Option(
        "--subject",
        metavar=f"{'|'.join(SUBJECTS)}|FILE.toml",
        help="What the photographs show; faces, if not given.",
        show_default=False,
        rich_help_panel=PANEL,
        autocompletion=lambda: list(SUBJECTS),
    ),
]
Landmarks = Annotated[
    str | None,
    typer.Option(
        "--landmarks",
        metavar="|".join(LANDMARKS),
        help="Who finds eyes, nose and mouth; auto, if not given: the best that is here.",
        show_default=False,
        rich_help_panel=PANEL,
        autocompletion=lambda: list(LANDMARKS),
    ),
]
LandmarkFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE|DIR",
        help="Landmarks that you have: JSON, CSV, COCO, WFLW, or a .txt, .cat, .pts per image.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
SelfCalibrate = Annotated[
    bool,
    typer.Option(
        "--self-calibrate",
        help="Learn what the subject looks like in space from the landmarks of these photographs.",
        rich_help_panel=PANEL,
    ),
]
Faces = Annotated[
    str | None,
    typer.Option(
        "--faces",
        metavar="|".join(FACES),
        help="Of several in a photograph: the largest (default), all, or leave such photographs out.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
KeepRoll = Annotated[bool, typer.Option("--keep-roll", help="Leave heads tilted as they are.", rich_help_panel=PANEL)]
Padding = Annotated[
    str | None,
    typer.Option(
        "--padding",
        metavar="|".join(PADDINGS),
        help="What lies beyond the border of a photograph: a blurred (default) or a plain mirror image.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        help="Only the first so many photographs; without it the same command goes on with the rest.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Only say how many heads are fit, and why others are not.", rich_help_panel=PANEL),
]
Prior = Annotated[
    str | None,
    typer.Option(
        "--prior",
        metavar="|".join(PRIORS),
        help="Cameras that training draws: those of the subject (default), or the poses measured here.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]

FOR_PHOTOS = {
    *("--subject", "--landmarks", "--landmark-file", "--self-calibrate", "--faces", "--keep-roll"),
    *("--padding", "--limit", "--dry-run", "--prior"),
}
MEANINGFUL = {
    "--self-test": (set(), "it only draws the labels that the data set has"),
    "--procedural": (
        {"--size", "--seed", "--workers", "--format"},
        "procedural heads come with their labels and none is unusable",
    ),
    "SRC": (
        {"--labels", "--size", "--workers", "--keep-going", "--format", *FOR_PHOTOS},
        "only procedural heads have a seed",
    ),
    "--labels": (
        {"--labels", "--size", "--workers", "--keep-going", "--format"},
        "labels say what photographs would be asked for",
    ),
    "--dry-run": (
        {"--size", "--workers", "--keep-going", *FOR_PHOTOS},
        "nothing is written",
    ),
}


def refuse_contradictions(
    source: Path | None, out: Path | None, *, procedural: int | None, self_test: bool, dry_run: bool
) -> None:
    """Say which argument is missing or one too many."""
    if self_test and (source is None or procedural is not None):
        given, expected = "--self-test without a data set", "it looks at one that exists"
        raise BadArgument(given, expected=expected, remedy="write gramhd prep-data DATA --self-test")
    if (source is None) == (procedural is None):
        given = "No images were named" if source is None else f"{source} and --procedural were both given"
        expected = "the data set is made either from a folder or zip SRC or with --procedural N"
        raise BadArgument(given, expected=expected, remedy="give one of the two")
    if out is None and not self_test and not dry_run:
        raise BadArgument("No --out was given", expected="the data set needs a place", remedy="give --out FOLDER")


def refuse_idle(given: list[str], *, way: str) -> None:
    """Say which of the given options would do nothing. way: a key of MEANINGFUL."""
    meaningful, why = MEANINGFUL[way]
    idle = [option for option in given if option not in meaningful]
    if idle:
        names = " and ".join(idle)
        raise BadArgument(f"{names} and {way} were given together", expected=why, remedy=f"leave {names} out")
