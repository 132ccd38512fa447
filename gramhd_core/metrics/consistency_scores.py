"""The tests of consistency over several identities, beside the analytic heads scored by the same code.

One number per identity, their mean and its interval; pictures of the first identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gramhd_core.data.procedural_heads import render_head
from gramhd_core.metrics import neus_config, neus_fitting
from gramhd_core.metrics.depth import depth_error, read_identity
from gramhd_core.metrics.epipolar import epi as epipolar
from gramhd_core.metrics.evaluation import Evaluation
from gramhd_core.metrics.faces import FILE, recognition
from gramhd_core.metrics.identity import identity as drift
from gramhd_core.metrics.landmark_readings import face_reader, relief_error
from gramhd_core.metrics.reprojection import middle_view
from gramhd_core.metrics.reprojection import reprojection as reprojected
from gramhd_core.metrics.scores import Picture, Score, score_of_each
from gramhd_core.metrics.sitters import Sitter, analytic, sheet, sitters, tiled
from gramhd_core.metrics.views import COUNT, ViewSet
from gramhd_core.outputs.depth_images import depth_preview, depth_range
from gramhd_core.progress import Progress, Silent

NEUS_SIZE = 64  # pixels, of the fast settings
STEPS = 129, 65  # of a sweep; of a preview's
SHOWN = 5  # views of a reconstruction
GAIN = 4  # of a picture of errors


class Within(Silent):
    """The progress of one part of a job, which advances the whole."""

    def __init__(self, whole: Progress):
        self.whole = whole

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.whole.advance(steps, note)


class Seen(NamedTuple):
    """Of one identity: numbers by name, and pictures (only of the first)."""

    numbers: dict[str, float]
    pictures: dict[str, Picture]


def over_identities(evaluation: Evaluation, look: Callable[[Sitter, bool], Seen], title: str, **how: Any) -> Score:
    """`look` at every identity and then at as many analytic heads; it is told whether pictures are wanted.

    how: fields of the protocol; `sweep`: cameras of a level sweep instead of those around; `steps_each`: steps of
    progress that `look` itself takes for an identity.
    """
    count = len(evaluation.views[: evaluation.request.identities]) or evaluation.request.identities
    ceiling = "heads" in evaluation.given
    steps_each = how.pop("steps_each", 1)
    own = 0 if steps_each > 1 else 1
    evaluation.progress.start(title, count * (2 if ceiling else 1) * steps_each)
    found, like = [], None
    for like in sitters(evaluation):
        found.append(look(like, not found))
        evaluation.progress.advance(own)
    best: list[Seen] = []
    for head in analytic(evaluation, like):
        best.append(look(head, not best))
        evaluation.progress.advance(own)
    evaluation.progress.finish()
    pictures = dict(found[0].pictures)
    if best:
        shown = best[0].pictures.items()
        pictures |= {f"{name}-ceiling": Picture(image, f"{caption} (ceiling)") for name, (image, caption) in shown}
    protocol = {"identities": count, **_how_seen(evaluation), **how}
    if (steps := protocol.pop("sweep", None)) and not evaluation.views:
        protocol |= {"views": steps, "poses": "a level sweep" if steps > 1 else "frontal"}
    return score_of_each(_columns(found), ceiling=_columns(best), protocol=protocol, pictures=pictures)


def neus(evaluation: Evaluation) -> Score:
    """The paper's test: PSNR and SSIM of NeuS's re-renderings of the views it was trained on. Settings other than the
    published ones stand in the names: their numbers are no published ones."""
    request = evaluation.request
    name = "quick" if request.quick and request.neus == "fast" else request.neus
    config = neus_config.PRESETS[name]
    native = size_of(evaluation)
    size = native if request.neus == "paper" else min(NEUS_SIZE, native)
    device, ending = str(evaluation.device), "" if config is neus_config.PAPER else f" ({name})"

    def look(sitter: Sitter, wanted: bool) -> Seen:
        views = sitter.around(size=size)
        rng = torch.Generator().manual_seed(0)
        fit = neus_fitting.fit(views, config, rng=rng, progress=Within(evaluation.progress), device=device)
        numbers = {f"NeuS PSNR{ending}": fit.psnr, f"NeuS SSIM{ending}": fit.ssim}
        if not wanted:
            return Seen(numbers, {})
        caption = f"{views.name}: views, NeuS's re-renderings, {GAIN} times their difference; {fit.psnr:.1f} dB"
        return Seen(numbers, {"reconstruction": Picture(beside(views.rgb, fit.rgb), caption)})

    how = {"setting": config.name, "iterations": config.iterations, "size": size, "seen_at": native}
    return over_identities(evaluation, look, f"Fitting NeuS ({name})", steps_each=config.iterations, **how)


def reprojection(evaluation: Evaluation) -> Score:
    """Views moved to each other through their distances: neighbours, and the frontal view to all others."""

    def look(sitter: Sitter, wanted: bool) -> Seen:
        views = sitter.around()
        found = reprojected(views)
        numbers = {
            "reprojection PSNR": found.neighbours.psnr,
            "reprojection SSIM": found.neighbours.ssim,
            "reprojection percentage": found.neighbours.percentage,
            "frontal reprojection PSNR": found.frontal.psnr,
            "frontal reprojection SSIM": found.frontal.ssim,
            "frontal reprojection percentage": found.frontal.percentage,
        }
        if not wanted:
            return Seen(numbers, {})
        moved = tiled(torch.stack(found.pictures), 3)
        caption = f"{views.name}: a side view, the frontal view moved there, their difference"
        return Seen(numbers, {"views": sheet(views, f"{views.name}: views"), "moved": Picture(moved, caption)})

    return over_identities(evaluation, look, "Moving views to each other", size=size_of(evaluation))


def epi(evaluation: Evaluation) -> Score:
    """What an epipolar strip shows: how well every step of a sweep follows from the one before, and what flickers."""
    steps = STEPS[evaluation.request.quick]

    def look(sitter: Sitter, wanted: bool) -> Seen:
        found = epipolar(sitter.sweep(steps=steps))
        numbers = {
            "EPI residual PSNR": found.residual_psnr,
            "EPI percentage": found.percentage,
            "EPI flicker": found.flicker,
            "EPI followed": found.followed,
        }
        caption = f"{sitter.name}: one line of the picture in every view of a sweep"
        return Seen(numbers, {"strip": Picture(found.strip.numpy(), caption)} if wanted else {})

    return over_identities(evaluation, look, "Sweeping past heads", size=size_of(evaluation), sweep=steps)


def identity(evaluation: Evaluation) -> Score:
    """How far what a network reads of a head drifts while the head is turned, in the distance of different heads; of
    photographs, how alike a network for recognising people finds the views of a head."""
    if "heads" not in evaluation.given:
        seen = [sitter.around()._replace(alpha=None, distance=None) for sitter in sitters(evaluation)]
        found = recognition(seen)
        return score_of_each(
            {"recognised as the same": found.each},
            protocol={"network": FILE, "identities": len(seen), **_how_seen(evaluation)},
        )

    def look(sitter: Sitter, wanted: bool) -> Seen:
        return Seen({"identity drift": drift([sitter.around()]).drift}, {})

    return over_identities(evaluation, look, "Reading turned heads", size=size_of(evaluation))


def depth(evaluation: Evaluation) -> Score:
    """How far the distances of a frontal view are from those of the procedural head that the picture looks like; of
    other heads, from where the average head has the landmarks that are found in it."""
    if "heads" not in evaluation.given:
        return _depth_by_landmarks(evaluation)

    def look(sitter: Sitter, wanted: bool) -> Seen:
        views = sitter.front()
        view = middle_view(views.cameras)
        found = depth_error(views, view)
        numbers = {"depth error": found.distance, "depth error of relief": found.relief}
        return Seen(numbers, {"depth": depth_picture(views, view)} if wanted else {})

    return over_identities(evaluation, look, "Looking at depths", size=size_of(evaluation), sweep=1)


def _depth_by_landmarks(evaluation: Evaluation) -> Score:
    reader = face_reader()

    def look(sitter: Sitter, wanted: bool) -> Seen:
        views = sitter.front()
        return Seen({"depth error of landmarks": relief_error(reader, views, middle_view(views.cameras))}, {})

    how = {"size": size_of(evaluation), "read_by": reader.detector.name}
    return over_identities(evaluation, look, "Looking at depths", sweep=1, **how)


def depth_picture(views: ViewSet, view: int) -> Picture:
    """A view, its distances, and those of the head it looks like, pale where it is near."""
    assert views.distance is not None
    true = render_head(read_identity(views.rgb[view]), views.cameras[view], supersample=1)
    limits = depth_range(true.distance[None], (255 * torch.from_numpy(true.mask)).byte().numpy()[None])
    seen = [depth_preview(distance[None], limits)[0] for distance in (views.distance[view].numpy(), true.distance)]
    image = np.concatenate([views.rgb[view].movedim(0, -1).numpy(), *seen], axis=1)
    return Picture(image, f"{views.name}: a view, its depth, the depth of the procedural head it is taken for")


def size_of(evaluation: Evaluation) -> int:
    """Side of the views, pixels."""
    return evaluation.views[0].cameras.width if evaluation.views else evaluation.size


def beside(wanted: Tensor, made: Tensor) -> Any:
    """Some views uint8 [V, 3, S, S], what was made of them, and their difference around grey, in three rows."""
    places = torch.linspace(0, len(wanted) - 1, min(SHOWN, len(wanted))).round().long()
    first, second = wanted[places], made[places]
    error = (128 + GAIN * (second.float() - first.float())).round().clamp(0, 255).byte()
    return tiled(torch.cat([first, second, error]), len(places))


def _columns(found: Iterable[Seen]) -> dict[str, list[float]]:
    """One list per name."""
    found = list(found)
    return {name: [one.numbers[name] for one in found] for name in found[0].numbers} if found else {}


def _how_seen(evaluation: Evaluation) -> dict[str, Any]:
    """Of a protocol: None is not known."""
    if evaluation.views:
        return {"views": min(len(one.rgb) for one in evaluation.views), "poses": None, "truncation": None}
    return {"views": COUNT, "poses": "around the mean", "truncation": evaluation.request.truncation}
