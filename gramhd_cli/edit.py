"""`gramhd edit`: heads moved along directions, and mixed of two."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from gramhd_cli import console, options
from gramhd_core.errors import BadArgument

# Repeated from gramhd_core.outputs, which imports torch; a test keeps both equal.
VIEWS = ("image", "multiview1x3", "grid", "photo")
STRENGTHS = "-3,-1.5,0,1.5,3"
MOST_STRENGTHS = 100


def edit(
    ckpt: options.Ckpt,
    latents: Annotated[
        list[Path] | None,
        typer.Argument(metavar="LATENT...", help="Latent files, as gramhd invert writes them.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "--outdir", help="Folder of the pictures.", show_default=False)
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds", "--seed", help="Heads of the model: like 0,1,4-6; 0 if none is named.", show_default=False
        ),
    ] = None,
    direction: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD:WHAT|FILE",
            help="pca:0, sefa:0-4, attribute:beard, label:NAME of --labels, or a saved one; may be repeated.",
            show_default=False,
        ),
    ] = None,
    strengths: Annotated[
        str,
        typer.Option("--strengths", "--strength", help="How far, in standard deviations: like -3,0,3 or -3..3."),
    ] = STRENGTHS,
    view: Annotated[
        str,
        typer.Option(
            metavar="|".join(VIEWS),
            autocompletion=lambda: list(VIEWS),
            help="Columns: front, three views, five, or as the photograph was taken.",
        ),
    ] = "multiview1x3",
    find: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD:WHAT", help="Find one direction and write it to --save; no pictures.", show_default=False
        ),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Where the direction that was found goes (.safetensors).", show_default=False)
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="CSV file with a column seed and columns of numbers: what label:NAME means.", show_default=False
        ),
    ] = None,
    samples: Annotated[int, typer.Option(help="Heads that are looked at for attribute:NAME.")] = 400,
    read: Annotated[
        bool, typer.Option("--read", help="Also tell (with --json) what the feature network sees change.")
    ] = False,
    save_latents: Annotated[bool, typer.Option("--save-latents", help="Also write every edited latent.")] = False,
    mix: Annotated[
        str | None,
        typer.Option(
            metavar="SEEDS", help="No direction: mix the heads (rows) with these (columns) instead.", show_default=False
        ),
    ] = None,
    from_layer: Annotated[
        int | None,
        typer.Option(
            help="Layers of the field from here on come from the column too, not only the super-resolution style.",
            show_default=False,
        ),
    ] = None,
    trunc: options.Truncation = None,
    size: Annotated[
        int | None, typer.Option(help="Side of a picture in pixels; as trained, if not given.", show_default=False)
    ] = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Change heads along directions of the latents, or mix two.

    Directions need no labels (pca: what varies most; sefa: what the weights
    answer to most), or they follow one thing: an attribute that the built-in
    feature network reads in the model's own procedural heads, or labels of
    seeds in a CSV file. Every direction gives a grid per head: strengths are
    the rows, views the columns; several also an overview. Prints the path of
    every file.

    Examples:
        gramhd edit --ckpt demo --seed 3 --direction pca:0-4 --out edits
        gramhd edit --ckpt demo --direction sefa:2 --strengths -3..3 --out edits
        gramhd edit me.safetensors --ckpt demo --direction pca:1 --out edits
        gramhd edit --ckpt demo --find attribute:beard --save beard.safetensors
        gramhd edit --ckpt demo --direction beard.safetensors --out edits
        gramhd edit --ckpt demo --seeds 0-3 --mix 4-8 --from-layer 1 --out edits
    """
    asked = None if seeds is None else options.parse_seeds(seeds)
    others = None if mix is None else options.parse_seeds(mix, option="--mix")
    steps = parse_strengths(strengths)
    _check_purpose(bool(direction), find, save, others is not None, out)

    from gramhd_core.checkpoints.checkpoint import load_generator, name_of
    from gramhd_core.outputs import directions as found
    from gramhd_core.outputs import edit as editing
    from gramhd_core.outputs.finder import Finder
    from gramhd_core.outputs.labelled_directions import read_labels_of_seeds
    from gramhd_core.outputs.mixing import mix as mixed

    request = editing.EditRequest(steps, view, size, save_latents, name_of(ckpt))
    known = None if labels is None else read_labels_of_seeds(labels)
    truncation = editing.known_truncation(trunc)
    generator = load_generator(ckpt, device=options.resolve_device(device))
    named = [*(latents or []), *(asked if asked is not None else [] if latents else [0])]
    heads = [editing.subject(generator, name, truncation=truncation) for name in named]
    with console.progress() as progress:
        finder = Finder(generator, samples=samples, labels=known, progress=progress)
        if find is not None and save is not None:
            answer = _saved(finder.find(find), save, generator, found.save_direction)
            console.result(answer if json else save, json=json)
            return
        assert out is not None
        if others is not None:
            columns = [editing.subject(generator, seed, truncation=truncation) for seed in others]
            path = mixed(generator, heads, columns, out, from_layer=from_layer, size=size, progress=progress)
            console.result({"path": str(path), "from_layer": from_layer} if json else path, json=json)
            return
        ways = [way for text in direction or [] for way in finder.find(text)]
        features = finder.features if read else None
        done = editing.edit(generator, heads, ways, request, out, features=features, progress=progress)
    files = [path for grid in done.grids for path in (grid.path, *grid.latents)]
    console.result(done.document() if json else [*files, *done.overviews], json=json)


def parse_strengths(text: str) -> tuple[float, ...]:
    """`-3,0,1.5` -> (-3, 0, 1.5); `-3..3` -> -3, -2, ... 3. BadArgument for anything else."""
    run = re.fullmatch(r"\s*([+-]?\d+)\s*\.\.\s*([+-]?\d+)\s*", text, flags=re.ASCII)
    try:
        if run and int(run[1]) <= int(run[2]) < int(run[1]) + MOST_STRENGTHS:
            return tuple(map(float, range(int(run[1]), int(run[2]) + 1)))
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not 0 < len(found) <= MOST_STRENGTHS:
        raise BadArgument(
            f"--strengths {text}",
            expected=f"1 to {MOST_STRENGTHS} numbers or a range are needed",
            remedy="write for example --strengths -3,0,3 or --strengths -3..3",
        )
    return found


def _check_purpose(directions: bool, find: str | None, save: Path | None, mixes: bool, out: Path | None) -> None:
    """One of three things is asked for, with a place for its result."""
    if directions + (find is not None) + mixes != 1:
        raise BadArgument(
            "no purpose was given" if not (directions or find or mixes) else "several purposes were given",
            expected="one of --direction, --find and --mix is needed",
            remedy="write for example --direction pca:0-4",
        )
    if find is not None and save is None:
        raise BadArgument("--find was given without --save", expected="a direction that is found goes into a file",
                          remedy="name one: --save direction.safetensors")  # fmt: skip
    if find is None and save is not None:
        raise BadArgument("--save was given without --find", expected="it is for the direction that --find finds",
                          remedy="write --find instead of --direction")  # fmt: skip
    if find is None and out is None:
        raise BadArgument("--out is missing", expected="pictures need a folder", remedy="name one: --out edits")


def _saved(directions: list[Any], path: Path, generator: Any, save: Any) -> dict[str, Any]:
    """Write the one direction. BadArgument where there are several."""
    if len(directions) != 1:
        raise BadArgument(
            f"--find found {len(directions)} directions", expected="a file holds one", remedy="name one, like pca:0"
        )
    save(path, directions[0], generator)
    return {"path": str(path), "direction": directions[0].name, "facts": directions[0].facts}
