"""Pictures and videos of generated heads: one scene per seed, however many views of it are asked for.

z of seed s is the first draw of a CPU random stream seeded with s, and every seed is rendered by itself: the same seed
gives the same picture whatever else is in the batch. Views are rendered a few at a time, so memory does not grow with
their number. Only `interpolation` needs a scene per frame, for there every frame is another identity.
V views of S x S pixels.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from gramhd_core import files
from gramhd_core.checkpoints.saved_scene import SavedScene, identities
from gramhd_core.errors import BadArgument
from gramhd_core.generators.generator import Generator, Latent
from gramhd_core.geometry.camera import Camera
from gramhd_core.outputs import depth_images, images, trajectories
from gramhd_core.outputs.edit import Subject
from gramhd_core.outputs.epi import epi_picture, line_row
from gramhd_core.outputs.gallery import check_place, write_gallery
from gramhd_core.outputs.interpolate import Between, transitions
from gramhd_core.outputs.sample_request import MOVIES, Sampled, SampledFile, SampleRequest
from gramhd_core.outputs.shots import Shots, device_of, joined, latent_of_seed, render_shots
from gramhd_core.outputs.video import mp4, require_av
from gramhd_core.progress import Progress, Silent
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.scene import Scene
from gramhd_core.scenes.scene_files import SUFFIX, save_scene
from gramhd_core.world import ALONE, World

CONTACT_SHEET_TILES = 100  # later seeds do not appear on the contact sheet
GRID_PIXELS = 2**27  # what common viewers still open

SHEETS = {"image": (1, 1), "rand": (1, 1), "multiview1x3": (1, 3), "multiview3x7": (3, 7), "grid": (1, 5)}  # per seed
_STILL_CAMERAS = {
    "image": trajectories.frontal,
    "multiview1x3": trajectories.multiview1x3,
    "multiview3x7": trajectories.multiview3x7,
    "grid": trajectories.grid,
}

Seeds = tuple[int, ...]
Views = tuple[tuple[float, float], ...]  # (pitch, yaw) of every view, radians


def sample(
    generator: Generator,
    request: SampleRequest,
    out: Path | str,
    *,
    provenance: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    world: World = ALONE,
) -> Sampled:
    """Write what `request` asks for into the folder `out`; files of the same name are replaced, each at once.

    provenance: what scene files shall say about the model, beside family, seed and truncation. A saved scene as
    generator takes its own seed and truncation only (`checkpoints.saved_scene.identities`). world: processes that
    share the seeds, each with the generator on its own device; the first one writes what shows several seeds.
    """
    started = time.perf_counter()
    request.check_devices(world.size)
    studio = _Studio(generator, request, Path(out), provenance or {}, progress or Silent())
    studio.seeds = tuple(world.share(request.seeds))
    with world.agreed():
        identities(generator, request.seeds, request.truncation)
        parts = _pictures_of_seeds(studio)
    parts = [part for share in world.gather(parts) for part in share]
    studio.take_over(world.gather((studio.written, studio.scenes, studio.pictures)))
    with world.agreed():
        if world.first:
            _pictures_of_all(studio, sorted(parts, key=lambda part: request.seeds.index(part.seed)))
    seconds = time.perf_counter() - started
    return Sampled(request, studio.size, tuple(studio.written), studio.scenes, studio.pictures, seconds)


class _Part(NamedTuple):
    """What one seed adds to a picture of several: a thumbnail, or a row of the grid."""

    seed: int
    picture: np.ndarray | Shots
    views: Views


def _pictures_of_seeds(studio: _Studio) -> list[_Part]:
    """Everything that shows one seed, of the seeds of this process."""
    request = studio.request
    work = {"grid": _grid_rows, "epi": _epi, "video": _video, "interpolation": _interpolation}
    if request.view in MOVIES:
        require_av()  # before minutes of rendering, not after
    if request.html:
        check_place(studio.out)
    try:
        studio.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.cannot_write(studio.out, error) from error
    try:
        with torch.no_grad():
            return work.get(request.view, _stills)(studio) or []
    finally:
        studio.progress.finish()


def _pictures_of_all(studio: _Studio, parts: list[_Part]) -> None:
    """What shows several seeds: the grid or the contact sheet, and the page."""
    request = studio.request
    seeds, views = tuple(part.seed for part in parts), tuple(view for part in parts for view in part.views)
    if request.view == "grid":
        rows = [part.picture for part in parts if isinstance(part.picture, Shots)]
        studio.save_stills("grid", joined(rows), SHEETS["grid"][1], seeds, views)
    elif len(parts) > 1:
        tiles = [part.picture for part in parts if isinstance(part.picture, np.ndarray)]
        picture = images.contact_sheet(tiles, [f"seed {seed}" for seed in seeds])
        name = "sheet.png" if request.view == "image" else f"sheet_{request.view}.png"
        studio.save(name, picture, "contact_sheet", seeds, views)
    if request.html:
        page = write_gallery(request, studio.written, studio.out, size=studio.size)
        studio.written.append(SampledFile(page, "gallery", request.seeds, (), ()))


def _stills(studio: _Studio) -> list[_Part]:
    """image, rand, multiview1x3, multiview3x7: one picture per seed. Returns tiles for the contact sheet."""
    request = studio.request
    stem = "seed{:04d}" if request.view == "image" else f"seed{{:04d}}_{request.view}"
    rows, columns = SHEETS[request.view]
    on_sheet = request.seeds[:CONTACT_SHEET_TILES] if rows * columns == 1 else ()
    tiles = []
    studio.start(len(studio.seeds) * rows * columns)
    for seed in studio.seeds:
        cameras, shots = studio.stills(seed)
        studio.save_stills(stem.format(seed), shots, columns, (seed,), _angles(cameras))
        if seed in on_sheet:
            tiles.append(_Part(seed, images.thumbnail(shots.rgb[0]), _angles(cameras)))
    return tiles


def _grid_rows(studio: _Studio) -> list[_Part]:
    """One picture: a row per seed, a column per yaw. Returns its rows."""
    seeds, columns = studio.request.seeds, SHEETS["grid"][1]
    if len(seeds) * columns * studio.size**2 > GRID_PIXELS:
        raise BadArgument(
            f"a grid of {len(seeds)} seeds at {studio.size} pixels was asked for",
            expected=f"at most {GRID_PIXELS // (columns * studio.size**2)} rows of that size fit into one picture",
            remedy="use fewer --seeds or a smaller --size",
        )
    studio.start(len(studio.seeds) * columns)
    rows = []
    for seed in studio.seeds:
        cameras, shots = studio.stills(seed)
        rows.append(_Part(seed, shots, _angles(cameras)))
    return rows


def _epi(studio: _Studio) -> None:
    """One picture per seed: the middle view with its line marked, above that line in all views."""
    request = studio.request
    steps = request.frames or trajectories.EPI_STEPS
    cameras = trajectories.epi(studio.generator.cameras, size=studio.size, steps=steps)
    row = line_row(studio.size, request.epi_line)
    studio.start(len(studio.seeds) * steps)
    for seed in studio.seeds:
        scene = studio.identity(seed)
        middle, strip = np.empty(0), []
        for shots in studio.shoot(scene, cameras, f"seed {seed}"):
            if len(strip) <= steps // 2 < len(strip) + len(shots.rgb):
                middle = shots.rgb[steps // 2 - len(strip)]
            strip.extend(shots.rgb[:, row])
        picture = epi_picture(middle, np.stack(strip), row=row)
        studio.save(f"seed{seed:04d}_epi.png", picture, "epi", (seed,), _angles(cameras))


def _video(studio: _Studio) -> None:
    """One video per seed: the camera moves once around its path."""
    cameras = studio.path(studio.request.frames or trajectories.VIDEO_FRAMES)
    studio.start(len(studio.seeds) * len(cameras))
    for seed in studio.seeds:
        scene = studio.identity(seed)
        takes = studio.shoot(scene, cameras, f"seed {seed}")
        studio.film(f"seed{seed:04d}", takes, (seed,), _angles(cameras))


def _interpolation(studio: _Studio) -> None:
    """One video from seed to seed and back to the first, slowing down at each; the camera makes one round meanwhile."""
    seeds, frames = studio.request.seeds, studio.request.frames or trajectories.TRANSITION_FRAMES
    cameras = studio.path(frames * len(seeds))
    points = [Subject(f"seed {seed}", studio.latent(seed)[0]) for seed in seeds]
    between = Between(studio.generator, "lerp")

    def takes() -> Iterator[Shots]:
        for index, (latent, after) in enumerate(transitions(points, frames, between)):
            yield from studio.shoot(studio.scene(latent), cameras[index], f"after {after}")

    studio.start(len(cameras))
    studio.film("interpolation", takes(), seeds, _angles(cameras))


class _Studio:
    """One call of `sample`: the generator, the order, and what has been made so far."""

    def __init__(
        self,
        generator: Generator,
        request: SampleRequest,
        out: Path,
        provenance: Mapping[str, Any],
        progress: Progress,
    ):
        self.generator, self.request, self.out, self.progress = generator, request, out, progress
        self.provenance = provenance
        self.seeds = request.seeds  # those that are this process's work
        self.size = request.size or generator.image_size
        self.device = device_of(generator)
        self.written: list[SampledFile] = []
        self.scenes = self.pictures = 0

    def take_over(self, made: list[tuple[list[SampledFile], int, int]]) -> None:
        """Go on as if this process had made what all have: files, in the order of their seeds, scenes and pictures."""
        place = {seed: i for i, seed in enumerate(self.request.seeds)}
        written, scenes, pictures = zip(*made, strict=True)
        self.written = sorted((file for part in written for file in part), key=lambda file: place[file.seeds[0]])
        self.scenes, self.pictures = sum(scenes), sum(pictures)

    def start(self, pictures: int) -> None:
        """Announce how many views there will be."""
        self.progress.start(f"rendering {self.request.view}", pictures)

    def latent(self, seed: int) -> tuple[Latent, torch.Generator]:
        """`latent_of_seed` at the truncation of the order."""
        return latent_of_seed(self.generator, seed, truncation=self.request.truncation)

    def scene(self, latent: Latent, view_from: Camera | None = None) -> Scene:
        """The one expensive call."""
        self.scenes += 1
        return self.generator.scene(latent, view_from)

    def identity(self, seed: int) -> Scene:
        """The scene of a seed, colours fixed, saved if that was asked for."""
        return self.saved(seed, self.scene(self.latent(seed)[0]))

    def saved(self, seed: int, scene: Scene) -> Scene:
        """The same scene, after writing it to its file if that was asked for."""
        if not self.request.save_scene:
            return scene
        if not isinstance(scene, RadianceManifolds):
            raise BadArgument(
                "--save-scene was asked for",
                expected="the scenes of this generator have no maps to save, its pictures are asked of the network",
                remedy="drop --save-scene or use a model that makes maps",
            )
        name = f"seed{seed:04d}{SUFFIX}"
        save_scene(
            self.out / name,
            scene,
            cameras=self.generator.cameras,
            image_size=self.generator.image_size,
            provenance=self._provenance(seed),
        )
        self.written.append(SampledFile(self.out / name, "scene", (seed,), (), ()))
        return scene

    def _provenance(self, seed: int) -> dict[str, Any]:
        if isinstance(self.generator, SavedScene):
            return self.generator.config.provenance
        family = getattr(self.generator, "family", type(self.generator).__name__)
        drawn = {"seed": seed, "truncation": self.request.truncation, "latent_dim": self.generator.latent_dim}
        return {**self.provenance, "family": family, **drawn}

    def shoot(self, scene: Scene, cameras: Camera, note: str) -> Iterator[Shots]:
        """`render_shots`, counted, with progress."""
        for shots in render_shots(scene, cameras, device=self.device):
            if self.request.depth and shots.distance is None:
                raise BadArgument(
                    "--depth was asked for",
                    expected="the scenes of this generator carry no distance",
                    remedy="drop --depth or use a generator with geometry",
                )
            self.pictures += len(shots.rgb)
            self.progress.advance(len(shots.rgb), note)
            yield shots

    def stills(self, seed: int) -> tuple[Camera, Shots]:
        """The cameras of a still view and what they see of a seed. Only `rand` shows colours that follow the camera
        (as published, where maps depend on it); all other views keep them fixed."""
        if self.request.view == "rand":
            latent, rng = self.latent(seed)
            cameras = trajectories.rand(self.generator.cameras, rng, size=self.size)
            scene = self.saved(seed, self.scene(latent, cameras.to(self.device)))
        else:
            cameras = _STILL_CAMERAS[self.request.view](self.generator.cameras, size=self.size)
            scene = self.identity(seed)
        return cameras, joined(list(self.shoot(scene, cameras, f"seed {seed}")))

    def path(self, frames: int) -> Camera:
        """The camera path of a video."""
        return trajectories.PATHS[self.request.camera_path](self.generator.cameras, size=self.size, frames=frames)

    def save(self, name: str, picture: np.ndarray, kind: str, seeds: Seeds, views: Views, **near_far: float) -> None:
        """Write one PNG into `out` and remember it."""
        notes = {"seeds": ",".join(map(str, seeds)), "truncation": f"{self.request.truncation:g}"}
        images.save_png(self.out / name, picture, notes=notes | (depth_images.NOTES if kind == "depth" else {}))
        self.remember(name, kind, seeds, views, **near_far)

    def remember(self, name: str, kind: str, seeds: Seeds, views: Views, **near_far: float) -> None:
        """The file `name` is finished."""
        pitch, yaw = zip(*views, strict=True)
        self.written.append(SampledFile(self.out / name, kind, seeds, pitch, yaw, **near_far))

    def save_stills(self, stem: str, shots: Shots, columns: int, seeds: Seeds, views: Views) -> None:
        """The pictures as one sheet (of one tile, perhaps), with the depth and alpha sheets that were asked for."""

        def save(suffix: str, tiles: np.ndarray, kind: str, **near_far: float) -> None:
            self.save(f"{stem}{suffix}.png", images.sheet(tiles, columns=columns), kind, seeds, views, **near_far)

        save("", shots.rgb, "image")
        if self.request.alpha:
            save("_alpha", images.matte(shots.rgb, shots.alpha), "alpha")
        if self.request.depth and shots.distance is not None:
            near, far = depth_images.depth_range(shots.distance, shots.alpha)
            save("_depth", depth_images.depth16(shots.distance), "depth")
            preview = depth_images.depth_preview(shots.distance, (near, far))
            save("_depth_preview", preview, "depth_preview", near=near, far=far)

    def film(self, stem: str, takes: Iterable[Shots], seeds: Seeds, views: Views) -> None:
        """The takes as one video, and one of their depth if that was asked for (on the scale of its first takes)."""
        limits: tuple[float, float] | None = None
        names = [f"{stem}.mp4", f"{stem}_depth.mp4"][: 1 + self.request.depth]
        with ExitStack() as stack:
            add, *add_depth = [stack.enter_context(mp4(self.out / name, fps=self.request.fps)) for name in names]
            for shots in takes:
                for frame in shots.rgb:
                    add(frame)
                if add_depth and shots.distance is not None:
                    limits = limits or depth_images.depth_range(shots.distance, shots.alpha)
                    for frame in depth_images.depth_preview(shots.distance, limits):
                        add_depth[0](frame)
        self.remember(names[0], "video", seeds, views)
        if limits:
            self.remember(names[1], "depth_video", seeds, views, near=limits[0], far=limits[1])


def _angles(cameras: Camera) -> Views:
    angles = torch.stack([cameras.pitch, cameras.yaw], dim=-1).tolist()
    return tuple((round(pitch, 6), round(yaw, 6)) for pitch, yaw in angles)
