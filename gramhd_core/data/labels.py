"""Label files: which image was taken from where. Every format of the field is read here, ours and theirs are written.

A label file is a `dataset.json` of EG3D / StyleGAN, GRAM's `<stem>.mat` (faces) or `<stem>_pose.npy` (cats), or ours:
`poses.jsonl`, one JSON object per line with name, pitch, yaw, roll, fov_degrees and whatever else is known. The numbers
inside are explained and converted in `pose_conversions.py`. N is a number of labels.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gramhd_core.data.image_files import image_stem
from gramhd_core.data.pose_conversions import (
    EG3D_RADIUS,
    Pose,
    eg3d_from_pose,
    mat_from_pose,
    npy_from_pose,
    pose_from_mat,
    pose_from_npy,
    rows_from_eg3d,
)
from gramhd_core.errors import BadLabels
from gramhd_core.files import atomic, write_text
from gramhd_core.geometry.camera import PUBLISHED_FOV_DEGREES

LABEL_FILE, POSE_FILE = "dataset.json", "poses.jsonl"
EG3D_LENGTH = 25
ROTATION_TOLERANCE = 1e-2  # published labels are rounded; a transposed or scaled matrix is far beyond this


class LabelTable(NamedTuple):
    """A whole `dataset.json`: image names in file order, and [N, 5] pitch, yaw, roll, radius, fov_degrees."""

    names: list[str]
    poses: NDArray[np.float64]

    def as_dict(self) -> dict[str, Pose]:
        return {name: Pose(*map(float, row)) for name, row in zip(self.names, self.poses, strict=True)}


def eg3d_table(document: Any, *, source: str) -> LabelTable:
    """A parsed `dataset.json` -> names and poses; every label is checked."""
    pairs = document.get("labels") if isinstance(document, dict) else None
    if not isinstance(pairs, list) or not all(
        isinstance(p, list) and len(p) == 2 and isinstance(p[0], str) for p in pairs
    ):
        raise BadLabels(
            f"{source} holds no list of labels",
            expected='{"labels": [[image name, [25 numbers]], ...]} was expected',
            remedy="write it in the EG3D layout, or give poses.jsonl or GRAM pose files with --labels",
        )
    for name, numbers in pairs:
        length = len(numbers) if isinstance(numbers, list) else 1
        if length != EG3D_LENGTH:
            raise BadLabels(
                f"The label of {name} in {source} has {length} numbers",
                expected="25 are needed (4 x 4 world-from-camera, then 3 x 3 intrinsics)",
                remedy="write all 25 numbers for every image",
            )
    names = [name for name, _ in pairs]
    _refuse_twins(names, source)
    try:
        table = np.array([numbers for _, numbers in pairs], dtype=np.float64).reshape(-1, EG3D_LENGTH)
    except (TypeError, ValueError):
        table = np.full((len(names), EG3D_LENGTH), np.nan)
    _refuse_no_camera(table, names=names, source=source)
    return LabelTable(names, rows_from_eg3d(table))


def _refuse_no_camera(table: NDArray, *, names: list[str], source: str) -> None:
    """[N, 25]: a sentence about the first label that cannot be a camera."""

    def refuse(bad: Any, given: str, expected: str, remedy: str) -> None:
        if bad.any():
            raise BadLabels(
                f"The label of {names[int(bad.argmax())]} in {source} {given}", expected=expected, remedy=remedy
            )

    refuse(
        ~np.isfinite(table).all(-1),
        "holds values that are not numbers",
        "25 finite numbers are needed",
        "correct the file",
    )
    opencv, focal = table[:, :16].reshape(-1, 4, 4), table[:, 16]
    rotation, position = opencv[:, :3, :3], opencv[:, :3, 3]
    gram = rotation.swapaxes(-1, -2) @ rotation
    skewed = (np.abs(gram - np.eye(3)).max((-1, -2)) > ROTATION_TOLERANCE) | (np.linalg.det(rotation) < 0)
    rule = "a rigid world-from-camera matrix, row by row, is needed"
    refuse(skewed, "holds a matrix that is not a rotation", rule, "correct the first 16 numbers")
    refuse(
        np.linalg.norm(position, axis=-1) < 1e-6, "puts the camera into the head", rule, "correct numbers 4, 8 and 12"
    )
    away = (rotation[..., 2] * position).sum(-1) >= 0
    rule = "OpenCV axes (x right, y down, z forward) are needed"
    refuse(away, "looks away from the head", rule, "negate the second and third column of its matrix")
    refuse(focal <= 0, "has no positive focal length", "a focal length in image sides is needed", "correct number 17")


# ---------------------------------------------------------------------------------------------- reading


def read_labels(path: Path | str) -> dict[str, Pose]:
    """Image name -> Pose, from a `dataset.json`, a `poses.jsonl`, a zip with a `dataset.json` inside, or a folder with
    one of these or with GRAM pose files (in it or in its `poses/`; their images are named by stem alone)."""
    path = Path(path)
    if not path.exists():
        raise _no_labels(f"{path} does not exist")
    if path.is_dir():
        return _read_folder(path)
    if path.suffix == ".jsonl":
        return _read_jsonl(path)
    if path.suffix == ".json":
        return eg3d_table(parse_json(_content(path), source=str(path)), source=str(path)).as_dict()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if LABEL_FILE not in archive.namelist():
                raise _no_labels(f"{path} has no {LABEL_FILE} inside")
            source = f"{path}/{LABEL_FILE}"
            return eg3d_table(parse_json(archive.read(LABEL_FILE), source=source), source=source).as_dict()
    raise _no_labels(f"{path} is not a label file")


def has_labels(path: Path | str) -> bool:
    """Whether a folder or zip brings labels of its own: whether `read_labels` would look further than its name."""
    path = Path(path)
    if path.is_dir():
        places = [path, path / "poses"]
        files = [path / LABEL_FILE, path / POSE_FILE]
        return any(map(Path.is_file, files)) or any(
            any(place.glob(ending)) for place in places for ending in ("*.mat", "*_pose.npy")
        )
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return LABEL_FILE in archive.namelist()


def parse_json(data: bytes, *, source: str) -> Any:
    """JSON of a label file, or a sentence saying that it is none."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise BadLabels(
            f"{source} is not JSON ({error})", expected="a label file is JSON", remedy="write it again"
        ) from error


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:  # e.g. a link to nothing
        raise BadLabels(
            f"{path} cannot be read ({error.strerror})",
            expected="every label file must be readable",
            remedy="copy it again, or remove it together with its image",
        ) from error


