"""Tables, charts, pages and comparisons of reports: what they show is what was measured, and protocols never mix."""

from __future__ import annotations

import copy
import csv
import json
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gramhd_cli import app
from gramhd_core.errors import BadArgument
from gramhd_core.metrics.report import FORMAT, read_report, text_of
from gramhd_core.metrics.report_charts import chart, counts
from gramhd_core.metrics.report_compare import compare, page_of_comparison, published, text_of_comparison
from gramhd_core.metrics.report_page import page
from gramhd_core.metrics.report_tables import arrow, csv_of, csv_of_systems, figure, latex_of, system_of
from gramhd_core.metrics.scores import REACH, mean_of, score_of_each

needs_toml = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="the standard library reads TOML from Python 3.11 on"
)


def part(values: dict[str, float | None], protocol: dict[str, Any], **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"intervals": {}, "ceiling": {}, "each": {}, "notes": [], "pictures": {}}
    return {"values": values, "protocol": protocol, **empty, **more}


@pytest.fixture
def document() -> dict[str, Any]:
    """A report as `make_report` writes it."""
    return {
        "format": FORMAT,
        "preview": True,
        "system": {"kind": "model", "name": "a <model> & co", "facts": ["Gram, 64 × 64"]},
        "data": {"name": "heads", "images": 100, "size": 64, "fingerprint": "00", "procedural": True},
        "request": {"samples": 16, "identities": 5, "truncation": 1.0, "protocols": ["house", "paper"]},
        "left_out": {"epi": "it needs --views in small level steps"},
        "gramhd": "0",
        "commit": None,
        "versions": {"python": "3"},
        "metrics": {
            "fid": part(
                {"FID": 12.0, "FID, data against itself": 3.0, "FID (procedural features)": None},
                {"house": {"fakes": 16, "reals": 32}},
                intervals={"FID": [11.0, 13.0]},
            ),
            "kid": part({"KID": 0.00472}, {"house": {"fakes": 16}}),
            "neus": part(
                {"NeuS PSNR": 31.25, "NeuS SSIM": 0.9},
                {"identities": 5, "views": 30, "truncation": 1.0, REACH: [0.4, 0.8]},
                ceiling={"NeuS PSNR": 36.5},
                each={"NeuS PSNR": [30.0, 31.0, 31.5, 32.5, None]},
                pictures={"strip": {"file": "neus-strip.png", "caption": "five > four"}},
            ),
            "speed": part({"parameters": 123456.0}, {"size": 64}),
        },
        "times": {
            "fid": {"seconds": 1.0, "measured": {}, "from the cache": {}},
            "speed": {"seconds": 1.0, "measured": {"views per second": 20.0}, "from the cache": {}},
            "finished": "today",
        },
    }


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "pictures" / "neus-strip.png")
    return tmp_path


def test_a_mean_lies_within_its_interval_which_shrinks_with_more_numbers() -> None:
    few, many = mean_of([1.0, 2.0, 3.0]), mean_of([1.0, 2.0, 3.0] * 10)
    assert few.mean == many.mean == 2 and few.interval and many.interval
    assert few.interval[0] < many.interval[0] < 2 < many.interval[1] < few.interval[1]
    assert few.interval[1] == pytest.approx(2 + 4.302653 / math.sqrt(3), rel=1e-5)  # Student's t, two degrees
    assert mean_of([5.0]).interval is None and math.isnan(mean_of([math.nan]).mean)
    assert mean_of([1.0, math.inf, 3.0]).mean == 2


def test_a_score_of_identities_has_a_ceiling_of_the_same_names() -> None:
    score = score_of_each({"a": [1.0, 3.0]}, ceiling={"a": [5.0, 7.0]}, protocol={"size": 8})
    assert score.values == {"a": 2.0} and score.ceiling == {"a": 6.0} and score.each == {"a": [1.0, 3.0]}
    assert score.intervals["a"][0] < 2 < score.intervals["a"][1] and score.protocol == {"size": 8}


def test_an_interval_stays_within_what_a_score_can_be() -> None:
    each = {"NeuS SSIM": [0.99, 0.999], "ordered": [0.0, 1.0], "NeuS PSNR": [0.99, 0.999]}
    intervals = score_of_each(each).intervals
    assert intervals["NeuS PSNR"][1] > 1 == intervals["NeuS SSIM"][1] and intervals["ordered"] == (0, 1)


