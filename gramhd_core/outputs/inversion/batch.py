"""Photographs one after the other: a folder each, finished ones left alone, bad ones named at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gramhd_core.checkpoints.checkpoint import Checkpoint
from gramhd_core.checkpoints.saved_latent import PhotoCamera
from gramhd_core.configs import to_dict
from gramhd_core.errors import BadImage
from gramhd_core.generators.generator import Generator
from gramhd_core.networks.encoders import Encoder
from gramhd_core.outputs.inversion.encoder import guess
from gramhd_core.outputs.inversion.files import REPORT, write_inversion
from gramhd_core.outputs.inversion.invert import invert, steps_of, to_photo
from gramhd_core.outputs.inversion.losses import Features
from gramhd_core.outputs.inversion.photo_camera import pose_of
from gramhd_core.outputs.inversion.photographs import Photograph
from gramhd_core.outputs.inversion.scores import procedural_truth
from gramhd_core.outputs.inversion.spaces import spaces_of
from gramhd_core.outputs.inversion.stages import InversionConfig, problem
from gramhd_core.progress import Progress, Silent


@dataclass(frozen=True)
class Studio:
    """A model and how photographs go into it. camera: known for all of them; is_fixed: and not refined. truth: the
    seed of the procedural head that the photographs show."""

    generator: Generator
    checkpoint: Checkpoint
    name: str  # of the checkpoint
    config: InversionConfig
    features: Features | None
    perceptual: str
    encoder: Encoder | None = None
    camera: PhotoCamera | None = None
    is_fixed: bool = False
    is_tuned: bool = True
    truth: int | None = None
    has_views: bool = True  # whether the views and the video are written
    seed: int = 0

    def recipe(self) -> dict[str, Any]:
        """What must be the same for a finished photograph to be left alone."""
        return {
            "checkpoint": self.name,
            "perceptual": self.perceptual,
            "encoder": self.encoder is not None,
            "given_camera": None if self.camera is None else to_dict(self.camera),
            "tuned": self.is_tuned,
            "truth": self.truth,
            "novel_views": self.has_views,
            "seed": self.seed,
        }


class Batch(NamedTuple):
    """reports: one per photograph, new or found; skipped: how many were finished before; faults: what was left out."""

    reports: list[dict[str, Any]]
    skipped: int
    faults: list[BadImage]


def invert_photographs(
    studio: Studio,
    files: Sequence[Path],
    out: Path,
    *,
    align: Callable[[Path], Photograph],
    progress: Progress | None = None,
) -> Batch:
    """One photograph: into `out`; several: into a folder of their name each.

    A photograph of several that cannot be used is left out and named; of a single one the BadImage is raised.
    """
    progress, spaces = progress or Silent(), spaces_of(studio.generator)
    batch = Batch([], 0, [])
    for file in files:
        folder = out if len(files) == 1 else out / file.stem
        finished = finished_report(folder, studio, file)
        if finished is not None:
            progress.say(f"{file.name} is finished in {folder}")
            batch = batch._replace(reports=[*batch.reports, finished], skipped=batch.skipped + 1)
            continue
        try:
            photograph = align(file)
        except BadImage as error:
            if len(files) == 1:
                raise
            progress.say(f"left out: {error}")
            batch.faults.append(error)
            continue
        report = _one(studio, photograph, folder, spaces, progress)
        for warning in report["warnings"]:
            progress.say(f"{file.name}: {warning}")
        batch.reports.append(report)
    return batch


def finished_report(folder: Path, studio: Studio, file: Path) -> dict[str, Any] | None:
    """The report of an earlier run with the same photograph, model and settings."""
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    wanted = {**studio.recipe(), "photo": file.name, "bytes": file.stat().st_size, "config": to_dict(studio.config)}
    same = isinstance(report, dict) and all(report.get(name) == value for name, value in wanted.items())
    return report if same else None


def _one(studio: Studio, photograph: Photograph, folder: Path, spaces: Any, progress: Progress) -> dict[str, Any]:
    began, file = time.perf_counter(), photograph.file
    photo = to_photo(photograph.image).to(spaces.mean)
    known = studio.camera or photograph.camera
    pose = None if known is None else pose_of(known)
    task = problem(
        studio.generator,
        photo,
        config=studio.config,
        features=studio.features,
        spaces=spaces,
        known=pose,
        is_fixed=studio.is_fixed,
    )
    guesses = None if studio.encoder is None else guess(studio.encoder, studio.generator, photo, known=pose)
    rng = torch.Generator().manual_seed(studio.seed)
    progress.start(file.name, steps_of(task, tuned=studio.is_tuned))
    done = invert(task, rng=rng, guesses=guesses, tuned=studio.is_tuned, progress=progress)
    progress.finish()
    truth = None
    if studio.truth is not None:
        truth = procedural_truth(studio.truth, studio.generator.cameras, size=photo.shape[-1])
    about = {
        "photo": file.name,
        "bytes": file.stat().st_size,
        **studio.recipe(),
        "camera_from_landmarks": None if photograph.camera is None else to_dict(photograph.camera),
        "inversion_seconds": round(time.perf_counter() - began, 1),
    }
    return write_inversion(
        folder,
        task,
        done,
        checkpoint=studio.checkpoint,
        about=about,
        truth=truth,
        has_views=studio.has_views,
    )
