"""Plain folders of pictures, made by anybody's code: listed and checked at once, read a few at a time.

n pictures of S x S pixels. Nothing but file names is held in memory, and nothing but pictures is looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gramhd_core.data.image_files import check_size, decode_image, image_sizes, is_image, open_files
from gramhd_core.errors import BadDataset, BadImage, GramhdError
from gramhd_core.metrics.protocols import FEWEST

WANTED = "a folder or zip with PNG, JPEG, WebP or BMP files is needed"


class PlainImages:
    """The pictures of a folder or zip and of all folders in it, by name. BadDataset if there are fewer than 16 or their
    sizes differ, BadImage for a file that is not what its name says.

    size: every picture is cut to the largest square in its middle and brought to this side (LANCZOS), whatever its
    size was; None: they are taken as they are, and have to be squares of one size.
    """

    poses: tuple[str, ...] = ("as stored",)

    def __init__(self, path: Path | str, *, size: int | None = None):
        check_size(size)
        self.path = Path(path)
        try:
            self._files = open_files(path)
        except BadDataset as error:
            raise BadDataset(error.given, expected=WANTED, remedy="check the path") from error
        self.names = tuple(sorted(name for name in self._files.sizes if is_image(name)))
        self._refuse_few()
        self.native = self._sizes(any_size=size is not None)
        self.size = size or self.native

    @property
    def count(self) -> int:
        """How many pictures there are."""
        return len(self.names)

    def __len__(self) -> int:
        return self.count

    @property
    def fingerprint(self) -> str:
        """16 digits: the same for the same names and lengths of files."""
        return self._mark([])

    def at_size(self, size: int) -> PlainImages:
        """The same pictures, cut and brought to this size where they have another."""
        return self if size == self.size else PlainImages(self.path, size=size)

    def key(self) -> dict[str, Any]:
        """What decides the pictures: names, lengths and times of files, and what is done to them."""
        if self.path.is_dir():
            times = [(self.path / name).stat().st_mtime_ns for name in self.names]
        else:
            times = [self.path.stat().st_mtime_ns]
        return {"images": self._mark(times), "size": self.size, "crop": "centre", "filter": "lanczos"}

    def pictures(self, places: Sequence[int], poses: Sequence[str] = ()) -> Tensor:
        """uint8 [n, 1, 3, S, S] of the pictures at these places in the order of names. BadImage if one is damaged."""
        del poses
        return torch.stack([self._picture(self.names[place]) for place in places])[:, None]

    def _picture(self, name: str) -> Tensor:
        try:
            image = decode_image(self._files.read(name), name=str(self.path / name))
        except BadImage as error:
            raise _unreadable(error) from error
        return square(image, self.size)

    def _mark(self, more: list[int]) -> str:
        lines = [f"{name} {self._files.sizes[name]}" for name in self.names] + [str(number) for number in more]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def _refuse_few(self) -> None:
        if not self.names:
            raise BadDataset(
                f"{self.path} has no pictures",
                expected=WANTED,
                remedy="check the path",
            )
        if len(self.names) < FEWEST:
            raise BadDataset(
                f"{self.path} has {len(self.names)} pictures",
                expected=f"scores of sets need {FEWEST} or more",
                remedy="make more of them",
            )

    def _sizes(self, *, any_size: bool) -> int:
        """The smaller side of the first picture. An error for files that are no pictures and, unless `any_size`, for
        pictures that are no squares of one size."""
        side, first = 0, self.names[0]
        for name, found in image_sizes(self._files, self.names):
            if isinstance(found, GramhdError):
                raise _unreadable(found) from found
            width, height = found
            side = side or min(width, height)
            if not any_size and (width, height) != (side, side):
                other = f"{first} {side} pixels wide" if name != first else "pictures of heads square"
                raise BadDataset(
                    f"{self.path / name} is {width} x {height} and {other}",
                    expected="pictures that are compared are squares of one size",
                    remedy=f"use --size {side} to cut and resize all of them, or leave out what does not belong",
                )
        return side


def square(image: Tensor, size: int) -> Tensor:
    """uint8 [3, H, W] -> [3, size, size]: the largest square in the middle, LANCZOS where it has another size."""
    height, width = image.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = image[:, top : top + side, left : left + side]
    if side == size:
        return image
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    small = picture.resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous()


def _unreadable(error: GramhdError) -> BadImage:
    """The sentence of a damaged picture, for a folder that nobody has prepared."""
    return BadImage(
        error.given, expected="every picture of the folder is compared", remedy="make the file again or remove it"
    )
