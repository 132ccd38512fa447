"""What is known of a kind of head before it is seen: where its landmarks are in space and how they vary.

K landmarks, M modes. World units and axes (docs/conventions.md): the origin of a template is the origin of the world,
the centre of every crop. A template is one JSON file; that of heads is made again by
`save_template(measured(HEAD_SEEDS), HEAD_FILE)`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gramhd_core.data.head_anatomy import landmarks_of, shape_of
from gramhd_core.data.head_identity import HeadIdentity
from gramhd_core.data.head_shapes import WORLD_PER_U
from gramhd_core.data.landmarks import CAT_9, EYES_2, FACE_5, IBUG_68, SCHEMES, Scheme
from gramhd_core.data.subjects import CATS, FACES, PROCEDURAL_HEADS, Subject
from gramhd_core.errors import BadArgument, BadLabels
from gramhd_core.files import write_text

HEAD_FILE = Path(__file__).parents[1] / "assets" / "templates" / "heads.json"
HEAD_SEEDS = range(7_000_000, 7_001_000)  # of the identities behind HEAD_FILE: no data set begins there by itself
HEAD_MODES = 20
LARGEST = 0.5  # world units; heads fit into +-0.12
DECIMALS = 6  # of world units: a thousandth of a pixel at 256


@dataclass(frozen=True)
class Template:
    """The landmarks of one kind of head.

    points: float64 [K, 3] of the average head, world units.
    modes: float64 [M, K, 3] how heads differ from it, one standard deviation each, independent of each other.
    spread: world units, the standard deviation per coordinate of what the modes leave out.
    origin: where these numbers come from, a sentence.
    """

    scheme: Scheme
    points: NDArray[np.float64]
    origin: str
    modes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0, 3)))
    spread: float = 0.0

    def __post_init__(self) -> None:
        if not self.modes.size:
            object.__setattr__(self, "modes", np.zeros((0, len(self.scheme), 3)))
        assert self.points.shape == (len(self.scheme), 3), self.points.shape
        assert self.modes.shape[1:] == self.points.shape, self.modes.shape


def template_for(scheme: Scheme, subject: Subject) -> Template:
    """What the toolkit knows of the landmarks of `scheme` on a built-in subject; BadArgument if that is nothing."""
    heads = {IBUG_68: _head, FACE_5: _face_5, EYES_2: _eyes_2}
    known = {FACES.name: heads, PROCEDURAL_HEADS.name: heads, CATS.name: {CAT_9: _cat_9, EYES_2: _cat_eyes}}
    if scheme in known.get(subject.name, {}):
        return known[subject.name][scheme]()
    has = " and ".join(known_scheme.name for known_scheme in known.get(subject.name, {}))
    raise BadArgument(
        f"the subject {subject.name} has no template for {scheme.name} landmarks",
        expected=f"it has one for {has}"
        if has
        else "only faces, cats and procedural-heads bring templates of their own",
        remedy="use --self-calibrate, which learns a template from the landmarks of the photographs themselves",
    )


def measured(seeds: Iterable[int], *, modes: int = HEAD_MODES) -> Template:
    """The ibug-68 template of procedural heads: mean and principal directions of the landmarks of these identities."""
    identities = [HeadIdentity.from_seed(seed) for seed in seeds]
    points = np.stack([landmarks_of(identity, shape_of(identity)) for identity in identities]) * WORLD_PER_U
    mean = points.mean(axis=0)
    _, lengths, directions = np.linalg.svd((points - mean).reshape(len(points), -1), full_matrices=False)
    sd = lengths / np.sqrt(len(points))
    kept = (sd[:modes, None] * directions[:modes]).reshape(-1, *mean.shape)
    spread = float(np.sqrt((sd[modes:] ** 2).sum() / mean.size))
    origin = (
        f"mean and {len(kept)} principal directions of the 68 landmarks that gramhd_core/data/head_anatomy.py gives "
        f"{len(points)} procedural heads: geometry of this repository, no scans and no photographs"
    )
    return Template(IBUG_68, mean, origin, kept, spread)


def picked(template: Template, scheme: Scheme, groups: list[list[int]]) -> Template:
    """The template of `scheme`, whose landmark k is the mean of the landmarks groups[k] of another."""
    weights = np.zeros((len(groups), len(template.scheme)))
    for row, group in zip(weights, groups, strict=True):
        row[group] = 1 / len(group)
    return replace(template, scheme=scheme, points=weights @ template.points, modes=weights @ template.modes)


def save_template(template: Template, path: Path | str) -> None:
    """Write a template as JSON; a scheme of one's own is written with it."""
    plain = {
        "format": "gramhd template 1",
        "origin": template.origin,
        "scheme": {"name": template.scheme.name, "mirror": list(template.scheme.mirror)},
        "spread": round(template.spread, DECIMALS + 2),
        "points": template.points.round(DECIMALS).tolist(),
        "modes": template.modes.round(DECIMALS).tolist(),
    }
    write_text(path, json.dumps(plain, separators=(",", ":")).replace('"points"', '\n"points"') + "\n")


