"""The shell of the program: quick help, exit codes, sentences, completion, progress."""

from __future__ import annotations

import importlib.util
import inspect
import io
import json
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gramhd_cli import app, console, doctor, options
from gramhd_core import __version__
from gramhd_core.errors import BadArgument, BadImage

ROOT = Path(__file__).resolve().parents[1]
Program = Callable[..., subprocess.CompletedProcess[str]]
# Runs the program and, at its end, writes on stderr which heavy libraries it has loaded.
WITH_LOADED = (
    "import atexit, sys\n"
    "heavy = ('torch', 'numpy', 'scipy', 'numba', 'PIL')\n"
    "atexit.register(lambda: sys.stderr.write('LOADED:' + ','.join(name for name in heavy if name in sys.modules)))\n"
    "from gramhd_cli.app import main; main()"
)


def examples(name: str) -> list[str]:
    """The command lines in the help of a command."""
    text = inspect.getdoc(app.load_command(name).callback) or ""
    return [line.strip() for line in text.partition("Examples:\n")[2].splitlines() if line.strip()]


# ---- help ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["sample", "--help"], ["train-lr", "-h"], ["--version"]])
def test_help_loads_no_heavy_library(gramhd: Program, arguments: list[str]) -> None:
    done = gramhd(*arguments, code=WITH_LOADED)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "LOADED:"
    assert done.stdout


def test_help_costs_less_than_half_a_second(gramhd: Program) -> None:
    seconds = []  # processor time of the child: what other programs do at the same time does not count
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert gramhd("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5


def test_help_lists_every_command_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["--help"]) == 0
    text = capsys.readouterr().out
    for name, command in app.COMMANDS.items():
        assert name in text
        assert (inspect.getdoc(app.load_command(name).callback) or "").splitlines()[0] == command.summary


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_command_has_examples_that_its_own_parser_accepts(name: str) -> None:
    lines = examples(name)
    assert len(lines) >= 2
    for line in lines:
        program, first, *arguments = shlex.split(line)
        assert (program, first) == ("gramhd", name)
        app.load_command(name).make_context(name, arguments)


