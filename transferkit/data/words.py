"""The words of a text in any script, the word that a token is a piece of, and which words are stop words."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from transferkit.errors import ConfigError

# Written without spaces: each character counts as a word. The scripts that Japanese mixes are one.
_JAPANESE = {"HIRAGANA": "CJK", "KATAKANA": "CJK"}
_UNSPACED = {"CJK", "THAI", "LAO", "KHMER", "MYANMAR"}
_WORD = re.compile("cm*|l[lm]*(?:jl[lm]*)*")  # over the kinds of a text's characters
_CONTRACTED = re.compile(r"(?:n't|'.*)$")


def word_spans(text: str) -> list[tuple[int, int]]:
    """Start and end in ``text`` of its words: letters and digits with their marks (vowel signs, accents).

    An apostrophe or underscore between two of them joins them. In scripts that are written without spaces each
    character, with its marks, is a word.
    """
    return [found.span() for found in _WORD.finditer("".join(map(_kind, text)))]


@lru_cache(maxsize=65536)
def script(character: str) -> str:
    """The script of a letter: its Unicode name begins with it."""
    name = unicodedata.name(character, "").partition(" ")[0]
    return _JAPANESE.get(name, name)


@lru_cache(maxsize=65536)
def _kind(character: str) -> str:
    """``l``: letter or digit, ``c``: one of a script without spaces, ``m``: mark, ``j``: joins, space: all else."""
    if character in "'\u2019_":
        return "j"
    category = unicodedata.category(character)[0]
    if category in "LN":
        return "c" if script(character) in _UNSPACED else "l"
    return "m" if category == "M" else " "


@dataclass(frozen=True)
class StopWords:
    """Words that carry little meaning of their own.

    Attributes:
        words: lower case, apostrophes straight.
        name: where the list is from.
    """

    words: frozenset[str]
    name: str

    def __contains__(self, word: str) -> bool:
        """Whether ``word`` is one, in any case; a contraction is one where what it is made of is (don't, it's)."""
        word = word.lower().replace("\u2019", "'")
        return not self.words.isdisjoint((word, word.replace("'", ""), _CONTRACTED.sub("", word)))


def english_stop_words() -> StopWords:
    """The list of scikit-learn, 318 words."""
    import sklearn
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return StopWords(frozenset(ENGLISH_STOP_WORDS), f"scikit-learn {sklearn.__version__}, ENGLISH_STOP_WORDS")


def read_stop_words(path: Path) -> StopWords:
    """A list of one's own: a word a line; blank lines and lines that begin with ``#`` are left out.

    Raises:
        ConfigError: unreadable, or without a word.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--stop-words {path}: cannot be read as UTF-8 text ({error})") from None
    words = frozenset(line.lower().replace("\u2019", "'") for line in lines if line and not line.startswith("#"))
    if not words:
        raise ConfigError(f"--stop-words {path}: holds no words, expected one a line")
    return StopWords(words, str(path))


def words_of_pieces(text: str, pieces: Sequence[tuple[int, int]]) -> list[tuple[int, str] | None]:
    """The word of ``text`` that each piece belongs to, with its number; None for punctuation and space.

    Args:
        text: as :func:`word_spans` reads it.
        pieces: (start, end) in ``text``. One that reaches over several words belongs to the one it covers most of.
    """
    spans = word_spans(text)
    words = [text[start:end] for start, end in spans]
    owner: list[int | None] = [None] * len(text)
    for number, (start, end) in enumerate(spans):
        owner[start:end] = [number] * (end - start)
    found: list[tuple[int, str] | None] = []
    for start, end in pieces:
        covered = Counter(number for number in owner[start:end] if number is not None).most_common(1)
        found.append((covered[0][0], words[covered[0][0]]) if covered else None)
    return found
