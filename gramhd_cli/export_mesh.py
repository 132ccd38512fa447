"""`gramhd export-mesh`: a generated head for other 3D programs."""

from __future__ import annotations

from typing import Annotated

import typer

from gramhd_cli import console, options
from gramhd_core.errors import BadArgument

# Repeated from gramhd_core.outputs, which imports torch; a test keeps both equal.
FORMATS = ("glb", "ply", "obj", "html")
KINDS = ("layers", "surface")


def export_mesh(
    ckpt: options.Ckpt,
    out: options.Out,
    seed: Annotated[
        str | None, typer.Option("--seed", "--seeds", help="Which identity; 0 if not given.", show_default=False)
    ] = None,
    trunc: options.Truncation = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(KINDS),
            autocompletion=lambda: list(KINDS),
            help="All surfaces with their pictures (glb, html), or one surface fused from depth (glb, ply, obj).",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(FORMATS),
            autocompletion=lambda: list(FORMATS),
            help="As the suffix of --out says, if not given.",
            show_default=False,
        ),
    ] = None,
    texture_size: Annotated[
        int | None,
        typer.Option(help="Layers: cells along a map at the most; as they are (html: 512).", show_default=False),
    ] = None,
    background: Annotated[bool, typer.Option(help="Layers in a glb: also the wall behind the head.")] = True,
    views: Annotated[
        int | None, typer.Option(help="Surface: how many sides it is looked at from; 24.", show_default=False)
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(help="Surface: grid points along a side, 32 to 512; 192.", show_default=False)
    ] = None,
    decimate: Annotated[
        int | None,
        typer.Option(metavar="TRIANGLES", help="Surface: not more triangles than this.", show_default=False),
    ] = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Write a head as a mesh: textured layers, or one fused surface.

    Layers are the surfaces of the scene with their pictures, transparent where
    nothing is: drawn back to front they look like the renderer's pictures.
    A surface is what many depth maps agree on: closed, coloured, for programs
    that want one solid thing. Units are metres, +y is up, the face looks
    along +z. Prints the path of the file.

    Examples:
        gramhd export-mesh --ckpt runs/hr --seed 3 --out head.glb
        gramhd export-mesh --ckpt runs/hr --kind surface --out head.glb
        gramhd export-mesh --ckpt runs/hr --resolution 256 --out head.ply
        gramhd export-mesh --ckpt seed3.scene.safetensors --out head.html
    """
    from gramhd_core.checkpoints.checkpoint import load_generator
    from gramhd_core.checkpoints.saved_scene import TRUNCATION, identities
    from gramhd_core.outputs import mesh
    from gramhd_core.outputs.mesh_request import MeshRequest
    from gramhd_core.outputs.sample_request import SampleRequest

    request = MeshRequest(
        out,
        format=format,
        kind=kind,
        texture_size=texture_size,
        background=background,
        views=views,
        resolution=resolution,
        decimate=decimate,
    )
    asked = None if seed is None else options.parse_seeds(seed, option="--seed")
    if asked is not None and len(asked) > 1:
        raise BadArgument(
            f"--seed {seed} names {len(asked)} identities",
            expected="a mesh is of one head",
            remedy="name one, or show several with gramhd view",
        )
    SampleRequest((0,) if asked is None else tuple(asked), truncation=TRUNCATION if trunc is None else trunc)
    generator = load_generator(ckpt, device=options.resolve_device(device))
    heads = identities(generator, asked, trunc)
    with console.progress() as progress:
        done = mesh.export_mesh(generator, request, seed=heads.seeds[0], truncation=heads.truncation, progress=progress)
    console.result(done.document() if json else done.path, json=json)
