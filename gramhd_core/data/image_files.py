"""Files of images as they lie on disk: a folder or a zip, listed once and read at random from any thread or process.

Nothing here keeps a file open: a reader is a value that can be pickled to the workers of a loader. H x W image.
"""

from __future__ import annotations

import contextlib
import copy
import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from gramhd_core.errors import BadArgument, BadDataset, BadImage, GramhdError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
UNREADABLE = (  # what PIL and zipfile raise for damaged data
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)


class FolderFiles:
    """All files below a folder, except hidden ones. `sizes`: name relative to the folder -> bytes; 0 for a link to
    nothing, which is refused when it is read. only: these files, whatever else is there."""

    def __init__(self, root: Path, *, only: Iterable[str] | None = None):
        self.root = root
        self.compressed: list[str] = []
        self.sizes: dict[str, int] = {name: _bytes_of(root / name) for name in only or ()}
        for folder, folders, files in () if only is not None else os.walk(root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(name for name in files if not name.startswith(".")):
                path = Path(folder, name)
                self.sizes[path.relative_to(root).as_posix()] = _bytes_of(path)

    def read(self, name: str) -> bytes:
        """The content of a file."""
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise unreadable(str(self.root / name), error) from error

    def subset(self, names: Iterable[str]) -> FolderFiles:
        """The same place with some of its files only: cheap to send to a worker."""
        subset = copy.copy(self)
        subset.sizes = {name: self.sizes[name] for name in names}
        return subset

    @contextlib.contextmanager
    def opener(self) -> Iterator[Callable[[str], IO[bytes]]]:
        """What opens one file after the other, for a look at their headers."""
        yield lambda name: (self.root / name).open("rb")


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


class _Member(NamedTuple):
    header: int  # offset of the local header in the archive
    length: int  # bytes in the archive
    method: int  # zipfile.ZIP_STORED or ZIP_DEFLATED


class ZipFiles:
    """All files of a zip. Members are read by their offset, so that threads and processes share nothing."""

    def __init__(self, root: Path):
        self.root = root
        try:
            with zipfile.ZipFile(root) as archive:
                infos = [i for i in archive.infolist() if not i.is_dir() and not Path(i.filename).name.startswith(".")]
        except (zipfile.BadZipFile, OSError) as error:
            raise BadDataset(
                f"{root} cannot be opened as a zip ({error})",
                expected="a data set is a folder or an undamaged zip",
                remedy="make or copy the archive again",
            ) from error
        self.sizes = {info.filename: info.file_size for info in infos}
        self.compressed = [info.filename for info in infos if info.compress_type != zipfile.ZIP_STORED]
        self._members = {i.filename: _Member(i.header_offset, i.compress_size, i.compress_type) for i in infos}

    def read(self, name: str) -> bytes:
        """The content of a file."""
        member = self._members[name]
        try:
            with open(self.root, "rb") as archive:
                archive.seek(member.header + 26)  # two lengths stand before the name of every local header
                archive.seek(sum(struct.unpack("<HH", archive.read(4))), os.SEEK_CUR)
                data = archive.read(member.length)
            return data if member.method == zipfile.ZIP_STORED else zlib.decompress(data, -15)
        except (OSError, struct.error, zlib.error) as error:
            raise unreadable(f"{self.root}/{name}", error) from error

    def subset(self, names: Iterable[str]) -> ZipFiles:
        """The same place with some of its files only: cheap to send to a worker."""
        subset = copy.copy(self)
        subset.sizes = {name: self.sizes[name] for name in names}
        subset.compressed, subset._members = [], {name: self._members[name] for name in subset.sizes}
        return subset

    @contextlib.contextmanager
    def opener(self) -> Iterator[Callable[[str], IO[bytes]]]:
        """What opens one file after the other, for a look at their headers."""
        with zipfile.ZipFile(self.root) as archive:
            yield archive.open


ImageFiles = FolderFiles | ZipFiles


def open_files(path: Path | str) -> ImageFiles:
    """The files of a folder or zip, or a sentence saying why there are none."""
    path = Path(path)
    if path.is_dir():
        files = FolderFiles(path)
    elif path.is_file():
        files = ZipFiles(path)
    else:
        raise _no_dataset(f"{path} does not exist")
    if not files.sizes:
        raise _no_dataset(f"{path} is empty")
    return files


def is_image(name: str) -> bool:
    """Whether a file name ends like an image."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def image_stem(name: str) -> str:
    """An image's name without folder and image suffix: GRAM names its labels so. Other dots belong to the name."""
    path = PurePosixPath(name)
    return path.stem if is_image(name) else path.name


def image_sizes(files: ImageFiles, names: Iterable[str]) -> Iterator[tuple[str, tuple[int, int] | GramhdError]]:
    """(name, (width, height)) of every image, from its header alone; or (name, what is wrong with it)."""
    with files.opener() as opened:
        for name in names:
            try:
                with opened(name) as stream, Image.open(stream) as image:
                    found = image.size
            except UNREADABLE as error:
                found = unreadable(f"{files.root}/{name}", error)
            yield name, found


def decode_image(data: bytes, *, name: str, size: int | None = None) -> Tensor:
    """Bytes of a PNG, JPEG, ... -> uint8 [3, H, W] as a viewer shows it: turned as its EXIF orientation says, what is
    transparent laid over white, of 16 bits the upper 8. LANCZOS to `size` x `size` where it is given and differs, which
    is the published rule. `name` is for the error message."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            ImageOps.exif_transpose(image, in_place=True)
            picture = as_rgb(image)
    except UNREADABLE as error:
        raise unreadable(name, error) from error
    if size is not None and picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def as_rgb(image: Image.Image) -> Image.Image:
    """RGB as a viewer shows it: what is transparent laid over white, of 16 bits the upper 8."""
    if image.mode.startswith("I"):  # greys of 16 bits: PIL would clip them at 255
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def encode_png(image: Tensor) -> bytes:
    """uint8 [3, H, W] -> PNG bytes; the fastest level, which costs a sixth more disk and saves most of the time."""
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def check_size(size: int | None) -> None:
    """A size is None (as on disk) or a positive number of pixels."""
    if size is not None and size < 1:
        raise BadArgument(
            f"Size {size} was given", expected="images have at least one pixel", remedy="give 16, 64, 256, ..."
        )


def unreadable(name: str, error: Exception) -> BadImage:
    """The sentence for an error of UNREADABLE."""
    reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
    reason = re.sub(r" <_io\.\w+ object at \w+>", "", reason)
    return BadImage(
        f"{name} cannot be read{' as an image' if is_image(name) else ''} ({reason or type(error).__name__})",
        expected="every image must be whole",
        remedy="replace or remove the file (`gramhd prep-data --keep-going` leaves such files out)",
    )


def _no_dataset(given: str) -> BadDataset:
    return BadDataset(
        given,
        expected="a folder or zip with images is needed",
        remedy="check the path, or make the built-in data set with `gramhd prep-data --procedural 4000 --out DATA`",
    )
