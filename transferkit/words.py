"""Tokens of a text -> its words, and which of those are stop words."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transferkit.errors import ConfigError

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_CONTRACTED = re.compile(r"(?:n't|'.*)$")


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
        text: letters, digits, underscores and the apostrophes between them make its words.
        pieces: (start, end) in ``text``. One that reaches over several words belongs to the one it covers most of.
    """
    words = list(_WORD.finditer(text))
    owner: list[int | None] = [None] * len(text)
    for number, word in enumerate(words):
        owner[word.start() : word.end()] = [number] * (word.end() - word.start())
    found: list[tuple[int, str] | None] = []
    for start, end in pieces:
        covered = Counter(number for number in owner[start:end] if number is not None).most_common(1)
        found.append((covered[0][0], words[covered[0][0]].group()) if covered else None)
    return found
