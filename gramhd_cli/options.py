"""The options that several commands share: same name, same help, same refusal everywhere. Imports no torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from gramhd_core.errors import BadArgument

DEVICES = ("auto", "cpu", "cuda", "mps")
# Repeated from gramhd_core.generators.gram_hd, which imports torch; a test keeps both equal.
PRECISIONS = ("auto", "fp32", "bf16")
MOST_SEEDS = 1_000_000

Out = Annotated[Path, typer.Option("--out", "--outdir", help="Where the result goes.", show_default=False)]
Ckpt = Annotated[
    str,
    typer.Option(
        "--ckpt", help="A checkpoint file, a run folder (its newest), or demo: the built-in model.", show_default=False
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="|".join(DEVICES),
        help="auto takes an NVIDIA GPU where there is one, else the CPU.",
        autocompletion=lambda: list(DEVICES),
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="|".join(PRECISIONS),
        help="Of super-resolution: bf16 is close enough to the eye; auto takes it where the machine is made for it.",
        autocompletion=lambda: list(PRECISIONS),
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
# None: the first identity, and 0.7 - unless --ckpt is a saved scene, which knows its own (checkpoints/saved_scene.py).
MaybeSeeds = Annotated[
    str | None,
    typer.Option(
        "--seeds", help="Which identities: numbers and ranges, like 0,1,4-6; 0 if not given.", show_default=False
    ),
]
Truncation = Annotated[
    float | None,
    typer.Option(
        "--trunc",
        "--psi",
        help="Truncation: 0 is the average head, 1 full variety; 0.7 if not given.",
        show_default=False,
    ),
]
Preset = Annotated[str, typer.Option("--preset", "--cfg", help="Start from the numbers of this preset.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change one number of the preset, like train.batch=16; may be repeated.",
        show_default=False,
    ),
]


def parse_seeds(text: str, *, option: str = "--seeds") -> list[int]:
    """`0,1,4-6` -> [0, 1, 4, 5, 6]: in the order given, ranges with both ends. option: whose text it is."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part, flags=re.ASCII)
        if match is None:
            raise _bad_seeds(text, option, f"{part.strip() or 'an empty place'} is neither a number nor a range")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise _bad_seeds(text, option, f"the range {part.strip()} runs backwards")
        if len(seeds) + last - first >= MOST_SEEDS:
            raise _bad_seeds(text, option, f"these are more than {MOST_SEEDS:,} seeds")
        seeds.extend(range(first, last + 1))
    return seeds


def _bad_seeds(text: str, option: str, rule: str) -> BadArgument:
    example = "0,1,4-6" if option == "--seeds" else "7"
    return BadArgument(f"{option} {text}", expected=rule, remedy=f"write for example {option} {example}")


def known_precision(precision: str) -> str:
    """The same word. BadArgument: none of PRECISIONS."""
    if precision in PRECISIONS:
        return precision
    raise BadArgument(
        f"--precision {precision}", expected=f"the precisions are {', '.join(PRECISIONS)}", remedy="choose one of them"
    )


def resolve_device(device: str) -> str:
    """`auto`: cuda where there is one, else cpu. Other names are checked (`cuda:1`: the second GPU). Imports torch."""
    import torch

    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return "cuda" if present["cuda"] else "cpu"  # mps lacks operators in some versions: name it to use it
    kind, _, index = device.partition(":")
    if kind not in present or (index and not (kind == "cuda" and index.isdecimal())):
        raise BadArgument(
            f"--device {device}", expected=f"the devices are {', '.join(DEVICES)}", remedy="choose one of them"
        )
    if not present[kind] or (index and int(index) >= torch.cuda.device_count()):
        raise BadArgument(
            f"--device {device}",
            expected="torch finds no such device here",
            remedy="use --device auto, and see what gramhd doctor says",
        )
    return device
