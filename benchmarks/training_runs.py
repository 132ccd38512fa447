"""Training runs that can begin, for benchmarks: random weights, a few procedural heads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch is loaded after the allocator's settings are made
    from gramhd_core.training.config import RunConfig
    from gramhd_core.training.run import Run

HEADS = 4  # images of the data set: what they show does not matter


def new_run(config: RunConfig, folder: Path, *, pixels: int | None = None, device: str = "cpu") -> Run:
    """A run of `config` in `folder`; stage 2 starts from a stage 1 with random weights.

    pixels: size of the images in the data set; that of the generator, if not given.
    """
    from gramhd_core.checkpoints.checkpoint import Checkpoint
    from gramhd_core.data.dataset import DatasetReader
    from gramhd_core.data.prepare import prepare_procedural
    from gramhd_core.generators.gram import Gram, GramConfig
    from gramhd_core.training.run import Run
    from gramhd_core.training.train_hr import recipe_hr
    from gramhd_core.training.train_lr import recipe_lr

    size = config.generator.image_size
    data = prepare_procedural(HEADS, folder / "heads", size=pixels or size, workers=1).out
    if isinstance(config.generator, GramConfig):
        recipe = recipe_lr(config)
    else:
        low = replace(config.generator.low, field=replace(config.generator.low.field, features=0))
        Checkpoint("gram", low, dict(Gram(low).state_dict()), 0, 0, {}).save(folder / "low.safetensors")
        recipe = recipe_hr(config, folder / "low.safetensors")
    return Run(recipe, DatasetReader(data, size=size, mirror=True), folder / "run", device=device)
