"""Scores of sets of pictures, by one protocol or several: FID, KID, precision, recall, how sure they are, their floor.

n pictures, F features. Fakes are looked at once, as many as the largest protocol asks for; the others take the first
ones. Reports have `SetScores.protocol` beside every number, and numbers whose protocols differ are not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gramhd_core.data.dataset import DatasetReader
from gramhd_core.errors import BadArgument
from gramhd_core.generators.generator import Generator
from gramhd_core.metrics.extractors import Extractor, find_extractor
from gramhd_core.metrics.feature_cache import Features, features_of
from gramhd_core.metrics.image_files import PlainImages
from gramhd_core.metrics.image_quality import coverage, frechet, kernel
from gramhd_core.metrics.intervals import Interval, frechet_interval, kernel_interval, share_interval
from gramhd_core.metrics.picture_sets import FRONTAL, GeneratedPictures, PictureSet, RealPictures
from gramhd_core.metrics.protocols import FEWEST, KID_SUBSET, REAL_SEED, Protocol, known_protocols
from gramhd_core.progress import Progress, Silent
from gramhd_core.world import ALONE, World

FLOOR = ", data against itself"
KINDS = ("fid", "kid", "prc")
AT_FRONT = {"FID": "FID3D", "KID": "KID3D", "precision": "precision3D", "recall": "recall3D"}
SAME = "The heads of this model are the same whichever camera they are made for: FID3D is FID."
GROUP_SEED = 0  # of the groups that intervals leave out


@dataclass(frozen=True)
class QualityRequest:
    """features: see `extractors.known_features`. protocols: names of `PROTOCOLS`. samples: instead of their counts of
    fakes, None for those. truncation: psi. size: side of all pictures, None as trained (or as they are). kinds: of
    `KINDS`. cache: a folder for features, None keeps nothing. device: where the extractor works; on the CPU scores are
    the same on every machine."""

    features: str = "auto"
    protocols: tuple[str, ...] = ("house",)
    samples: int | None = None
    truncation: float = 1.0
    size: int | None = None
    kinds: tuple[str, ...] = KINDS
    cache: Path | None = None
    device: str = "cpu"

    @property
    def chosen(self) -> tuple[Protocol, ...]:
        """The protocols, with the counts asked for. BadArgument for an unknown one or an impossible count."""
        return known_protocols(self.protocols, samples=self.samples)


class SetScores(NamedTuple):
    """What one protocol says.

    values, intervals: by the score's name ("FID", "KID (procedural features)", ...; with `FLOOR` after it for the data
    against itself, where the protocol has that). protocol: all that has to be equal before two values are compared;
    None in it is not known (of pictures made elsewhere). about: whose pictures they are. notes: sentences for readers.
    found: pictures of either side whose features were in the cache, which belongs to the times of a report.
    """

    values: dict[str, float]
    intervals: dict[str, Interval]
    protocol: dict[str, Any]
    about: dict[str, Any]
    notes: tuple[str, ...] = ()
    found: dict[str, int] = {}


Reals = DatasetReader | PlainImages


def score_generator(
    generator: Generator,
    reals: Reals,
    request: QualityRequest,
    *,
    frontal: bool = False,
    progress: Progress | None = None,
    world: World = ALONE,
) -> tuple[SetScores, ...]:
    """A model against real pictures, by every protocol of the request.

    frontal: FID3D and its like instead: heads that depend on where they are seen from are made for the level, frontal
    camera and seen from those of the protocol, so that nothing but geometry turns them. Of other heads it is FID, value
    for value, and a note says so.
    world: processes that share the heads; all of them call this, the first one has the scores.
    Raises BadArgument, BadDataset, MissingDependency before the first head is made.
    """
    chosen, extractor = request.chosen, find_extractor(request.features, device=request.device)
    size = request.size or generator.image_size
    labels = labels_of(reals) if any(protocol.poses == "labels" for protocol in chosen) else None
    for protocol in chosen:
        protocol.reals_of(len(reals), where=str(reals.path))
    most = max(protocol.fakes for protocol in chosen)
    pictures = GeneratedPictures(generator, count=most, size=size, truncation=request.truncation, labels=labels)
    dependent = pictures.view_dependent
    looks = {protocol.name: protocol.poses + (FRONTAL if frontal and dependent else "") for protocol in chosen}
    counts: dict[str, int] = {}
    for protocol in chosen:
        counts[looks[protocol.name]] = max(counts.get(looks[protocol.name], 0), protocol.fakes)
    made_for = ("the front" if frontal else "the camera") if dependent else "every camera"
    made = {
        protocol.name: {
            "truncation": request.truncation,
            "seeds": [0, protocol.fakes - 1],
            "poses": protocol.poses,
            "made_for": made_for,
        }
        for protocol in chosen
    }
    notes = (SAME,) if frontal and not dependent else ()
    stage = _Stage(request, extractor, size, progress or Silent(), world)
    fakes = _Fakes(stage.look(pictures, counts), looks, made, {"model": pictures.fingerprint}, notes, frontal)
    return stage.scores(chosen, fakes, reals)


def score_images(
    images: PlainImages,
    reals: Reals,
    request: QualityRequest,
    *,
    progress: Progress | None = None,
    world: World = ALONE,
) -> tuple[SetScores, ...]:
    """A folder of pictures that somebody's model made against real ones. A protocol takes the first pictures by name;
    `house` all of them, or half as many as there are real ones. BadDataset if there are fewer than it needs."""
    chosen = protocols_for(images, reals, request)
    extractor, size = find_extractor(request.features, device=request.device), request.size or images.size
    stage = _Stage(request, extractor, size, progress or Silent(), world)
    seen = stage.look(images.at_size(size), {images.poses[0]: max(protocol.fakes for protocol in chosen)})
    looks = {protocol.name: images.poses[0] for protocol in chosen}
    made: dict[str, dict[str, Any]] = {
        protocol.name: {"truncation": None, "seeds": None, "poses": None, "made_for": None} for protocol in chosen
    }
    return stage.scores(chosen, _Fakes(seen, looks, made, {"images": images.fingerprint}), reals)


def protocols_for(images: PlainImages, reals: Reals, request: QualityRequest) -> tuple[Protocol, ...]:
    """With the counts that these pictures allow; BadDataset if they allow too few."""
    possible = max(FEWEST, min(images.count, len(reals) // 2))
    chosen = tuple(
        protocol.of_samples(possible) if protocol.halves and request.samples is None else protocol
        for protocol in request.chosen
    )
    for protocol in chosen:
        protocol.reals_of(len(reals), where=str(reals.path))
        protocol.check_fakes(images.count, where=str(images.path))
    return chosen


def labels_of(reals: Reals) -> DatasetReader:
    """BadArgument for a plain folder, which does not know where its pictures were taken from."""
    if isinstance(reals, DatasetReader):
        return reals
    raise BadArgument(
        f"{reals.path} is a folder of pictures without labels",
        expected="the protocol takes the cameras of its samples from labels",
        remedy="give a data set that `gramhd prep-data` made, or use --protocol paper",
    )


class _Fakes(NamedTuple):
    """seen: their features. looks: protocol -> which of them. made: protocol -> how they were made."""

    seen: Features
    looks: dict[str, str]
    made: dict[str, dict[str, Any]]
    about: dict[str, Any]
    notes: tuple[str, ...] = ()
    frontal: bool = False


class _Stage(NamedTuple):
    """What all protocols of a request share."""

    request: QualityRequest
    extractor: Extractor
    size: int
    progress: Progress
    world: World

    def look(self, pictures: PictureSet, counts: dict[str, int]) -> Features:
        cache = self.request.cache
        return features_of(pictures, self.extractor, counts, cache=cache, progress=self.progress, world=self.world)

    def scores(self, chosen: Sequence[Protocol], fakes: _Fakes, reals: Reals) -> tuple[SetScores, ...]:
        """Look at the real pictures, then score by every protocol; () in all but the first process."""
        real = RealPictures(reals, size=self.size)
        counts = {protocol.name: protocol.reals_of(len(reals), where=str(reals.path)) for protocol in chosen}
        theirs = self.look(real, {real.poses[0]: max(counts.values())})
        if not self.world.first:
            return ()
        known = []
        for protocol in chosen:
            mine = fakes.seen.tensors[fakes.looks[protocol.name]][: protocol.fakes]
            true = theirs.tensors[real.poses[0]][: counts[protocol.name]]
            sets = (true[: protocol.fakes], true[protocol.fakes :]) if protocol.halves else (true,)
            values, intervals = compare(mine, sets, protocol, self.extractor, kinds=self.request.kinds)
            if fakes.frontal:
                values, intervals = _renamed(values), _renamed(intervals)
            facts = {**_facts(protocol, self, counts[protocol.name], reals), **fakes.made[protocol.name]}
            hits = {"fakes": fakes.seen.found, "reals": theirs.found}
            notes = (*fakes.notes, *_cautions(facts, mine.shape[1], self.request.kinds))
            known.append(SetScores(values, intervals, facts, fakes.about, notes, hits))
        return tuple(known)


def compare(
    fakes: Tensor, reals: Sequence[Tensor], protocol: Protocol, extractor: Extractor, *, kinds: Sequence[str] = KINDS
) -> tuple[dict[str, float], dict[str, Interval]]:
    """Features [n, F] of fakes and of one or two sets of reals -> scores (the mean over both sets) and where they lie.

    With two sets their distance from each other is the floor. KID also has the deviation of its subsets.
    """
    label = extractor.label
    values, intervals = _scores(fakes, reals, protocol, label=label, kinds=kinds)
    if len(reals) == 2:
        more = _scores(reals[0], reals[1:], protocol, label=lambda name: label(name) + FLOOR, kinds=kinds)
        values, intervals = values | more[0], intervals | more[1]
    return values, intervals


def _scores(
    fakes: Tensor,
    reals: Sequence[Tensor],
    protocol: Protocol,
    *,
    label: Callable[[str], str],
    kinds: Sequence[str],
) -> tuple[dict[str, float], dict[str, Interval]]:
    values: dict[str, float] = {}
    intervals: dict[str, Interval] = {}
    rng = torch.Generator().manual_seed(GROUP_SEED)
    if "fid" in kinds:
        name = label("FID")
        values[name] = _mean([frechet(fakes, part) for part in reals])
        intervals[name] = frechet_interval(values[name], fakes, reals, rng=rng)
    if "kid" in kinds:
        subset, subsets = protocol.subset_of(len(fakes), min(map(len, reals)))
        asked = {"subset": subset, "subsets": subsets, "seed": protocol.kid_seed}
        found = [kernel(fakes, part, **asked) for part in reals]
        name = label("KID")
        values[name] = _mean([one.mean for one in found])
        intervals[name] = kernel_interval(values[name], fakes, reals, rng=rng)
        if subsets > 1:
            values[label("KID sd of subsets")] = _mean([one.sd for one in found])
    if "prc" in kinds:
        pairs = [coverage(fakes, part) for part in reals]
        for score, counted in (("precision", len(fakes)), ("recall", sum(map(len, reals)))):
            name = label(score)
            values[name] = _mean([getattr(pair, score) for pair in pairs])
            intervals[name] = share_interval(values[name], counted)
    return values, intervals


def _facts(protocol: Protocol, stage: _Stage, reals: int, source: Reals) -> dict[str, Any]:
    """Everything that a number depends on besides the pictures that are judged."""
    subset, subsets = protocol.subset_of(protocol.fakes, reals // 2 if protocol.halves else reals)
    every = not protocol.halves and protocol.reals is None
    return {
        "protocol": protocol.name,
        "changed": protocol.changed,
        "source": protocol.source,
        "fakes": protocol.fakes,
        "reals": reals,
        "reals_taken": "all" if every else f"the first of an order shuffled with seed {REAL_SEED}"
        + (", in two halves" if protocol.halves else ""),
        "data": source.fingerprint,
        "resolution": stage.size,
        "resize": "LANCZOS",
        "crop": "centre",
        "features": stage.extractor.name,
        "layer": stage.extractor.layer,
        "weights": stage.extractor.fingerprint,
        "library": stage.extractor.library,
        "kid_subset": subset,
        "kid_subsets": subsets,
        "kid_seed": protocol.kid_seed,
    }  # fmt: skip


def _cautions(facts: dict[str, Any], features: int, kinds: Sequence[str]) -> tuple[str, ...]:
    """What a reader should know of scores of few pictures."""
    found = []
    if "fid" in kinds and facts["fakes"] <= features:
        found.append(
            f"{facts['fakes']} pictures cannot fill {features} dimensions: FID is mostly its own bias, to be compared "
            "with its floor only."
        )
    if "kid" in kinds and facts["kid_subset"] < KID_SUBSET:
        found.append(f"KID of {facts['kid_subset']} pictures of either side, since there are no {KID_SUBSET}.")
    return tuple(found)


def _renamed(scores: dict[str, Any]) -> dict[str, Any]:
    """FID -> FID3D, and so on."""
    renamed = {}
    for name, value in scores.items():
        first, _, rest = name.partition(" ")
        floor = name.endswith(FLOOR)
        renamed[name if floor else f"{AT_FRONT.get(first, first)} {rest}".strip()] = value
    return renamed


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def judge(data: Path, samples: int) -> Callable[[Generator], float]:
    """Model -> its FID (procedural features) against the data set by the protocol `house`, of that many samples: the
    lower the better. Raises now what would be wrong then: BadArgument, BadDataset, MissingDependency."""
    reader, request = DatasetReader(data), QualityRequest("procedural", samples=samples, kinds=("fid",))
    (protocol,) = request.chosen
    protocol.reals_of(len(reader), where=str(reader.path))
    name = find_extractor(request.features).label("FID")
    return lambda generator: score_generator(generator, reader, request)[0].values[name]
