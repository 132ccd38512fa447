"""The tests of consistency over several identities, beside the analytic heads scored by the same code.

One number per identity, their mean and its interval; pictures of the first identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gramhd_core.data.procedural_heads import render_head
from gramhd_core.geometry.camera import Camera
from gramhd_core.metrics import neus_config, neus_fitting
from gramhd_core.metrics.depth import depth_error, read_identity
from gramhd_core.metrics.epipolar import epi as epipolar
from gramhd_core.metrics.evaluation import Evaluation
from gramhd_core.metrics.faces import FILE, recognition
from gramhd_core.metrics.identity import identity as drift
from gramhd_core.metrics.landmark_readings import face_reader, relief_error
from gramhd_core.metrics.reprojection import middle_view
from gramhd_core.metrics.reprojection import reprojection as reprojected
from gramhd_core.metrics.scores import REACH, Picture, Score, Seen, score_of_each
from gramhd_core.metrics.sitters import Sitter, analytic, heads_of_data, sheet, sitter, strip_of, tiled
from gramhd_core.metrics.views import ViewSet, around
from gramhd_core.outputs.depth_images import depth_preview, depth_range
from gramhd_core.outputs.trajectories import epi as epi_cameras
from gramhd_core.progress import Progress, Silent

MODEL, CEILING = "head", "analytic head"  # who is looked at
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


def over_identities(
    evaluation: Evaluation, look: Callable[[Sitter, bool], Seen], title: str, *, sweep: int = 0, **how: Any
) -> Score:
    """`look` at every identity and at as many analytic heads; it is told whether pictures are wanted. Several processes
    share the heads; all of them call this, the first one has the score.

    sweep: how many level views `look` asks for, 1 for the frontal one alone; 0 where it asks for those around. how:
    fields of the protocol; `steps_each`: steps of progress that `look` itself takes for an identity.
    """
    world, notebook = evaluation.world, evaluation.notebook
    count = evaluation.identities
    steps_each = how.pop("steps_each", 1)
    sitters = [(MODEL, place) for place in range(count)]
    sitters += [(CEILING, place) for place in range(min(count, len(heads_of_data(evaluation))))]
    mine, found = world.share(sitters), {}
    evaluation.progress.start(title, len(mine) * steps_each)
    with world.agreed(patient=True):
        for kind, place in mine:
            name = f"{title}, {kind} {place}"
            seen = notebook.find(name)
            if seen:
                evaluation.progress.advance(steps_each, note="kept")
            else:
                seen = look((analytic if kind == CEILING else sitter)(evaluation, place), place == 0)
                notebook.keep(name, seen)
                evaluation.progress.advance(0 if steps_each > 1 else 1)
            found[kind, place] = seen
    evaluation.progress.finish()
    shares = world.collect(found)
    if shares is None:
        return Score({})
    seen = {name: one for share in shares for name, one in share.items()}
    own, best = ([seen[name] for name in sitters if name[0] == kind] for kind in (MODEL, CEILING))
    pictures = dict(own[0].pictures)
    for name, (image, caption) in best[0].pictures.items() if best else ():
        pictures[f"{name}-ceiling"] = Picture(image, f"{caption} (ceiling)")
    protocol = {"identities": count, **_how_seen(evaluation, sweep), **how}
    return score_of_each(_columns(own), ceiling=_columns(best), protocol=protocol, pictures=pictures)


def neus(evaluation: Evaluation) -> Score:
    """The paper's test: PSNR and SSIM of NeuS's re-renderings of the views it was trained on. Settings other than the
    published ones stand in the names: their numbers are no published ones."""
    request = evaluation.request
    name = "quick" if request.quick and request.neus == "fast" else request.neus
    config = neus_config.PRESETS[name]
    native = size_of(evaluation)
    size = native if request.neus == "paper" else min(NEUS_SIZE, native)
    device, ending = str(evaluation.device), "" if config is neus_config.PAPER else f" ({name})"

    def look(who: Sitter, wanted: bool) -> Seen:
        views = who.around(size=size)
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

    def look(who: Sitter, wanted: bool) -> Seen:
        views = who.around()
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

    def look(who: Sitter, wanted: bool) -> Seen:
        found = epipolar(who.sweep(steps=steps))
        numbers = {
            "EPI residual PSNR": found.residual_psnr,
            "EPI percentage": found.percentage,
            "EPI flicker": found.flicker,
            "EPI followed": found.followed,
        }
        caption = f"{who.name}: one line of the picture in every view of a sweep"
        return Seen(numbers, {"strip": Picture(found.strip.numpy(), caption)} if wanted else {})

    return over_identities(evaluation, look, "Sweeping past heads", size=size_of(evaluation), sweep=steps)


def identity(evaluation: Evaluation) -> Score:
    """How far what a network reads of a head drifts while the head is turned, in the distance of different heads; of
    photographs, how alike a network for recognising people finds the views of a head."""
    if "heads" not in evaluation.given:
        return _recognition(evaluation)

    def look(who: Sitter, wanted: bool) -> Seen:
        return Seen({"identity drift": drift([who.around()]).drift}, {})

    return over_identities(evaluation, look, "Reading turned heads", size=size_of(evaluation))


def _recognition(evaluation: Evaluation) -> Score:
    with evaluation.world.agreed(patient=True):
        if not evaluation.world.first:
            return Score({})
        views = (sitter(evaluation, place).around() for place in range(evaluation.identities))
        found = recognition([seen._replace(alpha=None, distance=None) for seen in views])
    protocol = {"network": FILE, "identities": evaluation.identities, **_how_seen(evaluation)}
    return score_of_each({"recognised as the same": found.each}, protocol=protocol)


def depth(evaluation: Evaluation) -> Score:
    """How far the distances of a frontal view are from those of the procedural head that the picture looks like; of
    other heads, from where the average head has the landmarks that are found in it."""
    if "heads" not in evaluation.given:
        return _depth_by_landmarks(evaluation)

    def look(who: Sitter, wanted: bool) -> Seen:
        views = who.front()
        view = middle_view(views.cameras)
        found = depth_error(views, view)
        numbers = {"depth error": found.distance, "depth error of relief": found.relief}
        return Seen(numbers, {"depth": depth_picture(views, view)} if wanted else {})

    return over_identities(evaluation, look, "Looking at depths", size=size_of(evaluation), sweep=1)


def _depth_by_landmarks(evaluation: Evaluation) -> Score:
    reader = face_reader()

    def look(who: Sitter, wanted: bool) -> Seen:
        views = who.front()
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


def _how_seen(evaluation: Evaluation, sweep: int = 0) -> dict[str, Any]:
    """Of a protocol: None is not known. sweep: see `over_identities`."""
    known: dict[str, Any] = {"poses": None, "truncation": None}
    if not evaluation.views:
        poses = {0: "around the mean", 1: "frontal"}.get(sweep, "a level sweep")
        known = {"poses": poses, "truncation": evaluation.request.truncation}
    if sweep == 1:  # of a folder, the view in the middle
        return {"views": 1, **known}
    if evaluation.views:
        sets = [strip_of(views) if sweep else views for views in evaluation.views]
        cameras = [views.cameras for views in sets]
    else:
        prior = evaluation.generator.cameras
        cameras = [epi_cameras(prior, size=1, steps=sweep) if sweep else around(prior, size=1)]
    reach = [max(float(ends.max() - ends.min()) for ends in kind) for kind in zip(*map(_angles, cameras), strict=True)]
    return {"views": min(map(len, cameras)), **known, REACH: [round(angle, 3) for angle in reach]}


def _angles(cameras: Camera) -> tuple[Tensor, Tensor]:
    return cameras.pitch, cameras.yaw
