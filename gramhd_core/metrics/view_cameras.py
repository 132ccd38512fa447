"""Files that say which camera took which picture, and the world that such cameras stand in. V views.

Cameras stand in one of

    transforms.json   as nerfstudio and instant-ngp have it: frames[] of file_path (its suffix may be missing) and
                      transform_matrix, camera-to-world with OpenGL axes; fl_x in pixels with w, or camera_angle_x in
                      radians, in the frame or for all. Optional: depth_file_path, a PNG of 16 bits or a .npy, times
                      depth_unit_scale_factor (0.001 if nobody says), is the depth along the camera's axis, or the
                      distance along the ray where is_euclidean_depth is true; 0 is unknown. alpha_file_path or
                      mask_path, 8 bits, is what is not background; the pictures' own alpha channel does as well.
    dataset.json      the labels of EG3D, 25 numbers each (no depth).

The world is brought to the house's own (docs/conventions.md): the point that the cameras look at, nearest to all their
axes by least squares, becomes the origin, and their mean distance to it 1. If the cameras stand on average more than
`ASKEW` radians from +z (another idea of the axes), the world is also turned, so that they stand around +z with their
mean up towards +y. Cameras all around the head stand nowhere on average: their axes stay.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gramhd_core.data.exports import TRANSFORMS_FILE
from gramhd_core.data.image_files import IMAGE_SUFFIXES, unreadable
from gramhd_core.data.labels import LABEL_FILE, eg3d_table, parse_json
from gramhd_core.data.pose_conversions import OPENCV_FROM_OPENGL
from gramhd_core.errors import BadImage, BadLabels

ASKEW = 0.5  # radians
MILLIMETRES = 0.001  # nerfstudio's unit of depth, unless the file says another
OFF_CENTRE = 0.02  # of the picture's side: how far the principal point may be from the middle
ROUND = 0.1  # of a mean of unit vectors: below it they cancel each other
RIGID = 1e-3  # how far a rotation may be from one


class Frame(NamedTuple):
    """One picture as the file tells: paths, [4, 4] world from camera (float64, OpenGL axes), full angle of view."""

    picture: Path
    matrix: Tensor
    fov_degrees: float
    depth: Path | None = None
    alpha: Path | None = None


class Listing(NamedTuple):
    """The frames of an identity, what a level of their depth files means, and whether it is along the ray."""

    frames: list[Frame]
    unit: float = MILLIMETRES
    along_ray: bool = False


def has_cameras(folder: Path) -> bool:
    """Whether a folder holds an identity."""
    return (folder / TRANSFORMS_FILE).is_file() or (folder / LABEL_FILE).is_file()


def read_listing(folder: Path) -> Listing:
    """What the camera file of a folder says; BadLabels if it does not say it."""
    transforms = folder / TRANSFORMS_FILE
    return _read_transforms(transforms) if transforms.is_file() else _read_labels(folder / LABEL_FILE)


def _read_labels(path: Path) -> Listing:
    """The whole matrices of a dataset.json: its cameras need not look at the origin."""
    document = parse_json(read_bytes(path), source=str(path))
    table = eg3d_table(document, source=str(path))
    numbers = np.array([label for _, label in document["labels"]], dtype=np.float64)
    matrices = torch.from_numpy(numbers[:, :16].reshape(-1, 4, 4) @ OPENCV_FROM_OPENGL)
    rows = zip(table.names, matrices, table.poses[:, 4], strict=True)
    return Listing([Frame(path.parent / name, matrix, float(fov)) for name, matrix, fov in rows])


def _read_transforms(path: Path) -> Listing:
    document = parse_json(read_bytes(path), source=str(path))
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(frames, list) or not all(
        isinstance(f, dict) and isinstance(f.get("file_path"), str) for f in frames
    ):
        raise _no_camera(str(path), "holds no list of frames")
    rest = {key: value for key, value in document.items() if key != "frames"}
    unit = _number(rest, "depth_unit_scale_factor", path) or MILLIMETRES
    return Listing([_frame(path, rest | frame) for frame in frames], unit, rest.get("is_euclidean_depth") is True)


def _frame(path: Path, values: dict[str, Any]) -> Frame:
    """One entry of `frames`, completed by what is said for all."""
    name = values["file_path"]
    source = f"The frame of {name} in {path}"
    try:
        matrix = torch.tensor(values.get("transform_matrix"), dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        matrix = torch.zeros(0)
    if matrix.shape not in ((4, 4), (3, 4)):
        raise _no_camera(source, "has no transform_matrix of 4 x 4 numbers")
    matrix = torch.cat([matrix[:3], torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)])
    if not matrix.isfinite().all():
        raise _no_camera(source, "holds values that are not numbers")
    turned = matrix[:3, :3].T @ matrix[:3, :3] - torch.eye(3, dtype=torch.float64)
    if turned.abs().max() > RIGID or torch.det(matrix[:3, :3]) < 0:
        raise _no_camera(source, "holds a matrix that is not a rotation")
    others = [values.get(key) for key in ("depth_file_path", "alpha_file_path", "mask_path")]
    depth, alpha, mask = (path.parent / other if isinstance(other, str) else None for other in others)
    return Frame(_existing(path.parent / name, source), matrix, _fov(values, source, path), depth, alpha or mask)


def _fov(values: dict[str, Any], source: str, path: Path) -> float:
    """Full angle of view in degrees of a picture whose principal point is in its middle."""
    focal, width, angle, cx, h, cy = (
        _number(values, key, path) for key in ("fl_x", "w", "camera_angle_x", "cx", "h", "cy")
    )
    if focal and width:
        fov = 2 * math.atan(0.5 * width / focal)
    elif angle:
        fov = angle
    else:
        raise _no_camera(source, "has neither fl_x with w nor camera_angle_x")
    if not 0 < fov < math.pi:
        raise _no_camera(source, f"has an angle of view of {math.degrees(fov):g} degrees")
    for key, middle, side in (("cx", cx, width), ("cy", cy, h or width)):
        if middle is not None and side and abs(middle / side - 0.5) > OFF_CENTRE:
            raise _no_camera(source, f"has its principal point off the middle ({key} {middle:g} of {side:g} pixels)")
    return math.degrees(fov)


def _number(values: dict[str, Any], key: str, path: Path) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise _no_camera(str(path), f"holds {key} {value}")
    return float(value)


def _existing(path: Path, source: str) -> Path:
    """The picture, whose suffix may be left out, as NeRF's own data sets do."""
    for found in (path, *(path.with_name(path.name + suffix) for suffix in IMAGE_SUFFIXES)):
        if found.is_file():
            return found
    raise BadLabels(
        f"{source} names a picture that is not there",
        expected=f"{path} was expected",
        remedy="copy it there or remove the frame",
    )


