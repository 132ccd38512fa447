"""Files: whole or not at all, readable by whom the umask lets, and nothing of killed writers stays."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gramhd_core.errors import CannotWrite
from gramhd_core.files import atomic, sweep, write_text

posix = pytest.mark.skipif(os.name != "posix", reason="modes and open flags are of POSIX")


@posix
def test_what_is_flushed_was_opened_for_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    flags: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: flags.append(fcntl.fcntl(handle, fcntl.F_GETFL)))
    write_text(tmp_path / "a.txt", "hello")
    assert [f & os.O_ACCMODE for f in flags] == [os.O_RDWR]  # Windows refuses to flush a file opened for reading
    assert (tmp_path / "a.txt").read_text() == "hello"


@posix
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_private_temporaries_become_files_with_the_mode_of_new_files(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with atomic(tmp_path / "a.bin") as temporary:
            os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == mode


def test_a_writer_that_writes_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite), atomic(tmp_path / "a.bin"):
        pass
    assert not list(tmp_path.iterdir())


def killed_writer(folder: Path) -> Path:
    """The temporary file of a process that was killed in the middle of writing."""
    code = "import os, sys; from gramhd_core.files import atomic\nwith atomic(sys.argv[1]) as t: t.touch(); os._exit(9)"
    target = folder / "step00000007.state.safetensors"
    root = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", code, str(target)], cwd=root, check=False, timeout=60)
    (left,) = folder.iterdir()
    return left


def test_leftovers_of_killed_writers_are_swept(tmp_path: Path) -> None:
    left = killed_writer(tmp_path)
    ours = tmp_path / f".step.{os.getpid()}.part.safetensors"  # of an earlier process with our number
    library = tmp_path / ".tmpAb12yZ"
    for file in (ours, library):
        file.touch()
    sweep(tmp_path)
    assert not any(file.exists() for file in (left, ours, library))


def test_sweeping_spares_living_writers_and_everything_else(tmp_path: Path) -> None:
    names = ["step00000007.safetensors", ".notes", ".tmp", ".tmpfiles-of-mine", "a.1.part.png", ".a.part.png"]
    if os.name == "posix":
        names.append(f".step00000008.{os.getppid()}.part.safetensors")
    for name in names:
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)
    sweep(tmp_path / "not-there")
