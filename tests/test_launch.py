"""One command in several processes: each knows its place, one that fails ends all, with one sentence."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from gramhd_cli import launch
from gramhd_core.errors import BadImage, LostProcess

PLACE = """
import json, os, pathlib, sys
place = {name: os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GRAMHD_MEETING")}
pathlib.Path(sys.argv[1], place["RANK"]).write_text(json.dumps(place))
"""


def command(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def test_every_process_gets_a_place_of_its_own(tmp_path: Path) -> None:
    assert launch.run_on(3, command(PLACE, tmp_path)) == 0
    places = [json.loads((tmp_path / str(rank)).read_text()) for rank in range(3)]
    assert [place["RANK"] for place in places] == [place["LOCAL_RANK"] for place in places] == ["0", "1", "2"]
    assert {place["WORLD_SIZE"] for place in places} == {"3"}
    assert len({place["GRAMHD_MEETING"] for place in places}) == 1


def test_what_a_process_says_when_it_fails_is_said_once_and_ends_the_others(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "GRACE_SECONDS", 0.2)
    code = """
import os, sys, time
if os.environ["RANK"] == "1":
    sys.exit("no memory left")
time.sleep(60)
"""
    started = time.monotonic()
    assert launch.run_on(3, command(code)) == 1
    assert time.monotonic() - started < 20
    assert capfd.readouterr().err.count("no memory left") == 1


def test_a_killed_process_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    code = f"""
import os, signal, sys, time
if os.environ["RANK"] == "1":
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(0.5)
sys.exit({launch.LOST})
"""
    with pytest.raises(LostProcess, match="Process 1 of this command was ended by SIGKILL"):
        launch.run_on(2, command(code))
    assert not capfd.readouterr().err


def test_a_process_that_lost_the_others_is_not_the_cause(capfd: pytest.CaptureFixture[str]) -> None:
    code = f"""
import os, sys, time
if os.environ["RANK"] == "0":
    sys.exit({launch.LOST})
time.sleep(0.5)
print("wrong input", file=sys.stderr)
sys.exit(2)
"""
    assert launch.run_on(2, command(code)) == 2
    assert capfd.readouterr().err == "wrong input\n"


def test_only_the_first_process_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    error = BadImage("x", expected="y", remedy="z")
    lost = LostProcess("x", expected="y", remedy="z")
    assert launch.seat() == (0, 1, 0) and launch.speaks(error) and launch.exit_code(lost) == 1
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert launch.seat() == (1, 2, 1) and not launch.speaks(error)
    monkeypatch.setenv("RANK", "0")
    assert launch.speaks(error) and launch.speaks(lost) and launch.exit_code(error) == 2
    monkeypatch.setenv(launch.MEETING, "file:///nowhere")  # the launcher says what happened to the others
    assert launch.speaks(error) and not launch.speaks(lost) and launch.exit_code(lost) == launch.LOST
