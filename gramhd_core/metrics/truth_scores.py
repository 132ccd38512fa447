"""Scores that take what is known of heads: poses, the order of their parts, one head in several views, variety.

n samples, T turned heads.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gramhd_core.metrics import landmark_readings
from gramhd_core.metrics.evaluation import Evaluation
from gramhd_core.metrics.ground_truth import angle_errors, consistency_of, relief_of, spread_of
from gramhd_core.metrics.scores import Score, score_of_each
from gramhd_core.metrics.shooting import TURNED_YAW, Turned

ANGLES = ("pitch_error", "yaw_error")


def pose(evaluation: Evaluation) -> Score:
    """Mean |error| of pitch and yaw between what a sample's camera was and what is read in its picture: by the feature
    network for procedural heads, from landmarks for others (where `heads found` says in how many).

    The ceiling is the reader's own error: what it reads in the data set, against the labels there.
    """
    if "heads" in evaluation.given:
        reader, look = "feature network", partial(angle_errors, evaluation.network)
    else:
        faces = landmark_readings.face_reader()
        fov = evaluation.generator.cameras.fov_degrees
        reader, look = faces.detector.name, partial(landmark_readings.angle_errors, faces, fov_degrees=fov)
    mine, theirs = look(evaluation.samples), torch.cat([look(half) for half in evaluation.halves])
    score = score_of_each(_by_angle(mine), ceiling=_by_angle(theirs), protocol=_protocol(evaluation, read_by=reader))
    found = mine.isfinite().all(dim=1).float().mean().item()
    return score if found == 1 else replace(score, values={**score.values, "heads found": found})


def geometry(evaluation: Evaluation) -> Score:
    """The share of heads, seen from the front, whose nose is nearer than both cheeks and those nearer than both ears;
    and the mean distances between them (a procedural head: 1.9 and 4.0 u, 0.020 and 0.042)."""
    turned = evaluation.turned
    relief = relief_of(turned.cameras[0], turned.distance[:, 0])
    each = {name: value.tolist() for name, value in relief._asdict().items()}
    return score_of_each(each, protocol=_protocol(evaluation))


def consistency(evaluation: Evaluation) -> Score:
    """`consistency_of` head by head."""
    turned = evaluation.turned
    heads = [consistency_of(_one(turned, head)) for head in range(len(turned.rgb))]
    each = {name: [head[name] for head in heads] for name in heads[0]}
    return score_of_each(each, protocol=_protocol(evaluation, yaws=list(TURNED_YAW)))


def diversity(evaluation: Evaluation) -> Score:
    """Mean distance between the features of two samples, and from a sample to the nearest other one, divided by the
    same of as many images of the data set: 1 is as varied as the data, 0 is one head for every seed. They are of all
    samples together, so there is no interval."""
    mine = spread_of(evaluation.sample_features)
    theirs = [spread_of(half) for half in evaluation.half_features]
    pairs, nearest = (sum(values) / 2 for values in zip(*theirs, strict=True))
    values = {"diversity": mine[0] / pairs, "diversity_nearest": mine[1] / nearest}
    return Score(values, protocol=_protocol(evaluation))


def _by_angle(errors: Tensor) -> dict[str, list[float]]:
    """[n, 2] -> n of each."""
    return dict(zip(ANGLES, errors.T.tolist(), strict=True))


def _protocol(evaluation: Evaluation, **how: Any) -> dict[str, Any]:
    request = evaluation.request
    protocol = {"samples": request.samples, "truncation": request.truncation, "size": evaluation.size, **how}
    return protocol | ({"data": evaluation.reader.fingerprint} if "data" in evaluation.given else {})


def _one(turned: Turned, head: int) -> Turned:
    return Turned(turned.cameras, *(part[head : head + 1] for part in turned[1:]))
