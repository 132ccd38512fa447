"""FID, KID, precision and recall of whatever is judged, by the protocols of the request; and diversity beside them.

Names of scores of other protocols than `house` end in the protocol's name.
"""

from __future__ import annotations

from typing import Any

from gramhd_core.metrics.evaluation import Evaluation
from gramhd_core.metrics.extractors import known_features
from gramhd_core.metrics.quality import (
    FLOOR,
    QualityRequest,
    SetScores,
    protocols_for,
    score_generator,
    score_images,
)
from gramhd_core.metrics.scores import Score

HOUSE = "house"


def fid(evaluation: Evaluation) -> Score:
    """Frechet distance of features."""
    return of_kind(evaluation, "fid")


def kid(evaluation: Evaluation) -> Score:
    """Kernel distance of features."""
    return of_kind(evaluation, "kid")


def precision(evaluation: Evaluation) -> Score:
    """The share of samples among the data, and of the data among the samples."""
    return of_kind(evaluation, "prc")


def fid3d(evaluation: Evaluation) -> Score:
    """FID of heads made for the frontal camera."""
    return of_kind(evaluation, "fid", frontal=True)


def of_kind(evaluation: Evaluation, kind: str, *, frontal: bool = False) -> Score:
    """All protocols of the request. Of several processes all call this; only the first one's Score says something."""
    found: list[SetScores] = []
    for request in requests(evaluation, kind):
        found += _scored(evaluation, request, frontal=frontal)
    values: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    protocol: dict[str, Any] = {}
    cached: dict[str, int] = {}
    for scores in found:
        protocol_name = scores.protocol["protocol"]
        ending = "" if protocol_name == HOUSE else f", {protocol_name}"
        names = [name for name in scores.values if not (frontal and name.endswith(FLOOR))]
        values |= {name + ending: scores.values[name] for name in names}
        for score in (name for name in names if name in scores.intervals):
            low, high = scores.intervals[score]
            intervals[score + ending] = low, high
        protocol[protocol_name] = scores.protocol
        cached |= {f"{side}{ending}": count for side, count in scores.found.items()}
    notes = list(dict.fromkeys(note for scores in found for note in scores.notes))
    return Score(values, intervals, protocol=protocol, notes=notes, found=cached)


def requests(evaluation: Evaluation, kind: str) -> list[QualityRequest]:
    """`house` takes as many samples as the other metrics; named protocols keep their counts unless they are changed."""
    asked = evaluation.request
    common = {"features": asked.features, "truncation": asked.truncation, "size": asked.size, "kinds": (kind,)}
    common["cache"] = evaluation.cache
    named = tuple(name for name in asked.protocols if name != HOUSE)
    found = []
    if HOUSE in asked.protocols:
        samples = None if evaluation.images is not None and asked.own_counts else asked.samples
        found.append(QualityRequest(protocols=(HOUSE,), samples=samples, **common))
    if named:
        found.append(QualityRequest(protocols=named, samples=None if asked.own_counts else asked.samples, **common))
    return found


def refuse_early(evaluation: Evaluation) -> None:
    """BadArgument, BadDataset or MissingDependency for what cannot be compared: before the first head is made."""
    known_features(evaluation.request.features)
    for request in requests(evaluation, "fid"):  # protocols and counts are those of all kinds
        if evaluation.images is not None:
            protocols_for(evaluation.images, evaluation.reader, request)
            continue
        for protocol in request.chosen:
            protocol.reals_of(len(evaluation.reader), where=str(evaluation.reader.path))


def _scored(evaluation: Evaluation, request: QualityRequest, *, frontal: bool) -> tuple[SetScores, ...]:
    more: dict[str, Any] = {"progress": evaluation.progress, "world": evaluation.world}
    if evaluation.images is not None:
        return score_images(evaluation.images, evaluation.reader, request, **more)
    return score_generator(evaluation.generator, evaluation.reader, request, frontal=frontal, **more)
