"""Heat maps of attention: nothing overlaps, same bytes from the same numbers, whatever letters the tokens hold."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.pictures import assert_words_stay_apart

from transferkit.attention.plots import draw
from transferkit.attention.report import Report, Side
from transferkit.attention.shares import GROUPS, Look, Token
from transferkit.attention.written import write_report

LONG = "a template that is far longer than any picture is wide, and says so at great length: "


def tokens_look(count: int, layers: int) -> Look:
    kinds = ["special", "template", "stop words", "content words", "punctuation", "soft tokens"]
    names = ["<s>", "means:", "the", "incomprehensibilities", ",", "⟨soft 1⟩"]
    tokens = [Token(names[i % 6], kinds[i % 6], opens=i % 4 != 3) for i in range(count)]
    shares = np.random.default_rng(0).dirichlet(np.ones(count) / 5, size=layers)
    return Look(tokens, np.full(count, 1 / count), list(range(1, layers + 1)), shares)


def one_text(count: int, layers: int, *, adapted: bool = True) -> Report:
    def made(method: str, n: int) -> Side:
        one = tokens_look(n, layers)
        return Side(method, "{text}{soft}", "soft", one.layers, one.by_group()[None], one.token_shares()[None], one)

    return Report(
        "a-decoder-of-some-name",
        "Find $5",
        "list",
        made("frozen", count - 5),
        made("transfer", count) if adapted else None,
    )


def many_texts(layers: int, *, adapted: bool = True, groups: int = len(GROUPS)) -> Report:
    shares = np.zeros((4, layers, len(GROUPS)))
    shares[:, :, :groups] = np.random.default_rng(0).dirichlet(np.ones(groups), size=(4, layers))
    numbers = list(range(1, layers + 1))
    before = Side("frozen", LONG + "{text}", "weighted_mean", numbers, shares, shares[:, 0], None)
    after = replace(before, method="prompt tuning", template="{text}{soft}" + LONG)
    return Report("decoder-" * 9, LONG, "list", before, after if adapted else None)


@pytest.mark.parametrize(
    "made",
    [
        one_text(8, 2),
        one_text(24, 6),
        one_text(70, 36, adapted=False),
        many_texts(1),
        many_texts(40, adapted=False),
        many_texts(3, groups=2),
    ],
)
def test_nothing_in_a_picture_overlaps_or_leaves_it(made: Report) -> None:
    assert_words_stay_apart(lambda: draw(made))


def test_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    made = one_text(12, 3)
    files = write_report(made, tmp_path / "new" / "folder")
    assert [file.name for file in files] == ["attention.json", "attention.png", "attention.svg"]
    before = [file.read_bytes() for file in files]
    assert [file.read_bytes() for file in write_report(made, tmp_path / "new" / "folder")] == before
    assert before[1][:8] == b"\x89PNG\r\n\x1a\n"
    assert ElementTree.parse(files[2]).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    rows = json.loads(before[0])["after"]["text"]
    np.testing.assert_allclose(np.sum([row["shares"] for row in rows], axis=0), 1, atol=1e-4)


def test_letters_that_the_font_lacks_are_no_error(tmp_path: Path) -> None:
    made = one_text(3 + 5, 2)
    look = tokens_look(8, 2)
    look.tokens[2] = Token("雨$x$", "content words")
    assert made.after is not None
    write_report(
        Report(
            "b", "", "l", Side("frozen", "{text}", "last", [1, 2], made.after.shares, made.after.tokens, look), None
        ),
        tmp_path,
    )
