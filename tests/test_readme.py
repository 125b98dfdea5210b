"""The front page: short, and sparing with numbers; every link of the pages leads somewhere."""

import re
from itertools import takewhile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
FENCED = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def prose(text: str) -> str:
    """``text`` without code, tables, and the addresses of links."""
    lines = FENCED.sub("", text).splitlines()
    kept = "\n".join(line for line in lines if not line.startswith("|"))
    return re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "", kept))


def numbers(text: str) -> list[str]:
    """Those that stand by themselves; the 150 of clinc150 is part of a name."""
    return re.findall(r"(?<![\w.,-])\d[\d.,]*", text)


def test_it_is_short() -> None:
    assert len(TEXT.split()) <= 1_400


@pytest.mark.parametrize("page", ["README.md", "results/README.md"])
def test_it_is_sparing_with_numbers(page: str) -> None:
    """They stand in tables."""
    text = prose((ROOT / page).read_text(encoding="utf-8"))
    assert 100 * len(numbers(text)) <= 2 * len(text.split())
    for sentence in re.split(r"(?<=[.:?!])\s|\n\n", text):
        assert len(numbers(sentence)) <= 3, sentence


def test_its_table_holds_rows_of_the_published_one() -> None:
    """Under plainer names; the other cells are those of one row there, as delivered or without a readout."""
    lines = TEXT.splitlines()
    start = lines.index("| Method | Trained numbers | Before training | Best | Other tasks |") + 2
    rows = list(takewhile(lambda line: line.startswith("|"), lines[start:]))
    assert len(rows) > 5
    published = (ROOT / "results/real/smollm2-135m-instruct/table.md").read_text(encoding="utf-8").splitlines()
    cells = [line.strip("|").split(" | ") for line in published]
    header = next(row for row in cells if row[0].strip() == "Method")
    scores = [dict(zip(header, row, strict=True)) for row in cells if len(row) == len(header)]
    known = [[row[name] for name in ("Trained", "Step 0", "Best (range)", "Other sets")] for row in scores]
    for row in scores:
        plain = row["Plain"].split(" / ")
        known += [[row["Trained"], plain[0], *plain]] if len(plain) == 2 else []
    for row in rows:
        assert [cell.strip() for cell in row.strip("|").split(" | ")[1:]] in known, row


def test_links_lead_somewhere() -> None:
    """Of the front page and of every page beside it, as a forge shows them; ``make docs`` checks the site's own."""
    pages = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        ROOT / "results" / "README.md",
        ROOT / "results" / "toys.md",
        *(ROOT / "docs").glob("*.md"),
    ]
    assert len(pages) > 10
    for page in pages:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", FENCED.sub("", page.read_text(encoding="utf-8"))):
            assert "://" in link or (page.parent / link).exists(), f"{page.name}: {link}"
