"""Where numbers come from: a changed file is another origin."""

from __future__ import annotations

import subprocess
from pathlib import Path

from gramhd_core.metrics.provenance import PACKAGE, commit, versions


def test_code_that_is_not_committed_has_another_name(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    def name() -> str:
        commit.cache_clear()
        found = commit(tmp_path)
        commit.cache_clear()
        assert found is not None
        return found

    assert commit(tmp_path) is None
    (tmp_path / PACKAGE).mkdir()
    (tmp_path / PACKAGE / "a.py").write_text("1", "utf-8")
    (tmp_path / "README.md").write_text("1", "utf-8")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    clean = name()
    assert len(clean) == 12
    (tmp_path / "README.md").write_text("2", "utf-8")
    assert name() == clean, "texts decide no number"
    (tmp_path / PACKAGE / "a.py").write_text("2", "utf-8")
    second = name()
    (tmp_path / PACKAGE / "a.py").write_text("3", "utf-8")
    assert clean != second != name() and second.startswith(f"{clean}+")
    assert {"python", "torch", "numpy", "pillow"} <= set(versions())
