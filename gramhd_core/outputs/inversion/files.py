"""What `gramhd invert` writes about one photograph. `report.json` comes last: where it is, the rest is whole.

Pictures are uint8 [S, S, 3] at the model's image size.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gramhd_core import __version__, files
from gramhd_core.checkpoints.checkpoint import Checkpoint
from gramhd_core.checkpoints.saved_latent import save_latent
from gramhd_core.configs import to_dict
from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.outputs import images, trajectories
from gramhd_core.outputs.inversion.invert import Inversion
from gramhd_core.outputs.inversion.photo_camera import photo_camera
from gramhd_core.outputs.inversion.scores import Scores, Truth, scores
from gramhd_core.outputs.inversion.stages import Problem, Stage
from gramhd_core.outputs.shots import joined, render_shots
from gramhd_core.outputs.video import mp4
from gramhd_core.outputs.viewer import write_viewer
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.scene import Scene
from gramhd_core.scenes.scene_files import SUFFIX

REPORT = "report.json"
ERROR_GAIN = 4.0  # the error map is white where a pixel is off by a quarter of the range
ORBIT_FRAMES = 60


def write_inversion(
    out: Path,
    task: Problem,
    done: Inversion,
    *,
    checkpoint: Checkpoint,
    about: dict[str, Any],
    truth: Truth | None = None,
    has_views: bool = True,
) -> dict[str, Any]:
    """Every file of one photograph into the folder `out`; the content of its report is returned.

    about: what the report shall say beside the figures: photo, checkpoint (its name), seconds, and so on.
    """
    name = str(about.get("photo", "photo"))
    with torch.no_grad():
        scene = done.generator.scene(done.last.latent)
    figures = [_scores(task, done, stage, truth) for stage in done.stages]
    _pictures(out, task.photo, done, figures)
    written = ["reconstruction.png", "side_by_side.png", "error.png"]
    if has_views:
        _views(out, scene, done.generator.cameras, size=task.photo.shape[-1])
        written += ["novel_views.png", "orbit.mp4"]
    provenance = {"photo": name, "stage": done.last.name}
    save_latent(
        out / "latent.safetensors",
        done.last.latent,
        task.generator,
        checkpoint=str(about["checkpoint"]),
        camera=photo_camera(done.last.pose),
        provenance=provenance,
    )
    written.append("latent.safetensors")
    if done.last.name == "tuned":
        tuned_checkpoint(checkpoint, done, provenance).save(out / "tuned.safetensors")
        written.append("tuned.safetensors")
    if isinstance(scene, RadianceManifolds):
        scene.baked().save(
            out / f"head{SUFFIX}",
            cameras=done.generator.cameras,
            image_size=task.photo.shape[-1],
            provenance={"checkpoint": str(about["checkpoint"]), **provenance},
        )
        write_viewer([scene], [name], out / "index.html", cameras=done.generator.cameras, title=name)
        written += [f"head{SUFFIX}", "index.html"]
    report = _report(task, done, figures, about, written)
    files.write_text(out / REPORT, json.dumps(report, indent=2) + "\n")
    return report


def tuned_checkpoint(checkpoint: Checkpoint, done: Inversion, provenance: dict[str, Any]) -> Checkpoint:
    """The model with the weights that one photograph gave it: for every command that takes a checkpoint."""
    assert isinstance(done.generator, torch.nn.Module)
    weights = {name: tensor.detach().cpu() for name, tensor in done.generator.state_dict().items()}
    return replace(
        checkpoint,
        config=done.generator.config,
        weights=weights,
        provenance={"version": __version__, "tuned": provenance, "parent": checkpoint.provenance},
    )


def error_map(made: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """uint8 [S, S, 3] twice -> the greatest difference of the three colours, `ERROR_GAIN` times, from black over red
    and yellow to white."""
    off = np.abs(made.astype(np.float64) - photo).max(axis=-1) / 255 * ERROR_GAIN
    return np.round(255 * np.clip(3 * off[..., None] - np.arange(3), 0, 1)).astype(np.uint8)


def _scores(task: Problem, done: Inversion, stage: Stage, truth: Truth | None) -> Scores:
    generator = done.generator if stage.name == "tuned" else task.generator
    return scores(generator, stage.latent, stage.pose, task.photo, truth=truth)


def _pictures(out: Path, photo: Tensor, done: Inversion, figures: list[Scores]) -> None:
    wanted, made = images.rgb8(photo)[0], [images.rgb8(stage.picture.rgb)[0] for stage in done.stages]
    images.save_png(out / "reconstruction.png", made[-1])
    images.save_png(out / "error.png", error_map(made[-1], wanted))
    captions = ["photo", *(f"{stage.name} {f.psnr:.1f} dB" for stage, f in zip(done.stages, figures, strict=True))]
    tiles = [images.thumbnail(tile, smallest=96) for tile in [wanted, *made]]
    images.save_png(out / "side_by_side.png", images.contact_sheet(tiles, captions, columns=len(tiles)))


def _views(out: Path, scene: Scene, prior: CameraPrior, *, size: int) -> None:
    grid = joined(list(render_shots(scene, trajectories.multiview3x7(prior, size=size)))).rgb
    images.save_png(out / "novel_views.png", images.sheet(grid, columns=7))
    with mp4(out / "orbit.mp4") as add:
        for part in render_shots(scene, trajectories.orbit(prior, size=size, frames=ORBIT_FRAMES)):
            for frame in part.rgb:
                add(frame)


def _report(
    task: Problem, done: Inversion, figures: list[Scores], about: dict[str, Any], written: list[str]
) -> dict[str, Any]:
    stages = []
    for stage, figure in zip(done.stages, figures, strict=True):
        known = {name: round(value, 4) for name, value in figure._asdict().items() if value is not None}
        camera = {name: round(value, 5) for name, value in to_dict(photo_camera(stage.pose)).items()}
        stages.append({"stage": stage.name, "seconds": round(stage.seconds, 2), **known, "camera": camera})
    return {
        "version": __version__,
        **about,
        "image_size": task.photo.shape[-1],
        **stages[-1],
        "stages": stages,
        "warnings": list(done.warnings),
        "config": to_dict(task.config),
        "files": written,
    }
