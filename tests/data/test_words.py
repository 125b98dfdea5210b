"""Words: pieces of three kinds of tokenizer, other scripts, stop words."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from zoo import tokenizer

from transferkit.data.words import StopWords, english_stop_words, read_stop_words, word_spans, words_of_pieces
from transferkit.errors import ConfigError

ENGLISH = english_stop_words()
CURLY = "\u2019"  # apostrophe


def wordpiece() -> Tokenizer:
    """As of BERT: lower case, pieces of a word begin with ##, spaces are in none."""
    letters = [*"abcdefghijklmnopqrstuvwxyz'_,.!-", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz'_")]
    words = ["[UNK]", *letters, "un", "##happy", "cat", "##s", "the", "don", "see", "red"]
    core = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return core


def metaspace() -> Tokenizer:
    """As of SentencePiece: a space belongs to the piece after it."""
    pieces = [
        "▁",
        "▁un",
        "happy",
        "▁cat",
        "s",
        "▁the",
        "▁don",
        "'t",
        "▁see",
        "▁red",
        *"abcdefghijklmnopqrstuvwxyz'_,.!-",
    ]
    core = Tokenizer(models.Unigram([("<unk>", 0.0), *((piece, -len(piece) / 9) for piece in pieces)], unk_id=0))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    return core


SENTENCE = "unhappy cats don't see the red, x_y - cat!"
WORDS_OF_IT = ["unhappy", "cats", "don't", "see", "the", "red", "x_y", "cat"]


@pytest.mark.parametrize("name", ["byte level", "wordpiece", "metaspace"])
def test_pieces_are_mapped_to_their_words(name: str) -> None:
    core = {"byte level": tokenizer()._tokenizer, "wordpiece": wordpiece(), "metaspace": metaspace()}[name]
    pieces = [(start, end) for start, end in core.encode(SENTENCE, add_special_tokens=False).offsets]
    found = words_of_pieces(SENTENCE, pieces)
    numbers = {owner[0]: owner[1] for owner in found if owner is not None}
    assert [numbers[number] for number in sorted(numbers)] == WORDS_OF_IT
    assert len(pieces) > len(WORDS_OF_IT) + 3  # the premise: some words are several pieces
    for number, word in numbers.items():
        spans = [piece for piece, owner in zip(pieces, found, strict=True) if owner == (number, word)]
        assert SENTENCE[min(a for a, _ in spans) : max(b for _, b in spans)].strip() == word
    rest = {SENTENCE[a:b].strip() for (a, b), owner in zip(pieces, found, strict=True) if owner is None}
    assert rest <= {",", "-", "!", ""}
    assert {",", "-", "!"} <= rest


def test_words_in_other_scripts_and_pieces_of_letters() -> None:
    text = f"Über 雨 d{CURLY}accord 😀"
    bytes_of_first = [(0, 1), (0, 1), (1, 4)]  # two bytes of one letter, then the rest
    assert words_of_pieces(text, bytes_of_first) == [(0, "Über")] * 3
    assert words_of_pieces(text, [(5, 6), (7, 8), (8, 9), (9, 15), (16, 17), (6, 7), (3, 3)]) == [
        (1, "雨"),
        *[(2, f"d{CURLY}accord")] * 3,
        None,
        None,
        None,
    ]
    assert words_of_pieces("of the", [(0, 6)]) == [(1, "the")]  # it covers more of that one


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("हिन्दी भाषा, है!", ["हिन्दी", "भाषा", "है"]),  # vowel signs and the sign that joins consonants
        ("cafe\u0301 का", ["cafe\u0301", "का"]),  # an accent of its own
        ("ที่นี่ 2", ["ที่", "นี่", "2"]),  # no spaces: each letter with its vowel sign and its tone
        ("我喜欢猫s", ["我", "喜", "欢", "猫", "s"]),
        ("コーヒー", ["コ", "ー", "ヒ", "ー"]),
        ("__init__ x_y 'so' '' \u2764\ufe0f", ["init", "x_y", "so"]),
        ("\u0301 a", ["a"]),  # a mark on nothing
    ],
)
def test_words_are_letters_with_their_marks(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in word_spans(text)] == words
    letters = [(i, i + 1) for i in range(len(text))]
    found = [owner for owner in words_of_pieces(text, letters) if owner is not None]
    assert found == [(number, word) for number, word in enumerate(words) for _ in word]


@pytest.mark.parametrize("word", ["the", "The", "don't", f"don{CURLY}t", "can't", "it's", "hasn't", "IS"])
def test_stop_words(word: str) -> None:
    assert word in ENGLISH


@pytest.mark.parametrize("word", ["cat", "cat's", "table", "t", "couldx", "o'clock"])
def test_content_words(word: str) -> None:
    assert word not in ENGLISH


def test_own_stop_words(tmp_path: Path) -> None:
    file = tmp_path / "german.txt"
    file.write_text(f"# articles\nDer\n\ndie\nist{CURLY}s\n", encoding="utf-8")
    words = read_stop_words(file)
    assert words == StopWords(frozenset({"der", "die", "ist's"}), str(file))
    assert "der" in words
    assert "the" not in words
    for content, message in ((b"\n# none\n", "holds no words"), (b"\xff", "cannot be read as UTF-8")):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            read_stop_words(file)
