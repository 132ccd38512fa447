"""The pages in docs/ and the README say what the code is: modules, switches, tests, commands, presets, links."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path

import pytest

from gramhd_cli.app import COMMANDS
from gramhd_core.generators.gram import GramConfig
from gramhd_core.generators.gram_hd import GramHdConfig
from gramhd_core.networks.discriminators import DiscriminatorConfig
from gramhd_core.networks.fields import FieldConfig
from gramhd_core.networks.predictors import ManifoldsConfig
from gramhd_core.networks.super_resolution import SuperResolutionConfig
from gramhd_core.scenes.views import RenderConvention
from gramhd_core.training.config import TrainConfig
from gramhd_core.training.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
CONFIGS = (
    RenderConvention,
    GramConfig,
    GramHdConfig,
    FieldConfig,
    ManifoldsConfig,
    SuperResolutionConfig,
    DiscriminatorConfig,
    TrainConfig,
)


def switches() -> list[str]:
    """Every config field that chooses between ways of doing something: a bool or one of some names."""
    return [
        f"{config.__name__}.{name}"
        for config in CONFIGS
        for name, hint in typing.get_type_hints(config).items()
        if hint is bool or typing.get_origin(hint) is typing.Literal
    ]


def changed_by_compatible(before: object, after: object) -> set[str]:
    """Class.field of everything that differs between two configs."""
    found: set[str] = set()
    for field in dataclasses.fields(before):  # type: ignore[arg-type]
        a, b = getattr(before, field.name), getattr(after, field.name)
        if dataclasses.is_dataclass(a):
            found |= changed_by_compatible(a, b)
        elif a != b:
            found.add(f"{type(before).__name__}.{field.name}")
    return found


def test_every_module_has_its_line_and_every_line_its_module() -> None:
    listed = re.findall(r"^\| `(gramhd_c\w+/[\w/]+\.py)` \| \S", ARCHITECTURE, flags=re.MULTILINE)
    paths = [path for package in ("gramhd_core", "gramhd_cli") for path in (ROOT / package).rglob("*.py")]
    assert sorted(listed) == sorted(path.relative_to(ROOT).as_posix() for path in paths)


def test_every_switch_is_in_a_table_with_the_test_that_flips_it() -> None:
    rows = re.findall(r"`(\w+\.\w+)` \| `(test_\w+)` \|$", ARCHITECTURE, flags=re.MULTILINE)
    assert set(switches()) <= {field for field, _ in rows}
    known = {f"{config.__name__}.{field.name}" for config in CONFIGS for field in dataclasses.fields(config)}
    assert {field for field, _ in rows} <= known


def test_the_first_table_is_what_compatible_changes() -> None:
    first = ARCHITECTURE.partition("## Published behaviour and ours")[2].partition("Fields whose default")[0]
    listed = set(re.findall(r"`(\w+\.\w+)` \| `test_\w+` \|$", first, flags=re.MULTILINE))
    changed = set()
    for config in (GramConfig(), GramHdConfig(), GramHdConfig(low=GramConfig(32, FieldConfig(features=32)))):
        changed |= changed_by_compatible(config, config.compatible())
    assert changed == listed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_named_on_a_page_exist(page: Path) -> None:
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), flags=re.MULTILINE)
    }
    assert set(re.findall(r"`(test_\w+)`", page.read_text("utf-8"))) <= defined


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_named_on_a_page_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    if not (ROOT / "docs" / "pictures").exists():  # they are made by training, after everything else
        targets = [target for target in targets if "pictures/" not in target]
    missing = [target for target in targets if target and not (page.parent / target).exists()]
    folders = "gramhd_core|gramhd_cli|tests|examples|benchmarks|docs"
    named = re.findall(rf"(?:`|python )((?:{folders})/[\w./]+\.(?:py|md))", text)
    assert not missing + [name for name in named if not (ROOT / name).exists()]


def test_the_readme_lists_every_command_and_every_preset() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for name in COMMANDS:
        assert f"`gramhd {name}`" in readme, name
    for name, _ in PRESETS:
        assert f"`{name}`" in readme, name