def _no_camera(source: str, given: str) -> BadLabels:
    return BadLabels(
        f"{source} {given}",
        expected="a pinhole camera that looks along its -z axis is needed, as nerfstudio writes it",
        remedy="correct the file",
    )


def house_frame(matrices: Tensor, *, source: str) -> tuple[Tensor, float]:
    """[V, 4, 4] float64 of any world -> the same in that of the house (see above), and house units per unit there.

    BadLabels if all cameras look the same way, which meets nowhere, or stand where they look.
    """
    position, axis = matrices[:, :3, 3], F.normalize(matrices[:, :3, 2], dim=-1)
    across = torch.eye(3, dtype=matrices.dtype) - axis[:, :, None] * axis[:, None]
    system = across.mean(dim=0)
    if torch.linalg.eigvalsh(system)[0] < 1e-6:
        raise _no_camera(source, "has cameras that all look the same way")
    point = torch.linalg.solve(system, (across @ position[..., None]).mean(dim=0))[:, 0]
    distance = float((position - point).norm(dim=-1).mean())
    if distance < 1e-9:
        raise _no_camera(source, "has cameras that stand where they look")
    result = matrices.clone()
    result[:, :3, 3] = (position - point) / distance
    return _upright(result), 1 / distance


def _upright(matrices: Tensor) -> Tensor:
    middle, up = F.normalize(matrices[:, :3, 3], dim=-1).mean(dim=0), matrices[:, :3, 1].mean(dim=0)
    back = F.normalize(middle, dim=0)
    right = torch.linalg.cross(up, back)
    if middle.norm() <= ROUND or right.norm() <= ROUND or back[2] > math.cos(ASKEW):
        return matrices
    right = F.normalize(right, dim=0)
    turn = torch.eye(4, dtype=matrices.dtype)
    turn[:3, :3] = torch.stack([right, torch.linalg.cross(back, right), back])
    return turn @ matrices


def read_bytes(path: Path) -> bytes:
    """A file, or a sentence."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise not_whole(path, error) from error


def not_whole(path: Path, error: Exception) -> BadImage:
    """The sentence for a file that cannot be read, or for what reading it raised."""
    given = error.given if isinstance(error, BadImage) else unreadable(str(path), error).given
    return BadImage(
        given, expected="every file of a view must be whole", remedy="copy it again, or remove its frame from the list"
    )
