"""The fenced blocks of README.md, of docs/ and of the pages beside the code: what a reader may copy."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    file.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "*/README.md")
    for file in sorted(ROOT.glob(pattern))
    if file.name != "CHANGELOG.md"
]
FENCED = re.compile(r"^( *)(```+)([^\n`]*)\n(.*?)^\1\2 *$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: ``language`` as it stands behind the fence, ``text`` without the fence's indentation."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> Iterator[str]:
        """The lines of a shell, without comments; one that ends in a backslash goes on."""
        for line in self.text.replace("\\\n", " ").splitlines():
            if command := re.sub(r"(^|\s+)#\s.*$", "", line).strip():
                yield command


@cache
def blocks(page: str) -> tuple[Block, ...]:
    """All of a page, in their order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return tuple(
        Block(page, text.count("\n", 0, found.start()) + 1, found[3].strip(), dedent(found[4]))
        for found in FENCED.finditer(text)
    )


def python_of(page: str) -> list[str]:
    """The blocks of a page that are Python."""
    return [block.text for block in blocks(page) if block.language == "python"]


def prose_of(page: str) -> str:
    """A page without its blocks."""
    return FENCED.sub("", (ROOT / page).read_text(encoding="utf-8"))
