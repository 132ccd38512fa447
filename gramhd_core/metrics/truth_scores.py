"""Scores of `ground_truth` with how sure they are: the same numbers, and intervals from the numbers of single heads.

n samples, T turned heads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gramhd_core.metrics import ground_truth
from gramhd_core.metrics.evaluation import Evaluation, in_batches
from gramhd_core.metrics.scores import Score, mean_of
from gramhd_core.metrics.shooting import TURNED_YAW, Turned

MOST = 500  # single numbers that a report keeps


def pose(evaluation: Evaluation) -> Score:
    """`ground_truth.pose`; what the network misreads in the data is the ceiling of what can be measured."""
    found = ground_truth.pose(evaluation)
    errors = (in_batches(evaluation.network.pose, evaluation.samples.images) - evaluation.samples.angles).abs()
    ceiling = {name: found[f"{name}_data"] for name in ("pitch_error", "yaw_error")}
    return _score(
        {name: found[name] for name in ceiling}, dict(zip(ceiling, errors.T, strict=True)), evaluation, ceiling
    )


def geometry(evaluation: Evaluation) -> Score:
    """`ground_truth.geometry`."""
    turned = evaluation.turned
    relief = ground_truth.relief_of(turned.cameras[0], turned.distance[:, 0])
    each = {name: value.float() for name, value in relief._asdict().items()}
    return _score(ground_truth.geometry(evaluation), each, evaluation)


def consistency(evaluation: Evaluation) -> Score:
    """`ground_truth.consistency`."""
    turned = evaluation.turned
    heads = [ground_truth.consistency_of(_one(turned, head)) for head in range(len(turned.rgb))]
    each = {name: torch.tensor([head[name] for head in heads]) for name in heads[0]}
    return _score(ground_truth.consistency(evaluation), each, evaluation, yaws=list(TURNED_YAW))


def diversity(evaluation: Evaluation) -> Score:
    """`ground_truth.diversity`: of all samples together, without an interval."""
    return _score(ground_truth.diversity(evaluation), {}, evaluation)


def _score(
    values: dict[str, float],
    each: dict[str, Tensor],
    evaluation: Evaluation,
    ceiling: dict[str, float] | None = None,
    **how: Any,
) -> Score:
    means = {name: mean_of(numbers.tolist()) for name, numbers in each.items()}
    intervals = {name: found.interval for name, found in means.items() if found.interval is not None}
    request = evaluation.request
    protocol = {"samples": request.samples, "truncation": request.truncation, "size": evaluation.size, **how}
    if "data" in evaluation.given:
        protocol["data"] = evaluation.reader.fingerprint
    kept = {name: numbers[:MOST].tolist() for name, numbers in each.items()}
    return Score(values, intervals, ceiling or {}, kept, protocol)


def _one(turned: Turned, head: int) -> Turned:
    return Turned(turned.cameras, *(part[head : head + 1] for part in turned[1:]))