def _read_folder(folder: Path) -> dict[str, Pose]:
    for name in (LABEL_FILE, POSE_FILE):
        if (folder / name).is_file():
            return read_labels(folder / name)
    for place in (folder, folder / "poses"):
        files = sorted([*place.glob("*.mat"), *place.glob("*_pose.npy")])
        if files:
            stems = [file.name.removesuffix(".mat").removesuffix("_pose.npy") for file in files]
            _refuse_twins(stems, str(place))
            return dict(zip(stems, map(_read_gram, files), strict=True))
    raise _no_labels(f"{folder} holds no labels")


def _read_gram(file: Path) -> Pose:
    import scipy.io

    data, wanted = _content(file), 3 if file.suffix == ".mat" else 2
    try:
        if file.suffix == ".mat":
            values = np.asarray(scipy.io.loadmat(io.BytesIO(data))["angle"], dtype=np.float64)
        else:
            values = np.asarray(np.load(io.BytesIO(data), allow_pickle=False), dtype=np.float64)
    except (ValueError, TypeError, KeyError, EOFError, OSError, NotImplementedError) as error:
        rule = "a MATLAB file with `angle` [1, 3]" if wanted == 3 else "a NumPy file with [pitch, yaw]"
        raise BadLabels(
            f"{file} cannot be read ({type(error).__name__}: {error})",
            expected=f"{rule} was expected",
            remedy="copy it again from the published poses, or remove it together with its image",
        ) from error
    if values.size != wanted or not np.isfinite(values).all():
        raise BadLabels(
            f"{file} holds {values.size} values {'' if np.isfinite(values).all() else '(not all finite) '}",
            expected=f"{wanted} finite angles in radians are needed",
            remedy="copy it again from the published poses, or remove it together with its image",
        )
    return pose_from_mat(values) if wanted == 3 else pose_from_npy(values)


