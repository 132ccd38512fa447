"""Scores as a document: `report.json` says what was measured, how, with which versions, and how sure it is.

Two runs of the same request write the same document, except for what stands under `times`. A report that was
interrupted goes on with the metrics it has, and with the heads that the one it was at has seen.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gramhd_core import __version__, files
from gramhd_core.errors import BadArgument
from gramhd_core.metrics import METRICS, Plan, evaluate, planned
from gramhd_core.metrics.evaluation import Evaluation
from gramhd_core.metrics.extractors import AUTO, known_features
from gramhd_core.metrics.notebook import Notebook
from gramhd_core.metrics.picture_sets import RealPictures
from gramhd_core.metrics.provenance import commit, machine, versions
from gramhd_core.metrics.scores import Picture, Score

NAME, PARTIAL, PICTURES, HEADS = "report.json", "report.partial.json", "pictures", "heads.partial"
FORMAT = "gramhd report 1"
DIGITS = 6
COMPARED = ("system", "data", "request", "gramhd", "commit", "versions")  # what makes two reports the same request
WHOLE = (*COMPARED, "metrics", "times", "preview", "left_out")


def make_report(
    evaluation: Evaluation,
    names: Iterable[str] = (),
    *,
    system: dict[str, Any],
    out: Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Measure, and keep every score in `out` as soon as it is there. Of several processes the first has the document.

    system: who is judged (name, kind, fingerprint). force: measure again whatever is there. BadArgument if `out` has a
    report of another request.
    """
    plan = planned(evaluation, names)
    head, marks = heading(evaluation, plan, system), marks_of_files(evaluation)
    key = hashlib.sha256(json.dumps([{name: head[name] for name in COMPARED}, marks]).encode()).hexdigest()
    evaluation.notebook = Notebook(out / HEADS if out else None, key)
    earlier: dict[str, Any] = {"metrics": {}, "times": {}}
    with evaluation.world.agreed():
        if evaluation.world.first:
            earlier = _earlier(out, head, marks, force=force)
            _prepare(out, evaluation.notebook, force=force)
    kept = {name: _score(part, out) for name, part in earlier["metrics"].items()}
    document = {**head, "metrics": dict(earlier["metrics"]), "times": {**earlier["times"], "files": marks}}

    def keep(name: str, score: Score, seconds: float) -> None:
        document["metrics"][name] = _part(name, score, out)
        document["times"][name] = {
            "seconds": round(seconds, 2),
            "measured": _rounded(score.times),
            "from the cache": score.found,
            "machine": machine(evaluation.device),
        }
        if out:
            files.write_text(out / PARTIAL, text_of(document))

    evaluate(evaluation, plan.names, kept=kept, done=keep)
    if not evaluation.world.first:
        return {}
    document["metrics"] = {name: document["metrics"][name] for name in METRICS if name in document["metrics"]}
    document["times"]["finished"] = time.strftime("%Y-%m-%d %H:%M:%S")
    if out:
        files.write_text(out / NAME, text_of(document))
        (out / PARTIAL).unlink(missing_ok=True)
        evaluation.notebook.clear()
    return document


def heading(evaluation: Evaluation, plan: Plan, system: dict[str, Any]) -> dict[str, Any]:
    """Everything that is known before measuring."""
    data = None
    if "data" in evaluation.given:
        reader = evaluation.reader
        data = {
            "name": reader.path.name,
            "images": len(reader),
            "size": reader.resolution,
            "fingerprint": reader.fingerprint,
            "procedural": "heads" in evaluation.given,
        }
    request = json.loads(json.dumps(asdict(evaluation.request)))
    if "data" in evaluation.given and request["features"] == AUTO:
        request["features"] = known_features(AUTO)  # which depends on what is on the machine
    return {
        "format": FORMAT,
        "preview": evaluation.request.quick,
        "system": system,
        "data": data,
        "request": request,
        "left_out": plan.left_out,
        "gramhd": __version__,
        "commit": commit(),
        "versions": versions(),
    }


def marks_of_files(evaluation: Evaluation) -> dict[str, str]:
    """16 digits each for the data and the pictures that are judged: others where a file was changed since."""
    keys: dict[str, Any] = {}
    if "data" in evaluation.given:
        keys["data"] = RealPictures(evaluation.reader, size=evaluation.reader.resolution).key()
    if evaluation.images is not None:
        keys["images"] = evaluation.images.key()
    texts = {name: json.dumps(key, sort_keys=True) for name, key in keys.items()}
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in texts.items()}


