"""What metrics look at: a model's pictures, some heads turned, images of a data set, and what is read in all of them.

n samples, S x S pixels, V views of T turned heads, F features, A attributes. Everything is made once, when the first
metric asks for it. Sample i is the head and the camera of `gramhd sample --seeds i --view rand`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from gramhd_core.checkpoints.checkpoint import Checkpoint, check_fit, find_checkpoint
from gramhd_core.checkpoints.saved_scene import SavedScene
from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.image_files import open_files
from gramhd_core.errors import BadArgument, BadDataset
from gramhd_core.generators import FAMILIES
from gramhd_core.generators.generator import Generator
from gramhd_core.metrics.epipolar import check_sweep
from gramhd_core.metrics.faces import weights_path
from gramhd_core.metrics.image_files import PlainImages
from gramhd_core.metrics.landmark_readings import can_read_faces
from gramhd_core.metrics.notebook import Notebook
from gramhd_core.metrics.request import EvaluationRequest, check_enough
from gramhd_core.metrics.shooting import TURNED_YAW, Pictures, Shots, Turned, interleaved, shoot
from gramhd_core.metrics.views import ViewSet
from gramhd_core.networks.feature_network import (
    FeatureNetwork,
    images_from_bytes,
    load_feature_network,
)
from gramhd_core.outputs.shots import device_of
from gramhd_core.progress import Progress, Silent
from gramhd_core.world import ALONE, World

__all__ = ["TURNED_YAW", "Evaluation", "EvaluationRequest", "Pictures", "Shots", "Turned", "check_enough"]

BATCH = 50  # pictures read at once
REAL_SEED = 0  # of the choice of images
PROCEDURAL = "procedural-heads"  # the subject of the built-in data


class Evaluation:
    """What is judged - a model, sets of views or plain pictures - and the data set it is judged by, if there is one.

    Raises BadArgument for saved scenes. cache: a folder for features of pictures. device: where something is fitted to
    views; of a model it is the model's own. world: processes that share the
    heads. All of them call `photograph`; pictures and scores are the first one's.
    """

    def __init__(
        self,
        judged: Generator | Sequence[ViewSet] | PlainImages,
        reader: DatasetReader | None = None,
        *,
        request: EvaluationRequest | None = None,
        cache: Path | None = None,
        device: str = "cpu",
        progress: Progress | None = None,
        world: World = ALONE,
    ):
        if isinstance(judged, SavedScene):
            raise BadArgument(
                "a saved scene was given",
                expected="scores are of a model that makes many heads",
                remedy="name the checkpoint that made the scene",
            )
        self.images = judged if isinstance(judged, PlainImages) else None
        request = request or EvaluationRequest()
        self.views: tuple[ViewSet, ...] = (
            tuple(judged)[: request.identities] if isinstance(judged, (list, tuple)) else ()
        )
        self._generator = None if self.images or self.views else cast(Generator, judged)
        self._reader = reader
        self.cache = cache
        self.device = torch.device(device) if self._generator is None else device_of(self._generator)
        self.request, self.progress, self.world = request, progress or Silent(), world
        self.notebook = Notebook()  # whoever makes a report gives it a place
        self._shot: Shots | None = None

    @property
    def given(self) -> frozenset[str]:
        """Which inputs there are: ckpt, data, heads (data of procedural heads), views, depth (views with distances),
        sweep (which are small level steps, or have such beside them), images; and recogniser and landmarks, networks
        for faces whose weights are here."""
        found = {
            "ckpt": self._generator is not None,
            "data": self._reader is not None,
            "heads": self._reader is not None and self.head_seeds is not None,
            "views": bool(self.views),
            "depth": bool(self.views) and all(known.distance is not None for known in self.views),
            "sweep": bool(self.views) and all(_is_sweep(views.sweep or views) for views in self.views),
            "images": self.images is not None,
            "recogniser": weights_path().is_file(),
            "landmarks": can_read_faces(),
        }
        return frozenset(name for name, here in found.items() if here)

    @property
    def generator(self) -> Generator:
        """The model that is judged."""
        assert self._generator is not None, "metrics that need a model say so"
        return self._generator

    @property
    def reader(self) -> DatasetReader:
        """The data it is judged by."""
        assert self._reader is not None, "metrics that need data say so"
        return self._reader

    @property
    def identities(self) -> int:
        """How many heads are looked at from many sides."""
        return len(self.views) or self.request.identities

    @property
    def size(self) -> int:
        """Side of the model's pictures, pixels."""
        return self.request.size or self.generator.image_size

    @cached_property
    def head_seeds(self) -> tuple[int, ...] | None:
        """Which procedural heads the data shows, in its order; None of other data."""
        return head_seeds(self.reader)

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
        """Two times n different images of the data set, at the samples' size. BadDataset if there are not as many."""
        n = self.request.samples
        check_enough(self.reader, self.request)
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
def in_batches(look: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """What `look` makes of images in [-1, 1], for uint8 [n, 3, S, S], a few at a time."""
    return torch.cat([look(images_from_bytes(part)) for part in images.split(BATCH)])


def _is_sweep(views: ViewSet) -> bool:
    if views.distance is None:
        return False
    try:
        check_sweep(views)
    except BadDataset:
        return False
    return True


def head_seeds(reader: DatasetReader) -> tuple[int, ...] | None:
    """The seeds of a data set of procedural heads, image by image, as its `poses.jsonl` has them; None of others."""
    stored = open_files(reader.path)
    if not {"about.json", "poses.jsonl"} <= set(stored.sizes):
        return None
    try:
        if json.loads(stored.read("about.json")).get("subject") != PROCEDURAL:
            return None
        seeds = {
            line["name"]: line["seed"] for line in map(json.loads, stored.read("poses.jsonl").decode().splitlines())
        }
        return tuple(int(seeds[name]) for name in reader.names)
    except (ValueError, KeyError, TypeError, AttributeError):  # made by hand: data like any other
        return None


def untrained_twin(ckpt: str | Path, *, device: str = "cpu") -> Generator:
    """The model of a checkpoint as it was before training: the same configuration, weights of seed 0."""
    checkpoint = Checkpoint.load(find_checkpoint(ckpt))
    kind = FAMILIES[checkpoint.family][0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = kind(checkpoint.config)
    check_fit(generator.state_dict(), checkpoint.weights, where="the checkpoint")
    return generator.to(device).eval().requires_grad_(False)
