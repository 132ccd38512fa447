"""Where each picture was taken from: our poses, and every label format of the field, converted at the door.

Angles are radians in the conventions of `geometry/camera.py`; N is a number of labels. A label file is one of
- `dataset.json` of EG3D / StyleGAN: 25 numbers per image = row-major 4 x 4 world-from-camera in OpenCV axes (x right,
  y down, z forward; world y up, face towards +z) + 3 x 3 intrinsics in units of the image side (focal 4.2647 for FFHQ);
- `<stem>.mat` of GRAM (faces): `angle` [1, 3] = pitch, yaw, roll of the head; phi = pi/2 - (angle[0] - 0.1),
  theta = pi/2 + angle[1]. The published code ignores roll; here it is kept;
- `<stem>_pose.npy` of GRAM (cats): [2] = pitch, yaw around pi/2; phi = pitch + 0.14, theta = yaw;
- `poses.jsonl`, ours: one JSON object per line with name, pitch, yaw, roll and whatever else is known.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gramhd_core.data.subjects import CATS, FACES
from gramhd_core.errors import BadLabels
from gramhd_core.files import atomic, write_text
from gramhd_core.geometry.camera import PUBLISHED_FOV_DEGREES, Camera

LABEL_FILE, POSE_FILE = "dataset.json", "poses.jsonl"
EG3D_RADIUS = 2.7  # distance of the camera from the head in the published labels; ours is 1 by definition
EG3D_LENGTH = 25
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # y up, looking along -z <-> y down, looking along +z; own inverse
ROTATION_TOLERANCE = 1e-2  # published labels are rounded; a transposed or scaled matrix is far beyond this


class Pose(NamedTuple):
    """Where a picture was taken from. Positive roll turns the camera clockwise: its up axis leans to its right,
    the head in the picture leans to the left. `radius` is in the units of the label file, 1 in ours."""

    pitch: float
    yaw: float
    roll: float = 0.0
    radius: float = 1.0
    fov_degrees: float = PUBLISHED_FOV_DEGREES

    def mirrored(self) -> Pose:
        """The pose of the mirrored image."""
        return self._replace(yaw=-self.yaw, roll=-self.roll)


class LabelTable(NamedTuple):
    """A whole `dataset.json`: image names in file order, and [N, 5] pitch, yaw, roll, radius, fov_degrees."""

    names: list[str]
    poses: NDArray[np.float64]

    def as_dict(self) -> dict[str, Pose]:
        return {name: Pose(*map(float, row)) for name, row in zip(self.names, self.poses, strict=True)}


# ---------------------------------------------------------------------------------------------- pose <-> camera


def camera_from_pose(pose: Pose, *, size: int = 256) -> Camera:
    """The camera (batch of one, float64) of a pose."""
    pitch, yaw, roll = (torch.tensor(value, dtype=torch.float64) for value in pose[:3])
    camera = Camera.orbit(pitch, yaw, radius=pose.radius, fov_degrees=pose.fov_degrees, size=size)
    c, s = float(roll.cos()), float(roll.sin())
    turned_from_upright = torch.tensor([[c, s, 0, 0], [-s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    return Camera(camera.world_from_camera @ turned_from_upright, camera.fov_degrees, size, size)


def poses_from_camera(camera: Camera) -> list[Pose]:
    """The pose of every camera of a batch: `camera_from_pose` undone."""
    matrices = camera.world_from_camera.double().cpu().numpy()
    fov = camera.fov_degrees.double().cpu().numpy()
    return [Pose(*map(float, row)) for row in _pose_rows(matrices, fov)]


def _pose_rows(world_from_camera: NDArray, fov_degrees: NDArray) -> NDArray[np.float64]:
    """[N, 4, 4] (OpenGL axes) and [N] -> [N, 5] pitch, yaw, roll, radius, fov_degrees."""
    x, y, z = np.moveaxis(world_from_camera[:, :3, 3], -1, 0)
    pitch, yaw = np.arctan2(y, np.hypot(x, z)), np.arctan2(x, z)
    level = np.stack([np.cos(yaw), np.zeros_like(yaw), -np.sin(yaw)], axis=-1)  # right axis of an upright camera
    upright = np.stack([-np.sin(pitch) * np.sin(yaw), np.cos(pitch), -np.sin(pitch) * np.cos(yaw)], axis=-1)
    up = world_from_camera[:, :3, 1]
    roll = np.arctan2((level * up).sum(-1), (upright * up).sum(-1))
    radius = np.sqrt(x * x + y * y + z * z)
    return np.stack([pitch, yaw, roll, radius, fov_degrees], axis=-1)


# ---------------------------------------------------------------------------------------------- EG3D, 25 numbers


def eg3d_from_pose(pose: Pose, *, radius: float = EG3D_RADIUS) -> list[float]:
    """The 25 numbers of a pose. The camera is placed at `radius` (a matter of units: our camera is at distance 1) and
    our angle of view is kept: focal = 0.5 / tan(fov / 2) image sides, which is 4.757 for 12 degrees."""
    opengl = camera_from_pose(pose._replace(radius=radius)).world_from_camera[0].numpy()
    focal = 0.5 / math.tan(math.radians(pose.fov_degrees) / 2)
    return [*(opengl @ OPENCV_FROM_OPENGL).ravel().tolist(), focal, 0.0, 0.5, 0.0, focal, 0.5, 0.0, 0.0, 1.0]


def pose_from_eg3d(numbers: Iterable[float]) -> Pose:
    """25 numbers of any radius and focal length -> Pose, whose `radius` is the label's; `eg3d_from_pose` undone."""
    return eg3d_table({"labels": [["the label", list(numbers)]]}, source="25 numbers").as_dict()["the label"]


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
    return LabelTable(names, _rows_from_eg3d(table, names=names, source=source))


