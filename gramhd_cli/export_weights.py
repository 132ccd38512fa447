"""`gramhd export`."""

from __future__ import annotations

from gramhd_cli import console, options


def export_weights(ckpt: options.Ckpt, out: options.Out, json: options.Json = False) -> None:
    """Write a checkpoint under the official names.

    A flat state dict of parameters, as .pt, .pth or .safetensors. Conventions are not
    part of that format: reading it back with `gramhd import` (published configs only)
    gives a model in compatible mode.

    Examples:
      gramhd export --ckpt ffhq256.safetensors --out weights.pt
      gramhd export --ckpt ffhq256.safetensors --out official.safetensors --json
    """
    from gramhd_core.checkpoints.importers import export_official

    weights = export_official(ckpt, out)
    console.result({"weights": str(weights), "checkpoint": ckpt} if json else weights, json=json)
