"""What can be asked of `sample`, and what it answers. A request that exists is a valid one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gramhd_core.errors import BadArgument
from gramhd_core.outputs.depth_images import UNITS_PER_LEVEL
from gramhd_core.outputs.epi import EYES
from gramhd_core.outputs.trajectories import PATHS

STILLS = ("image", "rand", "multiview1x3", "multiview3x7", "grid")
MOVIES = ("video", "interpolation")
VIEWS = (*STILLS, "epi", *MOVIES)
SIZES = range(8, 4097)


@dataclass(frozen=True)
class SampleRequest:
    """Which identities, seen how.

    truncation: psi in [0, 1]. view: one of `VIEWS`. size: side of the pictures in pixels, None = as trained.
    depth, alpha: also write distance pictures and foreground mattes (see `depth_images` and `images.matte`).
    frames: of one loop (video: 60), of one transition (interpolation: 30), of one sweep (epi: 129). fps: of videos.
    camera_path: of videos, one of `trajectories.PATHS`. epi_line: height of the strip's line, 0 top to 1 bottom.
    save_scene: also write each identity as a scene file (scenes/scene_files.py).
    html: also write index.html, a page that shows all the others (outputs/gallery.py).
    """

    seeds: tuple[int, ...]
    truncation: float = 0.7
    view: str = "image"
    size: int | None = None
    depth: bool = False
    alpha: bool = False
    frames: int | None = None
    fps: int = 30
    camera_path: str = "orbit"
    epi_line: float = EYES
    save_scene: bool = False
    html: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", tuple(dict.fromkeys(self.seeds)))  # each identity once, order kept
        _known("view", self.view, VIEWS)
        _known("camera path", self.camera_path, PATHS)
        _check(len(self.seeds) > 0, "no seed was given", "at least one is needed", "name some, like --seeds 0-3")
        for seed in self.seeds:
            _check(
                0 <= seed < 2**63,
                f"the seed is {seed}",
                "seeds are whole numbers from 0 to 2^63 - 1",
                "use another --seeds",
            )
        _check(
            0 <= self.truncation <= 1,
            f"the truncation is {self.truncation:g}",
            "it must lie between 0 (the average head) and 1 (full variety)",
            "use a --trunc in that range, 0.7 is usual",
        )
        _check(
            self.size is None or self.size in SIZES,
            f"the size is {self.size} pixels",
            f"pictures are {SIZES[0]} to {SIZES[-1]} pixels wide",
            "use a --size in that range",
        )
        _check(
            self.frames is None or 2 <= self.frames <= 10_000,
            f"{self.frames} frames were asked for",
            "a movement has 2 to 10000 of them",
            "use a --frames in that range",
        )
        _check(
            1 <= self.fps <= 240,
            f"the frame rate is {self.fps}",
            "1 to 240 frames a second can be written",
            "use a --fps in that range",
        )
        _check(
            0 <= self.epi_line <= 1,
            f"the line is at {self.epi_line:g} of the height",
            "it must lie between 0 (top) and 1 (bottom)",
            "use a line in that range, 0.48 is at the eyes",
        )
        self._check_view()

    def check_devices(self, devices: int) -> None:
        """BadArgument if that many devices cannot share this work."""
        _check(
            devices == 1 or self.view != "interpolation",
            f"{devices} devices were given for --view interpolation",
            "that is one film, made frame after frame",
            "drop --devices or use another view",
        )

    def _check_view(self) -> None:
        """What not every view can have."""
        _check(
            self.view != "interpolation" or len(self.seeds) > 1,
            "one seed was given",
            "an interpolation runs between at least two",
            "add another to --seeds",
        )
        _check(
            not self.alpha or self.view in STILLS,
            f"--alpha was asked for with --view {self.view}",
            "only pictures have a transparent version",
            f"drop --alpha or use one of: {', '.join(STILLS)}",
        )
        _check(
            not self.depth or self.view != "epi",
            "--depth was asked for with --view epi",
            "a strip shows colours only",
            "drop --depth or use another view",
        )
        _check(
            not self.save_scene or self.view != "interpolation",
            "--save-scene was asked for with --view interpolation",
            "every frame of that is another scene",
            "drop --save-scene or use another view",
        )


@dataclass(frozen=True)
class SampledFile:
    """A file that was written.

    kind: "image", "depth" (16 bit), "depth_preview", "alpha", "contact_sheet", "epi", "video", "depth_video", "scene",
    "gallery".
    pitch, yaw: radians, one per view, in reading order (sheets row by row, videos in time; contact sheets and grids
    repeat theirs for every seed; scenes and galleries have none). near, far: what the palest and darkest colour of a
    depth preview mean, world units.
    """

    path: Path
    kind: str
    seeds: tuple[int, ...]
    pitch: tuple[float, ...]
    yaw: tuple[float, ...]
    near: float | None = None
    far: float | None = None


@dataclass(frozen=True)
class Sampled:
    """Everything `sample` did: files in the order of writing and what they cost (scenes: calls of `scene`)."""

    request: SampleRequest
    size: int
    files: tuple[SampledFile, ...]
    scenes: int
    pictures: int
    seconds: float

    def document(self) -> dict[str, Any]:
        """The JSON document of `gramhd sample --json`."""
        return {
            **asdict(self.request),
            "size": self.size,
            "scenes": self.scenes,
            "pictures": self.pictures,
            "seconds": round(self.seconds, 3),
            "depth_units_per_level": UNITS_PER_LEVEL,
            "files": [
                {
                    key: str(value) if key == "path" else value
                    for key, value in asdict(file).items()
                    if value is not None
                }
                for file in self.files
            ],
        }


def _known(what: str, name: str, names: Iterable[str]) -> None:
    names = list(names)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    remedy = f"did you mean `{nearest[0]}`" if nearest else "use one of these"
    _check(name in names, f"the {what} is `{name}`", f"it must be one of {', '.join(names)}", remedy)


def _check(valid: bool, given: str, expected: str, remedy: str) -> None:
    if not valid:
        raise BadArgument(given, expected=expected, remedy=remedy)
