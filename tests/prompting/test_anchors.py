"""Shared tokens of byte-level and sentencepiece-style vocabularies, compared by the bytes they stand for."""

from collections.abc import Sequence

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from transferkit.prompting.anchors import shared_tokens, surface_forms

SPECIALS = {"bos_token": "<s>", "unk_token": "<unk>"}


def byte_level(tokens: Sequence[str]) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(["<s>", "<unk>", *tokens])}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, **SPECIALS)


def pieces(tokens: Sequence[str], *, kind: str) -> PreTrainedTokenizerFast:
    """Sentencepiece style: ``▁`` for a space and, in the vocabulary, ``<0x0A>`` for bytes."""
    words = ["<unk>", "<s>", *tokens]
    if kind == "unigram":
        core = Tokenizer(models.Unigram([(word, -1.0) for word in words], unk_id=0, byte_fallback=True))
        core.pre_tokenizer = pre_tokenizers.Metaspace()
        core.decoder = decoders.Metaspace()
    else:
        vocabulary = {word: i for i, word in enumerate(words)}
        core = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
        core.normalizer = normalizers.Replace(" ", "▁")
        core.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=core, **SPECIALS)


LEVEL = ["Ġthe", "the", "Ċ", "Ġ", "The", "cafÃ©", "Ã", "ĠĠ", "x"]
PIECES = ["▁the", "the", "<0x0A>", "▁", "THE", "café", "<0xC3>", "▁▁", "y"]
SHARED = {b" the", b"the", b"\n", b" ", "café".encode(), b"\xc3", b"  "}


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_forms_match_across_kinds(kind: str) -> None:
    first, second = byte_level(LEVEL), pieces(PIECES, kind=kind)
    left, right = surface_forms(first), surface_forms(second)
    assert left.keys() & right.keys() == SHARED
    ids = shared_tokens(first, second, rows=(len(first), len(second)))
    names = [(first.convert_ids_to_tokens(i), second.convert_ids_to_tokens(j)) for i, j in zip(*ids, strict=True)]
    expected = [(a, b) for a, b in zip(LEVEL, PIECES, strict=True) if a not in ("The", "x")]
    assert names == expected  # ordered by the first vocabulary's id
    back = shared_tokens(second, first, rows=(len(second), len(first)))
    assert sorted(zip(*back, strict=True)) == sorted((j, i) for i, j in zip(*ids, strict=True))


def test_case_and_leading_space_tell_tokens_apart() -> None:
    forms = surface_forms(byte_level(LEVEL))
    assert len({forms[form] for form in (b" the", b"the", b"The")}) == 3
    assert b" The" not in forms


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_special_and_added_tokens_are_left_out(kind: str) -> None:
    first, second = byte_level(LEVEL), pieces(PIECES, kind=kind)
    for one in (first, second):
        one.add_tokens(["<think>", "hello"])
        one.add_special_tokens({"extra_special_tokens": ["<tool>"]})
        assert not surface_forms(one).keys() & {b"<s>", b"<unk>", b"<think>", b"hello", b"<tool>"}
    assert len(shared_tokens(first, second, rows=(99, 99))[0]) == len(SHARED)


def test_ids_beyond_the_embedding_are_left_out() -> None:
    first, second = byte_level(LEVEL), pieces(PIECES, kind="bpe")
    ids_first, ids_second = shared_tokens(first, second, rows=(5, 99))
    assert ids_first
    assert max(ids_first) < 5
    ids_first, ids_second = shared_tokens(first, second, rows=(99, 4))
    assert ids_second
    assert max(ids_second) < 4


def test_lowest_id_stands_for_a_form_with_several_tokens() -> None:
    """``\\n`` as a byte token and as a piece of its own."""
    forms = surface_forms(pieces(["<0x0A>", "\n"], kind="bpe"))
    assert forms[b"\n"] == 2


def test_identical_vocabularies_share_every_ordinary_token() -> None:
    first, second = byte_level(LEVEL), byte_level(list(reversed(LEVEL)))
    assert len(shared_tokens(first, second, rows=(99, 99))[0]) == len(LEVEL)


class InPython:
    """A tokenizer without a core in Rust: a vocabulary and nothing else."""

    all_special_tokens = ("<s>",)

    def __init__(self, *tokens: str) -> None:
        self.tokens = ["<s>", *tokens]

    def get_vocab(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    def get_added_vocab(self) -> dict[str, int]:
        return {}


def test_a_tokenizer_in_python_alone_is_known_by_its_tokens() -> None:
    assert surface_forms(InPython("Ġthe", "the")) == {b" the": 1, b"the": 2}  # type: ignore[arg-type]
    assert surface_forms(InPython("▁the", "\n", "<0x0A>")) == {b" the": 1, b"\n": 2}  # type: ignore[arg-type]
