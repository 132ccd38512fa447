"""Checkpoints: one safetensors file with config and provenance in its header; training states likewise.

A Checkpoint is all that is needed to use a model. A TrainingState is only needed to resume its training.
Both are written atomically, and reading either executes nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gramhd_core import __version__
from gramhd_core.checkpoints.saved_scene import SavedScene
from gramhd_core.configs import from_dict, to_dict
from gramhd_core.errors import BadCheckpoint, BadConfig
from gramhd_core.generators import FAMILIES
from gramhd_core.generators.generator import Generator
from gramhd_core.scenes.scene_files import is_scene_file, load_scene
from gramhd_core.tensor_files import load_tensors, save_tensors

BUILT_IN = {"demo": Path(__file__).parents[1] / "assets" / "demo.safetensors"}  # models that come with the package
STEP_FILE = re.compile(r"step(\d+)\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """A model: `weights` are the state dict of FAMILIES[family] built from `config` (EMA weights after training)."""

    family: str
    config: Any
    weights: dict[str, Tensor]
    step: int
    images_seen: int
    provenance: dict[str, Any]

    def save(self, path: Path | str) -> None:
        """Write atomically; the header holds everything but the weights, as JSON."""
        header = {
            "family": self.family,
            "config": to_dict(self.config),
            "step": self.step,
            "images_seen": self.images_seen,
            "provenance": {"version": __version__, **self.provenance},
        }
        save_tensors(path, self.weights, header)

    @staticmethod
    def load(path: Path | str) -> Checkpoint:
        """Read a checkpoint file. Raises BadCheckpoint in one sentence for anything else."""
        if is_scene_file(path):
            raise BadCheckpoint(
                f"{path} is a saved scene",
                expected="it has no weights and a model is needed here",
                remedy="name the checkpoint it was made from",
            )
        weights, header = load_tensors(path)
        if header.get("family") not in FAMILIES:
            raise BadCheckpoint(
                f"{path} is of family {header.get('family')!r}",
                expected=f"one of {', '.join(FAMILIES)} is needed",
                remedy="use a model written by gramhd (gramhd import converts official weights)",
            )
        try:
            config = from_dict(FAMILIES[header["family"]][1], header["config"])
            return Checkpoint(
                header["family"], config, weights, header["step"], header["images_seen"], header["provenance"]
            )
        except (KeyError, BadConfig) as error:
            raise BadCheckpoint(
                f"{path} has a header this version cannot read ({error})",
                expected="family, config, step, images_seen and provenance are needed",
                remedy="write it again with the gramhd that made it, or upgrade",
            ) from error

    def build(self, *, device: str | torch.device = "cpu") -> Generator:
        """The generator, in evaluation mode, without gradients."""
        kind, _ = FAMILIES[self.family]
        generator = kind(self.config)
        check_fit(generator.state_dict(), self.weights, where=f"this {self.family} checkpoint")
        generator.load_state_dict(self.weights)
        return generator.to(device).eval().requires_grad_(False)


def check_fit(wanted: dict[str, Tensor], given: dict[str, Tensor], *, where: str) -> None:
    """Exact key and shape coverage, or BadCheckpoint naming the first misfit and how many there are."""
    missing = [name for name in wanted if name not in given]
    extra = [name for name in given if name not in wanted]
    shapes = [name for name in wanted if name in given and wanted[name].shape != given[name].shape]
    for names, problem in ((missing, "lacks"), (extra, "has the unknown"), (shapes, "has another shape of")):
        if names:
            detail = ""
            if names is shapes:
                detail = f" ({list(given[names[0]].shape)} instead of {list(wanted[names[0]].shape)})"
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise BadCheckpoint(
                f"{where} {problem} {names[0]}{detail}{more}",
                expected=f"exactly {len(wanted)} tensors of the configured shapes are needed",
                remedy="check that file and config belong together",
            )


def load_generator(ckpt: str | Path, *, device: str | torch.device = "cpu") -> Generator:
    """The generator of a checkpoint file or of the newest checkpoint in a run folder; a `SavedScene` of a scene file.

    Which of them a file is, its header says.
    """
    path = find_checkpoint(ckpt)
    if is_scene_file(path):
        return SavedScene(*load_scene(path, device=device))
    return Checkpoint.load(path).build(device=device)


def find_checkpoint(ckpt: str | Path) -> Path:
    """A file as it is; a run folder -> its newest checkpoint; the name of a built-in model -> its file.

    The bare name is the built-in model even where a folder of that name is (./demo is the folder). BadCheckpoint if
    there is none.
    """
    path = BUILT_IN.get(str(ckpt), Path(ckpt))
    if path.is_dir():
        steps = checkpoint_steps(path)
        if steps:
            return path / "checkpoints" / f"step{steps[-1]:08d}.safetensors"
        raise BadCheckpoint(
            f"{path} holds no checkpoints",
            expected="a run folder with checkpoints/step*.safetensors is needed",
            remedy="wait for its first checkpoint or name another",
        )
    if not path.is_file():
        raise BadCheckpoint(
            f"{path} does not exist",
            expected=f"a .safetensors file, a run folder or a built-in model ({', '.join(BUILT_IN)}) is needed",
            remedy="check the path given to --ckpt",
        )
    return path


def name_of(ckpt: str | Path) -> str:
    """What others may read of a checkpoint's path: its file name, after the run's where a run folder was given; the
    name of a built-in model."""
    if str(ckpt) in BUILT_IN:
        return str(ckpt)
    run, file = Path(ckpt).resolve(), find_checkpoint(ckpt)
    return f"{run.name}/{file.name}" if run.is_dir() else file.name


def checkpoint_steps(run: Path) -> list[int]:
    """Steps of all model checkpoints of a run, ascending."""
    found = (STEP_FILE.fullmatch(p.name) for p in (run / "checkpoints").glob("step*.safetensors"))
    return sorted(int(m[1]) for m in found if m)
