"""Making a data set folder: numbered square PNGs, their labels, what was rejected and why, and a sheet to look at.

Interrupted at any moment it is finished by the same call again: images are renamed into place when they are whole, and
a journal (`.unfinished.jsonl`) remembers what is known about them until the label files are written, `about.json` last.
Angles are radians; sizes are sides in pixels.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from gramhd_core.data.contact_sheet import SHEET_FILE
from gramhd_core.data.image_files import (
    ImageFiles,
    check_size,
    decode_image,
    encode_png,
    image_sizes,
    image_stem,
    is_image,
    open_files,
)
from gramhd_core.data.journal import Journal
from gramhd_core.data.labels import read_labels
from gramhd_core.data.pose_conversions import Pose
from gramhd_core.data.set_files import (
    Prepared,
    Record,
    Work,
    chunks,
    finish,
    image_name,
    record_of,
    run_work,
    write_image,
)
from gramhd_core.data.subjects import PROCEDURAL_HEADS
from gramhd_core.errors import BadArgument, BadDataset, BadImage, BadLabels, GramhdError
from gramhd_core.progress import Progress

SEED_STRIDE = 1_000_000  # image i of data set seed s is procedural head s * SEED_STRIDE + i: no head is in two sets


# ---------------------------------------------------------------------------------------------- two sources


def prepare_procedural(
    count: int,
    out: Path | str,
    *,
    size: int = 256,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """The built-in data set: `count` procedural heads seen from the FFHQ camera prior. Same arguments, same bytes."""
    check_size(size)
    if not 1 <= count <= SEED_STRIDE or seed < 0:
        raise BadArgument(
            f"{count} procedural heads with seed {seed} were asked for",
            expected=f"1 to {SEED_STRIDE} heads and a seed of 0 or more are possible",
            remedy="give e.g. `--procedural 4000 --seed 0`",
        )
    recipe = {"subject": PROCEDURAL_HEADS.name, "count": count, "size": size, "seed": seed}
    with Journal(Path(out), recipe) as journal:
        todo = [i for i in range(count) if not journal.has(image_name(i), size=size)]
        tasks = [
            functools.partial(_render_heads, chunk, seed=seed, size=size, out=journal.out) for chunk in chunks(todo)
        ]
        work = Work(tasks, count, len(todo), f"Making {journal.out}")
        run_work(work, journal, workers=workers, progress=progress)
        return finish(journal, size=size)


def prepare_labelled(
    source: Path | str,
    labels: Path | str | None,
    out: Path | str,
    *,
    size: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    keep_going: bool = False,
) -> Prepared:
    """A folder or zip of aligned square images and their labels (None: the labels inside it) -> our data set folder.

    size: resize to this side (LANCZOS); None keeps the common size of the images.
    keep_going: leave unusable images and labels without image out and list them, instead of stopping at the first.
    """
    check_size(size)
    out = Path(out)
    if out.resolve().is_relative_to(Path(source).resolve()):
        raise BadArgument(
            f"{out} lies in {source}", expected="a data set is made elsewhere", remedy="choose another --out"
        )
    files = open_files(source)
    poses = read_labels(source if labels is None else labels)
    photos, rejects = _match(files, poses, source=Path(source), labels=Path(labels or source))
    if rejects and not keep_going:
        raise rejects[0][1]
    unlabelled = [name for name in files.sizes if is_image(name) and name != SHEET_FILE and name not in photos]
    usable, side = _usable(files, photos, rejects, size=size, keep_going=keep_going)
    digest = hashlib.sha256(json.dumps([[n, files.sizes[n], p] for n, p in photos.items()]).encode()).hexdigest()[:16]
    recipe = {"subject": None, "source": str(Path(source).resolve()), "content": digest, "size": side}
    with Journal(out, recipe) as journal:
        journal.add({"file": name, "reason": "it has no label"} for name in unlabelled)
        journal.add({"file": name, "reason": error.given} for name, error in rejects)
        jobs = {image_name(i): (name, photos[name]) for i, name in enumerate(photos) if name in usable}
        todo = [(new, *job) for new, job in jobs.items() if not journal.has(new, size=side)]
        tasks = [
            functools.partial(
                _copy_photos, chunk, files.subset(j[1] for j in chunk), size=side, out=out, keep_going=keep_going
            )
            for chunk in chunks(todo)
        ]
        work = Work(tasks, len(jobs), len(todo), f"Making {journal.out}")
        run_work(work, journal, workers=workers, progress=progress)
        return finish(journal, size=side)


def _match(
    files: ImageFiles, poses: dict[str, Pose], *, source: Path, labels: Path
) -> tuple[dict[str, Pose], list[tuple[str, GramhdError]]]:
    """Image name -> pose in the order of names, and the labels that belong to no image.

    A label names its image in full; one with neither folder nor image suffix (GRAM) names the only image of that stem.
    """
    images = [name for name in files.sizes if is_image(name) and name != SHEET_FILE]
    if not images:
        raise BadDataset(f"{source} holds no images", expected="PNG or JPEG files are needed", remedy="check the path")
    stems = Counter(map(image_stem, images))
    by_stem = {image_stem(name): name for name in images if stems[image_stem(name)] == 1}
    known, photos, lost = set(images), {}, []
    for name, pose in poses.items():
        image = name if is_image(name) else by_stem.get(name)  # no stem has a folder
        if image not in known or image in photos:
            lost.append(name)
        else:
            photos[image] = pose
    rejects: list[tuple[str, GramhdError]] = [(name, _lost_label(name, len(lost), source, labels)) for name in lost]
    return dict(sorted(photos.items())), rejects


def _lost_label(name: str, count: int, source: Path, labels: Path) -> BadLabels:
    return BadLabels(
        f"{labels} names {name}{f' and {count - 1} other images' if count > 1 else ''}, absent from {source}",
        expected="every label belongs to one image",
        remedy="add the images, or leave such labels out with --keep-going",
    )


def _usable(
    files: ImageFiles,
    photos: Iterable[str],
    rejects: list[tuple[str, GramhdError]],
    *,
    size: int | None,
    keep_going: bool,
) -> tuple[set[str], int]:
    """The images whose headers are in order, and the side of the data set; the others join `rejects`, or stop us."""
    sides: dict[str, int] = {}
    for name, found in image_sizes(files, photos):
        error = found if isinstance(found, GramhdError) else None
        if not isinstance(found, GramhdError) and found[0] != found[1]:
            error = BadImage(
                f"{files.root}/{name} is {found[0]} x {found[1]}",
                expected="aligned images are square",
                remedy="crop it to a square around the head, or leave such images out with --keep-going",
            )
        if error is not None and not keep_going:
            raise error
        if error is not None:
            rejects.append((name, error))
        elif not isinstance(found, GramhdError):
            sides[name] = found[0]
    common = set(sides.values())
    if size is None and len(common) > 1:
        raise BadDataset(
            f"The images of {files.root} have sides from {min(common)} to {max(common)} pixels",
            expected="all images of a data set have one size",
            remedy=f"give the one you want, e.g. `--size {min(common)}`",
        )
    return set(sides), size or (common.pop() if common else 1)


# ---------------------------------------------------------------------------------------------- work, anywhere


def _render_heads(indices: Sequence[int], *, seed: int, size: int, out: Path) -> list[Record]:
    """Render procedural heads to their files."""
    from gramhd_core.data.procedural_heads import render_item

    records = []
    for index in indices:
        number = seed * SEED_STRIDE + index
        item = render_item(number, size=size, prior=PROCEDURAL_HEADS.cameras)
        write_image(out / image_name(index), encode_png(torch.from_numpy(item.view.image).permute(2, 0, 1)))
        pose = Pose(item.pitch, item.yaw, fov_degrees=PROCEDURAL_HEADS.cameras.fov_degrees)
        landmarks = [[round(float(x), 2), round(float(y), 2)] for x, y in item.view.landmarks_2d]
        records.append(record_of(image_name(index), pose, residual=0.0, landmarks=landmarks, seed=number))
    return records


def _copy_photos(
    jobs: Sequence[tuple[str, str, Pose]], files: ImageFiles, *, size: int, out: Path, keep_going: bool
) -> list[Record]:
    """Bring photos (new name, name in `files`, pose) to `size` and into their place."""
    records = []
    for new, name, pose in jobs:
        try:
            image = decode_image(files.read(name), name=f"{files.root}/{name}", size=size)
        except BadImage as error:
            if not keep_going:
                raise
            records.append({"file": name, "reason": error.given})
            continue
        write_image(out / new, encode_png(image))
        records.append(record_of(new, pose._replace(radius=1.0), source=name))
    return records
