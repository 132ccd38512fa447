"""One HTML file in which heads turn: radiance-manifold scenes drawn by any browser, without server, network or GPU.

The page is `assets/viewer` with the scenes put in: WebGL2 draws every surface as a mesh, back to front, with the
renderer's geometry (see viewer_layers.py). Angles are radians, lengths world units.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files as resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from gramhd_core import __version__, files
from gramhd_core.checkpoints.checkpoint import load_generator, name_of
from gramhd_core.checkpoints.saved_scene import TRUNCATION, SavedScene, identities
from gramhd_core.errors import BadArgument
from gramhd_core.geometry.camera import CameraPrior
from gramhd_core.outputs.depth_images import depth_preview, depth_range
from gramhd_core.outputs.images import alpha8, rgb8
from gramhd_core.outputs.sample_request import SampleRequest
from gramhd_core.outputs.shots import latent_of_seed
from gramhd_core.outputs.viewer_layers import identity_document, text64, webp
from gramhd_core.progress import Progress, Silent
from gramhd_core.scenes.manifolds import RadianceManifolds
from gramhd_core.scenes.scene import Scene

SUFFIXES = (".html", ".htm")
SCRIPTS = ("shaders.js", "renderer.js", "motion.js", "viewer.js")  # one after the other in one scope
SIZES = range(16, 2049)  # cells along a map: 2048 is the largest texture that every WebGL2 browser promises
TRAINED = 2.0  # standard deviations of the training cameras within which the page turns freely
NARROWEST = 0.1  # radians it turns to each side whatever the training cameras did
THUMBNAIL = 96  # pixels
LOOK = 128  # pixels of the picture from which the range of depths is taken


class View(NamedTuple):
    """What was written: the page, how many identities are in it, its size in bytes."""

    path: Path
    identities: int
    size: int


def write_viewer(
    scenes: Iterable[Scene],
    names: Sequence[str],
    path: Path | str,
    *,
    cameras: CameraPrior,
    size: int = 512,
    title: str = "gramhd",
    progress: Progress | None = None,
) -> View:
    """Write the page with one identity per scene, in the order of `names`.

    scenes: `RadianceManifolds` of one identity each, taken one at a time, so they may come from a generator.
    cameras: the training cameras; the page has their field of view and turns within `TRAINED` deviations of their mean.
    size: maps with more cells along a side are averaged down to it. Raises `BadArgument` for no scenes, scenes without
    maps, numbers that are not finite, a `path` that is a folder or not HTML, a size outside `SIZES`.
    """
    path, progress = Path(path), progress or Silent()
    check_request(path, size=size, identities=len(names))
    head, tail = _asset("viewer.html").split("{{identities}}")
    page = {"version": __version__, "title": title, "names": list(names), **_camera_document(cameras)}
    fields = {"title": html.escape(title), "page": _script_text(page)}
    fields |= {"style": _asset("viewer.css"), "script": "\n".join(map(_asset, SCRIPTS))}
    progress.start("writing the page", len(names))
    try:
        with files.atomic(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(_put(head, fields))
            for index, (scene, name) in enumerate(zip(scenes, names, strict=True)):
                document, thumbnail = _identity(scene, cameras, size=size)
                stream.write(_element("application/json", f"identity-{index}", _script_text(document)))
                stream.write(_element("text/plain", f"thumbnail-{index}", thumbnail))
                progress.advance(note=name)
            stream.write(_put(tail, fields))
    finally:
        progress.finish()
    return View(path, len(names), path.stat().st_size)


class Cast(NamedTuple):
    """Who is on a page: scenes made when they are asked for, their names, and the cameras they were trained with."""

    scenes: Iterator[Scene]
    names: list[str]
    cameras: CameraPrior


def cast_of(
    models: Sequence[str], seeds: Sequence[int] | None, truncation: float | None, *, device: torch.device | str
) -> Cast:
    """Every seed of every model (checkpoint, run folder or saved scene), in this order; defaults as `identities` has.

    Raises `BadArgument` for impossible seeds or truncations and for models that were trained with different cameras.
    """
    chosen = (0,) if seeds is None else tuple(seeds)
    SampleRequest(chosen, truncation=TRUNCATION if truncation is None else truncation)  # refuses before models load
    generators = [load_generator(model, device=device) for model in models]
    heads = [identities(generator, seeds, truncation) for generator in generators]
    if len({generator.cameras for generator in generators}) > 1:
        raise BadArgument(
            f"{', '.join(models)} go by different cameras",
            expected="the heads of one page are seen by the same",
            remedy="make a page for each",
        )
    names: list[str] = []
    for model, generator, head in zip(models, generators, heads, strict=True):
        name = name_of(model).removesuffix(".safetensors").removesuffix(".scene")
        if isinstance(generator, SavedScene):  # one head, and its file may not know the seed
            names.append(name)
        else:
            names += [f"{name}, seed {seed}" if len(models) > 1 else f"Seed {seed}" for seed in head.seeds]

    def scenes() -> Iterator[Scene]:
        for generator, head in zip(generators, heads, strict=True):
            for seed in head.seeds:
                with torch.no_grad():
                    yield generator.scene(latent_of_seed(generator, seed, truncation=head.truncation)[0])

    return Cast(scenes(), names, generators[0].cameras)


def check_request(path: Path, *, size: int, identities: int) -> None:
    """Refuse what cannot be written, before any network runs."""
    if path.suffix.lower() not in SUFFIXES:
        raise BadArgument(
            f"the page was to be {path}", expected="its name ends in .html", remedy="write for example --out head.html"
        )
    if path.is_dir():
        raise BadArgument(f"{path} is a folder", expected="the page is one file", remedy="name a file in that folder")
    if size not in SIZES:
        raise BadArgument(
            f"maps of {size} cells along a side were asked for",
            expected=f"browsers take {SIZES[0]} to {SIZES[-1]}",
            remedy="use a --size in that range, 512 is usual",
        )
    if not identities:
        raise BadArgument("no identity was given", expected="a page shows at least one", remedy="name some --seeds")


@torch.no_grad()
def _identity(scene: Scene, cameras: CameraPrior, *, size: int) -> tuple[dict[str, Any], str]:
    """What the page holds of a scene, and its thumbnail."""
    if not isinstance(scene, RadianceManifolds):
        raise BadArgument(
            "this generator's scenes have no maps (its colours are defined ray by ray)",
            expected="the page shows surfaces with pictures on them",
            remedy="use a GRAM-HD checkpoint, or set generator.scene to baked",
        )
    scene = scene.baked()
    document = identity_document(scene, size=size)  # refuses what cannot be rendered
    camera = cameras.at(cameras.pitch_mean, cameras.yaw_mean, size=LOOK).to(scene.maps.device)
    front = scene.render(camera)
    small = scene.render(camera.with_size(THUMBNAIL))
    assert front.distance is not None, "manifolds know their distances"
    limits = depth_range(front.distance[:, 0].float().cpu().numpy(), alpha8(front.alpha))
    return document | {"depthRange": limits}, webp(rgb8(small.rgb)[0], quality=85)


def _camera_document(cameras: CameraPrior) -> dict[str, Any]:
    """Field of view, mean and free range of the angles; and the colours of depths, far to near."""

    def limits(mean: float, deviation: float) -> list[float]:
        reach = max(TRAINED * deviation, NARROWEST)
        return [mean - reach, mean + reach]

    ramp = depth_preview(np.linspace(1, 0, 256)[None, None], (0.0, 1.0))
    return {
        "fovDegrees": cameras.fov_degrees,
        "radius": cameras.radius,
        "pitch": {"mean": cameras.pitch_mean, "range": limits(cameras.pitch_mean, cameras.pitch_sd)},
        "yaw": {"mean": cameras.yaw_mean, "range": limits(cameras.yaw_mean, cameras.yaw_sd)},
        "depthColours": text64(ramp.tobytes()),
    }


def _element(kind: str, name: str, text: str) -> str:
    return f'<script type="{kind}" id="{name}">{text}</script>\n'


def _asset(name: str) -> str:
    return (resources("gramhd_core") / "assets" / "viewer" / name).read_text(encoding="utf-8")


def _put(template: str, fields: dict[str, str]) -> str:
    """`{{name}}` in the template becomes fields[name]; in one pass, so that nobody's title is taken for a place."""
    return re.sub(r"\{\{(\w+)\}\}", lambda place: fields[place[1]], template)


def _script_text(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