@pytest.mark.parametrize("name", app.COMMANDS)
def test_examples_stand_unbroken_in_the_help(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert app.run([name, "--help"]) == 0
    shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "Examples:" in shown
    assert set(examples(name)) <= set(shown)


def test_version(gramhd: Program) -> None:
    assert gramhd("--version").stdout == f"gramhd {__version__}\n"


def test_the_reference_page_is_what_the_program_says() -> None:
    path = ROOT / "docs" / "generate_cli.py"
    spec = importlib.util.spec_from_file_location("generate_cli", path)
    assert spec and spec.loader
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert path.with_name("cli.md").read_text("utf-8") == generator.page(), "run make docs"


# ---- completion ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shell", "environment"),
    [
        ("bash", {"COMP_WORDS": "gramhd tr", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "gramhd tr"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "gramhd tr", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_commands_complete_without_torch(gramhd: Program, shell: str, environment: dict[str, str]) -> None:
    done = gramhd(code=WITH_LOADED, _GRAMHD_COMPLETE=f"complete_{shell}", **environment)
    assert "train-lr" in done.stdout
    assert "train-hr" in done.stdout
    assert "sample" not in done.stdout
    assert done.stderr == "LOADED:"


def test_options_and_values_complete(gramhd: Program) -> None:
    words = {"_GRAMHD_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    assert "--lr-ckpt" in gramhd(COMP_WORDS="gramhd train-hr --lr", **words).stdout
    words["COMP_CWORD"] = "3"
    assert gramhd(COMP_WORDS="gramhd train-hr --device cu", **words).stdout.split() == ["cuda"]


# ---- how errors leave ---------------------------------------------------------------------------------------------


def ends_with(error: BaseException, monkeypatch: pytest.MonkeyPatch, *, debug: bool = False) -> int:
    """The exit code of a command that raises `error`."""

    def failing() -> None:
        raise error

    monkeypatch.setattr(doctor, "doctor", failing)
    return app.run(["doctor"], debug=debug)


def test_a_user_error_is_one_sentence_and_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = BadImage("a.png", expected="it is empty", remedy="replace it")
    assert ends_with(error, monkeypatch) == 2
    assert capsys.readouterr() == ("", "gramhd: a.png, but it is empty: replace it.\n")


def test_an_unexpected_error_is_one_line_and_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends_with(RuntimeError("boom"), monkeypatch) == 1
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert "unexpected RuntimeError: boom" in err


def test_debug_adds_the_traceback_and_keeps_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends_with(RuntimeError("boom"), monkeypatch, debug=True) == 1
    assert "Traceback" in capsys.readouterr().err
    assert ends_with(BadArgument("x", expected="y", remedy="z"), monkeypatch, debug=True) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(KeyboardInterrupt(), monkeypatch) == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--debug", "doctor"], ["doctor", "--debug"], ["doctor"]])
def test_debug_may_stand_anywhere(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examine", dict)  # a programmer's error: nothing to describe
    monkeypatch.setattr(sys, "argv", ["gramhd", *arguments])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert end.value.code == 1
    assert ("Traceback" in capsys.readouterr().err) == ("--debug" in arguments)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("tain-lr", "Did you mean"),
        ("train-lr --no-such-option", "--no-such-option"),
        ("import", "Missing"),
        ("import absent.pt --config gramhd256-ffhq --out x.safetensors", "absent.pt does not exist"),
        ("import absent.pt --config gramhd255-ffhq --out x.safetensors", "gramhd256-ffhq"),
        ("export --ckpt absent --out x.pt", "absent does not exist"),
        ("train-lr --data absent", "--out is missing"),
        ("train-lr --out x", "--data is missing"),
        ("train-hr --data absent --out x", "--lr-ckpt is missing"),
        ("train-lr --data absent --out x", "absent"),
        ("train-lr --data absent --out x --preset demmo", "did you mean demo"),
        ("train-lr --data absent --out x --device cdua", "auto, cpu, cuda, mps"),
        ("train-lr --data absent --out x --device cpu:1", "auto, cpu, cuda, mps"),
        ("train-lr --show-config --set train.bacth=3", "did you mean batch"),
        ("train-lr --show-config --set train.batch=many", "train.batch=many"),
        ("train-lr --show-config --set batch", "name=value"),
        ("sample --ckpt absent --seeds 3- --out x", "--seeds 3-"),
        ("sample --ckpt absent --precision fp64 --out x", "auto, fp32, bf16"),
    ],
)
def test_wrong_input_is_refused_with_a_sentence_and_2(
    line: str, sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert app.run(line.split()) == 2
    out, err = capsys.readouterr()
    assert not out
    assert sentence in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_reader_that_stops_reading_is_no_error() -> None:
    code = (
        "import sys, gramhd_cli.doctor as d; from gramhd_cli import app, console\n"
        "d.doctor = lambda: console.result(map(str, range(10**6)), json=False)\n"
        "sys.argv = ['gramhd', 'doctor']; app.main()"
    )
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) in (0, 1)


# ---- options ------------------------------------------------------------------------------------------------------


def test_seeds_are_numbers_and_ranges_in_the_order_given() -> None:
    assert options.parse_seeds("0,1,4-6") == [0, 1, 4, 5, 6]
    assert options.parse_seeds("7") == [7]
    assert options.parse_seeds(" 5 - 6 , 2") == [5, 6, 2]
    assert options.parse_seeds("3-3") == [3]


@pytest.mark.parametrize("text", ["3-", "-3", "5-2", "a", "", "1,,2", "1.5", "1-2-3", "0-999999999999", "²"])
def test_bad_seeds_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadArgument, match="0,1,4-6"):
        options.parse_seeds(text)


def test_show_config_is_the_preset_with_the_changes(capsys: pytest.CaptureFixture[str]) -> None:
    named = ["--images", "64", "--max-minutes", "1.5", "--seed", "7"]
    assert app.run(["train-lr", "--preset", "tiny", "--set", "train.batch=8", *named, "--show-config"]) == 0
    train = json.loads(capsys.readouterr().out)["train"]
    assert (train["batch"], train["images"], train["max_minutes"], train["seed"]) == (8, 64, 1.5, 7)


# ---- console ------------------------------------------------------------------------------------------------------


def test_results_are_lines_or_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    console.result(Path("a/b.png"), json=False)
    console.result([Path("a"), "b"], json=False)
    console.result({"n": 1}, json=False)
    assert capsys.readouterr() == ("a/b.png\na\nb\nn: 1\n", "")
    console.result({"files": [Path("a")]}, json=True)
    assert json.loads(capsys.readouterr().out) == {"files": ["a"]}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], None]]:
    """A clock that stands still until it is moved."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    yield move


def test_short_jobs_say_nothing_and_long_ones_a_line_now_and_then(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with console.progress() as progress:
        progress.start("short", 10)
        clock(1.0)
        progress.advance(10)
        progress.finish()
        assert capsys.readouterr() == ("", "")
        progress.start("long", 1000, done=500)
        for _ in range(40):  # 10 steps and 0.5 s each: lines after 2, 7, 12 and 17 s
            clock(0.5)
            progress.advance(10, note="d 0.7")
        lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[0] == "long: 540/1,000  20/s, 23 s left  d 0.7"


def test_on_a_terminal_a_bar_shows_count_rate_and_note(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with console.progress() as progress:
        progress.start("train [lr]", 2000)
        for _ in range(3):
            progress.advance(500, note="d [0.7]")
        progress.say("saved [1]")
        progress.finish()
    shown = terminal.getvalue()
    for part in ("train [lr]", "1,500/2,000", "/s", "d [0.7]", "saved [1]"):
        assert part in shown


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (75, "1 min 15 s"), (3599.7, "1 h 0 min"), (4000, "1 h 6 min")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text
