"""A folder of photographs -> a data set: heads found, posed and cropped, or left out for a reason.

K landmarks. Interrupted at any moment it is finished by the same call again, and nothing is looked at twice: the
journal settles every photograph. The originals are only read.
"""

from __future__ import annotations

import functools
import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gramhd_core.data.contact_sheet import SHEET_FILE
from gramhd_core.data.detectors import describe
from gramhd_core.data.journal import Journal
from gramhd_core.data.landmark_files import landmarks_beside
from gramhd_core.data.landmarks import Face, LandmarkDetector, Scheme
from gramhd_core.data.photo_files import open_photos
from gramhd_core.data.photo_request import PhotoRequest
from gramhd_core.data.photo_work import Means, PhotoJob, align, face_from, look
from gramhd_core.data.set_files import Prepared, Record, Work, chunks, finish, run_work
from gramhd_core.data.subjects import Subject
from gramhd_core.data.templates import Template, load_template, save_template, template_for
from gramhd_core.errors import BadArgument, BadDataset, GramhdError
from gramhd_core.progress import Progress, Silent

TEMPLATE_FILE = "template.json"  # of --self-calibrate
PHOTO_CHUNK = 4  # photographs between two entries of the journal: what a killed run may lose


Task = Callable[[], list[Record]]


class Survey(NamedTuple):
    """What would be made: photographs looked at, heads that are fit, why others are not, and by which means."""

    photos: int
    images: int
    reasons: dict[str, int]
    detector: str
    template: str


def prepare_photos(
    source: Path | str,
    out: Path | str,
    *,
    request: PhotoRequest,
    workers: int | None = None,
    progress: Progress | None = None,
    detector: LandmarkDetector | None = None,
) -> Prepared:
    """Photographs (a folder, a zip, or one file) -> our data set folder.

    detector: finds the heads; None: the one that `request.landmarks` names. BadDataset: no photograph is fit.
    """
    out = Path(out)
    if out.resolve().is_relative_to(Path(source).resolve()):
        raise BadArgument(
            f"{out} lies in {source}", expected="a data set is made elsewhere", remedy="choose another --out"
        )
    job = _Job(source, request, detector, progress or Silent())
    with Journal(out, job.recipe(), settles=True) as journal:
        try:
            job.run(journal, workers=workers, keep=True)
        except GramhdError:
            if not journal.images() and not journal.rejects():
                journal.abandon()
            raise
        _refuse_none(journal, source)
        return finish(journal, size=request.size, known=job.about(journal))


def survey_photos(
    source: Path | str,
    *,
    request: PhotoRequest,
    workers: int | None = None,
    progress: Progress | None = None,
    detector: LandmarkDetector | None = None,
) -> Survey:
    """What `prepare_photos` would make of them, without keeping anything."""
    job = _Job(source, request, detector, progress or Silent())
    with tempfile.TemporaryDirectory() as folder, Journal(Path(folder) / "survey", job.recipe()) as journal:
        job.run(journal, workers=workers, keep=False)
        template = job.template
        origin = f"{template.scheme.name}: {template.origin}" if template else "none"
        return Survey(len(job.names), len(journal.images()), _reasons(journal), job.detector.name, origin)


def template_of(scheme: Scheme, subject: Subject) -> Template:
    """The subject's own template, or the built-in one for these landmarks."""
    if subject.template is None:
        return template_for(scheme, subject)
    template = load_template(subject.template)
    if template.scheme != scheme:
        raise BadArgument(
            f"{subject.template} is a template of {template.scheme.name} landmarks",
            expected=f"the landmarks here are {scheme.name}",
            remedy="use the template of these landmarks, or leave it out and give --self-calibrate",
        )
    return template


# ---------------------------------------------------------------------------------------------- one run


