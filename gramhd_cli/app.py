"""The `gramhd` program: a table of commands, each imported when it is called, and the way errors leave.

A command is a plain function with annotated parameters. The first line of its docstring is its summary in the table
below; a block that begins with `Examples:` is kept line by line in its help. Modules of commands import typer, options
and console at the top and everything heavy inside the function.
"""

from __future__ import annotations

import atexit
import importlib
import inspect
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command

from gramhd_cli import allocator, console, launch
from gramhd_core import __version__
from gramhd_core.errors import GramhdError, GramhdWarning


class Command(NamedTuple):
    """Where a command lives and how it is listed."""

    function: str  # module:function in gramhd_cli
    panel: str
    summary: str


COMMANDS = {
    "prep-data": Command("prep_data:prep_data", "Data", "Turn images into a posed, aligned data set."),
    "train-lr": Command("train_lr:train_lr", "Training", "Train the low-resolution stage (GRAM)."),
    "train-hr": Command("train_hr:train_hr", "Training", "Train the high-resolution stage (GRAM-HD)."),
    "sample": Command("sample:sample", "Pictures", "Make pictures and videos of new heads from any angle."),
    "view": Command("view:view", "Pictures", "Turn heads in the browser: one HTML file, no server."),
    "edit": Command("edit:edit", "Pictures", "Change heads along directions of the latents, or mix two."),
    "interpolate": Command(
        "interpolate:interpolate", "Pictures", "Go from head to head: a film and a strip of pictures."
    ),
    "export-mesh": Command(
        "export_mesh:export_mesh", "Pictures", "Write a head as a mesh: textured layers, or one fused surface."
    ),
    "invert": Command(
        "invert:invert", "Photographs", "Turn a photograph: find the head of the model that looks like it."
    ),
    "train-encoder": Command(
        "train_encoder:train_encoder",
        "Photographs",
        "Train an encoder for one model, on pictures the model makes itself.",
    ),
    "eval": Command(
        "evaluate:evaluate",
        "Checkpoints",
        "Score a model, sets of views or plain pictures, and say how it was measured.",
    ),
    "import": Command("import_weights:import_weights", "Checkpoints", "Turn official weights into a checkpoint."),
    "export": Command("export_weights:export_weights", "Checkpoints", "Write a checkpoint under the official names."),
    "doctor": Command("doctor:doctor", "This machine", "Say what this machine can do and what is missing."),
}
CONTEXT = {"help_option_names": ["-h", "--help"]}


class Commands(TyperGroup):
    """Lists every command from the table; imports the one that is called (or whose help or completion is asked for)."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed and load_command(name or ""), rest


app = typer.Typer(
    name="gramhd",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
    epilog="Start with: gramhd prep-data --procedural 4000 --size 64 --out heads",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        console.result(f"gramhd {__version__}", json=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """3D-aware image generation with generative radiance manifolds: from images on disk to 3D-consistent pictures."""


def _listed() -> None:
    """Stands in for every command in the list; `Commands` swaps it for the real one."""


for _name, _command in COMMANDS.items():
    app.command(_name, help=_command.summary, rich_help_panel=_command.panel)(_listed)


def app_command() -> Any:
    """The whole program as one object, for its reference page."""
    return get_command(app)


def load_command(name: str) -> Any:
    """Import one command of the table and build it."""
    module, _, function = COMMANDS[name].function.partition(":")
    callback = getattr(importlib.import_module(f"gramhd_cli.{module}"), function)
    single = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    single.command(name, help=help_text(callback), context_settings=CONTEXT)(callback)
    return get_command(single)


def help_text(callback: Any) -> str:
    """A docstring as rich text: paragraphs flow, the lines of the examples stay as they are."""
    text, _, examples = (inspect.getdoc(callback) or "").replace("[", r"\[").partition("Examples:\n")
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]
    return "\n\n".join([*paragraphs, f"\b\nExamples:\n{examples}" if examples else ""]).rstrip()


def main() -> None:
    """Entry point of the `gramhd` program."""
    allocator.install()
    launch.end_with_launcher()
    _keep_compiled_code_somewhere()
    warnings.showwarning = _show_warning
    arguments = sys.argv[1:]
    debug = "--debug" in arguments  # wherever it stands
    sys.exit(run([argument for argument in arguments if argument != "--debug"], debug=debug))


def _show_warning(message: Warning | str, category: type[Warning], *where: Any) -> None:
    """Ours as a line, without the place in the code; others as ever."""
    if issubclass(category, GramhdWarning):
        if not launch.speaks():
            return
        console.warn(f"gramhd: {message}")
    else:
        _show_elsewhere(message, category, *where)


_show_elsewhere = warnings.showwarning


def _keep_compiled_code_somewhere() -> None:
    """numba refuses to compile where neither the package nor the home folder can be written: then for this run only."""
    package, home = Path(__file__).resolve().parents[1] / "gramhd_core", Path.home()
    if "NUMBA_CACHE_DIR" not in os.environ and not any(os.access(place, os.W_OK) for place in (package, home)):
        os.environ["NUMBA_CACHE_DIR"] = folder = tempfile.mkdtemp(prefix="gramhd-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def run(arguments: list[str], *, debug: bool = False) -> int:
    """Run one command line. Returns the exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    try:
        app(arguments, prog_name="gramhd")
    except SystemExit as end:  # how typer ends, after saying itself what was wrong with the usage
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        code = 130
    except GramhdError as error:
        if debug:
            console.show_traceback()
        if launch.speaks(error):
            console.warn(f"gramhd: {error}")
        return launch.exit_code(error)
    except Exception as error:  # noqa: BLE001 - the last resort: a line instead of a traceback, and a way to see more
        if debug:
            console.show_traceback()
        console.warn(f"gramhd: unexpected {type(error).__name__}: {error} (add --debug to see where it came from)")
        return 1
    else:
        return 0
    if code == 130 and launch.speaks(KeyboardInterrupt()):
        console.note("Interrupted; what was finished is kept.")
    return code
