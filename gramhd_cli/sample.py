"""`gramhd sample`: pictures and videos of generated heads."""

from __future__ import annotations

from typing import Annotated

import typer

from gramhd_cli import console, launch, options

# Repeated from gramhd_core.outputs, which imports torch; a test keeps both equal.
VIEWS = ("image", "rand", "multiview1x3", "multiview3x7", "grid", "epi", "video", "interpolation")
PATHS = ("orbit", "pingpong", "still")


def sample(
    ckpt: options.Ckpt,
    out: options.Out,
    seeds: options.MaybeSeeds = None,
    view: Annotated[
        str,
        typer.Option(
            "--view", "--type", metavar="|".join(VIEWS), autocompletion=lambda: list(VIEWS), help="What to make."
        ),
    ] = "image",
    trunc: options.Truncation = None,
    size: Annotated[
        int | None, typer.Option(help="Side of the pictures in pixels; as trained, if not given.", show_default=False)
    ] = None,
    depth: Annotated[bool, typer.Option("--depth", help="Also write depth: 16-bit PNG and coloured preview.")] = False,
    alpha: Annotated[bool, typer.Option("--alpha", help="Also write pictures with a transparent background.")] = False,
    save_scene: Annotated[
        bool,
        typer.Option(
            "--save-scene", help="Also write each head as a scene file, which --ckpt takes in place of a model."
        ),
    ] = False,
    html: Annotated[bool, typer.Option("--html", help="Also write index.html, a page that shows the files.")] = False,
    frames: Annotated[
        int | None,
        typer.Option(
            help="Views of a video (60), of each transition of an interpolation (30), of an epi sweep (129).",
            show_default=False,
        ),
    ] = None,
    fps: Annotated[int, typer.Option(help="Frames a second of videos.")] = 30,
    camera_path: Annotated[
        str,
        typer.Option(
            metavar="|".join(PATHS),
            autocompletion=lambda: list(PATHS),
            help="How the camera moves in videos: an ellipse, the published to and fro, or not at all.",
        ),
    ] = "orbit",
    epi_line: Annotated[
        float, typer.Option(help="Which line makes the epi strip: 0 is the top, 1 the bottom of the picture.")
    ] = 0.48,
    device: options.Device = "auto",
    devices: launch.Devices = 1,
    precision: options.Precision = "auto",
    json: options.Json = False,
) -> None:
    """Make pictures and videos of new heads from any angle.

    The network runs once per seed, however many views are asked for (once per
    frame for an interpolation; once per view for an imported gram64 model,
    whose pictures are defined ray by ray). The same seed is the same head,
    whatever else is made with it. A saved scene shows its one head without the
    model that made it. Several GPUs (--devices) share the seeds. Prints the path
    of every file; --json says more.

    Examples:
        gramhd sample --ckpt runs/hr --seeds 0-9 --out pics
        gramhd sample --ckpt runs/hr --seeds 0,4-6 --view multiview3x7 --out pics
        gramhd sample --ckpt runs/hr --seeds 3 --depth --alpha --out pics
        gramhd sample --ckpt runs/hr --seeds 3 --view video --out pics --json
        gramhd sample --ckpt runs/hr --seeds 0-4 --view interpolation --out pics
        gramhd sample --ckpt runs/hr --seeds 0-7 --view grid --size 128 --out pics
        gramhd sample --ckpt runs/hr --seeds 3 --view epi --out pics
        gramhd sample --ckpt runs/hr --seeds 0-15 --depth --html --out pics
        gramhd sample --ckpt runs/hr --seeds 3 --save-scene --out pics
        gramhd sample --ckpt seed3.scene.safetensors --view video --out pics
    """
    from dataclasses import replace

    from gramhd_core.checkpoints.checkpoint import load_generator, name_of
    from gramhd_core.checkpoints.saved_scene import TRUNCATION, identities
    from gramhd_core.generators.gram_hd import set_precision
    from gramhd_core.outputs import sample as pictures
    from gramhd_core.outputs.sample_request import SampleRequest

    asked = None if seeds is None else options.parse_seeds(seeds)
    request = SampleRequest(  # wrong input is refused before a model is loaded
        (0,) if asked is None else tuple(asked),
        truncation=TRUNCATION if trunc is None else trunc,
        view=view,
        size=size,
        depth=depth,
        alpha=alpha,
        frames=frames,
        fps=fps,
        camera_path=camera_path,
        epi_line=epi_line,
        save_scene=save_scene,
        html=html,
    )
    precision = options.known_precision(precision)
    request.check_devices(devices)
    launch.shared(devices)
    place = launch.place(device)
    generator = load_generator(ckpt, device=place)
    set_precision(generator, precision)
    heads = identities(generator, asked, trunc)
    request = replace(request, seeds=heads.seeds, truncation=heads.truncation)
    provenance = {"checkpoint": name_of(ckpt)} if save_scene else None
    with launch.world(place) as world, launch.progress() as progress:
        done = pictures.sample(generator, request, out, provenance=provenance, progress=progress, world=world)
    if launch.speaks():
        console.result(done.document() if json else [file.path for file in done.files], json=json)
