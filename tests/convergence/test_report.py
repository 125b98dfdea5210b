"""The HTML page and the folder of a comparison: self-contained, escaped, complete."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers.run_builder import every_method, make_run, metric

from transferkit.convergence.comparison import compare
from transferkit.convergence.report import write_comparison
from transferkit.errors import ConfigError
from transferkit.runs.folder import Run


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    return every_method(tmp_path_factory.mktemp("runs"), seeds=(17, 18, 19))


@pytest.fixture(scope="module")
def written(runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_comparison(compare(runs), tmp_path_factory.mktemp("report") / "new" / "out")


def test_all_files_are_written_and_listed(written: list[Path]) -> None:
    pictures = [f"{name}.{kind}" for name in ("curves", "scores") for kind in ("png", "svg")]
    names = ["table.md", "table.csv", "table.json", *pictures, "report.html"]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in written[0].parent.iterdir()) == sorted(names)


def test_page_is_self_contained(written: list[Path]) -> None:
    html = written[-1].read_text(encoding="utf-8")
    page = Page(html)
    assert "svg" in page.tags
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    links = [value or "" for name, value in page.attributes if name in ("href", "src", "xlink:href")]
    assert links  # the drawing refers to its own parts
    assert all(link.startswith("#") for link in links)
    assert "@import" not in html
    assert "url(http" not in html


def test_page_holds_findings_every_run_and_its_command(runs: list[Run], written: list[Path]) -> None:
    text = " ".join(Page(written[-1].read_text(encoding="utf-8")).words)
    assert "Transfer beats prompt tuning by" in text
    for run in runs:
        assert run.record["run"] in text
        assert run.record["command"] in text
    assert "mixture (9,600 rows, 0 skipped); sha256 aaaaaaaaaaaa" in text
    assert "torch 2.13.0" in text
    assert "0123456789abcdef" in text


def test_labels_and_records_are_escaped(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>'
    run = make_run(tmp_path, "run", [metric(0, 40.0), metric(50, 60.0)], label=evil, command=f"transferkit {evil}")
    html = write_comparison(compare([run]), tmp_path / "out")[-1].read_text(encoding="utf-8")
    assert "<script" not in html
    assert "script" not in Page(html).tags
    assert evil in "".join(Page(html).words)


def test_page_is_the_same_for_the_same_records(runs: list[Run], written: list[Path], tmp_path: Path) -> None:
    assert write_comparison(compare(runs[::-1]), tmp_path)[-1].read_bytes() == written[-1].read_bytes()


def test_a_folder_that_cannot_be_written_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = make_run(tmp_path, "run", [metric(0, 40.0), metric(50, 60.0)])
    with pytest.raises(ConfigError, match="cannot write the comparison there"):
        write_comparison(compare([run]), tmp_path / "file" / "out")


def test_only_the_readout_that_is_the_reference_is_marked(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, "run", [metric(0, 40.0, 50.0), metric(50, 60.0, 59.0)], label="LoRA")]
    html = write_comparison(compare(runs), tmp_path / "out")[-1].read_text(encoding="utf-8")
    marked = [line for line in html.splitlines() if "<tr" in line and 'reference"' in line]
    readouts = [
        re.findall(r'<tr class="[^"]*reference"><td class="label">[^<]*</td><td class="name">(\w+)', line)
        for line in marked
    ]
    assert readouts
    assert all(found == ["plain"] for found in readouts), readouts
