"""Writing files so that a killed process or a full disk never leaves half a file under a final name."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from gramhd_core.errors import CannotWrite

OURS = re.compile(r"\..+\.(\d+)\.part(\.[^.]+)?")  # temporary names of `atomic`, with the writer's process id
SAFETENSORS = re.compile(r"\.tmp[A-Za-z0-9]{6}")  # temporary names of the safetensors library


@contextlib.contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed to `path`.

    On any exception the temporary file is removed and `path` keeps its old content. A full or read-only disk
    becomes a `CannotWrite`. The temporary name keeps the suffix of `path`, so that writers that look at it work.
    The file gets the mode any new file gets here, also from writers that make private ones.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = _mode_of_new_files(temporary)
        yield temporary
        with open(temporary, "r+b") as handle:  # Windows flushes only what may be written
            os.fsync(handle.fileno())
        if stat.S_IMODE(temporary.stat().st_mode) != mode:
            temporary.chmod(mode)
        os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` (UTF-8) to `path` atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed writers left in `folder`, which nothing else writes to now.

    Files of `atomic` stay while the process they name is alive, unless it is this one (numbers come again).
    """
    for file in folder.glob(".*"):
        ours = OURS.fullmatch(file.name)
        if SAFETENSORS.fullmatch(file.name) or (ours and not _is_another_alive(int(ours[1]))):
            with contextlib.suppress(OSError):
                file.unlink()


def cannot_write(path: Path, error: OSError) -> CannotWrite:
    """The sentence for an `OSError` met while writing `path`."""
    reason = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.EROFS: "the file system is read-only",
        errno.EACCES: "this user may not write there",
        errno.EPERM: "this user may not write there",
        errno.ENOTDIR: "a part of its path is a file, not a folder",
        errno.EEXIST: "a part of its path is a file, not a folder",
    }.get(error.errno or 0, error.strerror or str(error))
    return CannotWrite(
        f"{path} could not be written ({reason})",
        expected="a writable place with enough free space is needed",
        remedy="free some space or choose another --out; nothing that was there before has changed",
    )


def _mode_of_new_files(probe: Path) -> int:
    """What umask and folder leave of rw-rw-rw-, seen on a file: reading the umask would change it for a moment."""
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    return mode


def _is_another_alive(process: int) -> bool:
    if process == os.getpid() or sys.platform == "win32":  # Windows keeps open files from being removed
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
