"""Official weights in and out: names, shapes and values survive the round trip, and nothing in a file is executed.

    python examples/05_import_official_layout.py OUT [--config gram64-ffhq]

The published files cannot be shipped here, so random weights stand in for them, under the official names and in the
official order. With the real file it is one line: gramhd import ffhq256.pt --config gramhd256-ffhq --out X.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file

from gramhd_core.checkpoints.checkpoint import Checkpoint, load_generator
from gramhd_core.checkpoints.importers import export_official, import_official, official_weights
from gramhd_core.generators import FAMILIES, PUBLISHED
from gramhd_core.generators.gram import GramConfig


def main(out: Path, *, name: str) -> None:
    config = PUBLISHED[name]
    kind, _ = FAMILIES["gram" if isinstance(config, GramConfig) else "gram-hd"]
    weights = {official: p.detach() for official, p in official_weights(kind(config)).items()}
    out.mkdir(parents=True, exist_ok=True)
    torch.save(weights, out / "official.pt")
    print(f"{out / 'official.pt'}: {len(weights)} tensors, the first is {next(iter(weights))}")

    model = import_official(out / "official.pt", out / "ours.safetensors", config=name)
    checkpoint = Checkpoint.load(model)
    print(f"{model}: family {checkpoint.family}, {len(checkpoint.weights)} tensors with the truncation centre")
    assert checkpoint.config == config.compatible()  # pictures are taken as the weights were trained
    print(f"a generator of {load_generator(model).image_size}-pixel pictures")

    back = load_file(export_official(model, out / "back.safetensors"))
    assert set(back) == set(weights) and all(torch.equal(back[key], weights[key]) for key in weights)
    print(f"{out / 'back.safetensors'}: the same names, the same values")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--config", default="gram64-ffhq", choices=sorted(PUBLISHED))
    arguments = parser.parse_args()
    main(arguments.out, name=arguments.config)