def load_template(path: Path | str) -> Template:
    """Read what `save_template` wrote (or a person did: modes, spread and origin may be absent); BadLabels if bad."""
    try:
        return _from_plain(json.loads(Path(path).read_text("utf-8")))
    except OSError as error:
        raise _bad(path, error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise _bad(path, f"{type(error).__name__}: {error}") from error


def _from_plain(plain: dict[str, Any]) -> Template:
    named = plain["scheme"]
    scheme = SCHEMES[named] if isinstance(named, str) else Scheme(str(named["name"]), tuple(map(int, named["mirror"])))
    points = np.array(plain["points"], dtype=np.float64)
    modes = np.array(plain.get("modes") or np.zeros((0, len(scheme), 3)), dtype=np.float64)
    if points.shape != (len(scheme), 3) or modes.shape[1:] != points.shape:
        raise ValueError(f"{len(scheme)} points of 3 coordinates are needed, and modes [M, {len(scheme)}, 3]")
    if not (np.isfinite(points).all() and np.isfinite(modes).all()):
        raise ValueError("a coordinate is not finite")
    if np.abs(points).max() > LARGEST:
        raise ValueError(f"a coordinate is beyond {LARGEST} world units, half the way to the camera")
    if len(scheme) > 2 and np.linalg.svd(points - points.mean(axis=0), compute_uv=False)[1] < 1e-6:
        raise ValueError("the points lie on one line")
    return Template(scheme, points, str(plain.get("origin", "unknown")), modes, float(plain.get("spread", 0.0)))


def _bad(path: Path | str, reason: str) -> BadLabels:
    return BadLabels(
        f"{path} is not a landmark template ({reason})",
        expected='a JSON object with "scheme" and "points" [K, 3] in world units is needed',
        remedy="give the template that --self-calibrate wrote, or leave the option out",
    )


@functools.cache
def _head() -> Template:
    return load_template(HEAD_FILE)


@functools.cache
def _face_5() -> Template:
    return picked(_head(), FACE_5, [list(range(36, 42)), list(range(42, 48)), [30], [48], [54]])


@functools.cache
def _eyes_2() -> Template:
    return picked(_head(), EYES_2, [list(range(36, 42)), list(range(42, 48))])


@functools.cache
def _cat_9() -> Template:
    """Eyes, mouth, ears: a head as wide as ours, eyes a little above its middle, ears that stand up and back."""
    eyes, mouth = [(-0.028, 0.005, 0.050), (0.028, 0.005, 0.050)], [(0.0, -0.036, 0.072)]
    left = [(-0.062, 0.030, 0.005), (-0.056, 0.085, 0.000), (-0.022, 0.052, 0.020)]
    right = [(-x, y, z) for x, y, z in reversed(left)]
    origin = "proportions of a cat's head in plain numbers, set by eye: coarse"
    return Template(CAT_9, np.array([*eyes, *mouth, *left, *right]), origin, spread=0.004)


@functools.cache
def _cat_eyes() -> Template:
    return picked(_cat_9(), EYES_2, [[0], [1]])