def _read_jsonl(path: Path) -> dict[str, Pose]:
    poses: list[tuple[str, Pose]] = []
    for number, line in enumerate(_content(path).decode("utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        record = parse_json(line.encode(), source=f"Line {number} of {path}")
        try:
            fov = float(record.get("fov_degrees") or PUBLISHED_FOV_DEGREES)
            pose = Pose(float(record["pitch"]), float(record["yaw"]), float(record.get("roll") or 0.0), fov_degrees=fov)
            name = str(record["name"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _bad_line(number, path) from error
        if not np.isfinite(pose).all():
            raise _bad_line(number, path)
        poses.append((name, pose))
    _refuse_twins([name for name, _ in poses], str(path))
    return dict(poses)


def _bad_line(number: int, path: Path) -> BadLabels:
    return BadLabels(
        f"Line {number} of {path} is not a pose",
        expected='{"name": ..., "pitch": radians, "yaw": radians} was expected',
        remedy="correct the line",
    )


def _no_labels(given: str) -> BadLabels:
    return BadLabels(
        given,
        expected=f"labels are a {LABEL_FILE}, a {POSE_FILE}, or a folder with GRAM *.mat or *_pose.npy files",
        remedy="give one of these with --labels",
    )


def _refuse_twins(names: list[str], source: str) -> None:
    if len(set(names)) == len(names):
        return
    seen: set[str] = set()
    twin = next(name for name in names if name in seen or seen.add(name))
    raise BadLabels(
        f"{source} labels {twin} twice", expected="every image has one label", remedy="remove one of the two"
    )


# ---------------------------------------------------------------------------------------------- writing


def write_eg3d(path: Path | str, poses: Mapping[str, Pose], *, radius: float = EG3D_RADIUS) -> None:
    """Write a `dataset.json`, atomically."""
    labels = [[name, eg3d_from_pose(pose, radius=radius)] for name, pose in poses.items()]
    write_text(path, json.dumps({"labels": labels}))


def write_poses(
    path: Path | str, poses: Mapping[str, Pose], extra: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Write a `poses.jsonl`, atomically; `extra` adds fields to the line of an image."""
    lines = []
    for name, pose in poses.items():
        record = {
            "name": name,
            "pitch": pose.pitch,
            "yaw": pose.yaw,
            "roll": pose.roll,
            "fov_degrees": pose.fov_degrees,
        }
        lines.append(json.dumps({**record, **(extra or {}).get(name, {})}))
    write_text(path, "".join(f"{line}\n" for line in lines))


def write_gram_mat(folder: Path | str, poses: Mapping[str, Pose]) -> None:
    """Write `<stem>.mat` for every image."""
    import scipy.io

    for stem, pose in _by_stem(poses, str(folder)).items():
        with atomic(Path(folder) / f"{stem}.mat") as temporary:
            scipy.io.savemat(str(temporary), {"angle": mat_from_pose(pose)})


def write_gram_npy(folder: Path | str, poses: Mapping[str, Pose]) -> None:
    """Write `<stem>_pose.npy` for every image."""
    for stem, pose in _by_stem(poses, str(folder)).items():
        with atomic(Path(folder) / f"{stem}_pose.npy") as temporary:
            np.save(temporary, npy_from_pose(pose))


def _by_stem(poses: Mapping[str, Pose], source: str) -> dict[str, Pose]:
    stems = [image_stem(name) for name in poses]
    _refuse_twins(stems, source)
    return dict(zip(stems, poses.values(), strict=True))
