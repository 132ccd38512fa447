"""What we photograph, and the numbers that go with it, each with a name. Angles are radians.

Cameras: GRAM and GRAM-HD train FFHQ faces and AFHQ cats alike with yaw ~ N(0, 0.3) and pitch ~ N(0, 0.155).

A subject of one's own is a TOML file; everything but `name` may be left out:

    name = "dogs"
    scheme = "cat-9"              # which landmarks: ibug-68, face-5, cat-9, eyes-2, or one of its own:
    # scheme = { name = "dog-6", mirror = [1, 0, 2, 4, 3, 5] }   what every landmark is in the mirrored picture
    template = "dogs.json"        # where they are on the average head (a file beside this one); or --self-calibrate
    [cameras]                     # pitch_sd, yaw_sd, pitch_mean, yaw_mean (radians), fov_degrees (of the crop)
    yaw_sd = 0.4
    [limits]                      # beyond which a photograph is left out: yaw, pitch (radians), residual, sharpness
    yaw = 1.2
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gramhd_core.data.landmarks import CAT_9, IBUG_68, SCHEMES, Scheme
from gramhd_core.errors import BadArgument, MissingDependency
from gramhd_core.geometry.camera import CameraPrior


@dataclass(frozen=True)
class Limits:
    """What a photograph must not exceed to be taken in.

    yaw, pitch: radians from level and frontal. residual: robust rms of the landmark fit, in widths of the crop.
    sharpness: the least variance of the Laplacian in the middle of the crop at 128 pixels, greys 0 to 255. Sharp
    pictures have 500 to 3000; blurred by two of these pixels (standard deviation), 6 to 30. outside: the largest share
    of the crop that lies beyond the borders of the photograph.
    """

    yaw: float = 1.0
    pitch: float = 0.7
    residual: float = 0.04
    sharpness: float = 10.0
    outside: float = 0.4


@dataclass(frozen=True)
class Subject:
    """One kind of head.

    cameras: the distribution of poses its pictures are taken from, and the angle of view of its crops.
    label_pitch_offset: added to the pitch of the published pose files of this subject to make "level" mean zero;
        the regressors behind those files had another idea of level.
    scheme: the landmarks it is usually described by. template: a file that says where they are on the average head;
        None: the built-in one for that scheme, where there is one.
    """

    name: str
    cameras: CameraPrior
    label_pitch_offset: float = 0.0
    scheme: Scheme = IBUG_68
    template: Path | None = None
    limits: Limits = Limits()


FACES = Subject("faces", CameraPrior(pitch_sd=0.155, yaw_sd=0.3), label_pitch_offset=-0.1)  # FFHQ poses/*.mat
CATS = Subject(  # AFHQ poses/*_pose.npy
    "cats", CameraPrior(pitch_sd=0.155, yaw_sd=0.3), label_pitch_offset=-0.14, scheme=CAT_9
)
PROCEDURAL_HEADS = Subject("procedural-heads", CameraPrior(pitch_sd=0.155, yaw_sd=0.3))  # exact by construction
SUBJECTS = {subject.name: subject for subject in (FACES, CATS, PROCEDURAL_HEADS)}


def find_subject(name: str) -> Subject:
    """A built-in subject by its name, or the one that a TOML file describes."""
    if name in SUBJECTS:
        return SUBJECTS[name]
    path = Path(name)
    if path.suffix.lower() != ".toml":
        raise BadArgument(
            f"--subject {name}",
            expected=f"the subjects are {', '.join(SUBJECTS)}, or a TOML file",
            remedy="choose one of them",
        )
    return read_subject(path)


def read_subject(path: Path) -> Subject:
    """The subject of a TOML file, every entry checked."""
    document = _toml(path)
    known = {"name": str, "scheme": (str, dict), "template": str, "cameras": dict, "limits": dict}
    for key, value in document.items():
        if key not in known or not isinstance(value, known[key]):
            raise _bad(path, f"has `{key} = {value!r}`", f"the entries are {', '.join(known)}")
    if not document.get("name"):
        raise _bad(path, "has no name", 'a subject has one, like `name = "dogs"`')
    template = document.get("template")
    if template is not None and not (path.parent / template).is_file():
        raise _bad(path, f"names the template {template}, which is not beside it", "a template is a file")
    return Subject(
        document["name"],
        _numbers(path, "cameras", document.get("cameras", {}), CameraPrior()),
        scheme=_scheme(path, document.get("scheme", IBUG_68.name)),
        template=None if template is None else path.parent / template,
        limits=_numbers(path, "limits", document.get("limits", {}), Limits()),
    )


def _toml(path: Path) -> dict[str, Any]:
    try:
        toml = importlib.import_module("tomllib")  # Python 3.11
    except ModuleNotFoundError:
        try:
            toml = importlib.import_module("tomli")
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"{path} is TOML", expected="Python 3.10 needs a library to read it", remedy="run `pip install tomli`"
            ) from error
    try:
        return toml.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _bad(path, f"cannot be read ({error.strerror})", "a TOML file is needed") from error
    except ValueError as error:  # TOMLDecodeError, UnicodeDecodeError
        raise _bad(path, f"is not TOML ({' '.join(str(error).split())})", "a subject is described in TOML") from error


def _scheme(path: Path, given: str | dict[str, Any]) -> Scheme:
    if isinstance(given, str):
        if given not in SCHEMES:
            expected = f"the schemes are {', '.join(SCHEMES)}, or a table with name and mirror"
            raise _bad(path, f"has the scheme {given}", expected)
        return SCHEMES[given]
    name, mirror = given.get("name"), given.get("mirror")
    rule = 'a scheme of its own is { name = "dog-6", mirror = [1, 0, 2, ...] }, in pairs that name each other'
    if not (isinstance(name, str) and isinstance(mirror, list) and mirror):
        raise _bad(path, "has a scheme without name or mirror", rule)
    places = range(len(mirror))
    if not all(type(m) is int and m in places and mirror[m] == k for k, m in enumerate(mirror)):
        raise _bad(path, f"has the mirror {mirror}", rule)
    return Scheme(name, tuple(mirror))


def _numbers(path: Path, table: str, given: dict[str, Any], default: Any) -> Any:
    """`default` with the numbers of one table."""
    names = [field.name for field in fields(default) if (table, field.name) != ("cameras", "radius")]
    for name, value in given.items():
        sound = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if name not in names or not sound or (value <= 0 and not name.endswith("mean") and name != "sharpness"):
            expected = f"{', '.join(names)} are numbers, and all but means and sharpness are positive"
            raise _bad(path, f"has `{name} = {value!r}` in [{table}]", expected)
    if table == "cameras" and not given.get("fov_degrees", 12.0) < 120:
        raise _bad(path, f"has `fov_degrees = {given['fov_degrees']}`", "an angle of view is below 120 degrees")
    return type(default)(**{**vars(default), **{name: float(value) for name, value in given.items()}})


def _bad(path: Path, given: str, expected: str) -> BadArgument:
    return BadArgument(f"{path} {given}", expected=expected, remedy="correct the file")
