"""The notebook of docs/: every cell is run; those that train take a minute, and have a test of their own."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "first-steps.ipynb"
TRAINS = re.compile(r"transferkit\.(adapt|baseline|compare)\(")


def cells(kind: str) -> list[str]:
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert found["nbformat"] == 4
    return ["".join(cell["source"]) for cell in found["cells"] if cell["cell_type"] == kind]


def run(codes: list[str], names: dict[str, Any]) -> dict[str, Any]:
    for code in codes:
        exec(compile(code, NOTEBOOK.name, "exec"), names)
    return names


def test_what_does_not_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the bundled source in the place of the run that it would leave."""
    monkeypatch.chdir(tmp_path)
    codes = [code for code in cells("code") if not TRAINS.search(code)]
    assert len(codes) == len(cells("code")) - 2
    import transferkit

    names = run(codes, {"transferkit": transferkit, "run": SimpleNamespace(folder="bundled-toy")})
    table = pd.read_csv(tmp_path / "docs.csv")
    assert table["label"].nunique() == 10
    assert table["label"].value_counts().min() >= 8
    printed = capsys.readouterr().out
    best = re.findall(r"^0\.\d\d  (.+)$", printed, re.MULTILINE)
    assert best == [names["texts"][i] for i in names["scores"].argsort(descending=True)[:5]]
    assert f"{names['vectors'].nbytes} bytes, then {3 * 8}\n" in printed


@pytest.mark.slow
def test_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names = run(cells("code"), {})
    assert names["run"].record["status"] == "done"
    printed = capsys.readouterr().out
    assert re.search(r"^(GAIN|MARGINAL|NO EFFECT|REGRESSION)$", printed, re.MULTILINE)
    assert "| TF-IDF |" in printed


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", "\n".join(cells("markdown")))
    assert links
    for link in links:
        assert (NOTEBOOK.parent / link).exists(), link