def test_bars_count_every_value_and_few_values_are_dots() -> None:
    values = list(np.random.default_rng(0).normal(size=100))
    assert sum(counts(values, min(values), max(values))) == 100
    assert "<rect" in chart(values, title="x") and chart(values, title="x").count('class="mean"') == 1
    assert chart([1, 2, 3], title="x").count("<circle") == 3 and "ceiling" in chart([1, 2], title="x", ceiling=4.0)
    assert chart([1.0], title="x") == chart([None, math.nan], title="x") == ""
    assert "<circle" in chart([2.0, 2.0], title="x")  # no spread is no division by zero


def test_figures_are_short_and_missing_ones_are_dashes() -> None:
    assert [figure(value) for value in (12.34567, 123456.0, None, math.nan, -0.5)] == [
        "12.35",
        "123,456",
        "–",
        "–",
        "−0.5",
    ]
    assert [arrow(name) for name in ("NeuS PSNR", "psnr", "FID (procedural features)", "parameters")] == [
        "↑",
        "↑",
        "↓",
        "",
    ]


class Reader(HTMLParser):
    """Elements, words and addresses of a page; every element that is opened is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.words, self.addresses = "", []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br", "line", "circle", "rect"):
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("line", "circle", "rect"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_says_everything_and_needs_nothing_else(document: dict[str, Any], out: Path) -> None:
    text = page(document, out)
    read = Reader(text)
    assert read.open == [] and "a <model> & co" in read.words and "five > four" in read.words
    for said in (
        "Preview",
        "16 samples (paper: as each metric says)",
        "11 to 13",
        "36.5",
        "small level steps",
        "123,456",
        "views per second",
    ):
        assert said in read.words, said
    assert len(read.addresses) == 1 and read.addresses[0].startswith("data:image/webp;base64,")
    assert "http" not in text.replace("http://www.w3.org", "") and "<script" not in text and "@import" not in text
    assert text.count("<circle") == 4
    assert "Preview" not in Reader(page({**document, "preview": False}, out)).words


def test_csv_has_a_line_per_number(document: dict[str, Any]) -> None:
    rows = list(csv.DictReader(csv_of([document]).splitlines()))
    assert len(rows) == 8 and rows[0] == {
        "system": "a <model> & co", "metric": "fid", "name": "FID", "value": "12.0",
        "low": "11.0", "high": "13.0", "ceiling": "",
    }  # fmt: skip
    assert next(row for row in rows if row["name"] == "NeuS PSNR")["ceiling"] == "36.5"
    assert next(row for row in rows if row["value"] == "")["name"] == "FID (procedural features)"


def test_latex_has_the_tables_of_the_paper_and_closes_what_it_opens(document: dict[str, Any]) -> None:
    text = latex_of([system_of(document)])
    assert re.findall(r"label\{tab:(\w+)\}", text) == ["quality", "consistency", "speed"]
    assert "a <model> \\& co (preview)" in text and "KID $\\times 10^3$ $\\downarrow$" in text and "4.72" in text
    assert "against itself" not in text and "0.900" in text and "123,456" in text
    assert text.count("\\begin{") == text.count("\\end{") and text.count("\\begin{tabular}") == 3
    for table in text.split("\\begin{tabular}")[1:]:
        columns = table.partition("{l")[2].partition("}")[0].count("c") + 1
        rows = [line for line in table.splitlines() if line.endswith("\\\\")]
        assert all(row.count(" & ") == columns - 1 for row in rows)


def test_systems_stand_side_by_side_and_keep_their_own_names(document: dict[str, Any]) -> None:
    other = copy.deepcopy(document)
    other["metrics"]["fid"]["values"]["FID"] = 8.0
    del other["metrics"]["kid"]
    found = compare([document, other])
    assert [system.name for system in found.systems] == ["a <model> & co (preview)", "a <model> & co (preview) [2]"]
    assert [system.values["FID"] for system in found.systems] == [12.0, 8.0]
    lines = text_of_comparison(found).splitlines()
    assert lines[0] == "Image quality" and lines[2].split()[-1] == "0.00472" and lines[3].split()[-1] == "–"
    assert Reader(page_of_comparison(found)).open == []
    assert len(list(csv.DictReader(csv_of_systems(found.systems).splitlines()))) == 15


@pytest.mark.parametrize(
    ("metric", "change", "field"),
    [
        ("fid", {"house": {"fakes": 99, "reals": 32}}, "fakes 16 and 99"),
        ("fid", {"paper": {"fakes": 16, "reals": 32}}, "protocol house and paper"),
        ("neus", {"identities": 2, "views": 30, "truncation": 1.0}, "identities 5 and 2"),
        ("neus", {"identities": 5, "views": 30, REACH: [0.4, 0.1]}, r"yaw \[0.4, 0.8\] and \[0.4, 0.1\]"),
    ],
)
def test_protocols_do_not_mix(document: dict[str, Any], metric: str, change: dict[str, Any], field: str) -> None:
    other = copy.deepcopy(document)
    other["metrics"][metric]["protocol"] = change
    with pytest.raises(BadArgument, match=field):
        compare([document, other])


def test_what_nobody_knows_differs_from_nothing(document: dict[str, Any]) -> None:
    other = copy.deepcopy(document)
    other["metrics"]["neus"]["protocol"]["truncation"] = None
    assert len(compare([document, other]).systems) == 2
    other["metrics"]["neus"]["protocol"][REACH] = [0.401, 0.79]  # cameras that somebody else has placed
    assert len(compare([document, other]).systems) == 2
    third = copy.deepcopy(document)
    third["metrics"]["neus"]["protocol"]["truncation"] = 0.5
    for order in ([other, document, third], [document, third, other], [third, other, document]):
        with pytest.raises(BadArgument, match="truncation"):
            compare(order)


def test_what_cannot_be_compared_is_refused(document: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadArgument, match="two or more"):
        compare([document])
    other = {**document, "metrics": {"pose": part({"yaw_error": 1.0}, {})}}
    for order in ([document, other], [document, document, other]):
        with pytest.raises(BadArgument, match="no metric in common"):
            compare(order)
    halves = [{**document, "metrics": {name: document["metrics"][name]}} for name in ("fid", "neus")]
    assert compare([document, *halves]).metrics == list(document["metrics"]), "each shares one with the first"
    bare = json.dumps({"format": "gramhd report 1"})
    for text, said in (("{", "cannot be read"), ("{}", "no report of this version"), ("[]", "no report"), (bare, "no")):
        (tmp_path / "r.json").write_text(text, "utf-8")
        with pytest.raises(BadArgument, match=said):
            read_report(tmp_path / "r.json")
    with pytest.raises(BadArgument, match="cannot be read"):
        read_report(tmp_path / "nothing.json")


def test_a_report_is_read_as_it_was_written(document: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text_of(document), "utf-8")
    assert read_report(tmp_path) == read_report(tmp_path / "report.json") == document


@needs_toml
def test_published_numbers_have_a_source_and_are_marked(document: dict[str, Any]) -> None:
    rows = published()
    assert all(row.published and row.source and row.values for row in rows)
    names = {name for row in rows for name in row.values}
    assert {"FID, paper", "FID, eg3d", "FID, as published", "KID, paper", "NeuS PSNR", "NeuS SSIM"} <= names
    assert not {"FID", "KID"} & names, "those are of the protocol `house`"
    found = compare([document], literature=True)
    read = Reader(page_of_comparison(found))
    assert read.words.count("(published, not measured)") >= len(rows) and "2206.07255" in read.words
    text = latex_of(found.systems)
    assert "\\textit{GRAM-HD, FFHQ 256}" in text and "\\label{tab:ablation}" in text
    assert text.partition("tab:ablation")[0].count("ESRGAN") == 0


def test_the_command_prints_or_writes_a_comparison(
    document: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = copy.deepcopy(document)
    other["system"]["name"] = "theirs"
    mixed = copy.deepcopy(other)
    mixed["metrics"]["fid"]["protocol"]["house"]["fakes"] = 99
    paths = [tmp_path / name for name in ("ours.json", "theirs.json", "mixed.json")]
    for path, content in zip(paths, (document, other, mixed), strict=True):
        path.write_text(text_of(content), "utf-8")
    ours, theirs, wrong = map(str, paths)
    assert app.run(["eval", "compare", ours, theirs]) == 0
    assert "theirs (preview)" in capsys.readouterr().out
    assert app.run(["eval", "compare", ours, theirs, "--latex"]) == 0
    assert capsys.readouterr().out.startswith("\\begin{table}")
    assert app.run(["eval", "compare", ours, theirs, "--out", str(tmp_path / "c")]) == 0
    assert all(Path(line).is_file() for line in capsys.readouterr().out.splitlines())
    for words, sentence in (
        ([ours, wrong], "fakes 16 and 99"),
        ([ours], "two or more reports"),
        ([ours, str(tmp_path / "none.json")], "cannot be read as a report"),
        ([ours, theirs, "--csv", "--json"], "one form"),
    ):
        assert app.run(["eval", "compare", *words]) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1 and sentence in said.err
    assert app.run(["eval", "pose", "--ckpt", "demo", "--literature"]) == 2
    assert "it goes with compare" in capsys.readouterr().err
