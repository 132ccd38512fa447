"""Heads moved along directions: grids whose rows and columns say what is what.

Every picture of a grid is taken by the same cameras, whoever is on it. T strengths, V views of S x S pixels, A
attributes of the feature network.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gramhd_core.checkpoints.saved_latent import PhotoCamera, latent_space, load_latent, save_latent
from gramhd_core.checkpoints.saved_scene import TRUNCATION
from gramhd_core.errors import BadArgument
from gramhd_core.generators.generator import Generator, Latent
from gramhd_core.geometry.camera import Camera
from gramhd_core.networks.feature_network import LoadedFeatures, images_from_bytes
from gramhd_core.outputs import images, trajectories
from gramhd_core.outputs.directions import Direction
from gramhd_core.outputs.inversion.photo_camera import camera_of, pose_of
from gramhd_core.outputs.labelled_directions import NOT_THE_LATENTS, explained
from gramhd_core.outputs.sample_request import SIZES
from gramhd_core.outputs.shots import device_of, joined, latent_of_seed, render_shots
from gramhd_core.progress import Progress, Silent

VIEWS: dict[str, Callable[..., Camera]] = {
    "image": trajectories.frontal,
    "multiview1x3": trajectories.multiview1x3,
    "grid": trajectories.grid,
}
PHOTO = "photo"  # the view from which a photograph was taken: of saved latents only
SMALLEST_TILE = 64  # pixels; smaller pictures are enlarged, so that captions have room
MOST_TOLD = 8  # attributes named for a direction
CLOSEST_TO_NOTHING = 0.05  # standard deviations of an attribute per strength that are not worth a word
WELL_READ = 0.5  # share of an attribute's variance that the feature network must explain to be told of


class Subject(NamedTuple):
    """Who is edited: a name for files, a latent [1], and the camera of the photograph it came from, if any."""

    name: str
    latent: Latent
    camera: PhotoCamera | None = None


@dataclass(frozen=True)
class EditRequest:
    """strengths: standard deviations along each direction, a row each. view: one of VIEWS or "photo", the columns.
    size: side of a picture in pixels, None = as trained. save_latents: also write every edited latent, which says it
    belongs to the model named `checkpoint`."""

    strengths: tuple[float, ...] = (-3.0, -1.5, 0.0, 1.5, 3.0)
    view: str = "multiview1x3"
    size: int | None = None
    save_latents: bool = False
    checkpoint: str = ""

    def __post_init__(self) -> None:
        if not self.strengths or not all(map(math.isfinite, self.strengths)):
            raise BadArgument(
                f"the strengths {', '.join(f'{s:g}' for s in self.strengths) or 'none'}",
                expected="at least one finite number is needed",
                remedy="write for example --strengths -3,0,3",
            )
        if self.view not in (*VIEWS, PHOTO):
            raise BadArgument(
                f"the view is `{self.view}`",
                expected=f"it must be one of {', '.join((*VIEWS, PHOTO))}",
                remedy="use one of these",
            )
        check_size(self.size)


def known_truncation(asked: float | None) -> float:
    """The same number, or what is usual of models. BadArgument outside [0, 1]."""
    truncation = TRUNCATION if asked is None else asked
    if 0 <= truncation <= 1:
        return truncation
    raise BadArgument(
        f"the truncation is {truncation:g}",
        expected="it must lie between 0 (the average head) and 1 (full variety)",
        remedy="use a --trunc in that range, 0.7 is usual",
    )


def check_size(size: int | None) -> None:
    """BadArgument for a side that no picture has."""
    if size is not None and size not in SIZES:
        raise BadArgument(
            f"the size is {size} pixels",
            expected=f"pictures are {SIZES[0]} to {SIZES[-1]} pixels wide",
            remedy="use a --size in that range",
        )


class EditGrid(NamedTuple):
    """One head along one direction. readings [T, A]: what the feature network reads in the most frontal column, None if
    nobody asked. told: attributes that change most, in standard deviations of all heads per strength."""

    path: Path
    subject: str
    direction: Direction
    latents: tuple[Path, ...]
    readings: Tensor | None
    told: dict[str, float]


@dataclass(frozen=True)
class Edited:
    """Everything `edit` did. views: pitch and yaw of the columns, radians. overviews: one per head where there are
    several directions."""

    request: EditRequest
    size: int
    views: tuple[tuple[float, float], ...]
    grids: tuple[EditGrid, ...]
    overviews: tuple[Path, ...]
    scenes: int
    seconds: float

    def document(self) -> dict[str, Any]:
        """The JSON document of `gramhd edit --json`."""
        grids = [
            {
                "path": str(grid.path),
                "subject": grid.subject,
                "direction": grid.direction.name,
                "facts": grid.direction.facts,
                **({"latents": [str(path) for path in grid.latents]} if grid.latents else {}),
                **({"changes_per_strength": grid.told} if grid.readings is not None else {}),
            }
            for grid in self.grids
        ]
        cost = {"scenes": self.scenes, "seconds": round(self.seconds, 3)}
        return {
            **asdict(self.request),
            "size": self.size,
            "views": self.views,
            "grids": grids,
            "overviews": [*map(str, self.overviews)],
            **cost,
        }


def subject(generator: Generator, name: str | int | Path, *, truncation: float) -> Subject:
    """The head of a seed (a number, or a text of digits) or of a latent file."""
    text = str(name)
    if text.isascii() and text.isdecimal() and int(text) < 2**63:
        return subject_of_seed(generator, int(text), truncation=truncation)
    return subject_of_file(generator, Path(text))


@torch.no_grad()
def subject_of_seed(generator: Generator, seed: int, *, truncation: float) -> Subject:
    """The head a seed means everywhere in the house."""
    return Subject(f"seed{seed:04d}", latent_of_seed(generator, seed, truncation=truncation)[0])


def subject_of_file(generator: Generator, path: Path | str) -> Subject:
    """The head of a latent file. BadCheckpoint if it is of another model, BadArgument if it holds several."""
    saved = load_latent(path, generator, device=device_of(generator))
    if len(saved.latent) != 1:
        raise BadArgument(
            f"{path} holds {len(saved.latent)} latents",
            expected="one is edited at a time",
            remedy="save each by itself",
        )
    place = Path(path)
    return Subject(place.parent.resolve().name if place.stem == "latent" else place.stem, saved.latent, saved.camera)


def edit(
    generator: Generator,
    subjects: Sequence[Subject],
    directions: Sequence[Direction],
    request: EditRequest,
    out: Path | str,
    *,
    features: LoadedFeatures | None = None,
    progress: Progress | None = None,
) -> Edited:
    """Write a grid for every subject and direction into `out`: rows strengths, columns views; with several directions
    also an overview of each subject: rows directions, columns strengths, the most frontal view.

    features: also read attributes. BadArgument: a view from the photograph's camera of somebody who was on none.
    """
    started, studio = time.perf_counter(), _Studio(generator, request, Path(out), features)
    latent_space(generator)  # refuses what has no latents
    cameras = [studio.cameras(subject) for subject in subjects]  # before any picture
    studio.progress = progress or studio.progress
    studio.progress.start("editing", len(subjects) * len(directions) * len(request.strengths))
    grids: list[EditGrid] = []
    overviews: list[Path] = []
    for subject, seen_from in zip(subjects, cameras, strict=True):
        made = [studio.grid(subject, direction, seen_from) for direction in directions]
        grids += [grid for grid, _ in made]
        if len(directions) > 1:
            overviews.append(studio.overview(subject, directions, [row for _, row in made]))
    studio.progress.finish()
    views = tuple((round(p, 6), round(y, 6)) for p, y in zip(*(a.tolist() for a in _angles(cameras[0])), strict=True))
    seconds = time.perf_counter() - started
    return Edited(request, studio.size, views, tuple(grids), tuple(overviews), studio.scenes, seconds)


class _Studio:
    """One call of `edit`."""

    def __init__(self, generator: Generator, request: EditRequest, out: Path, features: LoadedFeatures | None):
        self.generator, self.request, self.out, self.features = generator, request, out, features
        self.size = request.size or generator.image_size
        self.progress: Progress = Silent()
        self.scenes = 0
        self._unmoved: tuple[Subject, np.ndarray] | None = None

    def cameras(self, subject: Subject) -> Camera:
        """The columns."""
        prior = self.generator.cameras
        if self.request.view != PHOTO:
            return VIEWS[self.request.view](prior, size=self.size)
        if subject.camera is None:
            raise BadArgument(
                f"--view {PHOTO} was asked for {subject.name}",
                expected="only latents of photographs know a camera",
                remedy=f"use one of {', '.join(VIEWS)}",
            )
        return camera_of(pose_of(subject.camera), prior, size=self.size)

    def grid(self, subject: Subject, direction: Direction, cameras: Camera) -> tuple[EditGrid, np.ndarray]:
        """The grid of one direction, and its most frontal pictures [T, S, S, 3]."""
        strengths = self.request.strengths
        latents = [direction.move(subject.latent, strength) for strength in strengths]
        tiles = np.stack([self._pictures(subject, latent, cameras) for latent in latents])  # [T, V, S, S, 3]
        path = self.out / f"{subject.name}_{_file_part(direction.name)}.png"
        yaw = _angles(cameras)[1]
        captions = [_signed(strength) for strength in strengths]
        picture = captioned(tiles.reshape(-1, *tiles.shape[2:]), captions, [f"yaw {y:+.2f}" for y in yaw.tolist()])
        notes = {"subject": subject.name, "direction": direction.name, "strengths": ",".join(captions)}
        images.save_png(path, picture, notes=notes)
        frontal = tiles[:, int((yaw - self.generator.cameras.yaw_mean).abs().argmin())]
        saved = self._save(subject, direction, latents) if self.request.save_latents else ()
        readings, told = None, {}
        if self.features is not None:
            readings = _read(self.features, frontal)
            told = changes(self.features, readings, strengths)
        return EditGrid(path, subject.name, direction, saved, readings, told), frontal

    def overview(self, subject: Subject, directions: Sequence[Direction], rows: Sequence[np.ndarray]) -> Path:
        """All directions of a head."""
        path = self.out / f"{subject.name}_overview.png"
        names, captions = [d.name for d in directions], [_signed(s) for s in self.request.strengths]
        images.save_png(path, captioned(np.concatenate(rows), names, captions), notes={"subject": subject.name})
        return path

    def _pictures(self, subject: Subject, latent: Latent, cameras: Camera) -> np.ndarray:
        """uint8 [V, S, S, 3]; those of a head that was not moved are taken once."""
        self.progress.advance(1, subject.name)
        unmoved = latent is subject.latent
        if unmoved and self._unmoved is not None and self._unmoved[0] is subject:
            return self._unmoved[1]
        self.scenes += 1
        pictures = pictures_of(self.generator, latent, cameras)
        if unmoved:
            self._unmoved = (subject, pictures)
        return pictures

    def _save(self, subject: Subject, direction: Direction, latents: Sequence[Latent]) -> tuple[Path, ...]:
        paths = []
        for strength, latent in zip(self.request.strengths, latents, strict=True):
            name = f"{subject.name}_{_file_part(direction.name)}_{_signed(strength)}.latent.safetensors"
            paths.append(self.out / name)
            save_latent(
                paths[-1],
                latent,
                self.generator,
                checkpoint=self.request.checkpoint,
                camera=subject.camera,
                provenance={"edited": subject.name, "direction": direction.name, "strength": strength},
            )
        return tuple(paths)


def captioned(tiles: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> np.ndarray:
    """uint8 [R C, S, S, 3] => one captioned picture; tiny tiles are enlarged."""
    grown = [images.thumbnail(tile, smallest=SMALLEST_TILE, largest=SIZES[-1]) for tile in tiles]
    return images.labelled_sheet(grown, rows=rows, columns=columns)


def changes(features: LoadedFeatures, readings: Tensor, strengths: Sequence[float]) -> dict[str, float]:
    """Slopes of the readings [T, A] over strengths, in standard deviations of all heads, the largest first; pose and
    image quality are left out."""
    network = features.network
    s = torch.tensor(strengths, dtype=torch.float32)
    s = s - s.mean()
    if float(s.abs().max()) == 0:
        return {}
    slope = (s[:, None] * readings).sum(dim=0) / s.square().sum() / network.attribute_sd.cpu()
    said = {
        name: round(float(value), 3)
        for name, value in zip(network.attributes, slope, strict=True)
        if name not in NOT_THE_LATENTS and abs(value) > CLOSEST_TO_NOTHING and not explained(features, name) < WELL_READ
    }
    return dict(sorted(said.items(), key=lambda item: -abs(item[1]))[:MOST_TOLD])


@torch.no_grad()
def pictures_of(generator: Generator, latent: Latent, cameras: Camera) -> np.ndarray:
    """uint8 [V, S, S, 3] of one identity."""
    shots = list(render_shots(generator.scene(latent), cameras, device=device_of(generator)))
    return joined(shots).rgb


@torch.no_grad()
def _read(features: LoadedFeatures, pictures: np.ndarray) -> Tensor:
    """uint8 [T, S, S, 3] -> [T, A]."""
    network = features.network
    seen = images_from_bytes(torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2))
    return network(seen.to(network.attribute_sd.device)).attributes.cpu()


def _angles(cameras: Camera) -> tuple[Tensor, Tensor]:
    return cameras.pitch, cameras.yaw


def _signed(strength: float) -> str:
    return f"{strength:+g}" if strength else "0"


def _file_part(name: str) -> str:
    """What of a direction's name may stand in a file name: pca:0 -> pca0."""
    return re.sub(r"[^\w.+-]+", "_", re.sub(r"^(pca|sefa):", r"\1", name))
