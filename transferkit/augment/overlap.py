"""How near two texts are by their words, and whether they are written in the same script: no model, any language."""

import unicodedata

from transferkit.data.words import script, word_spans


def words(text: str) -> list[str]:
    """The words of :func:`~transferkit.data.words.word_spans`; compatibility forms and case folded, straight quotes."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    return [folded[start:end] for start, end in word_spans(folded)]


def overlap(one: str, other: str) -> float:
    """Different words that both texts have over different words that either has (Jaccard index); 1 without words."""
    mine, theirs = set(words(one)), set(words(other))
    either = mine | theirs
    return len(mine & theirs) / len(either) if either else 1.0


def foreign_share(text: str, anchor: str) -> float:
    """Share of the letters of ``text`` in scripts that ``anchor`` does not use; 0 where one of them has no letters."""
    found, expected = _scripts(text), set(_scripts(anchor))
    if not found or not expected:
        return 0.0
    return sum(one not in expected for one in found) / len(found)


def _scripts(text: str) -> list[str]:
    """The script of each letter."""
    return [script(c) for c in unicodedata.normalize("NFKC", text) if c.isalpha()]
