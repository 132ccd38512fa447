"""`gramhd invert`: a photograph into a model, and out again from every side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gramhd_cli import console, options
from gramhd_core.errors import BadArgument, BadImage

# Repeated from gramhd_core, which imports torch; a test keeps both equal.
PERCEPTUAL = ("auto", "procedural", "discriminator", "lpips", "none")


def invert(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTO...", help="Photographs, or folders of them.")],
    ckpt: options.Ckpt,
    out: options.Out,
    subject: Annotated[
        str | None,
        typer.Option(
            help="Whose landmarks to look for: faces, cats, procedural-heads, or a TOML file; faces if not given, "
            "procedural-heads for the built-in model.",
            show_default=False,
        ),
    ] = None,
    landmarks: Annotated[
        str, typer.Option(help="What finds them: auto, face-alignment, file, haar, procedural.")
    ] = "auto",
    landmark_file: Annotated[Path | None, typer.Option(help="What --landmarks file reads.", show_default=False)] = None,
    faces: Annotated[str, typer.Option(help="Of several faces take the largest, or refuse: largest, one.")] = "one",
    crop: Annotated[bool, typer.Option("--crop/--no-crop", help="No: photographs are aligned squares already.")] = True,
    camera: Annotated[
        str | None,
        typer.Option(
            metavar="PITCH,YAW", help="Where it was taken from, radians; found out if not given.", show_default=False
        ),
    ] = None,
    fix_camera: Annotated[bool, typer.Option("--fix-camera", help="Do not refine the camera.")] = False,
    encoder: Annotated[
        Path | None,
        typer.Option(help="Start from the guess of an encoder (gramhd train-encoder).", show_default=False),
    ] = None,
    tune: Annotated[bool, typer.Option("--tune/--no-tune", help="Let weights and maps give way in the end.")] = True,
    perceptual: Annotated[
        str, typer.Option(metavar="|".join(PERCEPTUAL), help="Whose features photographs are compared by.")
    ] = "auto",
    novel_views: Annotated[
        bool, typer.Option("--novel-views/--no-novel-views", help="Write the 21 views and the orbit video.")
    ] = True,
    truth: Annotated[
        int | None,
        typer.Option(metavar="SEED", help="Score against this procedural head, if it is one.", show_default=False),
    ] = None,
    settings: options.Settings = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Turn a photograph: find the head of the model that looks like it.

    First a latent and a camera are sought (in W, then W+), then the weights
    give way around them, and the surfaces of this head take what is left of
    the photograph; other views keep their shape, and show its colours where
    it shows that side of the head. Writes the reconstruction, novel views, an
    orbit video, a page for the browser, the latent, the tuned checkpoint, a
    scene file and report.json, for several photographs into a folder each;
    finished ones are skipped. Prints the path of every report.

    Examples:
        gramhd invert me.jpg --ckpt runs/hr --novel-views --out me
        gramhd invert holidays --ckpt runs/hr --out heads
        gramhd invert crop.png --ckpt demo --no-crop --camera 0,0.2 --out head
        gramhd invert me.jpg --ckpt runs/hr --encoder e.safetensors --out me
        gramhd invert me.jpg --ckpt runs/hr --set tune_steps=200 --out me
    """
    known = None if camera is None else parse_camera(camera)
    if perceptual not in PERCEPTUAL:
        raise BadArgument(
            f"--perceptual {perceptual}", expected=f"one of {', '.join(PERCEPTUAL)} is needed", remedy="choose one"
        )
    if fix_camera and known is None and not crop:
        raise BadArgument(
            "--fix-camera", expected="no camera is known to stay at", remedy="give --camera too, or leave it out"
        )

    from gramhd_core.checkpoints.checkpoint import Checkpoint, find_checkpoint, name_of
    from gramhd_core.checkpoints.saved_latent import PhotoCamera
    from gramhd_core.configs import override
    from gramhd_core.data.subjects import find_subject
    from gramhd_core.outputs.inversion.batch import Studio, invert_photographs
    from gramhd_core.outputs.inversion.encoder import load_encoder
    from gramhd_core.outputs.inversion.losses import find_features
    from gramhd_core.outputs.inversion.photographs import aligner_for, photo_files
    from gramhd_core.outputs.inversion.stages import InversionConfig
    from gramhd_core.outputs.video import require_av

    files = photo_files(photos)
    config = override(InversionConfig(), settings or [])
    require_av()  # before minutes of work, not after
    path = find_checkpoint(ckpt)
    checkpoint = Checkpoint.load(path)
    generator = checkpoint.build(device=options.resolve_device(device))
    name = name_of(ckpt)
    kind = subject or ("procedural-heads" if name == "demo" else "faces")
    align = aligner_for(
        find_subject(kind),
        size=generator.image_size,
        landmarks=landmarks,
        landmark_file=landmark_file,
        faces=faces,
        is_cropped=not crop,
    )
    studio = Studio(
        generator,
        checkpoint,
        name,
        config,
        find_features(perceptual, checkpoint=path, is_procedural=name == "demo" or kind == "procedural-heads"),
        perceptual,
        None if encoder is None else load_encoder(encoder, generator),
        None if known is None else PhotoCamera(*known),
        fix_camera,
        tune,
        truth,
        novel_views,
    )
    with console.progress() as progress:
        done = invert_photographs(studio, files, out, align=align, progress=progress)
    if json:
        console.result(done.reports[0] if len(files) == 1 else done.reports, json=True)
    else:
        folders = [out if len(files) == 1 else out / Path(report["photo"]).stem for report in done.reports]
        console.result([folder / "report.json" for folder in folders], json=False)
    if done.faults:
        raise BadImage(
            f"{len(done.faults)} of {len(files)} photographs were left out",
            expected="the lines above say why",
            remedy="the others are finished; mend these and run the command again",
        )


def parse_camera(text: str) -> tuple[float, float]:
    """`0.1,-0.3` -> pitch and yaw, radians."""
    try:
        pitch, yaw = (float(part) for part in text.split(","))
    except ValueError as error:
        raise BadArgument(
            f"--camera {text}", expected="pitch and yaw in radians are needed", remedy="write for example 0.1,-0.3"
        ) from error
    if not (abs(pitch) < 1.5 and abs(yaw) < 1.5):
        raise BadArgument(f"--camera {text}", expected="angles are radians, below 1.5", remedy="divide degrees by 57.3")
    return pitch, yaw