def read_report(path: Path) -> dict[str, Any]:
    """A document that `make_report` wrote; a folder stands for the report in it. BadArgument for anything else."""
    file = path / NAME if path.is_dir() else path
    try:
        document = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadArgument(
            f"{path} cannot be read as a report ({error})",
            expected="a report.json is needed",
            remedy="make one with gramhd eval --out",
        ) from error
    known = document if isinstance(document, dict) else {}
    if known.get("format") != FORMAT or not set(WHOLE) <= set(known):
        raise BadArgument(
            f"{path} is no report of this version",
            expected=f"its format must be {FORMAT!r}",
            remedy="make it again with gramhd eval --out",
        )
    return document


def text_of(document: dict[str, Any]) -> str:
    """The document as JSON."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _earlier(out: Path | None, head: dict[str, Any], marks: dict[str, str], *, force: bool) -> dict[str, Any]:
    """Metrics and times that `out` has already."""
    nothing = {"metrics": {}, "times": {}}
    file = next((out / name for name in (PARTIAL, NAME) if (out / name).is_file()), None) if out else None
    if file is None or force:
        return nothing
    document = read_report(file)
    for field in COMPARED:
        if document.get(field) != head[field]:
            was, now = _difference(document.get(field), head[field])
            raise BadArgument(
                f"{file.parent} holds a report with {field} {was}",
                expected=f"this command has {now}",
                remedy="choose another --out, or --force to replace it",
            )
    if document["times"].get("files") != marks:
        raise BadArgument(
            f"{file.parent} holds a report of pictures that have changed since",
            expected="a report is of the same pictures throughout",
            remedy="choose another --out, or --force to replace it",
        )
    complete = {
        name: part
        for name, part in document["metrics"].items()
        if all((file.parent / PICTURES / shown["file"]).is_file() for shown in part["pictures"].values())
    }
    return {"metrics": complete, "times": {name: document["times"][name] for name in complete}}


def _prepare(out: Path | None, notebook: Notebook, *, force: bool) -> None:
    """A place that cannot be written to is noticed before hours of work: CannotWrite."""
    if out is None:
        return
    trial = out / f"{PARTIAL}.trial"
    files.write_text(trial, "")
    trial.unlink()
    if force:
        notebook.clear()


def _difference(was: Any, now: Any) -> tuple[str, str]:
    """The first field that differs, in words."""
    if isinstance(was, dict) and isinstance(now, dict):
        field = next(name for name in (*now, *was) if was.get(name) != now.get(name))
        return f"{field} {was.get(field)}", f"{field} {now.get(field)}"
    return str(was), str(now)


def _part(name: str, score: Score, out: Path | None) -> dict[str, Any]:
    """What the document says of one score. Pictures go to files, where there is a place for them."""
    pictures = {}
    for title, picture in score.pictures.items() if out else ():
        assert out is not None
        file = f"{name}-{title}.png"
        with files.atomic(out / PICTURES / file) as temporary:
            Image.fromarray(picture.image).save(temporary, "PNG")
        pictures[title] = {"file": file, "caption": picture.caption}
    return {
        "values": _rounded(score.values),
        "intervals": {key: [_number(low), _number(high)] for key, (low, high) in score.intervals.items()},
        "ceiling": _rounded(score.ceiling),
        "each": {key: [_number(value) for value in values] for key, values in score.each.items()},
        "protocol": score.protocol,
        "notes": score.notes,
        "pictures": pictures,
    }


def _score(part: dict[str, Any], out: Path | None) -> Score:
    """The inverse of `_part`, except that null becomes nan."""
    pictures = {}
    for title, shown in part["pictures"].items() if out else ():
        assert out is not None
        with Image.open(out / PICTURES / shown["file"]) as image:
            pictures[title] = Picture(np.asarray(image.convert("RGB")), shown["caption"])

    def known(values: dict[str, Any]) -> dict[str, float]:
        return {key: math.nan if value is None else value for key, value in values.items()}

    return Score(
        known(part["values"]),
        {key: (low, high) for key, (low, high) in part["intervals"].items()},
        known(part["ceiling"]),
        {key: [math.nan if value is None else value for value in values] for key, values in part["each"].items()},
        part["protocol"],
        part["notes"],
        pictures,
    )


def _number(value: float) -> float | None:
    """Six digits; None for what JSON has no word for."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _rounded(values: dict[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}
