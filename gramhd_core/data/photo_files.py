"""Photographs as cameras and phones leave them: any orientation, any depth, any size, in bounded memory.

H x W photograph as a viewer shows it: turned by its EXIF orientation, transparency laid over white, of 16 bits the
upper 8. Its pixels are those of the whole file, also where it is decoded smaller: `factor` decoded pixels are one of
the file's.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from gramhd_core.data.image_files import (
    IMAGE_SUFFIXES,
    UNREADABLE,
    FolderFiles,
    ImageFiles,
    as_rgb,
    open_files,
    unreadable,
)
from gramhd_core.errors import BadDataset, BadImage

PHOTO_SUFFIXES = (*IMAGE_SUFFIXES, ".tif", ".tiff")
HEIC_SUFFIXES = (".heic", ".heif", ".hif", ".avif")
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1", b"avif")  # after `ftyp`
MOST_PIXELS = 64_000_000  # of one decoding: a quarter of a gigabyte
LARGEST_REDUCTION = 8  # JPEG can be decoded at a half, a quarter or an eighth
TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
ORIENTATION = 0x0112


class Picture(NamedTuple):
    """uint8 [h, w, 3] RGB, and how many of its pixels one pixel of the photograph is."""

    image: NDArray[np.uint8]
    factor: float


class PhotoFile:
    """The bytes of one photograph, decoded as large as needed. height, width: the whole. BadImage: cannot be read."""

    def __init__(self, data: bytes, *, name: str):
        self.name, self._data = name, data
        if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS:
            raise heic(name)
        self._jpeg = data[:3] == b"\xff\xd8\xff"
        try:
            with self._open() as image:
                width, height = image.size
                turned = image.getexif().get(ORIENTATION) in TURNED
        except UNREADABLE as error:
            raise unreadable(name, error) from error
        self.height, self.width = (width, height) if turned else (height, width)
        self._least = self._reduction_to_bound()

    def decode(self, *, factor: float = 1.0) -> Picture:
        """The photograph, at least `factor` times its size where MOST_PIXELS allow it."""
        reduction = self._least
        while self._jpeg and 2 * reduction <= min(LARGEST_REDUCTION, 1 / factor):
            reduction *= 2
        try:
            with self._open() as image:
                width, height = image.size
                if reduction > 1:
                    image.draft(None, (max(1, width // reduction), max(1, height // reduction)))
                ImageOps.exif_transpose(image, in_place=True)
                pixels = np.array(as_rgb(image))
        except UNREADABLE as error:
            raise unreadable(self.name, error) from error
        return Picture(pixels, max(pixels.shape[:2]) / max(self.height, self.width))

    def thumbnail(self, *, side: int) -> Picture:
        """The photograph with a longest side of at most `side`."""
        longest = max(self.height, self.width)
        picture = self.decode(factor=min(1.0, side / longest))
        height, width = picture.image.shape[:2]
        if max(height, width) <= side:
            return picture
        shrink = side / max(height, width)
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        small = cv2.resize(picture.image, size, interpolation=cv2.INTER_AREA)
        return Picture(np.asarray(small, np.uint8), side / longest)

    def _open(self) -> Image.Image:
        """JPEGs are opened directly: PIL's own limit does not know that they can be decoded at a fraction."""
        return JpegImageFile(io.BytesIO(self._data)) if self._jpeg else Image.open(io.BytesIO(self._data))

    def _reduction_to_bound(self) -> int:
        reduction, pixels = 1, self.height * self.width
        while self._jpeg and reduction < LARGEST_REDUCTION and pixels / reduction**2 > MOST_PIXELS:
            reduction *= 2
        if pixels / reduction**2 > MOST_PIXELS:
            raise BadImage(
                f"{self.name} has {pixels / 1e6:.0f} megapixels",
                expected=f"up to {MOST_PIXELS / 1e6:.0f} are read, and more only from JPEGs, at a reduced size",
                remedy="save it smaller or as a JPEG",
            )
        return reduction


def is_photo(name: str) -> bool:
    """Whether a file name ends like a photograph's, also one of a kind that cannot be read here."""
    return name.lower().endswith(PHOTO_SUFFIXES + HEIC_SUFFIXES)


def heic(name: str) -> BadImage:
    """The sentence for photographs of a kind whose decoder is not among our libraries."""
    return BadImage(
        f"{name} is a HEIC or AVIF photograph, which has to be converted to JPEG first",
        expected="JPEG, PNG, WebP, BMP and TIFF are read here",
        remedy="convert it (phones can export JPEG)",
    )


def open_photos(source: Path | str) -> ImageFiles:
    """The photographs of a folder or zip, or one photograph by itself. BadDataset: there are none."""
    path = Path(source)
    if path.is_file() and is_photo(path.name):
        return FolderFiles(path.parent, only=[path.name])
    files = open_files(path)
    names = [name for name in files.sizes if is_photo(name)]
    if not names:
        raise BadDataset(
            f"{path} holds no photographs", expected="JPEG or PNG files are needed", remedy="check the path"
        )
    return files.subset(sorted(names))
