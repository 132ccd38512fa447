"""Views of heads in folders: pictures with their cameras, made by anybody.

V views of S x S pixels. A folder holds one identity, or one in each of its subfolders. An identity may have a folder
`sweep` of its own, with pictures taken in small level steps: those of an epipolar strip. Which camera took which
picture is read by `metrics/view_cameras.py`.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gramhd_core.data.exports import TRANSFORMS_FILE, transforms
from gramhd_core.data.image_files import UNREADABLE, decode_image, is_image
from gramhd_core.data.labels import LABEL_FILE
from gramhd_core.errors import BadDataset, BadImage
from gramhd_core.files import write_text
from gramhd_core.geometry.camera import Camera
from gramhd_core.metrics.view_cameras import (
    Frame,
    Listing,
    has_cameras,
    house_frame,
    not_whole,
    read_bytes,
    read_listing,
)
from gramhd_core.metrics.views import ViewSet
from gramhd_core.outputs.depth_images import NOTES, UNITS_PER_LEVEL, depth16
from gramhd_core.outputs.images import save_png

FEWEST = 3  # views of an identity
SWEEP = "sweep"


def load_views(folder: Path | str, *, most: int | None = None) -> list[ViewSet]:
    """The identities of a folder, sorted by name; `most`: no more than so many are read.

    BadDataset: no folder, empty, no cameras, fewer than 3 views, pictures of several sizes. BadLabels: cameras that are
    none. BadImage: pictures that are not square or cannot be read.
    """
    folder = Path(folder)
    sets = [_with_sweep(place) for place in identity_folders(folder)[:most]]
    for views in (one for known in sets for one in (known, known.sweep) if one is not None):
        if views.cameras.width != sets[0].cameras.width:
            raise _several_sizes(views.name, views.rgb[0], sets[0].name, sets[0].rgb[0])
    return sets


def write_views(folder: Path | str, views: ViewSet) -> Path:
    """The views as pictures, alpha, distance (PNG, 16 bits) and a transforms.json, which is written last: its path.

    `load_views` reads the same back, distance to 1/65536 of a world unit and alpha to 8 bits.
    """
    folder, size = Path(folder), views.cameras.width
    names = [f"images/{place:04d}.png" for place in range(len(views.cameras))]
    cameras = (views.cameras[place] for place in range(len(names)))
    document = transforms(names, cameras, size=size)
    for place, (name, frame) in enumerate(zip(names, document["frames"], strict=True)):
        save_png(folder / name, views.rgb[place].movedim(0, -1).numpy())
        if views.alpha is not None:
            frame["alpha_file_path"] = f"alpha/{place:04d}.png"
            levels = (255 * views.alpha[place]).round().clamp(0, 255).byte()
            save_png(folder / frame["alpha_file_path"], levels.numpy())
        if views.distance is not None:
            frame["depth_file_path"] = f"distance/{place:04d}.png"
            save_png(folder / frame["depth_file_path"], depth16(views.distance[place].numpy()), notes=NOTES)
    if views.distance is not None:
        document |= {"depth_unit_scale_factor": UNITS_PER_LEVEL, "is_euclidean_depth": True}
    write_text(folder / TRANSFORMS_FILE, json.dumps(document) + "\n")
    return folder / TRANSFORMS_FILE


# ---------------------------------------------------------------------------------------------- folders


def identity_folders(folder: Path) -> list[Path]:
    """The folders that hold an identity each, sorted by name. BadDataset if there is none."""
    if not folder.is_dir():
        raise BadDataset(f"{folder} is no folder", expected="views lie in a folder", remedy="check the path")
    if has_cameras(folder):
        return [folder]
    below = sorted(place for place in folder.iterdir() if place.is_dir() and not place.name.startswith("."))
    places = [place for place in below if has_cameras(place)]
    if places:
        return places
    pictures = any(is_image(path.name) for path in folder.rglob("*"))
    raise BadDataset(
        f"{folder} has pictures without cameras" if pictures else f"{folder} has no views",
        expected=f"an identity is a folder of pictures whose {TRANSFORMS_FILE} or {LABEL_FILE} has their cameras",
        remedy="add that file, or give pictures alone with --images" if pictures else "check the path",
    )


def _with_sweep(folder: Path) -> ViewSet:
    views, below = _load(folder), folder / SWEEP
    if not has_cameras(below):
        return views
    return views._replace(sweep=_load(below)._replace(name=views.name))


def _load(folder: Path) -> ViewSet:
    listing = read_listing(folder)
    if len(listing.frames) < FEWEST:
        raise BadDataset(
            f"{folder} has {len(listing.frames)} view{'s' if len(listing.frames) > 1 else ''}",
            expected=f"consistency is measured between {FEWEST} or more",
            remedy="add views of the same identity",
        )
    pictures = [_rgb(frame.picture) for frame in listing.frames]
    first, size = pictures[0], pictures[0].shape[-1]
    for frame, rgb in zip(listing.frames, pictures, strict=True):
        if rgb.shape != first.shape:
            raise _several_sizes(str(frame.picture), rgb, str(listing.frames[0].picture), first)
    if first.shape[-2] != size:
        raise BadImage(
            f"{listing.frames[0].picture} has {size} x {first.shape[-2]} pixels",
            expected="views must be square",
            remedy="crop them around the middle, and correct fl_x and w",
        )
    found = (_alpha(frame, size) for frame in listing.frames)
    alphas = [alpha for alpha in found if alpha is not None]
    fov = torch.tensor([frame.fov_degrees for frame in listing.frames], dtype=torch.float64)
    matrices, scale = house_frame(torch.stack([frame.matrix for frame in listing.frames]), source=str(folder))
    return ViewSet(
        folder.resolve().name,
        Camera(matrices.float(), fov.float(), size, size),
        torch.stack(pictures),
        torch.stack(alphas) if len(alphas) == len(pictures) else None,
        _distances(listing, scale, size),
    )


def _several_sizes(one: str, mine: Tensor, other: str, theirs: Tensor) -> BadDataset:
    return BadDataset(
        f"{one} has {mine.shape[-1]} x {mine.shape[-2]} pixels and {other} has {theirs.shape[-1]} x {theirs.shape[-2]}",
        expected="all views must have one size",
        remedy="resize them to the same number of pixels",
    )


# ---------------------------------------------------------------------------------------------- pictures


def _rgb(path: Path) -> Tensor:
    """uint8 [3, H, W]."""
    try:
        return decode_image(read_bytes(path), name=str(path))
    except BadImage as error:
        raise not_whole(path, error) from error


def _alpha(frame: Frame, size: int) -> Tensor | None:
    """float [S, S] from a file of its own or from the picture."""
    path = frame.alpha or frame.picture
    try:
        with Image.open(io.BytesIO(read_bytes(path))) as image:
            if frame.alpha is None and not image.has_transparency_data:
                return None
            values = np.array(image.convert("L") if frame.alpha else image.convert("RGBA").getchannel("A"))
    except UNREADABLE as error:
        raise not_whole(path, error) from error
    _check_shape(values, path, size)
    return torch.from_numpy(values).float() / 255


def _check_shape(values: np.ndarray, path: Path, size: int) -> None:
    if values.shape != (size, size):
        raise BadImage(
            f"{path} holds {' x '.join(map(str, values.shape))} values",
            expected=f"its picture has {size} x {size} pixels",
            remedy="write one value for every pixel",
        )


def _distances(listing: Listing, scale: float, size: int) -> Tensor | None:
    """[V, S, S] along the rays in units of the house, nan where unknown; None if any frame has no depth."""
    paths = [frame.depth for frame in listing.frames if frame.depth is not None]
    if len(paths) < len(listing.frames):
        return None
    depths = torch.stack([_depth(path, size) for path in paths]) * (listing.unit * scale)
    depths[~(depths > 0) | depths.isinf()] = math.nan
    if listing.along_ray:
        return depths.float()
    half = torch.tensor([math.tan(math.radians(frame.fov_degrees) / 2) for frame in listing.frames])[:, None, None]
    axis = (2 * torch.arange(size) + 1) / size - 1
    squares = axis[:, None].square() + axis.square()
    return (depths * (1 + half.square() * squares).sqrt()).float()


def _depth(path: Path, size: int) -> Tensor:
    """float64 [S, S] as the file has it."""
    data = read_bytes(path)
    try:
        if path.suffix == ".npy":
            values = np.load(io.BytesIO(data), allow_pickle=False).astype(np.float64).squeeze()
        else:
            with Image.open(io.BytesIO(data)) as image:
                values = np.asarray(image).astype(np.float64)
    except UNREADABLE as error:
        raise not_whole(path, error) from error
    _check_shape(values, path, size)
    return torch.from_numpy(values)
