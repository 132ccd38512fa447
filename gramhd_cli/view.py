"""`gramhd view`: a page in which heads turn, made and opened."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gramhd_cli import console, options
from gramhd_core.errors import BadArgument


def view(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CKPT...", help="Checkpoint files, run folders, saved scenes, or demo.", show_default=False
        ),
    ] = None,
    ckpt: Annotated[
        list[str] | None,
        typer.Option("--ckpt", "--scene", help="The same, as an option; may be repeated.", show_default=False),
    ] = None,
    seeds: options.MaybeSeeds = None,
    trunc: options.Truncation = None,
    size: Annotated[
        int, typer.Option(help="Cells along a map at the most: detail against the size of the file.")
    ] = 512,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="The page, a .html file; a temporary one if not given.", show_default=False),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Turn heads in the browser: one HTML file, no server.

    The file needs no network and no GPU either, so it can be sent to anyone.
    Drag to turn, scroll to zoom; surfaces can be switched off, pulled apart, or
    shown as depth and opacity. Several seeds, and several checkpoints or scenes,
    share one page. Prints the path of the page.

    Examples:
        gramhd view runs/hr --seeds 0-3
        gramhd view runs/hr --seeds 7 --out head.html --no-open
        gramhd view a.scene.safetensors b.scene.safetensors
    """
    import contextlib
    import tempfile

    from gramhd_core.outputs import viewer

    names = [*(models or []), *(ckpt or [])]
    if not names:
        raise BadArgument("no model was named", expected="something has to be shown", remedy="write gramhd view CKPT")
    asked = None if seeds is None else options.parse_seeds(seeds)
    viewer.check_request(out or Path("heads.html"), size=size, identities=len(names))
    cast = viewer.cast_of(names, asked, trunc, device=options.resolve_device(device))
    path = out or Path(tempfile.mkdtemp(prefix="gramhd-")) / "heads.html"
    try:
        with console.progress() as progress:
            done = viewer.write_viewer(
                cast.scenes, cast.names, path, cameras=cast.cameras, size=size, progress=progress
            )
    except BaseException:
        if out is None:
            with contextlib.suppress(OSError):
                path.parent.rmdir()
        raise
    opened = open_page and _opened(done.path)
    console.result(
        {"path": done.path, "names": cast.names, "bytes": done.size, "opened": opened} if json else done.path, json=json
    )


def _opened(path: Path) -> bool:
    """Whether a browser with a window took the page."""
    import os
    import sys
    import webbrowser

    windows = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if windows and webbrowser.open(path.resolve().as_uri()):
        return True
    console.note("No browser could be opened here: open the page yourself.")
    return False
