"""Sets of pictures that are too many to be held: of a data set, or made by a model, a few at a time.

n pictures, L looks at each, S x S pixels. The real pictures come in an order shuffled once, so that the first ones are
a fair choice; picture i of a model is the head of seed i. (Pictures of plain folders: `image_files.PlainImages`.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gramhd_core.configs import to_dict
from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.image_files import open_files
from gramhd_core.generators.generator import Generator, Latent
from gramhd_core.geometry.camera import Camera
from gramhd_core.metrics.extractors import fingerprint_of
from gramhd_core.metrics.image_files import PlainImages
from gramhd_core.metrics.protocols import REAL_SEED
from gramhd_core.metrics.shooting import knows_camera, shots_of
from gramhd_core.outputs.shots import device_of, latent_of_seed

FRONTAL = ", made for the front"  # of a look: the head does not know where it is seen from


class PictureSet(Protocol):
    """`count` pictures in a fixed order, each seen in the ways of `poses`."""

    @property
    def poses(self) -> tuple[str, ...]:
        """The ways."""
        ...

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    @property
    def size(self) -> int:
        """Their side in pixels."""
        ...

    def key(self) -> dict[str, Any]:
        """JSON that differs when any picture does: under which name features are kept."""
        ...

    def pictures(self, places: Sequence[int], poses: Sequence[str]) -> Tensor:
        """uint8 [n, L, 3, S, S]: the pictures at these places, each in L of the set's ways."""
        ...


class RealPictures:
    """A data set or a plain folder, shuffled once; `count` is that of all its pictures."""

    poses: tuple[str, ...] = ("as stored",)

    def __init__(self, source: DatasetReader | PlainImages, *, size: int):
        self.size, self.count = size, len(source)
        self.source = source.at_size(size) if isinstance(source, PlainImages) else source
        order = torch.randperm(self.count, generator=torch.Generator().manual_seed(REAL_SEED))
        self._order = order.tolist()
        self._sized = source if isinstance(source, PlainImages) else DatasetReader(source.path, size=size)

    def key(self) -> dict[str, Any]:
        """See `PictureSet`; of a data set the lengths and times of its images count as well."""
        if isinstance(self.source, PlainImages):
            return {"order": f"shuffled with {REAL_SEED}", **self.source.key()}
        path, digest = self.source.path, hashlib.sha256()
        sizes = open_files(path).sizes
        for name in self.source.names:
            changed = (path / name).stat().st_mtime_ns if path.is_dir() else path.stat().st_mtime_ns
            digest.update(f"{name} {sizes[name]} {changed}\n".encode())
        images = f"{self.source.fingerprint} {digest.hexdigest()[:16]}"
        return {"order": f"shuffled with {REAL_SEED}", "images": images, "size": self.size, "filter": "lanczos"}

    def pictures(self, places: Sequence[int], poses: Sequence[str] = ()) -> Tensor:
        """See `PictureSet`."""
        chosen = [self._order[place] for place in places]
        if isinstance(self.source, PlainImages):
            return self.source.pictures(chosen, poses)
        assert isinstance(self._sized, DatasetReader)
        return torch.stack([self._sized.image(index) for index in chosen])[:, None]


class GeneratedPictures:
    """Heads of a model, seeds 0 to count - 1. Ways to see them: "prior", from the camera the seed draws (as
    `gramhd sample --view rand`); "labels", from the camera of an image of `labels` that the seed draws; and both with
    `FRONTAL` after them. A head whose colours depend on the camera is made for the one that sees it (the published
    protocol), except with `FRONTAL`: then for the level, frontal one. Other heads are the same either way.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        count: int,
        size: int,
        truncation: float = 1.0,
        labels: DatasetReader | None = None,
    ):
        self.generator, self.count, self.size, self.truncation = generator, count, size, truncation
        self.labels = labels
        ways = ("prior", "labels") if labels is not None else ("prior",)
        self.poses = (*ways, *(way + FRONTAL for way in ways))

    @cached_property
    def fingerprint(self) -> str:
        """16 digits of the model: configuration and weights."""
        assert isinstance(self.generator, nn.Module)
        config = hashlib.sha256(repr(to_dict(self.generator.config)).encode()).hexdigest()
        return hashlib.sha256((config + fingerprint_of(self.generator.state_dict())).encode()).hexdigest()[:16]

    def key(self) -> dict[str, Any]:
        """See `PictureSet`."""
        labels = None if self.labels is None else self.labels.fingerprint
        made = {"model": self.fingerprint, "device": device_of(self.generator).type, "truncation": self.truncation}
        return {**made, "size": self.size, "labels": labels}

    @cached_property
    def view_dependent(self) -> bool:
        """See `knows_camera`."""
        return knows_camera(self.generator)

    @torch.no_grad()
    def pictures(self, places: Sequence[int], poses: Sequence[str]) -> Tensor:
        """See `PictureSet`: the scene of a head is made once for all its looks, unless it depends on the camera."""
        return torch.stack([self._looks(seed, poses) for seed in places])

    def _looks(self, seed: int, poses: Sequence[str]) -> Tensor:
        latent, rng = latent_of_seed(self.generator, seed, truncation=self.truncation)
        cameras = {pose: self._camera(pose, rng.get_state()) for pose in poses}
        if not self.view_dependent:
            together = Camera(
                torch.cat([camera.world_from_camera for camera in cameras.values()]),
                torch.cat([camera.fov_degrees for camera in cameras.values()]),
                self.size,
                self.size,
            )
            return self._shot(latent, together, made_for=None)
        front = self.generator.cameras.at(0.0, 0.0, size=self.size)
        seen = [
            self._shot(latent, camera, made_for=front if pose.endswith(FRONTAL) else camera)
            for pose, camera in cameras.items()
        ]
        return torch.cat(seen)

    def _camera(self, pose: str, state: Tensor) -> Camera:
        """The camera of a look, drawn from the seed's stream after z."""
        rng = torch.Generator()
        rng.set_state(state)
        if pose.removesuffix(FRONTAL) == "prior":
            return self.generator.cameras.sample(1, rng, size=self.size)
        assert self.labels is not None
        index = int(torch.randint(len(self.labels), (1,), generator=rng))
        pitch, yaw = self.labels.angles[index].tolist()
        return self.generator.cameras.at(pitch, yaw, size=self.size)

    def _shot(self, latent: Latent, cameras: Camera, *, made_for: Camera | None) -> Tensor:
        """uint8 [L, 3, S, S]"""
        shots = shots_of(self.generator, latent, cameras, made_for=made_for)
        return torch.from_numpy(shots.rgb).movedim(-1, 1).contiguous()