def _rows_from_eg3d(table: NDArray, *, names: list[str], source: str) -> NDArray[np.float64]:
    """[N, 25] -> [N, 5], or a sentence about the first label that cannot be a camera."""

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
    return _pose_rows(opencv @ OPENCV_FROM_OPENGL, np.degrees(2 * np.arctan(0.5 / np.maximum(focal, 1e-9))))


# ---------------------------------------------------------------------------------------------- GRAM, per image


def mat_from_pose(pose: Pose) -> NDArray[np.float64]:
    """[1, 3] `angle` of a published FFHQ pose file."""
    return np.array([[pose.pitch - FACES.label_pitch_offset, -pose.yaw, pose.roll]])


def pose_from_mat(angle: NDArray) -> Pose:
    """`mat_from_pose` undone."""
    pitch, yaw, roll = map(float, np.ravel(angle))
    return Pose(pitch + FACES.label_pitch_offset, -yaw, roll)


def npy_from_pose(pose: Pose) -> NDArray[np.float64]:
    """[2] spherical angles of a published AFHQ cat pose file; it has no place for roll."""
    return np.array([math.pi / 2 - pose.pitch + CATS.label_pitch_offset, math.pi / 2 - pose.yaw])


def pose_from_npy(angles: NDArray) -> Pose:
    """`npy_from_pose` undone."""
    pitch, yaw = map(float, np.ravel(angles))
    return Pose(math.pi / 2 - pitch + CATS.label_pitch_offset, math.pi / 2 - yaw)


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
        return eg3d_table(parse_json(path.read_bytes(), source=str(path)), source=str(path)).as_dict()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if LABEL_FILE not in archive.namelist():
                raise _no_labels(f"{path} has no {LABEL_FILE} inside")
            source = f"{path}/{LABEL_FILE}"
            return eg3d_table(parse_json(archive.read(LABEL_FILE), source=source), source=source).as_dict()
    raise _no_labels(f"{path} is not a label file")


def parse_json(data: bytes, *, source: str) -> Any:
    """JSON of a label file, or a sentence saying that it is none."""
    try:
        return json.loads(data)
    except ValueError as error:
        raise BadLabels(
            f"{source} is not JSON ({error})", expected="a label file is JSON", remedy="write it again"
        ) from error


def _read_folder(folder: Path) -> dict[str, Pose]:
    for name in (LABEL_FILE, POSE_FILE):
        if (folder / name).is_file():
            return read_labels(folder / name)
    for place in (folder, folder / "poses"):
        files = sorted([*place.glob("*.mat"), *place.glob("*_pose.npy")])
        if files:
            poses = {file.name.removesuffix(".mat").removesuffix("_pose.npy"): _read_gram(file) for file in files}
            if len(poses) < len(files):
                _refuse_twins([file.stem.removesuffix("_pose") for file in files], str(place))
            return poses
    raise _no_labels(f"{folder} holds no labels")


def _read_gram(file: Path) -> Pose:
    import scipy.io

    data, wanted = file.read_bytes(), 3 if file.suffix == ".mat" else 2
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
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        record = parse_json(line.encode(), source=f"Line {number} of {path}")
        try:
            pose = Pose(float(record["pitch"]), float(record["yaw"]), float(record.get("roll") or 0.0))
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
        record = {"name": name, "pitch": pose.pitch, "yaw": pose.yaw, "roll": pose.roll}
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
    stems = [PurePosixPath(name).stem for name in poses]
    _refuse_twins(stems, source)
    return dict(zip(stems, poses.values(), strict=True))
