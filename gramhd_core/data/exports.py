"""A data set folder in the layouts of other programs: EG3D's zip, GRAM's folders, nerfstudio's transforms.json.

Each is written beside the data set (or, transforms.json, into it) and holds the same images, byte for byte. Conventions
of poses: `pose_conversions.py`. W x W images.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.journal import ABOUT_FILE
from gramhd_core.data.labels import LABEL_FILE, read_labels, write_gram_mat, write_gram_npy
from gramhd_core.data.pose_conversions import camera_from_pose
from gramhd_core.data.subjects import CATS
from gramhd_core.errors import BadArgument
from gramhd_core.files import atomic, write_text
from gramhd_core.geometry.camera import Camera

TRANSFORMS_FILE = "transforms.json"
EPOCH = (1980, 1, 1, 0, 0, 0)  # of the members of a zip: the same data set, the same bytes


def export_eg3d_zip(data: Path) -> Path:
    """`DATA_eg3d.zip`: images and dataset.json, stored and not compressed, as EG3D and StyleGAN read them."""
    path, reader = _beside(data, "_eg3d.zip"), DatasetReader(data)
    with atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name in [LABEL_FILE, *reader.names]:
            archive.writestr(zipfile.ZipInfo(name, EPOCH), (data / name).read_bytes())
    return path


def export_gram(data: Path) -> Path:
    """`DATA_gram/`: images/, and in poses/ a .mat per image, or a _pose.npy (which has no roll) of cats."""
    folder, poses = _beside(data, "_gram"), read_labels(data / LABEL_FILE)
    for name in poses:
        with atomic(folder / "images" / Path(name).name) as temporary:
            temporary.write_bytes((data / name).read_bytes())
    about = json.loads((data / ABOUT_FILE).read_text("utf-8")) if (data / ABOUT_FILE).exists() else {}
    write = write_gram_npy if about.get("subject") == CATS.name else write_gram_mat
    write(folder / "poses", poses)
    return folder


def export_transforms(data: Path) -> Path:
    """`DATA/transforms.json` of nerfstudio: pinhole cameras at distance 1 from the head, OpenGL axes, world y up."""
    reader, poses = DatasetReader(data), read_labels(data / LABEL_FILE)
    size = reader.resolution
    cameras = (camera_from_pose(poses[name]._replace(radius=1.0), size=size) for name in reader.names)
    write_text(data / TRANSFORMS_FILE, json.dumps(transforms(reader.names, cameras, size=size)) + "\n")
    return data / TRANSFORMS_FILE


def transforms(names: Iterable[str], cameras: Iterable[Camera], *, size: int) -> dict[str, Any]:
    """The document that says which camera (each a batch of one) took which picture of `size` pixels a side."""
    frames = []
    for name, camera in zip(names, cameras, strict=True):
        focal = 0.5 * size / math.tan(math.radians(float(camera.fov_degrees[0])) / 2)
        matrix = camera.world_from_camera[0].tolist()
        frames.append({"file_path": name, "fl_x": focal, "fl_y": focal, "transform_matrix": matrix})
    return {"camera_model": "OPENCV", "w": size, "h": size, "cx": size / 2, "cy": size / 2, "frames": frames}


FORMATS: dict[str, Callable[[Path], Path]] = {
    "eg3d-zip": export_eg3d_zip,
    "gram": export_gram,
    "transforms": export_transforms,
}


def check_formats(names: list[str]) -> None:
    """BadArgument: not one of FORMATS."""
    for name in names:
        if name not in FORMATS:
            raise BadArgument(
                f"--format {name}", expected=f"the formats are {', '.join(FORMATS)}", remedy="choose among them"
            )


def _beside(data: Path, ending: str) -> Path:
    whole = data.resolve()
    return whole.with_name(whole.name + ending)
