"""Terminal, Markdown, CSV and JSON forms of one comparison: numbers, empty cells, escaping, same bytes."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from helpers.run_builder import every_method, make_run, metric
from rich.console import Console

from transferkit.convergence.comparison import Comparison, compare
from transferkit.convergence.tables import flat_rows, print_table, to_csv, to_json, to_markdown

NASTY = "a[red]b[/red] | <b>c</b> *d* `e` & \\ [x](http://y)"


def two_rows(parent: Path, **more: Any) -> Comparison:
    reference = make_run(parent, "lora-1", [metric(0, 40.0), metric(100, 80.0, seconds=500.0)], trainable=1234567)
    rows = [metric(0, 70.0, seconds=5.0), metric(50, 76.5, seconds=10.0)]
    return compare([reference, make_run(parent, "adapt-1", rows, method="transfer", **more)])


def printed(comparison: Comparison, width: int = 160) -> str:
    out = io.StringIO()
    print_table(comparison, Console(file=out, width=width, color_system=None))
    return out.getvalue()


def test_csv_holds_raw_numbers_and_bounds(tmp_path: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(two_rows(tmp_path)))))
    adapt, lora = lines
    assert (adapt["method"], adapt["readout"], adapt["runs"]) == ("transfer", "plain", "adapt-1")
    assert (adapt["best_score"], adapt["percent_of_lora_best"]) == ("76.5", "95.625")
    assert (adapt["steps_to_95_percent"], adapt["steps_to_95_percent_bound"]) == ("50", "")
    assert (adapt["speedup_steps_to_95_percent"], adapt["speedup_seconds_to_95_percent"]) == ("2", "50")
    assert (adapt["steps_to_98_percent"], adapt["steps_to_98_percent_bound"]) == ("", "50")
    assert (adapt["speedup_steps_to_98_percent"], adapt["speedup_steps_to_98_percent_bound"]) == ("", "2")
    assert lora["trainable_parameters"] == "1234567"


def test_number_columns_hold_numbers_only(tmp_path: Path) -> None:
    words = {"backbone", "method", "label", "variant", "readout", "kept", "runs"}
    for row in flat_rows(compare(every_method(tmp_path))):
        for name, value in row.items():
            if name not in words:
                assert value is None or type(value) in (int, float), (name, value)


def test_json_and_csv_say_the_same(tmp_path: Path) -> None:
    comparison = compare(every_method(tmp_path))
    from_json = json.loads(to_json(comparison))["rows"]
    from_csv = list(csv.DictReader(io.StringIO(to_csv(comparison))))
    assert len(from_json) == len(from_csv) == 17
    for left, right in zip(from_json, from_csv, strict=True):
        as_text = {k: " ".join(v) if isinstance(v, list) else "" if v is None else str(v) for k, v in left.items()}
        assert as_text == right


def test_markdown_shows_cost_speedup_and_not_reached(tmp_path: Path) -> None:
    text = to_markdown(two_rows(tmp_path))
    assert "| Method | Readout | 90 % (72.0) | 95 % (76.0) | 98 % (78.4) | 100 % (80.0) |" in text
    assert "| transfer | plain | 50 (2.0x) | 50 (2.0x) | > 50 | > 50 |" in text
    assert "| transfer | plain | 10.0 (50.0x) | 10.0 (50.0x) | > 10.0 | > 10.0 |" in text
    assert "| lora | plain | 1 | 1,234,567 | 40.0 | 80.0 | 100 ● | 80.0 | 100.0 | 50.0 | 300 MiB |" in text
    assert "- transfer: adapt-1 (seed 17, commit 0123456789)" in text


def test_markdown_escapes_labels(tmp_path: Path) -> None:
    text = to_markdown(two_rows(tmp_path, label=NASTY))
    line = next(line for line in text.splitlines() if line.startswith("| a"))
    assert line.startswith(r"| a\[red\]b\[/red\] \| &lt;b>c&lt;/b> \*d\* \`e\` &amp; \\ \[x\](http://y) | plain |")
    unescaped_bars = line.replace(r"\|", "").count("|")
    assert unescaped_bars == 12  # eleven columns


def test_terminal_shows_labels_as_they_are(tmp_path: Path) -> None:
    assert NASTY in printed(two_rows(tmp_path, label=NASTY), width=200)


def test_terminal_cuts_no_number_on_a_narrow_screen(tmp_path: Path) -> None:
    wide, narrow = printed(two_rows(tmp_path)), printed(two_rows(tmp_path / "again"), width=80)
    assert all(len(line) <= 80 for line in narrow.splitlines())
    for number in ("1,234,567", "95.6", "100.0", "(50.0x)", "> 50"):
        assert number in wide
        assert number in narrow
    assert "300 MiB" in wide
    assert "Last, Memory: on a wider terminal or in a file." in " ".join(narrow.split())


def test_unfinished_rows_carry_an_asterisk(tmp_path: Path) -> None:
    run = make_run(tmp_path, "cut", [metric(0, 40.0), metric(50, 60.0)], status="failed")
    text = to_markdown(compare([run], allow_unfinished=True))
    assert r"| lora \* | plain |" in text
    assert "cut (failed, step 50)" in text


def test_without_lora_the_table_has_scores_only_and_says_so(tmp_path: Path) -> None:
    comparison = compare([make_run(tmp_path, "t", [metric(0, 60.0), metric(50, 70.0)], method="transfer")])
    text = to_markdown(comparison)
    assert "There is no LoRA run" in text
    assert "to target" not in text
    assert "% of LoRA |" not in text
    assert json.loads(to_json(comparison))["reference"] is None
    assert not any("_to_" in name for name in flat_rows(comparison)[0])


def test_same_records_give_the_same_bytes_and_no_time_of_day(tmp_path: Path) -> None:
    first, second = every_method(tmp_path / "one"), every_method(tmp_path / "two")
    for write in (to_markdown, to_csv, to_json):
        text = write(compare(first))
        assert text == write(compare(second[::-1]))
        assert "2026-01-02" not in text
        assert str(tmp_path) not in text


def test_terminal_ends_with_the_notes(tmp_path: Path) -> None:
    rows = [metric(0, 40.0), metric(50, 60.0)]
    runs = [make_run(tmp_path, "a", rows, device="cpu"), make_run(tmp_path, "b", rows, device="cuda", label="other")]
    lines = printed(compare(runs), width=400).splitlines()
    assert any(
        line.startswith("note: Devices differ, so seconds and memory cannot be compared: cpu (lora)") for line in lines
    )
