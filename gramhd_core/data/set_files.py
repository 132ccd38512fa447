"""What every way of making a data set shares: names and records of images, work in processes, and the finished folder.

Angles are radians; sizes are sides in pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gramhd_core
from gramhd_core.data.contact_sheet import SHEET_FILE, write_contact_sheet
from gramhd_core.data.dataset import DatasetReader
from gramhd_core.data.image_files import open_files
from gramhd_core.data.journal import ABOUT_FILE, REJECT_FILE, Journal
from gramhd_core.data.labels import LABEL_FILE, POSE_FILE, write_eg3d, write_poses
from gramhd_core.data.pose_conversions import Pose
from gramhd_core.data.processes import cores, results
from gramhd_core.errors import BadArgument, BadDataset
from gramhd_core.files import atomic, write_text
from gramhd_core.progress import Progress, Silent

CHUNK = 16  # images between two entries of the journal
WORTH_A_PROCESS = 64  # images; starting one costs seconds
HISTOGRAM_BIN = 0.1

Record = dict[str, Any]


class Prepared(NamedTuple):
    """What was made: the folder, how many images are in it, how many were left out, its fingerprint and its sheet."""

    out: Path
    images: int
    rejected: int
    fingerprint: str
    contact_sheet: Path


class Work(NamedTuple):
    """Tasks that end in records for the journal.

    todo of `total` photographs (or heads) are left to do. step: the field by which one of them is known among the
    records; None: every record is one.
    """

    tasks: Sequence[Callable[[], list[Record]]]
    total: int
    todo: int
    title: str
    step: str | None = None


def record_of(name: str, pose: Pose, **known: Any) -> Record:
    """What is known about an image. Unless told: what a landmark fit would have found out is not known."""
    empty = {"scale": None, "residual": None, "landmarks": None}
    return {"name": name, **pose._asdict(), **empty, **known}


def write_image(path: Path, data: bytes) -> None:
    """Put an encoded image into its place."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def image_name(index: int, *, face: int = 0) -> str:
    """The place of image `index`; the second head of a photograph is face 1."""
    return f"images/{index // 1000:05d}/img{index:08d}{f'_{face}' if face else ''}.png"


def chunks(jobs: Sequence[Any], *, size: int | None = None) -> Iterator[Sequence[Any]]:
    """Jobs in the order given, `size` (CHUNK) at a time."""
    size = size or CHUNK
    return (jobs[start : start + size] for start in range(0, len(jobs), size))


def run_work(work: Work, journal: Journal, *, workers: int | None, progress: Progress | None) -> None:
    """Run every task, here or in `workers` processes, and note the results as they come."""
    if workers is not None and workers < 1:
        raise BadArgument(
            f"{workers} workers were asked for", expected="at least one is needed", remedy="give --workers 1"
        )
    progress = progress or Silent()
    progress.start(work.title, work.total, done=work.total - work.todo)
    try:
        for records in results(work.tasks, workers=workers or min(cores(), 1 + work.todo // WORTH_A_PROCESS)):
            journal.add(records)
            progress.advance(sum(work.step is None or work.step in record for record in records))
    finally:
        progress.finish()


# ---------------------------------------------------------------------------------------------- the finished folder


def finish(journal: Journal, *, size: int, known: Record | None = None) -> Prepared:
    """Write everything that is not an image. known: what else `about.json` says."""
    out, records, rejects = journal.out, journal.images(), journal.rejects()
    if not records:
        raise BadDataset(
            f"No image was fit for {out} ({rejects[0]['reason'] if rejects else 'there is none'})",
            expected="a data set has at least one image",
            remedy="look at the images and labels that were given",
        )
    for leftover in out.glob("images/*/.*.part.png"):  # of a killed run
        leftover.unlink(missing_ok=True)
    poses = {r["name"]: Pose(*(r[field] for field in Pose._fields)) for r in records}
    write_eg3d(out / LABEL_FILE, poses)
    write_poses(out / POSE_FILE, poses, extra={r["name"]: r for r in records})
    write_text(out / REJECT_FILE, "".join(json.dumps(r) + "\n" for r in rejects))
    write_contact_sheet(out, out / SHEET_FILE)
    fingerprint = DatasetReader(out).fingerprint
    about = {
        "format": "gramhd dataset",
        "version": gramhd_core.__version__,
        "subject": journal.recipe["subject"],
        "images": len(records),
        "rejected": len(rejects),
        "size": size,
        "pitch": _distribution([pose.pitch for pose in poses.values()]),
        "yaw": _distribution([pose.yaw for pose in poses.values()]),
        **(known or {}),
        "fingerprint": fingerprint,
        "recipe": journal.recipe,
    }
    write_text(out / ABOUT_FILE, json.dumps(about, indent=2) + "\n")
    journal.complete()
    return Prepared(out, len(records), len(rejects), fingerprint, out / SHEET_FILE)


def _distribution(angles: list[float]) -> dict[str, Any]:
    """Mean, standard deviation and histogram (bins of 0.1 rad) of angles, rounded for reading."""
    values = np.array(angles)
    first = int(np.floor(values.min() / HISTOGRAM_BIN))
    counts = np.bincount(np.floor(values / HISTOGRAM_BIN).astype(int) - first).tolist()
    moments = {"mean": values.mean(), "sd": values.std(), "min": values.min(), "max": values.max()}
    rounded = {name: round(float(value), 4) for name, value in moments.items()}
    return {
        **rounded,
        "histogram": {"first_bin": round(first * HISTOGRAM_BIN, 1), "bin": HISTOGRAM_BIN, "counts": counts},
    }


def camera_settings(data: Path, *, prefix: str = "generator.cameras") -> list[str]:
    """What a training has to be told (`--set`) to draw the cameras that a data set measured; [] if it measured none."""
    files = open_files(data)
    about = json.loads(files.read(ABOUT_FILE)) if ABOUT_FILE in files.sizes else {}
    if about.get("prior") != "measured":
        return []
    return [f"{prefix}.{name}={value:g}" for name, value in about["cameras"].items()]
