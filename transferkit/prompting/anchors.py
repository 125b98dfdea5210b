"""Tokens that two vocabularies share, compared by the bytes that they stand for."""

import json
import re
from functools import cache

from transformers import PreTrainedTokenizerBase

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@cache
def _byte_of_char() -> dict[str, int]:
    """The byte that each printable stand-in of byte-level BPE means (GPT-2's table, rebuilt from its rule).

    Printable Latin-1 characters stand for themselves; all other bytes follow, in order, from U+0100.
    """
    direct = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in direct]
    return {chr(b): b for b in direct} | {chr(256 + i): b for i, b in enumerate(others)}


def _is_byte_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return any(token.startswith("Ġ") for token in tokenizer.get_vocab())
    parts = json.loads(backend.to_str())
    return "ByteLevel" in json.dumps([parts.get("decoder"), parts.get("pre_tokenizer")])


def surface_forms(tokenizer: PreTrainedTokenizerBase) -> dict[bytes, int]:
    """Bytes of every ordinary token -> its lowest id, case as is.

    ``Ġthe`` (byte-level) and ``▁the`` (sentencepiece) both mean `` the``; ``<0x0A>`` and byte-level ``Ċ`` both mean a
    newline. Special and added tokens are left out: they mean different things in different models.
    """
    byte_level = _is_byte_level(tokenizer)
    added = set(tokenizer.get_added_vocab()) | set(tokenizer.all_special_tokens)
    forms: dict[bytes, int] = {}
    for token, token_id in tokenizer.get_vocab().items():
        if token in added:
            continue
        form = _byte_level_form(token) if byte_level else _piece_form(token)
        if form and token_id < forms.get(form, token_id + 1):
            forms[form] = token_id
    return forms


def _byte_level_form(token: str) -> bytes:
    table = _byte_of_char()
    return bytes(table[char] for char in token) if all(char in table for char in token) else token.encode()


def _piece_form(token: str) -> bytes:
    byte = _BYTE_TOKEN.fullmatch(token)
    return bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()


def shared_tokens(
    first: PreTrainedTokenizerBase, second: PreTrainedTokenizerBase, *, rows: tuple[int, int]
) -> tuple[list[int], list[int]]:
    """Ids of the tokens that both vocabularies hold, pair by pair, ordered by the first one's id.

    Args:
        first: one tokenizer.
        second: the other one.
        rows: embedding rows of the two models; ids beyond them have no embedding and are left out.
    """
    a, b = surface_forms(first), surface_forms(second)
    pairs = sorted((a[form], b[form]) for form in a.keys() & b.keys())
    pairs = [(i, j) for i, j in pairs if i < rows[0] and j < rows[1]]
    return [i for i, _ in pairs], [j for _, j in pairs]
