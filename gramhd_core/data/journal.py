"""What is known about a data set folder while it is being made, so that an interrupted run can be finished.

A record is a JSON object: of an image (with `name`, relative to the folder); of a reject (with `file` and `reason`, and
`face` where only one head of a photograph was left out); of what was seen in a photograph (`seen`: its name; faces); or
of a photograph about which everything is known (`settled`: its name, and `images`, the names of what it became).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from PIL import Image, UnidentifiedImageError

from gramhd_core.data.dataset import JOURNAL_FILE
from gramhd_core.data.labels import POSE_FILE
from gramhd_core.errors import BadDataset
from gramhd_core.files import cannot_write

ABOUT_FILE, REJECT_FILE = "about.json", "rejects.jsonl"


class Journal:
    """The folder `out` being made by `recipe`; a context manager. Refuses a folder that holds something else.

    An unfinished folder has `.unfinished.jsonl`: the recipe in the first line, then one record per line. A finished one
    has `about.json` with the recipe, and its records in `poses.jsonl`. settles: photographs that were left out are not
    looked at again either, because the recipe tells one photograph from another.
    """

    def __init__(self, out: Path, recipe: dict[str, Any], *, settles: bool = False):
        self.out, self.recipe, self._settles = out, recipe, settles
        self._path = out / JOURNAL_FILE
        self._images: dict[str, dict[str, Any]] = {}
        self._rejects: dict[tuple[str, int], dict[str, Any]] = {}
        self._settled: dict[str, list[str]] = {}
        self._seen: dict[str, dict[str, Any]] = {}
        self._stream: IO[str] | None = None
        self._remember()

    def __enter__(self) -> Journal:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            torn = self._path.exists() and not self._path.read_text(encoding="utf-8").endswith("\n")
            new = not self._path.exists() or self._path.stat().st_size == 0
            self._stream = open(self._path, "a", encoding="utf-8")
            if torn:
                self._stream.write("\n")
        except OSError as error:
            raise cannot_write(self._path, error) from error
        if new:
            settled = [{"settled": name, "images": images} for name, images in self._settled.items()]
            self._write([{"recipe": self.recipe}, *self._images.values(), *self._rejects.values(), *settled])
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def has(self, name: str, *, size: int) -> bool:
        """Whether image `name` is known and lies in its place with this size."""
        if name not in self._images:
            return False
        try:
            with Image.open(self.out / name) as image:
                return image.size == (size, size)
        except (OSError, UnidentifiedImageError, SyntaxError):
            return False

    def is_settled(self, photo: str, *, size: int) -> bool:
        """Whether everything about a photograph is known, and what it became lies in its place."""
        return photo in self._settled and all(self.has(name, size=size) for name in self._settled[photo])

    def seen(self, photo: str) -> dict[str, Any] | None:
        """What was seen in a photograph by an earlier pass or run."""
        return self._seen.get(photo)

    def add(self, records: Iterable[dict[str, Any]]) -> None:
        """Remember records, on disk too."""
        records = list(records)
        self._sort_in(records)
        self._write(records)

    def images(self) -> list[dict[str, Any]]:
        """Records of all images, by name."""
        return [self._images[name] for name in sorted(self._images)]

    def rejects(self) -> list[dict[str, Any]]:
        """Records of all rejects, by file."""
        return [self._rejects[place] for place in sorted(self._rejects)]

    def complete(self) -> None:
        """The folder is finished: the journal is no longer needed."""
        self.__exit__()
        self._path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Nothing came of it: leave no trace of what has not become a data set."""
        if not (self.out / ABOUT_FILE).exists() and not self._images:
            self.complete()
            with contextlib.suppress(OSError):  # whatever else is there stays
                self.out.rmdir()

    def _sort_in(self, records: Iterable[dict[str, Any]]) -> None:
        for record in records:
            if "name" in record:
                self._images[record["name"]] = record
            elif "file" in record:
                self._rejects[record["file"], record.get("face", 0)] = record
            elif "seen" in record:
                self._seen[record["seen"]] = record
            elif "settled" in record:
                self._settled[record["settled"]] = record["images"]

    def _write(self, records: Iterable[dict[str, Any]]) -> None:
        assert self._stream is not None, "use the journal as a context manager"
        try:
            self._stream.writelines(json.dumps(record) + "\n" for record in records)
            self._stream.flush()
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def _remember(self) -> None:
        """Take over what an earlier run with the same recipe left, or refuse the folder."""
        if not self.out.exists():
            return
        if not self.out.is_dir():
            raise self._foreign("is a file")
        unfinished = _json_lines(self._path)
        about = (_json_lines(self.out / ABOUT_FILE, whole=True) or [{}])[0]
        found = unfinished[0].get("recipe") if unfinished else about.get("recipe")
        if found is None:
            if any(self.out.iterdir()) and not self._path.exists():
                raise self._foreign("is not empty and was not made by this command")
        elif found != self.recipe:
            differing = ", ".join(key for key in {**found, **self.recipe} if found.get(key) != self.recipe.get(key))
            raise self._foreign(f"holds a data set made with other arguments ({differing})")
        else:
            self._sort_in(_json_lines(self.out / POSE_FILE))
            if self._settles and about.get("recipe") == self.recipe:
                self._take_over_finished()
            self._sort_in(unfinished)
            if not self._settles:
                self._rejects.clear()  # they are looked at again

    def _take_over_finished(self) -> None:
        """A finished folder has settled every photograph that it names."""
        self._sort_in(_json_lines(self.out / REJECT_FILE))
        for file, _ in self._rejects:
            self._settled[file] = []
        for name, record in self._images.items():
            self._settled.setdefault(record.get("source", ""), []).append(name)

    def _foreign(self, what: str) -> BadDataset:
        return BadDataset(
            f"{self.out} {what}",
            expected="a new or empty folder, or an unfinished one of the same command, is needed",
            remedy="choose another --out, or remove the folder first",
        )


def _json_lines(path: Path, *, whole: bool = False) -> list[dict[str, Any]]:
    """The JSON objects of a file, one per line (or the whole file is one); a torn line is skipped, no file is none."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    records = []
    for line in [text] if whole else text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records