class _Job:
    """Photographs, in the order of their names, and what is asked of them."""

    def __init__(
        self, source: Path | str, request: PhotoRequest, detector: LandmarkDetector | None, progress: Progress
    ):
        if request.landmark_file is None and request.landmarks in ("auto", "file"):
            request = replace(request, landmark_file=landmarks_beside(source))
        self.source, self.request, self.progress = Path(source), request, progress
        self.files = open_photos(source)
        self.names = list(self.files.sizes)[: request.limit]
        self.means = Means(detector or request.landmarks, request)
        self.detector = self.means()
        if detector is None:  # auto has chosen: so do all processes
            self.means = self.means._replace(detector=self.detector.name)
        self.template: Template | None = None
        if not request.self_calibrate:
            self.template = template_of(self.detector.scheme, request.subject)

    def recipe(self) -> Record:
        """What a folder has to be made of to be gone on with."""
        template = self.template and hashlib.sha256(self.template.points.tobytes()).hexdigest()[:16]
        content = json.dumps([*self.files.sizes.items(), _digest_of(self.request.landmark_file)])
        return {
            **self.request.recipe(),
            "source": str(self.source.resolve()),
            "content": hashlib.sha256(content.encode()).hexdigest()[:16],
            "landmarks": self.detector.name,
            "scheme": self.detector.scheme.name,
            "template": template,
        }

    def run(self, journal: Journal, *, workers: int | None, keep: bool) -> None:
        """Settle every photograph. keep: write the images."""
        size = self.request.size
        todo = [(i, name) for i, name in enumerate(self.names) if not journal.is_settled(name, size=size)]
        if todo:
            self._say_how()
        if self.request.self_calibrate:
            self.template = self._calibrated(journal, todo, workers=workers, keep=keep)
        assert self.template is not None
        jobs = [PhotoJob(i, name, journal.seen(name)) for i, name in todo]
        settle = functools.partial(align, means=self.means, template=self.template, out=journal.out if keep else None)
        title = f"{'Making' if keep else 'Looking at'} {journal.out if keep else self.source}"
        work = Work(self._tasks(settle, jobs), len(self.names), len(jobs), title, "settled")
        run_work(work, journal, workers=workers, progress=self.progress)

    def about(self, journal: Journal) -> Record:
        """What `about.json` says beside counts and poses."""
        assert self.template is not None
        return {
            "detector": self.detector.name,
            "template": {"scheme": self.template.scheme.name, "origin": self.template.origin},
            "photos": len(self.names),
            "reasons": _reasons(journal),
            "prior": self.request.prior,
            "cameras": _cameras(journal.images(), self.request),
        }

    def _tasks(
        self, function: Callable[..., list[Record]], jobs: Sequence[PhotoJob]
    ) -> list[Callable[[], list[Record]]]:
        return [
            functools.partial(function, chunk, self.files.subset(job.name for job in chunk))
            for chunk in chunks(jobs, size=PHOTO_CHUNK)
        ]

    def _say_how(self) -> None:
        self.progress.say(describe(self.detector))
        if self.detector.coarse:
            self.progress.say(f"The poses of {self.detector.name} are guesses; look at {SHEET_FILE} before training.")

    def _calibrated(
        self, journal: Journal, todo: list[tuple[int, str]], *, workers: int | None, keep: bool
    ) -> Template | None:
        """The template of these photographs: the one that is there, or a new one from all their landmarks."""
        path = journal.out / TEMPLATE_FILE
        if path.exists():
            return load_template(path)
        unseen = [PhotoJob(i, name, None) for i, name in todo if journal.seen(name) is None]
        tasks = self._tasks(functools.partial(look, means=self.means), unseen)
        work = Work(tasks, len(todo), len(unseen), f"Finding landmarks in {self.source}", "seen")
        run_work(work, journal, workers=workers, progress=self.progress)
        seen = [journal.seen(name) or {} for _, name in todo]
        faces = [face_from(plain, self.detector.scheme) for record in seen for plain in record.get("faces", [])]
        template = _calibrate(faces, self.request.subject)
        if keep:
            save_template(template, path)
        return template


def _calibrate(faces: list[Face], subject: Subject) -> Template:
    from gramhd_core.data.self_calibration import self_calibrate

    return self_calibrate(faces, fov_degrees=subject.cameras.fov_degrees)


def _reasons(journal: Journal) -> dict[str, int]:
    return dict(Counter(reject.get("kind", "other") for reject in journal.rejects()).most_common())


def _refuse_none(journal: Journal, source: Path | str) -> None:
    if journal.images():
        return
    counted = ", ".join(f"{count} {kind}" for kind, count in _reasons(journal).items())
    examples = [reject["reason"] for reject in journal.rejects()]
    journal.abandon()
    raise BadDataset(
        f"No photograph of {source} is fit ({counted}; the first: {examples[0]})",
        expected="a data set has at least one image",
        remedy="look at the photographs, or try other --landmarks",
    )


def _cameras(records: list[Record], request: PhotoRequest) -> Record:
    """Pitch and yaw as training is to draw them: the subject's, or those of the images and their mirror images."""
    prior = request.subject.cameras
    values = {"pitch_mean": prior.pitch_mean, "pitch_sd": prior.pitch_sd}
    values |= {"yaw_mean": prior.yaw_mean, "yaw_sd": prior.yaw_sd}
    if request.prior == "measured":
        pitch, yaw = (np.array([record[name] for record in records]) for name in ("pitch", "yaw"))
        spread = max(float(pitch.std()), 0.01), max(float(np.sqrt((yaw**2).mean())), 0.01)
        values = {"pitch_mean": float(pitch.mean()), "pitch_sd": spread[0], "yaw_mean": 0.0, "yaw_sd": spread[1]}
    return {**{name: round(value, 4) for name, value in values.items()}, "fov_degrees": prior.fov_degrees}


def _digest_of(labels: Path | None) -> Any:
    """What tells one set of the user's landmarks from another."""
    if labels is None or not labels.exists():
        return None
    files = [labels] if labels.is_file() else sorted(path for path in labels.rglob("*") if path.is_file())
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
