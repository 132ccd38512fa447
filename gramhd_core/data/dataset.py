"""Reading a prepared data set: posed square images from a folder or an uncompressed zip, and endless batches of them.

n images on disk, B batch, S image side in pixels. Angles are radians. Images are uint8; a mirrored image goes with
the mirrored camera (yaw -> -yaw).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gramhd_core.data.image_files import ZipFiles, check_size, decode_image, image_sizes, open_files
from gramhd_core.data.labels import LABEL_FILE, eg3d_table, parse_json
from gramhd_core.errors import BadArgument, BadDataset, BadImage, BadLabels, GramhdError

JOURNAL_FILE = ".unfinished.jsonl"  # what `prepare.py` keeps in a folder until it is complete


class Sample(NamedTuple):
    """One image, uint8 [3, S, S], and where it was taken from."""

    image: Tensor
    pitch: float
    yaw: float
    name: str


class DatasetReader:
    """Random access to a data set; safe to share between threads and to send to worker processes.

    size: resize every image (LANCZOS) to this side; None keeps the resolution on disk.
    mirror: appends the mirror image of every image: item n + i is item i flipped, with the mirrored camera.
    fingerprint: the same for the same label file (names, poses), number of images and resolution on disk, whether in a
        folder or a zip. It does not look into the images: a damaged one can be replaced and its run resumed.
    """

    def __init__(self, path: Path | str, *, size: int | None = None, mirror: bool = False):
        check_size(size)
        self.path, self.mirror = Path(path), mirror
        self._files = open_files(path)
        self._refuse_compression()
        if LABEL_FILE not in self._files.sizes:
            raise self._no_labels()
        label_bytes = self._files.read(LABEL_FILE)
        source = str(self.path / LABEL_FILE)
        table = eg3d_table(parse_json(label_bytes, source=source), source=source)
        self.names = table.names
        self._refuse_absent(source)
        self.resolution = self._common_resolution()
        self.image_size = size or self.resolution
        self.fingerprint = self._fingerprint(label_bytes)
        pitch_yaw = torch.from_numpy(table.poses[:, :2].astype(np.float32))
        mirrored = pitch_yaw * torch.tensor([1.0, -1.0])
        self.angles = torch.cat([pitch_yaw, mirrored]) if mirror else pitch_yaw  # [len, 2] pitch, yaw

    @property
    def stored(self) -> int:
        """Number of images on disk: half of `len` when mirrored."""
        return len(self.names)

    def __len__(self) -> int:
        return len(self.angles)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        image = self.image(index % self.stored)
        pitch, yaw = self.angles[index].tolist()
        return Sample(image.flip(-1) if index >= self.stored else image, pitch, yaw, self.names[index % self.stored])

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def image(self, index: int) -> Tensor:
        """uint8 [3, S, S]: stored image `index`, decoded, never mirrored."""
        name = self.names[index]
        return decode_image(self._files.read(name), name=str(self.path / name), size=self.image_size)

    def _refuse_compression(self) -> None:
        if self._files.compressed:
            raise BadDataset(
                f"{self.path} is compressed",
                expected="random access needs a zip whose members are stored as they are",
                remedy=f"unpack it and pack it again with `zip -0 -r {self.path.name} .`, or use the unpacked folder",
            )

    def _no_labels(self) -> GramhdError:
        unfinished = not isinstance(self._files, ZipFiles) and (self.path / JOURNAL_FILE).exists()
        return BadDataset(
            f"{self.path} {'is an unfinished data set' if unfinished else f'has no {LABEL_FILE}'}",
            expected="a data set says where each image was taken from",
            remedy="run the same `gramhd prep-data` command again to finish it"
            if unfinished
            else f"make one with `gramhd prep-data {self.path} --labels LABELS --out DATA`",
        )

    def _refuse_absent(self, source: str) -> None:
        if not self.names:
            raise BadDataset(f"{source} labels no image", expected="a data set has images", remedy="prepare it again")
        absent = [name for name in self.names if name not in self._files.sizes]
        if absent:
            raise BadLabels(
                f"{source} names {absent[0]} and {len(absent) - 1} other images that are not there",
                expected="every label belongs to an image of the data set",
                remedy="copy the missing images or prepare the data set again",
            )

    def _common_resolution(self) -> int:
        resolution = 0
        for name, size in image_sizes(self._files, self.names):
            if isinstance(size, GramhdError):
                raise size
            width, height = size
            if width != height:
                raise BadImage(
                    f"{self.path / name} is {width} x {height}",
                    expected="images of a data set are square",
                    remedy="crop the images to squares around the head",
                )
            resolution = resolution or width
            if width != resolution:
                raise BadDataset(
                    f"{self.path / name} is {width} pixels wide and the images before it {resolution}",
                    expected="all images of a data set have one size",
                    remedy=f"bring them to one size with `gramhd prep-data {self.path} --size {resolution} --out DATA`",
                )
        return resolution

    def _fingerprint(self, label_bytes: bytes) -> str:
        geometry = f"\n{self.stored} {self.resolution}".encode()  # the names are among the labels
        return hashlib.sha256(label_bytes + geometry).hexdigest()[:16]


class Batch(NamedTuple):
    """Images uint8 [B, 3, S, S]; pitch [B] and yaw [B] in radians, float32."""

    images: Tensor
    pitch: Tensor
    yaw: Tensor


class BatchStream:
    """Endless batches, shuffled anew for every pass: a pure function of (data set, batch, seed, position).

    position: images drawn so far; `seek(position)` continues exactly there. Batches run over the end of a pass.
    Decoded images stay in memory when the whole set takes at most `cache_bytes` at this size; otherwise the next
    batches are decoded ahead by `workers` threads.

    places: int64, the items of every batch that this process needs (with others on other devices); all, if None.
    """

    def __init__(
        self,
        reader: DatasetReader,
        *,
        batch: int,
        seed: int,
        workers: int = 2,
        places: Tensor | None = None,
        cache_bytes: int = 1 << 30,
    ):
        if batch < 1 or seed < 0:
            raise BadArgument(
                f"Batch size {batch} and seed {seed} were given",
                expected="a batch has at least one image and a seed is not negative",
                remedy="give a batch of 1 or more and a seed of 0 or more",
            )
        self.reader, self.batch, self.seed, self.position = reader, batch, seed, 0
        self._places = torch.arange(batch) if places is None else places
        side = reader.image_size
        self._cache = None
        if reader.stored * 3 * side * side <= cache_bytes:
            self._cache = torch.empty(reader.stored, 3, side, side, dtype=torch.uint8)
        self._missing = set(range(reader.stored))  # not in the cache
        self._ahead: dict[int, Future[Tensor]] = {}
        self._pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="decode")
        self._orders: dict[int, Tensor] = {}

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        index = self._indices(self.position)
        images = self._images(index % self.reader.stored)
        self.position += self.batch
        flipped = index >= self.reader.stored
        if flipped.any():
            images[flipped] = images[flipped].flip(-1)
        pitch, yaw = self.reader.angles[index].unbind(-1)
        return Batch(images, pitch, yaw)

    def seek(self, position: int) -> None:
        """Continue as if `position` images had been drawn."""
        assert position >= 0, position
        self.position = position
        self._forget()

    def close(self) -> None:
        """Stop decoding ahead."""
        self._forget()
        self._pool.shutdown(wait=True)

    def _forget(self) -> None:
        for future in self._ahead.values():
            future.cancel()
        self._ahead.clear()

    def _indices(self, position: int) -> Tensor:
        """int64: the items at `position` and after it in the endless order, at this process's places."""
        parts: list[Tensor] = []
        missing = self.batch
        while missing > 0:
            epoch, place = divmod(position, len(self.reader))
            parts.append(self._order(epoch)[place : place + missing])
            position, missing = position + len(parts[-1]), missing - len(parts[-1])
        return torch.cat(parts)[self._places]

    def _order(self, epoch: int) -> Tensor:
        """int64 [len]: the shuffled items of one pass over the data."""
        if epoch not in self._orders:
            # torch keeps 32 bits of a seed: mix (seed, epoch) into 32 good ones
            mixed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])
            rng = torch.Generator().manual_seed(mixed)
            self._orders = {e: order for e, order in self._orders.items() if abs(e - epoch) <= 1}
            self._orders[epoch] = torch.randperm(len(self.reader), generator=rng)
        return self._orders[epoch]

    def _images(self, stored: Tensor) -> Tensor:
        """uint8 [B, 3, S, S] of stored images; keeps the pool busy with the two batches to come."""
        if self._cache is not None and not self._missing:
            return self._cache[stored]
        now = stored.tolist()
        coming = [self._indices(self.position + step * self.batch) % self.reader.stored for step in (1, 2)]
        for index in [*now, *torch.cat(coming).tolist()]:
            if index in self._missing and index not in self._ahead:
                self._ahead[index] = self._pool.submit(self.reader.image, index)
        if self._cache is None:
            decoded = {index: self._ahead.pop(index).result() for index in set(now)}
            return torch.stack([decoded[index] for index in now])
        for index in self._missing.intersection(now):
            self._cache[index] = self._ahead.pop(index).result()
            self._missing.discard(index)
        return self._cache[stored]
