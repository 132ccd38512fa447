"""`gramhd eval compare`: reports side by side."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from pathlib import Path

from gramhd_cli import console


def compare(paths: Sequence[str], *, literature: bool, out: Path | None, csv: bool, latex: bool, json: bool) -> None:
    """Print the comparison, or write it in all forms into `out`. GramhdError for reports that cannot be compared."""
    from gramhd_core import files
    from gramhd_core.metrics import report_compare, report_tables
    from gramhd_core.metrics.report import read_report

    documents = [read_report(Path(path)) for path in paths]
    found = report_compare.compare(documents, literature=literature)
    forms = {
        "comparison.json": json_format.dumps(report_compare.document_of_comparison(found), indent=2) + "\n",
        "comparison.html": report_compare.page_of_comparison(found),
        "comparison.csv": report_tables.csv_of_systems(found.systems),
        "comparison.tex": report_tables.latex_of(found.systems),
    }
    for name, text in forms.items() if out else ():
        assert out is not None
        files.write_text(out / name, text)
    if csv or latex:
        console.result(forms["comparison.csv" if csv else "comparison.tex"].rstrip("\n"), json=False)
    elif json:
        console.result(report_compare.document_of_comparison(found), json=True)
    elif out:
        console.result([str(out / name) for name in forms], json=False)
    else:
        console.result(report_compare.text_of_comparison(found), json=False)
