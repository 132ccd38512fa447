"""`gramhd import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gramhd_cli import console, options

Weights = Annotated[Path, typer.Argument(help="Official weights: a flat .pt state dict or a pickled EMA object.")]
Config = Annotated[
    str, typer.Option("--config", "--cfg", help="The published configuration they belong to.", show_default=False)
]
EmaFile = Annotated[
    Path | None, typer.Option("--ema", help="A pickled EMA object, laid over the weights.", show_default=False)
]


def import_weights(
    file: Weights, config: Config, out: options.Out, ema: EmaFile = None, json: options.Json = False
) -> None:
    """Turn official weights into a checkpoint.

    Every name and shape must match the configuration exactly. Nothing in the file is executed.

    Examples:
      gramhd import ffhq256.pt --config gramhd256-ffhq --out ffhq256.safetensors
      gramhd import g.pth --ema ema.pth --config gram64-ffhq --out g.safetensors
    """
    from gramhd_core.checkpoints.importers import import_official

    checkpoint = import_official(file, out, config=config, ema=ema)
    document = {"checkpoint": str(checkpoint), "config": config, "source": str(file)}
    console.result(document if json else checkpoint, json=json)
