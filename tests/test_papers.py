"""docs/papers.md maps papers to code and back: everything it names exists, and every citation in the code is in it."""

from __future__ import annotations

import ast
import importlib
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "papers.md").read_text("utf-8")
PAPERS = re.findall(r"^\| ([\w-]+) \| .*\d{4} \|$", PAGE, flags=re.MULTILINE)
NUMBERED = re.compile(r"\b(eqs?|sec|fig|tab)\. ?\(?\d|\b(equation|section|figure|table)s? \(?\d", re.IGNORECASE)
Pairs = set[tuple[str, str]]  # part of a paper, dotted name of code


def rows(title: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    lines = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")][2:]


def from_the_papers() -> Pairs:
    return {(cells[0], name) for cells in rows("From the papers to the code") for name in names(cells[-1])}


def from_the_code() -> Pairs:
    return {(part, names(code)[0]) for code, parts in rows("From the code to the papers") for part in parts.split("; ")}


def names(cell: str) -> list[str]:
    return re.findall(r"`(gramhd_\w+(?:\.\w+)+)`", cell)


def find(name: str) -> object:
    """The module, class, function or method of a dotted name."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def sources() -> Iterator[tuple[str, str]]:
    """Dotted name and text of every module."""
    for path in sorted((ROOT / "gramhd_core").rglob("*.py")):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path.read_text("utf-8")


def docstrings(module: str, text: str) -> Iterator[tuple[str, str]]:
    """Dotted name and docstring of a module and of everything in it."""

    def walk(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            yield name, ast.get_docstring(node) or ""
            for child in ast.iter_child_nodes(node):
                if isinstance(child, (ast.ClassDef, ast.FunctionDef)):
                    yield from walk(child, f"{name}.{child.name}")

    yield from walk(ast.parse(text), module)


def cited(text: str) -> list[str]:
    """Parts of papers named in parentheses: (GRAM: compositing) or (SIREN: sine layer; pi-GAN: FiLM conditioning)."""
    pieces = [piece for inside in re.findall(r"\(([^()]*)\)", text) for piece in inside.split(";")]
    parts = [" ".join(piece.split()) for piece in pieces]
    return [part for part in parts if part.partition(": ")[0] in PAPERS and ": " in part]


def citations() -> Pairs:
    return {(part, name) for module, text in sources() for name, doc in docstrings(module, text) for part in cited(doc)}


def test_the_page_is_understood() -> None:
    assert {"GRAM", "GRAM-HD", "R1"} <= set(PAPERS)
    assert len(from_the_papers()) > 30
    assert cited("x (GRAM: rendering) y (SIREN: sine\n layer; pi-GAN: FiLM) (see: z)") == [
        "GRAM: rendering",
        "SIREN: sine layer",
        "pi-GAN: FiLM",
    ]


@pytest.mark.parametrize("name", sorted({name for _, name in from_the_papers()} | set(names(PAGE))))
def test_everything_named_exists(name: str) -> None:
    assert find(name) is not None


def test_both_tables_say_the_same() -> None:
    assert from_the_papers() == from_the_code()
    assert {part.partition(":")[0] for part, _ in from_the_papers()} == set(PAPERS)


def test_every_citation_in_the_code_is_on_the_page() -> None:
    def listed(part: str, name: str) -> bool:  # a citation inside of a listed function or class belongs to it
        return any(part == other and f"{name}.".startswith(f"{home}.") for other, home in from_the_papers())

    missing = [f"{name} cites ({part})" for part, name in sorted(citations()) if not listed(part, name)]
    assert not missing, "\n".join(missing)


def test_every_part_on_the_page_is_cited_in_the_code() -> None:
    assert {part for part, _ in from_the_papers()} == {part for part, _ in citations()}


def test_no_equation_or_section_is_cited_by_number() -> None:
    """The numbers were never checked against the papers. Once they are, put them into docs/papers.md first."""
    found = []
    for module, text in sources():
        comments = [
            t.string for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT
        ]
        for place, words in [*docstrings(module, text), *((module, comment) for comment in comments)]:
            found += [f"{place}: {match[0]}" for match in NUMBERED.finditer(words) if match[0] not in PAGE]
    assert not found, "\n".join(found)
