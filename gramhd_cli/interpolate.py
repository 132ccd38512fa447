"""`gramhd interpolate`: from head to head."""

from __future__ import annotations

from typing import Annotated

import typer

from gramhd_cli import console, options

# Repeated from gramhd_core.outputs, which imports torch; a test keeps both equal.
WAYS = ("slerp", "lerp")
PATHS = ("orbit", "pingpong", "still")


def interpolate(
    points: Annotated[
        list[str], typer.Argument(metavar="A B...", help="Seeds or latent files, two or more.", show_default=False)
    ],
    ckpt: options.Ckpt,
    out: options.Out,
    trunc: options.Truncation = None,
    way: Annotated[
        str,
        typer.Option(
            metavar="|".join(WAYS),
            autocompletion=lambda: list(WAYS),
            help="Around the average head at the distance of both, or straight, nearer past it.",
        ),
    ] = "slerp",
    frames: Annotated[int, typer.Option(help="Pictures of each transition of the film.")] = 30,
    fps: Annotated[int, typer.Option(help="Frames a second.")] = 30,
    strip: Annotated[int, typer.Option(help="Pictures of each transition in strip.png; 0: no strip.")] = 7,
    film: Annotated[bool, typer.Option("--film/--no-film", help="Also make the video.")] = True,
    camera_path: Annotated[
        str,
        typer.Option(
            metavar="|".join(PATHS), autocompletion=lambda: list(PATHS), help="How the camera moves in the video."
        ),
    ] = "orbit",
    size: Annotated[
        int | None, typer.Option(help="Side of a picture in pixels; as trained, if not given.", show_default=False)
    ] = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Go from head to head: a film and a strip of pictures.

    Heads are seeds or latents of photographs (gramhd invert). The film goes
    through all of them and back to the first; the strip shows even steps from
    the front. Every picture is another head, so the network runs for each.
    Prints the path of every file.

    Examples:
        gramhd interpolate 3 8 --ckpt demo --out between
        gramhd interpolate 3 8 5 --ckpt demo --way lerp --no-film --out between
        gramhd interpolate me/latent.safetensors 8 --ckpt demo --out between
    """
    from gramhd_core.checkpoints.checkpoint import load_generator
    from gramhd_core.outputs import interpolate as between
    from gramhd_core.outputs.edit import known_truncation, subject

    request = between.InterpolateRequest(way, frames, fps, strip, film, camera_path, size)
    truncation = known_truncation(trunc)
    generator = load_generator(ckpt, device=options.resolve_device(device))
    heads = [subject(generator, point, truncation=truncation) for point in points]
    with console.progress() as progress:
        done = between.interpolate(generator, heads, request, out, progress=progress)
    console.result(done.document() if json else [path for path in (done.strip, done.film) if path], json=json)
