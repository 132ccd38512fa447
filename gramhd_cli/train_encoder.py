"""`gramhd train-encoder`: a network that guesses the latents of photographs, for a quicker `gramhd invert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gramhd_cli import console, options


def train_encoder(
    ckpt: options.Ckpt,
    out: Annotated[Path, typer.Option("--out", help="The encoder, a .safetensors file.", show_default=False)],
    settings: options.Settings = None,
    device: options.Device = "auto",
    json: options.Json = False,
) -> None:
    """Train an encoder for one model, on pictures the model makes itself.

    It guesses head and camera of a photograph in one pass, and gramhd invert
    --encoder goes on from there. Prints the path of the file.

    Examples:
        gramhd train-encoder --ckpt demo --out e.safetensors
        gramhd train-encoder --ckpt runs/hr --set heads=20000 --out e.safetensors
    """
    from gramhd_core.checkpoints.checkpoint import load_generator, name_of
    from gramhd_core.configs import override, to_dict
    from gramhd_core.outputs.inversion import encoder as encoders
    from gramhd_core.outputs.inversion.spaces import spaces_of

    config = override(encoders.EncoderTraining(), settings or [])
    generator = load_generator(ckpt, device=options.resolve_device(device))
    spaces = spaces_of(generator)
    with console.progress() as progress:
        samples = encoders.draw_samples(generator, spaces, config, progress=progress)
        encoder = encoders.train_encoder(samples, config, progress=progress)
    provenance = {"checkpoint": name_of(ckpt), "training": to_dict(config)}
    encoders.save_encoder(out, encoder, generator, provenance=provenance)
    console.result({"path": out, "heads": config.heads} if json else out, json=json)
