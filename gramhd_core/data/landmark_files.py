"""The `file` backend: landmarks that somebody has already made, in the formats people have them in.

| file | what it holds | pixels |
|---|---|---|
| .json | {image: [[x, y], ...]}, or a list of {"file": image, "landmarks": [[x, y], ...]} | ours |
| .jsonl | a {"name": image, "landmarks": ...} per line: a `poses.jsonl` of ours | ours |
| .csv | image, x0, y0, x1, y1, ... per line; a line of titles may come first | ours |
| .json of COCO | `images`, `annotations` with `keypoints` (x, y, v) or the `face_kpts` of COCO-WholeBody | indices |
| IMAGE.txt | 5 lines of `x y`: eyes, nose tip, mouth corners (what GRAM's preparation takes) | indices |
| IMAGE.cat | the CAT data set: 9, then 9 pairs: eyes, mouth, left ear, right ear | indices |
| IMAGE.pts | 300-W: version, n_points, pairs in braces | counted from 1 |
| .txt of WFLW | 196 numbers, 4 of a box, 6 attributes, image: 98 landmarks, of which 68 are kept | indices |

Ours: the centre of the first pixel is (0.5, 0.5), as everywhere in the house. Indices: it is (0, 0), so 0.5 is added.
Counted from 1: it is (1, 1), so 0.5 is taken off. A landmark that is NaN, null, empty or of COCO's v = 0 was not found;
a third number of ours is a confidence in [0, 1]. Several heads of one image come in several entries of the same name.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gramhd_core.data.image_files import image_stem
from gramhd_core.data.landmark_coco import coco_entries, is_coco
from gramhd_core.data.landmarks import CAT_9, EYES_2, FACE_5, IBUG_68, Face, Scheme, box_of
from gramhd_core.errors import BadLabels

INDICES, COUNTED_FROM_1 = 0.5, -0.5  # what brings such pixels to ours
TABLES = ("landmarks.json", "landmarks.jsonl", "landmarks.csv")  # beside the photographs
BY_COUNT = {len(scheme): scheme for scheme in (IBUG_68, FACE_5, CAT_9, EYES_2)}
# Landmarks of WFLW that are iBUG's: jaw, upper edges of the brows, nose, lids (a quarter of the way, not a third) and
# lips. Both sets go around in the same sense.
WFLW_COUNT = 98
IBUG_FROM_WFLW = (
    *range(0, 33, 2),
    *range(33, 38),
    *range(42, 47),
    *range(51, 60),
    *(60, 61, 63, 64, 65, 67),
    *(68, 69, 71, 72, 73, 75),
    *range(76, 96),
)
_WFLW_FIELDS = 2 * WFLW_COUNT + 4 + 6 + 1


class Entry(NamedTuple):
    """One head as a file has it. where: what messages call it. points: float64 [K, 2 or 3], not yet in our pixels."""

    image: str
    where: str
    points: NDArray[np.float64]
    shift: float = 0.0


def read_landmarks(path: Path | str, scheme: Scheme | None = None) -> dict[str, list[Face]]:
    """Image name -> its heads, the largest first, from a file or a folder with a file per image (named by it, with or
    without the image's suffix). scheme: which landmarks they are; None: those of the house that are as many.

    BadLabels: unreadable, not one of the formats above, another number of landmarks.
    """
    faces: dict[str, list[Face]] = {}
    for entry in _entries(Path(path)):
        face = _face(entry, scheme)
        scheme = face.scheme
        if face.found.any():
            faces.setdefault(entry.image, []).append(face)
        else:
            faces.setdefault(entry.image, [])
    if not faces:
        raise _unknown_format(f"{path} holds no landmarks")
    return {name: sorted(found, key=lambda face: -face.area) for name, found in faces.items()}


def landmarks_beside(photos: Path | str) -> Path | None:
    """Where the landmarks of a folder of photographs are, if they lie among them."""
    photos = Path(photos)
    for name in TABLES:
        if (photos / name).is_file():
            return photos / name
    if photos.is_dir() and (any(photos.glob("*.pts")) or any(photos.glob("*.cat"))):
        return photos
    return None


def far_outside(face: Face, *, width: int, height: int, share: float = 0.1) -> int:
    """How many known landmarks are farther outside a photograph of that size than a share of the head's box."""
    left, top, right, bottom = face.box
    far = share * max(right - left, bottom - top)
    x, y = face.points[face.found].T
    return int(((x < -far) | (y < -far) | (x > width + far) | (y > height + far)).sum())


@dataclass(frozen=True)
class FileLandmarks:
    """Landmarks that were read from a file. See `LandmarkDetector`."""

    source: str
    scheme: Scheme
    faces: dict[str, list[Face]]
    name: str = "file"
    coarse: bool = False

    def __call__(self, image: NDArray[np.uint8], *, name: str) -> list[Face]:
        """The heads that the file has under the image's name, its last part, or that without suffix; [] if none."""
        del image
        return next((self.faces[key] for key in _keys(name) if key in self.faces), [])

    def knows(self, name: str) -> bool:
        """Whether the file speaks of the image at all."""
        return any(key in self.faces for key in _keys(name))

    def only(self, names: Iterable[str]) -> FileLandmarks:
        """The same for some images: cheap to send to a worker."""
        keys = {key for name in names for key in _keys(name)}
        return replace(self, faces={key: self.faces[key] for key in keys & self.faces.keys()})


def landmarks_from_file(path: Path | str, scheme: Scheme | None = None) -> FileLandmarks:
    """The detector of a label file; BadLabels as `read_landmarks`."""
    faces = read_landmarks(path, scheme)
    found = [face for faces_of_one in faces.values() for face in faces_of_one]
    if not found:
        raise _unknown_format(f"{path} has no image with a landmark that was found")
    return FileLandmarks(str(path), found[0].scheme, faces)


def _keys(name: str) -> tuple[str, ...]:
    last = PurePosixPath(name).name
    return name, last, PurePosixPath(name).with_suffix("").as_posix(), image_stem(last)


def _face(entry: Entry, scheme: Scheme | None) -> Face:
    count, rows = len(entry.points), entry.points
    if count == WFLW_COUNT and scheme in (None, IBUG_68):
        rows, count = rows[list(IBUG_FROM_WFLW)], len(IBUG_68)
    scheme = scheme or BY_COUNT.get(count)
    if scheme is None or len(scheme) != count:
        known = ", ".join(f"{len(s)} ({s.name})" for s in ([scheme] if scheme else BY_COUNT.values()))
        raise BadLabels(
            f"{entry.where} has {count} landmarks",
            expected=f"{known} {'was' if scheme else 'or 98 (WFLW) were'} expected",
            remedy="correct the entry, or describe the landmarks in a subject file",
        )
    confidence = rows[:, 2].copy() if rows.shape[1] == 3 else np.ones(count)
    points = rows[:, :2] + entry.shift
    unknown = ~np.isfinite(points).all(axis=1) | ~(confidence > 0)
    if (confidence[~unknown] > 1).any():
        raise BadLabels(
            f"{entry.where} has a confidence of {confidence[~unknown].max():g}",
            expected="the third number of a landmark is between 0 and 1",
            remedy="leave it out or divide it",
        )
    points[unknown], confidence[unknown] = np.nan, 0.0
    return Face(scheme, points, confidence, box_of(points) if not unknown.all() else (0.0, 0.0, 0.0, 0.0))


# ------------------------------------------------------------------------------------------- formats


def _entries(path: Path) -> Iterator[Entry]:
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in _PER_IMAGE and not p.name.startswith("."))
        beside = landmarks_beside(path)
        if not files and beside is None:
            raise _unknown_format(f"{path} holds no landmark files")
        for file in [beside] if beside is not None and beside != path else files:
            yield from _entries(file)
        return
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise _unknown_format(f"{path} ends with {suffix or 'nothing'}")
    yield from _FORMATS[suffix](path, _text(path))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise BadLabels(
            f"{path} cannot be read ({reason})",
            expected="landmarks come in a readable text file",
            remedy="check the path and the file",
        ) from error


