"""What is known about a data set folder while it is being made, so that an interrupted run can be finished.

A record is a JSON object: of an image (with `name`, relative to the folder) or of a reject (with `file` and `reason`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from PIL import Image, UnidentifiedImageError

from gramhd_core.data.dataset import JOURNAL_FILE
from gramhd_core.data.labels import POSE_FILE
from gramhd_core.errors import BadDataset
from gramhd_core.files import cannot_write

ABOUT_FILE = "about.json"


class Journal:
    """The folder `out` being made by `recipe`; a context manager. Refuses a folder that holds something else.

    An unfinished folder has `.unfinished.jsonl`: the recipe in the first line, then one record per line. A finished one
    has `about.json` with the recipe, and its records in `poses.jsonl`.
    """

    def __init__(self, out: Path, recipe: dict[str, Any]):
        self.out, self.recipe = out, recipe
        self._path = out / JOURNAL_FILE
        self._images: dict[str, dict[str, Any]] = {}
        self._rejects: dict[str, dict[str, Any]] = {}
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
            self._write([{"recipe": self.recipe}, *self._images.values()])
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
        return [self._rejects[file] for file in sorted(self._rejects)]

    def complete(self) -> None:
        """The folder is finished: the journal is no longer needed."""
        self.__exit__()
        self._path.unlink(missing_ok=True)

    def _sort_in(self, records: Iterable[dict[str, Any]]) -> None:
        for record in records:
            if "name" in record:
                self._images[record["name"]] = record
            elif "file" in record:
                self._rejects[record["file"]] = record

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
            self._sort_in(unfinished)
            self._rejects.clear()  # they are looked at again

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
