"""What metrics look at: a model's pictures, some heads turned, images of a data set, and what is read in all of them.

n samples, S x S pixels, V views of T turned heads, F features, A attributes. Everything is made once, when the first
metric asks for it. Sample i is the head and the camera of `gramhd sample --seeds i --view rand`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from gramhd_core.checkpoints.checkpoint import Checkpoint, check_fit, find_checkpoint
from gramhd_core.checkpoints.saved_scene import SavedScene
from gramhd_core.data.dataset import DatasetReader
from gramhd_core.errors import BadArgument, BadDataset
from gramhd_core.generators import FAMILIES
from gramhd_core.generators.generator import Generator
from gramhd_core.geometry.camera import Camera
from gramhd_core.networks.feature_network import (
    FeatureNetwork,
    images_from_bytes,
    load_feature_network,
)
from gramhd_core.outputs.shots import device_of, joined, latent_of_seed, render_shots
from gramhd_core.progress import Progress, Silent

FEWEST, MOST = 16, 100_000
TURNED = 200  # heads that are looked at from several sides
TURNED_YAW = (0.0, -0.3, 0.3)  # radians: frontal, and one standard deviation of the published cameras to both sides
BATCH = 50  # pictures read at once
REAL_SEED = 0  # of the choice of images


@dataclass(frozen=True)
class EvaluationRequest:
    """samples: how many heads, seeds 0 and up. truncation: psi in [0, 1]. size: side of pictures, None: as trained."""

    samples: int = 200
    truncation: float = 1.0
    size: int | None = None

    def __post_init__(self) -> None:
        if not FEWEST <= self.samples <= MOST:
            raise BadArgument(
                f"{self.samples} samples were asked for",
                expected=f"scores need {FEWEST} to {MOST:,}",
                remedy="use a --samples in that range, 200 is quick and 2000 is steady",
            )
        if not 0 <= self.truncation <= 1:
            raise BadArgument(
                f"the truncation is {self.truncation:g}",
                expected="it must lie between 0 (the average head) and 1 (full variety)",
                remedy="use a --trunc in that range, scores are usually given for 1",
            )
        if self.size is not None and not 16 <= self.size <= 1024:
            raise BadArgument(
                f"the size is {self.size} pixels", expected="16 to 1024 can be judged", remedy="use another --size"
            )


class Pictures(NamedTuple):
    """images uint8 [n, 3, S, S]; angles [n, 2]: the pitch and yaw they were taken from, radians."""

    images: Tensor
    angles: Tensor


class Turned(NamedTuple):
    """The same heads from V cameras. rgb uint8 [T, V, 3, S, S]; alpha in [0, 1] and distance [T, V, S, S]."""

    cameras: Camera
    rgb: Tensor
    alpha: Tensor
    distance: Tensor


class Evaluation:
    """A model beside a data set. Raises BadArgument for saved scenes, BadDataset for data sets that are too small."""

    def __init__(
        self,
        generator: Generator,
        reader: DatasetReader,
        *,
        request: EvaluationRequest | None = None,
        progress: Progress | None = None,
    ):
        self.generator, self.reader, self.progress = generator, reader, progress or Silent()
        self.request = request or EvaluationRequest()
        if isinstance(generator, SavedScene):
            raise BadArgument(
                "a saved scene was given",
                expected="scores are of a model that makes many heads",
                remedy="name the checkpoint that made the scene",
            )
        if len(reader) < 2 * self.request.samples:
            most = len(reader) // 2
            raise BadDataset(
                f"{reader.path} has {len(reader)} images",
                expected=f"{self.request.samples} samples are compared with twice as many, in two halves",
                remedy=f"use --samples {most} or prepare more images"
                if most >= FEWEST
                else f"prepare {2 * FEWEST} or more",
            )
        self.size = self.request.size or generator.image_size
        self._shot: tuple[Pictures, Turned] | None = None

    @property
    def samples(self) -> Pictures:
        """n heads, each seen by a camera of the model's own prior."""
        return self._shots()[0]

    @property
    def turned(self) -> Turned:
        """The first heads again (200 at the most), from level cameras at the yaws of `TURNED_YAW`."""
        return self._shots()[1]

    @cached_property
    def halves(self) -> tuple[Pictures, Pictures]:
        """Two times n different images of the data set, at the samples' size."""
        n = self.request.samples
        chosen = torch.randperm(len(self.reader), generator=torch.Generator().manual_seed(REAL_SEED))[: 2 * n]
        sized = DatasetReader(self.reader.path, size=self.size)
        self.progress.start("Reading images", 2 * n)
        images = torch.empty(2 * n, 3, self.size, self.size, dtype=torch.uint8)
        for place, index in enumerate(chosen.tolist()):
            images[place] = sized.image(index)
            self.progress.advance()
        self.progress.finish()
        angles = self.reader.angles[chosen]
        return Pictures(images[:n], angles[:n]), Pictures(images[n:], angles[n:])

    @cached_property
    def network(self) -> FeatureNetwork:
        """The network of the package, on the CPU: the same scores on every machine."""
        return load_feature_network().network

    @cached_property
    def sample_features(self) -> Tensor:
        """[n, F] of the samples."""
        return in_batches(self.network.features, self.samples.images)

    @cached_property
    def half_features(self) -> tuple[Tensor, Tensor]:
        """[n, F] of the images of both halves."""
        first, second = self.halves
        return in_batches(self.network.features, first.images), in_batches(self.network.features, second.images)

    def _shots(self) -> tuple[Pictures, Turned]:
        """One pass over the heads: the networks run once for each."""
        if self._shot is None:
            self._shot = shoot(self.generator, self.request, size=self.size, progress=self.progress)
        return self._shot


