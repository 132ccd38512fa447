"""Features of sets of pictures, a piece at a time: kept in files, found again, and continued where a run ended.

n pictures, L looks, F features. A piece is 1024 pictures; its file is named after everything that decides its numbers,
so a changed data set, model or network never finds the features of another one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gramhd_core import __version__
from gramhd_core.errors import BadCheckpoint, CannotWrite
from gramhd_core.metrics.extractors import Extractor
from gramhd_core.metrics.picture_sets import PictureSet
from gramhd_core.metrics.provenance import commit, versions
from gramhd_core.progress import Progress, Silent
from gramhd_core.tensor_files import load_tensors, save_tensors
from gramhd_core.world import ALONE, World

BATCH = 64  # pictures looked at together: torch-fidelity's own number
PIECE = 16 * BATCH
KEY = "gramhd_features"


class Features(NamedTuple):
    """tensors: of every way of looking, float32 [n, F]; found: how many of the n pictures needed not be looked at,
    since what the network sees in them was in the cache. Of several processes, the first one has the tensors."""

    tensors: dict[str, Tensor]
    found: int


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/gramhd`, or `~/.cache/gramhd`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gramhd"


def features_of(
    pictures: PictureSet,
    extractor: Extractor,
    counts: Mapping[str, int],
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
    world: World = ALONE,
) -> Features:
    """What the extractor sees in the first pictures of a set. counts: how many of them, for every way to look (of
    `pictures.poses`) that is wanted; what is made for several looks at a picture is made once.

    cache: a folder, or None to keep nothing. world: processes that share the pictures; all of them call this.
    """
    most, progress = max(counts.values()), progress or Silent()
    assert 0 < min(counts.values()) <= most <= pictures.count and set(counts) <= set(pictures.poses), counts
    pieces: dict[str, list[Tensor]] = {pose: [] for pose in counts}
    found = 0
    progress.start("Looking at pictures", most)
    for start in range(0, most, PIECE):
        stop = min(start + PIECE, most)
        poses = tuple(pose for pose, count in counts.items() if count > start)
        shelf = _Shelf(cache, pictures, extractor, range(start, stop))
        known = {pose: shelf.find(pose) for pose in poses} if world.first else {}
        missing = world.gather(tuple(pose for pose in poses if known.get(pose) is None))[0]
        if missing:
            made = _looked_at(pictures, extractor, range(start, stop), missing, progress=progress, world=world)
            cache = cache if shelf.keep(made, progress=progress) else None
            known |= made
        else:
            found += stop - start
            progress.advance(stop - start, note="from the cache")
        for pose, tensor in known.items():
            assert tensor is not None
            pieces[pose].append(tensor)
    progress.finish()
    if not world.first:
        return Features({}, found)
    return Features({pose: torch.cat(pieces[pose])[:count] for pose, count in counts.items()}, found)


def _looked_at(
    pictures: PictureSet,
    extractor: Extractor,
    places: range,
    poses: Sequence[str],
    *,
    progress: Progress,
    world: World,
) -> dict[str, Tensor]:
    """Of every way of looking: [n, F] of the pictures at `places`, in the first process."""
    mine, parts = world.share(places), []
    with world.agreed():
        for start in range(0, len(mine), BATCH):
            batch = pictures.pictures(mine[start : start + BATCH], poses)
            parts.append(torch.stack([extractor(batch[:, look].contiguous()) for look in range(len(poses))]))
            progress.advance(len(batch) * world.size)
    shares = world.collect(torch.cat(parts, dim=1) if parts else None)
    if shares is None:
        return {}
    shares = [share for share in shares if share is not None]
    whole = shares[0].new_empty(len(poses), len(places), shares[0].shape[-1])
    for rank, share in enumerate(shares):
        whole[:, rank :: world.size] = share
    return dict(zip(poses, whole, strict=True))


class _Shelf:
    """The files of one piece; of a set whose key is asked for only where there is a cache."""

    def __init__(self, cache: Path | None, pictures: PictureSet, extractor: Extractor, places: range):
        self.cache, self.places = cache, places
        self.facts = {} if cache is None else {
            "pictures": pictures.key(),
            "extractor": extractor.name,
            "layer": extractor.layer,
            "weights": extractor.fingerprint,
            "library": extractor.library,
            "code": [__version__, commit(), versions()],
        }  # fmt: skip

    def find(self, pose: str) -> Tensor | None:
        """[n, F], or None if they are not there or not whole. A full piece serves a shorter one."""
        start, stop = self.places.start, self.places.stop
        for end in dict.fromkeys((stop, start + PIECE)) if self.cache is not None else ():
            header = self._header(pose, end)
            path = self._path(header)
            if not path.is_file():
                continue
            try:
                tensors, found = load_tensors(path, key=KEY)
            except BadCheckpoint:
                continue
            features = tensors.get("features")
            if features is None or found != header or features.shape[:-1] != (end - start,):
                continue
            if features.isfinite().all():
                return features[: stop - start]
        return None

    def keep(self, made: Mapping[str, Tensor], *, progress: Progress) -> bool:
        """Write [n, F] down for every look. A place that cannot be written to costs a line, not the run: False."""
        for pose, features in made.items() if self.cache is not None else ():
            header = self._header(pose, self.places.stop)
            try:
                save_tensors(self._path(header), {"features": features}, header, key=KEY)
            except CannotWrite as error:
                progress.say(f"Features are not kept: {error.given}.")
                return False
        return True

    def _header(self, pose: str, stop: int) -> dict[str, Any]:
        return {**self.facts, "pose": pose, "start": self.places.start, "stop": stop}

    def _path(self, header: dict[str, Any]) -> Path:
        assert self.cache is not None
        digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
        return self.cache / "features" / f"{digest[:32]}.safetensors"
