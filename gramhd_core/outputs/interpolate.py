"""From head to head: latents in between, as a film and as a strip of pictures.

t runs from 0 to 1 between two latents. V views of S x S pixels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gramhd_core.checkpoints.saved_latent import latent_space
from gramhd_core.errors import BadArgument
from gramhd_core.generators.generator import Generator, Latent
from gramhd_core.outputs import images, trajectories
from gramhd_core.outputs.edit import Subject, captioned, check_size, pictures_of
from gramhd_core.outputs.shots import device_of
from gramhd_core.outputs.video import mp4, require_av
from gramhd_core.progress import Progress, Silent

WAYS = ("slerp", "lerp")
MEAN_DRAWS = 10_000  # latents whose mean is what slerp turns around


@dataclass(frozen=True)
class InterpolateRequest:
    """way: "lerp", the straight line, whose middle is more average than its ends, or "slerp", around the mean latent at
    the distance of the ends. frames: of one transition. strip: pictures of one transition, its ends included (0: no
    strip). film: whether there is one. camera_path: of the film, one of `trajectories.PATHS`. size: side of a picture
    in pixels, None = as trained."""

    way: str = "slerp"
    frames: int = trajectories.TRANSITION_FRAMES
    fps: int = 30
    strip: int = 7
    film: bool = True
    camera_path: str = "orbit"
    size: int | None = None

    def __post_init__(self) -> None:
        for what, value, known in (("way", self.way, WAYS), ("camera path", self.camera_path, trajectories.PATHS)):
            if value not in known:
                raise BadArgument(
                    f"the {what} is `{value}`",
                    expected=f"it must be one of {', '.join(known)}",
                    remedy="use one of these",
                )
        limits = (("--frames", self.frames, 2, 10_000), ("--fps", self.fps, 1, 240), ("--strip", self.strip, 0, 100))
        for option, value, least, most in limits:
            if not least <= value <= most or (option == "--strip" and value == 1):
                raise BadArgument(
                    f"{option} {value}", expected=f"{least} to {most} can be made", remedy="use a number in that range"
                )
        if not self.film and not self.strip:
            raise BadArgument(
                "neither a film nor a strip was asked for", expected="something has to be made", remedy="raise --strip"
            )
        check_size(self.size)


@dataclass(frozen=True)
class Interpolated:
    """Everything `interpolate` did."""

    request: InterpolateRequest
    points: tuple[str, ...]
    size: int
    film: Path | None
    strip: Path | None
    scenes: int
    seconds: float

    def document(self) -> dict[str, Any]:
        """The JSON document of `gramhd interpolate --json`."""
        files = {"video": self.film, "strip": self.strip}
        files = {kind: str(path) for kind, path in files.items() if path}
        request = {key: value for key, value in asdict(self.request).items() if key not in ("film", "size")}
        cost = {"scenes": self.scenes, "seconds": round(self.seconds, 3)}
        return {"points": self.points, **request, "pictures": self.request.strip, "size": self.size, **files, **cost}


def interpolate(
    generator: Generator,
    points: Sequence[Subject],
    request: InterpolateRequest,
    out: Path | str,
    *,
    progress: Progress | None = None,
) -> Interpolated:
    """Write interpolation.mp4, through all points and back to the first, slowing down at each; and strip.png, a row for
    every transition but the last one back, even steps seen from the front. BadArgument for fewer than two points."""
    if len(points) < 2:
        raise BadArgument(
            f"{len(points)} heads were named",
            expected="an interpolation runs between at least two",
            remedy="add another",
        )
    latent_space(generator)  # refuses what has no latents
    if request.film:
        require_av()
    started, progress, out = time.perf_counter(), progress or Silent(), Path(out)
    between = Between(generator, request.way)
    size = request.size or generator.image_size
    in_strip, in_film = request.strip * (len(points) - 1), request.frames * len(points) * request.film
    progress.start("interpolating", in_strip + in_film)
    strip = _strip(generator, points, request, between, out / "strip.png", progress) if in_strip else None
    film = _film(generator, points, request, between, out / "interpolation.mp4", progress) if in_film else None
    progress.finish()
    seconds = time.perf_counter() - started
    return Interpolated(request, tuple(p.name for p in points), size, film, strip, in_strip + in_film, seconds)


def eased(t: float) -> float:
    """0 -> 0 and 1 -> 1, at rest at both ends."""
    return t * t * (3 - 2 * t)


class Between:
    """`between(a, b, t)`: the latent a part t of the way; at 0 and 1 exactly a and b."""

    def __init__(self, generator: Generator, way: str = "slerp"):
        assert way in WAYS, way
        self.centre = _mean_latent(generator) if way == "slerp" else None

    def __call__(self, a: Latent, b: Latent, t: float) -> Latent:
        if t in (0, 1):
            return b if t else a
        if self.centre is None:
            return a.lerp(b, t)
        film = slerp(a.film, b.film, t, centre=self.centre.film)
        return Latent(film, slerp(a.style, b.style, t, centre=self.centre.style))


def slerp(a: Tensor, b: Tensor, t: float, *, centre: Tensor) -> Tensor:
    """a, b [N, ...] -> around `centre` from a to b: the angle between them and their distances from it change evenly
    (Shoemake: spherical interpolation). Opposite or equal directions: the straight line."""
    u, v = (a - centre).flatten(1), (b - centre).flatten(1)
    lengths = [w.norm(dim=1, keepdim=True) for w in (u, v)]
    u, v = (w / length.clamp(min=1e-12) for w, length in zip((u, v), lengths, strict=True))
    along = (u * v).sum(dim=1, keepdim=True)
    angle = torch.atan2((u - along * v).norm(dim=1, keepdim=True), along)
    straight = (angle < 1e-4) | (angle > math.pi - 1e-2) | (torch.minimum(*lengths) < 1e-6)
    turned = (torch.sin((1 - t) * angle) * u + torch.sin(t * angle) * v) / torch.sin(angle).clamp(min=1e-12)
    turned = turned * ((1 - t) * lengths[0] + t * lengths[1])
    return torch.where(straight, (a + t * (b - a)).flatten(1), centre.flatten(1) + turned).view_as(a)


@torch.no_grad()
def _mean_latent(generator: Generator) -> Latent:
    z = torch.randn(MEAN_DRAWS, generator.latent_dim, generator=torch.Generator().manual_seed(0))
    latents = generator.latent(z.to(device_of(generator)))
    return Latent(latents.film.mean(dim=0, keepdim=True), latents.style.mean(dim=0, keepdim=True))


def _strip(
    generator: Generator,
    points: Sequence[Subject],
    request: InterpolateRequest,
    between: Between,
    path: Path,
    progress: Progress,
) -> Path:
    camera = trajectories.frontal(generator.cameras, size=request.size or generator.image_size)
    steps = [i / (request.strip - 1) for i in range(request.strip)]
    tiles: list[np.ndarray] = []
    names: list[str] = []
    for a, b in zip(points[:-1], points[1:], strict=True):
        names.append(f"{a.name} to {b.name}")
        for t in steps:
            tiles.append(pictures_of(generator, between(a.latent, b.latent, t), camera)[0])
            progress.advance(1, names[-1])
    images.save_png(path, captioned(np.stack(tiles), names, [f"{t:.2f}" for t in steps]), notes={"way": request.way})
    return path


def _film(
    generator: Generator,
    points: Sequence[Subject],
    request: InterpolateRequest,
    between: Between,
    path: Path,
    progress: Progress,
) -> Path:
    cameras = trajectories.PATHS[request.camera_path](
        generator.cameras, size=request.size or generator.image_size, frames=request.frames * len(points)
    )
    with mp4(path, fps=request.fps) as add:
        for index, (latent, after) in enumerate(transitions(points, request.frames, between)):
            add(pictures_of(generator, latent, cameras[index])[0])
            progress.advance(1, f"after {after}")
    return path


def transitions(points: Sequence[Subject], frames: int, between: Between) -> Iterator[tuple[Latent, str]]:
    """`frames` latents from each point to the next, and from the last to the first, with whom they are after."""
    for a, b in zip(points, [*points[1:], points[0]], strict=True):
        for step in range(frames):
            yield between(a.latent, b.latent, eased(step / frames)), a.name