@torch.no_grad()
def shoot(
    generator: Generator, request: EvaluationRequest, *, size: int, progress: Progress | None = None
) -> tuple[Pictures, Turned]:
    """Photograph n heads once each by a camera of the prior, the first of them from the sides as well."""
    progress, device = progress or Silent(), device_of(generator)
    sides = generator.cameras.at(torch.zeros(len(TURNED_YAW)), torch.tensor(TURNED_YAW), size=size)
    turned, n = min(TURNED, request.samples), request.samples
    images = torch.empty(n, 3, size, size, dtype=torch.uint8)
    angles, views = torch.empty(n, 2), []
    progress.start("Making heads", n)
    for seed in range(n):
        latent, rng = latent_of_seed(generator, seed, truncation=request.truncation)
        camera = generator.cameras.sample(1, rng, size=size)
        cameras = _together(camera, sides) if seed < turned else camera
        shots = joined(list(render_shots(generator.scene(latent), cameras, device=device)))
        rgb = torch.from_numpy(shots.rgb).movedim(-1, 1)
        images[seed], angles[seed] = rgb[0], torch.stack([camera.pitch[0], camera.yaw[0]])
        if seed < turned:
            assert shots.distance is not None, "every family of the house knows distances"
            alpha = torch.from_numpy(shots.alpha[1:]).float() / 255
            views.append((rgb[1:].clone(), alpha, torch.from_numpy(shots.distance[1:]).clone()))
        progress.advance()
    progress.finish()
    return Pictures(images, angles), Turned(sides, *(torch.stack(part) for part in zip(*views, strict=True)))


def _together(first: Camera, second: Camera) -> Camera:
    pose = torch.cat([first.world_from_camera, second.world_from_camera])
    return Camera(pose, torch.cat([first.fov_degrees, second.fov_degrees]), first.height, first.width)


@torch.no_grad()
def in_batches(look: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """What `look` makes of images in [-1, 1], for uint8 [n, 3, S, S], a few at a time."""
    return torch.cat([look(images_from_bytes(part)) for part in images.split(BATCH)])


def untrained_twin(ckpt: str, *, device: str = "cpu") -> Generator:
    """The model of a checkpoint as it was before training: the same configuration, weights of seed 0."""
    checkpoint = Checkpoint.load(find_checkpoint(ckpt))
    kind = FAMILIES[checkpoint.family][0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = kind(checkpoint.config)
    check_fit(generator.state_dict(), checkpoint.weights, where="the checkpoint")
    return generator.to(device).eval().requires_grad_(False)