def _json(path: Path, text: str) -> Iterator[Entry]:
    content = _parsed(text, str(path))
    if is_coco(content):
        for image, where, rows in coco_entries(content, str(path)):
            yield Entry(image, where, rows, INDICES)
        return
    if isinstance(content, dict):
        pairs = [(name, name, value) for name, value in content.items()]
    elif isinstance(content, list):
        pairs = [(_name_of(row, f"Entry {i} of {path}"), f"entry {i}", row) for i, row in enumerate(content)]
    else:
        raise _unknown_format(f"{path} holds neither a table nor a list")
    for name, called, value in pairs:
        yield Entry(name, f"{path}, {called},", _rows(value, f"{path}, {called},"))


def _jsonl(path: Path, text: str) -> Iterator[Entry]:
    for number, line in _lines(text):
        where = f"Line {number} of {path}"
        row = _parsed(line, where)
        yield Entry(_name_of(row, where), where, _rows(row, where))


def _csv(path: Path, text: str) -> Iterator[Entry]:
    for number, line in _lines(text):
        name, *fields = next(csv.reader([line], skipinitialspace=True))
        if number == 1 and fields and not any(map(_is_number, fields)) and any(field.strip() for field in fields):
            continue
        where = f"Line {number} of {path}"
        values = [_number(field, where) if field.strip() else math.nan for field in fields]
        yield Entry(name.strip(), where, _pairs(values, where))


