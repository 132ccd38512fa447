"""Scores by name. A metric is a function `Evaluation -> dict[str, float]`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

from gramhd_core.errors import BadArgument
from gramhd_core.metrics.evaluation import Evaluation
from gramhd_core.metrics.ground_truth import consistency, diversity, geometry, pose
from gramhd_core.metrics.image_quality import quality

Metric = Callable[[Evaluation], dict[str, float]]

METRICS: dict[str, Metric] = {
    "fid-procedural": quality,
    "pose": pose,
    "geometry": geometry,
    "consistency": consistency,
    "diversity": diversity,
}


def known_metrics(names: Iterable[str]) -> tuple[str, ...]:
    """The same names, each once; all metrics if there are none. BadArgument for a name that is not in `METRICS`."""
    asked = tuple(dict.fromkeys(names)) or tuple(METRICS)
    for name in asked:
        if name not in METRICS:
            nearest = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.3)
            raise BadArgument(
                f"the metric is `{name}`",
                expected=f"it must be one of {', '.join(METRICS)}",
                remedy=f"did you mean `{nearest[0]}`" if nearest else "use one of these",
            )
    return asked


def evaluate(evaluation: Evaluation, names: Iterable[str] = ()) -> dict[str, dict[str, float]]:
    """Metric -> its scores. Of several processes (`evaluation.world`) all call this; the first one has the scores."""
    asked = known_metrics(names)
    evaluation.photograph()
    with evaluation.world.agreed():
        return {name: METRICS[name](evaluation) for name in asked} if evaluation.world.first else {}
