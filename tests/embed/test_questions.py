"""The demo's questions: what counts as an answer, that each has one on this machine, and who answers what."""

from pathlib import Path

import numpy as np
import pytest
from helpers.parts import source_checkpoint
from helpers.run_parts import QUIET
from helpers.tiny import Tiny
from sklearn.feature_extraction.text import TfidfVectorizer
from zoo import WORDS

from transferkit.checkpoints.checkpoint import load
from transferkit.data.installed_docs import installed_docs
from transferkit.embed import questions
from transferkit.embed.questions import Question, ask, asked_packages, read_questions
from transferkit.embed.search import Entry, Index
from transferkit.methods.tfidf import Tfidf


@pytest.mark.parametrize(
    ("answer", "name", "right"),
    [
        ("shutil.copytree", "shutil.copytree", True),
        ("pandas.read_csv", "pandas.io.parsers.readers.read_csv", True),
        ("textwrap.wrap", "textwrap.TextWrapper.wrap", True),
        ("pandas.read_csv", "pandas.io.parsers.readers._read_csv", False),
        ("os.walk", "email.iterators.walk", False),
        ("os.walk", "os", False),
        ("subprocess", "subprocess", True),
        ("subprocess", "subprocess.Popen", False),
        ("csv.reader", "csvkit.reader", False),
    ],
)
def test_what_counts_as_an_answer(answer: str, name: str, right: bool) -> None:
    assert Question("?", ("no.such", answer)).is_answered_by(name) is right


def test_each_of_the_ten_has_an_answer_on_this_machine() -> None:
    asked = read_questions()
    assert len({one.text for one in asked}) == 10
    packages = asked_packages()
    names = [doc.name for doc in installed_docs() if doc.package in packages]
    for one in asked:
        assert any(one.is_answered_by(name) for name in names), one.text


def test_each_side_answers_with_its_nearest_text(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(WORDS[i : i + 4]) for i in range(12)]
    entries = [Entry(f"package.{i}", text.upper(), text) for i, text in enumerate(texts)]
    asked = [Question(f"{WORDS[7]} {WORDS[8]} {WORDS[2]}", ("package.7",)), Question(texts[3], ("package.3",))]
    monkeypatch.setattr(questions, "read_questions", lambda: asked)
    monkeypatch.setattr(questions, "_TEXTS", 5)  # in three blocks
    checkpoint = source_checkpoint(tiny, tmp_path / "source")
    index = Index(checkpoint, entries, folder=tmp_path / "index", instruction="see", console=QUIET)
    found = ask(index, Tfidf(lambda: texts))
    embedder, words = load(checkpoint), TfidfVectorizer(sublinear_tf=True).fit(texts)
    for one, question in zip(found, asked, strict=True):
        assert one.question is question
        cosines = embedder.encode(texts, instruction="see") @ embedder.encode([question.text], instruction="see")[0]
        assert one.by_index == f"package.{np.argmax(cosines)}"
        counted = (words.transform(texts) @ words.transform([question.text]).T).toarray()
        assert one.by_words == f"package.{np.argmax(counted)}"
    assert found[1].question.is_answered_by(found[1].by_words)
