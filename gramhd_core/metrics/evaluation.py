"""What metrics look at: a model's pictures, some heads turned, images of a data set, and what is read in all of them.

n samples, S x S pixels, V views of T turned heads, F features, A attributes. Everything is made once, when the first
metric asks for it. Sample i is the head and the camera of `gramhd sample --seeds i --view rand`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from gramhd_core.world import ALONE, World

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


def check_enough(reader: DatasetReader, request: EvaluationRequest) -> None:
    """BadDataset if there are not two images for every sample."""
    if len(reader) < 2 * request.samples:
        most = len(reader) // 2
        fewer = f"use --samples {most} or prepare more images"
        raise BadDataset(
            f"{reader.path} has {len(reader)} images",
            expected=f"{request.samples} samples are compared with twice as many, in two halves",
            remedy=fewer if most >= FEWEST else f"prepare {2 * FEWEST} or more",
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

    @classmethod
    def empty(cls, cameras: Camera, heads: int) -> Turned:
        """Room for that many heads."""
        places = (heads, len(cameras), cameras.height, cameras.width)
        rgb = torch.empty(*places[:2], 3, *places[2:], dtype=torch.uint8)
        return cls(cameras, rgb, torch.empty(places), torch.empty(places))


class Shots(NamedTuple):
    """What is photographed of a model."""

    samples: Pictures
    turned: Turned


class Evaluation:
    """A model beside a data set. Raises BadArgument for saved scenes, BadDataset for data sets that are too small.

    world: processes that share the heads. All of them call `photograph`; pictures and scores are the first one's.
    """

    def __init__(
        self,
        generator: Generator,
        reader: DatasetReader,
        *,
        request: EvaluationRequest | None = None,
        progress: Progress | None = None,
        world: World = ALONE,
    ):
        self.generator, self.reader, self.progress, self.world = generator, reader, progress or Silent(), world
        self.request = request or EvaluationRequest()
        if isinstance(generator, SavedScene):
            raise BadArgument(
                "a saved scene was given",
                expected="scores are of a model that makes many heads",
                remedy="name the checkpoint that made the scene",
            )
        check_enough(reader, self.request)
        self.size = self.request.size or generator.image_size
        self._shot: Shots | None = None

    @property
    def samples(self) -> Pictures:
        """n heads, each seen by a camera of the model's own prior."""
        return self._shots.samples

    @property
    def turned(self) -> Turned:
        """The first heads again (200 at the most), from level cameras at the yaws of `TURNED_YAW`."""
        return self._shots.turned

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

    def photograph(self) -> None:
        """Make what this process takes of the heads, and bring all of them to the first process."""
        if self._shot is not None:
            return
        mine = self.world.share(range(self.request.samples))
        with self.world.agreed():
            shots = shoot(self.generator, self.request, seeds=mine, size=self.size, progress=self.progress)
        shares = self.world.collect(shots)
        self._shot = shots if shares is None else interleaved(shares)

    @property
    def _shots(self) -> Shots:
        """One pass over the heads: the networks run once for each."""
        self.photograph()
        assert self._shot is not None and self.world.first
        return self._shot


@torch.no_grad()
def shoot(
    generator: Generator,
    request: EvaluationRequest,
    *,
    seeds: Sequence[int] | None = None,
    size: int,
    progress: Progress | None = None,
) -> Shots:
    """Photograph heads once each by a camera of the prior, the first 200 from the sides as well.

    seeds: which of the n; all, if not given.
    """
    progress, device = progress or Silent(), device_of(generator)
    seeds = range(request.samples) if seeds is None else seeds
    sides = generator.cameras.at(torch.zeros(len(TURNED_YAW)), torch.tensor(TURNED_YAW), size=size)
    images = torch.empty(len(seeds), 3, size, size, dtype=torch.uint8)
    turned = Turned.empty(sides, sum(seed < TURNED for seed in seeds))
    angles = torch.empty(len(seeds), 2)
    progress.start("Making heads", len(seeds))
    for place, seed in enumerate(seeds):
        latent, rng = latent_of_seed(generator, seed, truncation=request.truncation)
        camera = generator.cameras.sample(1, rng, size=size)
        cameras = _together(camera, sides) if seed < TURNED else camera
        shots = joined(list(render_shots(generator.scene(latent), cameras, device=device)))
        rgb = torch.from_numpy(shots.rgb).movedim(-1, 1)
        images[place], angles[place] = rgb[0], torch.stack([camera.pitch[0], camera.yaw[0]])
        if seed < TURNED:
            assert shots.distance is not None, "every family of the house knows distances"
            turned.rgb[place] = rgb[1:]
            turned.alpha[place] = torch.from_numpy(shots.alpha[1:]).float() / 255
            turned.distance[place] = torch.from_numpy(shots.distance[1:])
        progress.advance()
    progress.finish()
    return Shots(Pictures(images, angles), turned)


def interleaved(shares: Sequence[Shots]) -> Shots:
    """The shots of all processes, of which process r of W made those of seeds r, r + W, ..., in order of seeds."""
    if len(shares) == 1:
        return shares[0]

    def zipped(parts: Sequence[Tensor]) -> Tensor:
        whole = parts[0].new_empty(sum(len(part) for part in parts), *parts[0].shape[1:])
        for rank, part in enumerate(parts):
            whole[rank :: len(parts)] = part
        return whole

    samples = Pictures(*(zipped(parts) for parts in zip(*(share.samples for share in shares), strict=True)))
    cameras, turned = shares[0].turned.cameras, [share.turned[1:] for share in shares]
    return Shots(samples, Turned(cameras, *(zipped(parts) for parts in zip(*turned, strict=True))))


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
