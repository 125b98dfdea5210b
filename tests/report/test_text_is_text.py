"""Labels, names of sets, runs and files come from data and from users: on a terminal and on a page they are text."""

import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import call
from helpers.run_builder import make_run, metric
from rich.console import Console

from transferkit.convergence import compare
from transferkit.convergence.report import write_comparison
from transferkit.convergence.tables import print_table, to_markdown
from transferkit.progress import Progress, Work, plain, say
from transferkit.report.terminal import rich_table
from transferkit.report.view import View

SHOWN = ["[red]x[/red]", "[/]", "[/bold]", "[link=http://a.b]c[/link]", ":cat:", "a\\", "<b>", "[@click=x]y", "{x} %s"]
OBEYED = ["\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "a\rb", "a\x08b"]


def on_terminal(**options: Any) -> Console:
    return Console(file=StringIO(), width=200, force_terminal=True, color_system="truecolor", **options)


def printed(console: Console) -> str:
    """What was written, without what a terminal is told by rich itself."""
    assert isinstance(console.file, StringIO)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())


@pytest.mark.parametrize("text", SHOWN)
def test_text_is_shown_as_it_is(text: str) -> None:
    console = on_terminal()
    say(text, console)
    console.print(rich_table(View(text, (text, text), ((text, text),), text)))
    assert printed(console).count(text) == 1 + 6


@pytest.mark.parametrize("text", OBEYED)
def test_a_terminal_is_told_nothing_by_text(text: str) -> None:
    console = Console(file=StringIO(), width=200, color_system=None)
    say(text, console)
    console.print(rich_table(View("t", ("h", "i"), ((text, text),), "c")))
    assert isinstance(console.file, StringIO)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", console.file.getvalue())
    assert "\N{REPLACEMENT CHARACTER}" in console.file.getvalue()


def test_words_of_every_script_stay() -> None:
    words = "Größe 日本語 العربية 🙂 e\u0301 a\tb\nc"
    assert plain(words).plain == words


@pytest.mark.parametrize("text", SHOWN)
def test_a_bar_is_called_as_its_run_or_file(text: str) -> None:
    console = on_terminal()
    training, reading = Progress(console, steps=2, title=text).steps.bar, Work(console, text, total=1).bar
    for bar in (training, reading):
        console.print(bar.make_tasks_table(bar.tasks))
    assert printed(console).count(text) == 2


@pytest.mark.parametrize(
    "text",
    ["[red]x[/red]", "[/]", "--><script>alert(1)</script>", "<img src=x>", '"><b onload=x>'],
)
def test_a_comparison_of_runs_with_such_names(text: str, tmp_path: Path) -> None:
    """As a row, dev set, target, training set, command, file and run at once."""
    backbone = {"name": text, "location": text}
    runs = []
    for number, method in enumerate(("lora", "transfer")):
        rows = [metric(0, 50.0 + number), metric(50, 60.0)]
        for row in rows:
            row["scores"][text] = row["scores"].pop("in-domain")
        run = make_run(tmp_path, f"run-{number}", rows, method=method, label=text, backbone=backbone, command=text)
        for dev in run.record["data"]["dev"]:
            dev["name"] = text if dev["name"] == "in-domain" else dev["name"]
        run.record["data"]["train"][0]["name"] = text
        run.record["run"] = f"{text}{number}"
        runs.append(run)
    comparison = compare(runs)
    console = on_terminal()
    print_table(comparison, console)
    first = re.escape(text).replace(r"\ ", r"\s+")
    assert re.search(first, printed(console))
    write_comparison(comparison, tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"<script|<img|<b[ >]|onload=x>[^&]*</b", page)
    for name in ("curves", "scores"):
        drawing = (tmp_path / "report" / f"{name}.svg").read_text(encoding="utf-8")
        assert not re.search(r"<script|<img|<b ", drawing)
    assert not re.search(r"<script|<img|<b ", to_markdown(comparison))


@pytest.mark.parametrize("text", ["[red]x[/red]", "[/]", "\x1b[31mx"])
def test_an_error_names_a_file_as_it_is_called(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "compare", f"{text}.run") == 2
    shown = text.replace("\x1b", "\N{REPLACEMENT CHARACTER}")
    assert capsys.readouterr().err.startswith(f"error: {shown}.run: not a run folder")
