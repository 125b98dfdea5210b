"""How near two texts are by their words, and whether they are written in the same script: no model, any language."""

import unicodedata
from functools import lru_cache

# Written without spaces: each character counts as a word. The scripts that Japanese mixes are one.
_JAPANESE = {"HIRAGANA": "CJK", "KATAKANA": "CJK"}
_UNSPACED = {"CJK", "THAI", "LAO", "KHMER", "MYANMAR"}


def words(text: str) -> list[str]:
    """Runs of letters, marks and digits, compatibility forms and case folded; everything else separates them."""
    return "".join(map(_part, unicodedata.normalize("NFKC", text).casefold())).split()


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
    return sum(script not in expected for script in found) / len(found)


def _scripts(text: str) -> list[str]:
    """The script of each letter."""
    return [_script(c) for c in unicodedata.normalize("NFKC", text) if c.isalpha()]


@lru_cache(maxsize=65536)
def _script(character: str) -> str:
    """A character's Unicode name begins with its script."""
    script = unicodedata.name(character, "").partition(" ")[0]
    return _JAPANESE.get(script, script)


@lru_cache(maxsize=65536)
def _part(character: str) -> str:
    if unicodedata.category(character)[0] not in "LMN":
        return " "
    return f" {character} " if _script(character) in _UNSPACED else character