def _txt(path: Path, text: str) -> Iterator[Entry]:
    lines = list(_lines(text))
    if lines and len(lines[0][1].split()) >= _WFLW_FIELDS:
        for number, line in lines:
            where, fields = f"Line {number} of {path}", line.split(maxsplit=_WFLW_FIELDS - 1)
            if len(fields) != _WFLW_FIELDS:
                raise _bad_line(where, f"{_WFLW_FIELDS} fields of WFLW were expected")
            values = [_number(field, where) for field in fields[: 2 * WFLW_COUNT]]
            yield Entry(fields[-1].strip(), where, _pairs(values, where), INDICES)
        return
    rows = []
    for number, line in lines:
        where, fields = f"Line {number} of {path}", line.replace(",", " ").split()
        if len(fields) != 2:
            raise _bad_line(where, "one `x y` per line, or a list of WFLW, was expected")
        rows.append([_number(field, where) for field in fields])
    if not rows:
        raise _bad_line(str(path), "five lines of `x y` were expected")
    yield Entry(path.stem, str(path), np.array(rows), INDICES)


def _cat(path: Path, text: str) -> Iterator[Entry]:
    values = [_number(field, str(path)) for field in text.split()]
    if not values or values[0] != len(CAT_9) or len(values) != 1 + 2 * len(CAT_9):
        raise _bad_line(str(path), f"{len(CAT_9)} and then {len(CAT_9)} pairs x y were expected")
    yield Entry(path.stem, str(path), _pairs(values[1:], str(path)), INDICES)


def _pts(path: Path, text: str) -> Iterator[Entry]:
    head, opened, rest = text.partition("{")
    body, closed, _ = rest.partition("}")
    stated = next((line.split(":", 1)[1].strip() for line in head.splitlines() if line.startswith("n_points:")), "")
    values = [_number(field, str(path)) for field in body.split()]
    if not (opened and closed) or stated != str(len(values) // 2) or len(values) % 2:
        raise _bad_line(str(path), "version, n_points and as many pairs x y in braces were expected")
    yield Entry(path.stem, str(path), _pairs(values, str(path)), COUNTED_FROM_1)


_PER_IMAGE: dict[str, Callable[[Path, str], Iterator[Entry]]] = {".pts": _pts, ".cat": _cat, ".txt": _txt}
_FORMATS = {".json": _json, ".jsonl": _jsonl, ".csv": _csv, **_PER_IMAGE}


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((i, line) for i, line in enumerate(text.splitlines(), start=1) if line.strip())


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadLabels(
            f"{where} is not JSON ({error})", expected="landmarks in JSON were expected", remedy="write it again"
        ) from error


def _name_of(row: Any, where: str) -> str:
    for key in ("file", "name", "image", "file_name"):
        if isinstance(row, dict) and isinstance(row.get(key), str):
            return row[key]
    raise _bad_line(where, '{"file": image, "landmarks": [[x, y], ...]} was expected')


def _rows(value: Any, where: str) -> NDArray[np.float64]:
    """[K, 2 or 3] of a JSON value; null is NaN."""
    if isinstance(value, dict):
        value = next((value[key] for key in ("landmarks", "points", "keypoints") if key in value), None)
    try:
        rows = [[math.nan if x is None else float(x) for x in point or (None, None)] for point in value]
        array = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise _bad_line(where, "[[x, y], ...] was expected") from error
    if array.ndim != 2 or array.shape[1] not in (2, 3):
        raise _bad_line(where, "[[x, y], ...] was expected")
    return array


def _pairs(values: list[float], where: str) -> NDArray[np.float64]:
    if not values or len(values) % 2:
        raise _bad_line(where, f"pairs x y were expected, not {len(values)} numbers")
    return np.array(values, dtype=np.float64).reshape(-1, 2)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _number(text: str, where: str) -> float:
    if not _is_number(text):
        raise _bad_line(where, f"numbers were expected, not {text.strip()!r}")
    return float(text)


def _bad_line(where: str, expected: str) -> BadLabels:
    return BadLabels(f"{where} does not hold landmarks", expected=expected, remedy="correct it or leave it out")


def _unknown_format(given: str) -> BadLabels:
    return BadLabels(
        given,
        expected="landmarks come as .json, .jsonl, .csv, WFLW's list, or a .txt, .cat or .pts per image",
        remedy="give such a file or a folder of them",
    )
