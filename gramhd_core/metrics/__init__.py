"""Scores by name: what each of them needs, what a request can have of them, and measuring.

A metric is a function `Evaluation -> Score`, one line in `METRICS`.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from gramhd_core.errors import BadArgument
from gramhd_core.metrics import consistency_scores, picture_scores, speed, truth_scores
from gramhd_core.metrics.evaluation import Evaluation
from gramhd_core.metrics.faces import load_recogniser
from gramhd_core.metrics.landmark_readings import face_reader
from gramhd_core.metrics.request import check_enough
from gramhd_core.metrics.scores import Score

ALL = "all"
WORDS = {  # of `Evaluation.given`
    "ckpt": "--ckpt",
    "data": "--data",
    "heads": "--data of procedural heads",
    "views": "--views",
    "depth": "--views with depth files",
    "sweep": "--views in small level steps with depth files",
    "images": "--images",
    "recogniser": "the weights of ArcFace",
    "landmarks": "face-alignment with its weights",
}

WEIGHTS = {"recogniser", "landmarks"}  # of these words, those that a download gives
JUDGED = {"ckpt": {"ckpt"}, "views": {"views", "depth", "sweep"}, "images": {"images"}}  # one of them, and what it has


class Metric(NamedTuple):
    """measure: the function. needs: what it looks at, words of `Evaluation.given`; any one of several sets is enough.
    refuse: says better than a list what is missing.
    photographs: whether it looks at the model's samples, which several processes make together. halves: whether it
    takes two images of the data for every sample. together: whether all of several processes measure it.
    first: whether it is measured before all others, while the process is small."""

    measure: Callable[[Evaluation], Score]
    needs: tuple[str, ...]
    photographs: bool = False
    halves: bool = False
    together: bool = False
    first: bool = False
    refuse: Callable[[], object] | None = None

    def missing(self, given: frozenset[str]) -> str | None:
        """What to give, in words; None if nothing is missing."""
        if any(set(need.split()) <= given for need in self.needs):
            return None
        others = {word for kind, words in JUDGED.items() if kind not in given for word in words}
        possible = [need for need in self.needs if not others & set(need.split())] or self.needs
        ways = [" and ".join(WORDS[word] for word in need.split() if word not in given) for need in possible]
        return ", or ".join(dict.fromkeys(ways))


PICTURES = ("ckpt data", "images data")
OF_SETS = {"fid", "kid", "precision", "fid3d"}  # metrics of features of many pictures
METRICS: dict[str, Metric] = {
    "fid": Metric(picture_scores.fid, PICTURES, together=True),
    "kid": Metric(picture_scores.kid, PICTURES, together=True),
    "precision": Metric(picture_scores.precision, PICTURES, together=True),
    "fid3d": Metric(picture_scores.fid3d, ("ckpt data",), together=True),
    "pose": Metric(
        truth_scores.pose, ("ckpt heads", "ckpt data landmarks"), photographs=True, halves=True, refuse=face_reader
    ),
    "geometry": Metric(truth_scores.geometry, ("ckpt heads",), photographs=True),
    "consistency": Metric(truth_scores.consistency, ("ckpt",), photographs=True),
    "diversity": Metric(truth_scores.diversity, ("ckpt heads",), photographs=True, halves=True),
    "depth": Metric(
        consistency_scores.depth,
        ("ckpt heads", "depth heads", "ckpt landmarks", "depth landmarks"),
        together=True,
        refuse=face_reader,
    ),
    "epi": Metric(consistency_scores.epi, ("ckpt", "sweep"), together=True),
    "reprojection": Metric(consistency_scores.reprojection, ("ckpt", "depth"), together=True),
    "identity": Metric(
        consistency_scores.identity,
        ("ckpt heads", "views heads", "ckpt recogniser", "views recogniser"),
        together=True,
        refuse=load_recogniser,
    ),
    "neus": Metric(consistency_scores.neus, ("ckpt", "views"), together=True),
    "speed": Metric(speed.speed, ("ckpt",), first=True),
}


class Plan(NamedTuple):
    """names: what will be measured, each once. left_out: metric -> why not (only where all were asked for)."""

    names: tuple[str, ...]
    left_out: dict[str, str]


def known_metrics(names: Iterable[str]) -> tuple[str, ...]:
    """The same names, each once; all metrics for `all` or none. BadArgument for a name that is not in `METRICS`."""
    asked = tuple(dict.fromkeys(names))
    for name in asked:
        if name not in (*METRICS, ALL):
            nearest = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.3)
            raise BadArgument(
                f"the metric is `{name}`",
                expected=f"it must be one of {', '.join(METRICS)}",
                remedy=f"did you mean `{nearest[0]}`" if nearest else "use one of these",
            )
    return tuple(METRICS) if not asked or ALL in asked else asked


def planned(evaluation: Evaluation, names: Iterable[str] = ()) -> Plan:
    """What of these can be measured. BadArgument or BadDataset for a metric named that needs more than is given; of
    `all` (or no name) such metrics are left out, for a reason."""
    names = tuple(names)
    every = not names or ALL in names
    chosen, left_out = [], {}
    for name in known_metrics(names):
        missing = METRICS[name].missing(evaluation.given)
        if missing is None:
            chosen.append(name)
        elif every:
            left_out[name] = f"it needs {missing}"
        else:
            lacking = [set(need.split()) - evaluation.given for need in METRICS[name].needs]
            if (refuse := METRICS[name].refuse) and any(words <= WEIGHTS for words in lacking):
                refuse()
            raise BadArgument(
                f"the metric {name} was asked for", expected="what it looks at was not given", remedy=f"give {missing}"
            )
    if not chosen:
        raise BadArgument(
            "there is nothing to measure",
            expected="a model, views or pictures are judged",
            remedy="add --ckpt, --views, or --images with --data",
        )
    if OF_SETS & set(chosen):
        picture_scores.refuse_early(evaluation)
    if any(METRICS[name].halves for name in chosen):
        check_enough(evaluation.reader, evaluation.request)
    return Plan(tuple(chosen), left_out)


def evaluate(
    evaluation: Evaluation,
    names: Iterable[str] = (),
    *,
    kept: Mapping[str, Score] | None = None,
    done: Callable[[str, Score, float], None] | None = None,
) -> dict[str, Score]:
    """Metric -> its score. Of several processes (`evaluation.world`) all call this; the first one has the scores.

    kept: scores of an earlier run, which are not measured again. done: told of every new score and its seconds.
    """
    plan, world = planned(evaluation, names), evaluation.world
    finished = set(world.gather(tuple(kept or ()))[0])
    todo = sorted((name for name in plan.names if name not in finished), key=lambda name: not METRICS[name].first)
    new: dict[str, Score] = {}
    for name in todo:
        if not METRICS[name].first and any(METRICS[other].photographs for other in todo):
            evaluation.photograph()
        started = time.monotonic()
        if METRICS[name].together:
            new[name] = METRICS[name].measure(evaluation)
        with world.agreed(patient=True):
            if world.first:
                new[name] = new[name] if name in new else METRICS[name].measure(evaluation)
                if done:
                    done(name, new[name], time.monotonic() - started)
    return {name: new[name] if name in new else (kept or {})[name] for name in plan.names} if world.first else {}
