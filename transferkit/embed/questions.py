"""The demo's fixed questions to the docstrings of this machine, and who finds a right answer first."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.config.schema import read_yaml
from transferkit.embed.search import Index
from transferkit.methods.base import Embedder

_FILE = Path(__file__).with_name("questions.yaml")
_TEXTS = 1024  # a block: vectors of words are wide


@dataclass(frozen=True)
class Question:
    """What is asked, and what counts as an answer (see ``questions.yaml``)."""

    text: str
    answers: tuple[str, ...]

    def is_answered_by(self, name: str) -> bool:
        """Whether something of this dotted name is a right answer."""
        return any(_is_called(name, answer) for answer in self.answers)


@dataclass(frozen=True)
class Found:
    """The names that stood first for a question, of the index and of the words alone."""

    question: Question
    by_index: str
    by_words: str


def asked_packages() -> list[str]:
    """Whose docstrings the demo asks."""
    named: list[str] = read_yaml(_FILE)["packages"]
    return named


def read_questions() -> list[Question]:
    """The ten."""
    listed: list[dict[str, Any]] = read_yaml(_FILE)["questions"]
    return [Question(one["question"], tuple(one["answers"])) for one in listed]


def ask(index: Index, words: Embedder) -> list[Found]:
    """Ask all questions twice.

    Args:
        index: of docstrings.
        words: another way to make vectors of the same texts, such as TF-IDF.
    """
    questions = read_questions()
    texts = [entry.embedded for entry in index.entries]
    asked = words.encode([one.text for one in questions])
    blocks = [words.encode(texts[start : start + _TEXTS]) @ asked.T for start in range(0, len(texts), _TEXTS)]
    nearest = np.concatenate(blocks).argmax(axis=0)
    return [
        Found(one, index.search(one.text, top=1)[0].entry.name, index.entries[place].name)
        for one, place in zip(questions, nearest, strict=True)
    ]


def _is_called(name: str, answer: str) -> bool:
    """``package.name``, wherever in the package: pandas.io.parsers.readers.read_csv is pandas.read_csv."""
    package, _, own = answer.partition(".")
    return name == answer or (bool(own) and name.startswith(f"{package}.") and name.endswith(f".{own}"))
