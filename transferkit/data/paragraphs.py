"""A docstring -> its summary and the first paragraph of prose after it, without markup."""

import re

SUMMARY_WORDS = range(3, 41)
PARAGRAPH_WORDS = 8  # at least
PARAGRAPH_LENGTH = 400  # characters; a longer paragraph is cut at a word

_SECTION = re.compile(
    r"[*#]*(?:[\w*]+ ){0,2}[\w*()]+[*]*:[*]*[ \t]*(?:\n|$)"  # Args:
    r"|[^\n]+\n[-=~^*#]{3}"  # Parameters, underlined
    r"|:\w[^:\n`]*:(?!`)|@\w|#"  # :param x:, @param, # Arguments
)
_NOT_PROSE = re.compile(r"^(?:\s|>>>|\.\. |```|[-*+] |[|<+]|\d+[.)] )|^:\w[^:\n`]*:(?!`)|::$", re.MULTILINE)
_QUOTED = re.compile(r"``([^`]+)``|\[`([^`]+)`\](?:\([^)]*\))?|(?::[\w:.+-]+:)?`([^`]+)`_{0,2}")
_FOOTNOTE = re.compile(r" ?\[[\w#*]+\]_\b")
_LINK = re.compile(r"\[([^][]+)\]\([^)]*\)")
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,2})(\w(?:[^*]*[\w.])?)\1(?![\w*])")
_NO_LETTER = re.compile(r"[^A-Za-z ]")
_CODE = re.compile(r"[\\{}`|$]|->|>>>|==|__|\w\(\w*, ")


def summary_and_paragraph(docstring: str) -> tuple[str, str] | None:
    """The first paragraph of one or two lines, and the next one of prose in front of any section.

    None where either is missing or does not look like English.
    """
    first, *blocks = re.split(r"\n\s*\n", docstring.strip())
    if first.count("\n") > 1 or _SECTION.match(first) or _NOT_PROSE.search(first):
        return None
    summary = _plain(first)
    if len(summary.split()) not in SUMMARY_WORDS or not _is_english(summary):
        return None
    for block in blocks:
        if _SECTION.match(block):
            return None
        paragraph = _plain(block)
        if not _NOT_PROSE.search(block) and len(paragraph.split()) >= PARAGRAPH_WORDS and _is_english(paragraph):
            return summary, _shortened(paragraph)
    return None


def _plain(text: str) -> str:
    """One line without markup: quotes around code, roles, links, footnotes, emphasis."""
    text = _QUOTED.sub(lambda quoted: quoted[1] or _shown(quoted[2] or quoted[3]), text)
    text = _LINK.sub(r"\1", _FOOTNOTE.sub("", text))
    return " ".join(_EMPHASIS.sub(r"\2", text).split())


def _shown(target: str) -> str:
    """What a reader sees of `target`: of `text <address>` the text, of `~a.b.c` the last name."""
    text, address, _ = target.partition("<")
    if address and text.strip():
        return text.strip()
    return target.rpartition(".")[2] if target.startswith("~") else target.removeprefix("!")


def _is_english(text: str) -> bool:
    """Mostly ASCII letters, begins with one, introduces nothing, and holds neither formulas nor code."""
    few_others = len(_NO_LETTER.findall(text)) <= 0.15 * len(text)
    return few_others and text[0].isalpha() and text[-1] not in ":," and not _CODE.search(text)


def _shortened(text: str) -> str:
    return text if len(text) <= PARAGRAPH_LENGTH else text[: PARAGRAPH_LENGTH + 1].rpartition(" ")[0]
