"""`gramhd prep-data`: a posed, aligned data set from photographs, from labelled images, or the built-in one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gramhd_cli import console, options
from gramhd_cli import prep_options as own

if TYPE_CHECKING:
    from gramhd_core.data.set_files import Prepared
    from gramhd_core.progress import Progress


def prep_data(
    source: own.Source = None,
    out: own.MaybeOut = None,
    procedural: own.Procedural = None,
    labels: own.Labels = None,
    subject: own.Subject = None,
    landmarks: own.Landmarks = None,
    landmark_file: own.LandmarkFile = None,
    self_calibrate: own.SelfCalibrate = False,
    faces: own.Faces = None,
    keep_roll: own.KeepRoll = False,
    padding: own.Padding = None,
    limit: own.Limit = None,
    dry_run: own.DryRun = False,
    prior: own.Prior = None,
    size: own.Size = None,
    seed: own.Seed = None,
    workers: own.Workers = None,
    keep_going: own.KeepGoing = False,
    formats: own.Formats = None,
    self_test: own.SelfTest = False,
    json: options.Json = False,
) -> None:
    """Turn images into a posed, aligned data set.

    Photographs: heads are found, posed by their landmarks and cropped; what is
    left out has its reason in rejects.jsonl. Images that bring labels (or are
    given some with --labels) are taken as they are.

    The folder holds images/, dataset.json (EG3D layout), poses.jsonl,
    rejects.jsonl, contact_sheet.png and about.json. The same command again
    finishes an interrupted run and repeats nothing. Prints the folder.

    Examples:
        gramhd prep-data --procedural 4000 --size 256 --out heads
        gramhd prep-data holiday --subject faces --out faces --dry-run
        gramhd prep-data holiday --subject faces --faces all --out faces
        gramhd prep-data pets --subject cats --landmark-file pets --out cats
        gramhd prep-data dogs --subject dogs.toml --self-calibrate --out dogs-set
        gramhd prep-data FFHQ_eg3d.zip --size 256 --out ffhq256
        gramhd prep-data ffhq --labels ffhq/poses --out ffhq-set --keep-going
        gramhd prep-data heads --size 64 --out heads64 --format eg3d-zip
        gramhd prep-data ffhq256 --self-test --out axes.png
    """
    own.refuse_contradictions(source, out, procedural=procedural, self_test=self_test, dry_run=dry_run)
    asked = {
        "subject": subject,
        "landmarks": landmarks,
        "landmark_file": landmark_file,
        "self_calibrate": self_calibrate or None,
        "faces": faces,
        "keep_roll": keep_roll or None,
        "padding": padding,
        "limit": limit,
        "prior": prior,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    given = {
        **{f"--{name.replace('_', '-')}": True for name in asked},
        "--dry-run": dry_run,
        "--labels": labels is not None,
        "--size": size is not None,
        "--seed": seed is not None,
        "--workers": workers is not None,
        "--keep-going": keep_going,
        "--format": bool(formats),
    }
    named = [option for option in given if given[option]]
    way = "--self-test" if self_test else "--procedural" if procedural is not None else "SRC"
    own.refuse_idle(named, way=way)
    if way == "SRC" and (labels is not None or dry_run):
        own.refuse_idle(named, way="--labels" if labels is not None else "--dry-run")
    if self_test:
        from gramhd_core.data import contact_sheet

        assert source is not None
        sheet = contact_sheet.self_test(source, out)
        console.result({"contact_sheet": sheet} if json else sheet, json=json)
        return
    from gramhd_core.data import exports, prepare
    from gramhd_core.data.labels import has_labels

    exports.check_formats(formats or [])
    photographs = source is not None and labels is None and (dry_run or bool(asked) or not has_labels(source))
    if dry_run:
        assert source is not None
        _survey(source, _request(asked, size), workers=workers, json=json)
        return
    assert out is not None
    with console.progress() as progress:
        if procedural is not None:
            made = prepare.prepare_procedural(
                procedural,
                out,
                size=own.PROCEDURAL_SIZE if size is None else size,
                seed=0 if seed is None else seed,
                workers=workers,
                progress=progress,
            )
        elif photographs:
            assert source is not None
            made = _photographs(source, out, _request(asked, size), workers=workers, progress=progress)
        else:
            assert source is not None
            made = prepare.prepare_labelled(
                source, labels, out, size=size, workers=workers, progress=progress, keep_going=keep_going
            )
    _report(made, [exports.FORMATS[name](made.out) for name in formats or []], json=json)


def _request(asked: dict[str, Any], size: int | None) -> Any:
    from gramhd_core.data.photo_request import PhotoRequest
    from gramhd_core.data.subjects import find_subject

    subject = find_subject(asked.get("subject", own.SUBJECTS[0]))
    return PhotoRequest(**{**asked, "subject": subject, "size": own.PHOTO_SIZE if size is None else size})


def _photographs(source: Path, out: Path, request: Any, *, workers: int | None, progress: Progress) -> Prepared:
    from gramhd_core.data.photos import prepare_photos

    return prepare_photos(source, out, request=request, workers=workers, progress=progress)


def _survey(source: Path, request: Any, *, workers: int | None, json: bool) -> None:
    from gramhd_core.data.photos import survey_photos

    with console.progress() as progress:
        found = survey_photos(source, request=request, workers=workers, progress=progress)
    plain = {**found._asdict(), **({} if json else {"reasons": _counted(found.reasons) or "none is left out"})}
    console.result(plain, json=json)


def _report(made: Prepared, exported: list[Path], *, json: bool) -> None:
    """The folder on stdout; what else there is to know about it, on stderr."""
    from gramhd_core.data.journal import REJECT_FILE
    from gramhd_core.data.set_files import camera_settings

    if made.rejected:
        console.warn(f"{made.rejected} left out, see {made.out / REJECT_FILE}")
    for path in exported:
        console.note(f"Also written: {path}")
    settings = camera_settings(made.out)
    if settings:
        console.note(f"Training on it draws the measured poses: {' '.join(settings)}")
    document = {**made._asdict(), **({"exports": [str(path) for path in exported]} if exported else {})}
    console.result(document if json else made.out, json=json)


def _counted(reasons: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in reasons.items())
