"""What was found of single heads while a metric is not done: who interrupts the last of fifty fits loses one.

H x W pixels.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import torch

from gramhd_core.errors import BadCheckpoint
from gramhd_core.metrics.scores import Picture, Seen
from gramhd_core.tensor_files import load_tensors, save_tensors

KEY = "gramhd_head"
NUMBERS = "numbers"


class Notebook:
    """A folder with one small file per head, or no place to keep anything (None). key: of everything that decides the
    numbers; what was written with another one is not found."""

    def __init__(self, folder: Path | None = None, key: str = ""):
        self.folder, self.key = folder, key

    def find(self, name: str) -> Seen | None:
        """What was kept under this name, or None."""
        if self.folder is None or not (path := self._path(name)).is_file():
            return None
        try:
            tensors, header = load_tensors(path, key=KEY)
        except BadCheckpoint:
            return None
        if (header.get("name"), header.get("key")) != (name, self.key):
            return None
        numbers = dict(zip(header["numbers"], tensors.pop(NUMBERS).tolist(), strict=True))
        captions = header["captions"]
        return Seen(numbers, {title: Picture(tensors[title].numpy(), captions[title]) for title in captions})

    def keep(self, name: str, seen: Seen) -> None:
        """Write it down. Raises CannotWrite."""
        if self.folder is None:
            return
        tensors = {NUMBERS: torch.tensor(list(seen.numbers.values()), dtype=torch.float64)}
        tensors |= {title: torch.from_numpy(picture.image) for title, picture in seen.pictures.items()}
        captions = {title: picture.caption for title, picture in seen.pictures.items()}
        header = {"name": name, "key": self.key, "numbers": list(seen.numbers), "captions": captions}
        save_tensors(self._path(name), tensors, header, key=KEY)

    def clear(self) -> None:
        """Throw everything away."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{hashlib.sha256(f'{self.key} {name}'.encode()).hexdigest()[:16]}.safetensors"
