"""YAML: which scalars are numbers, and that what is written reads back."""

import re
from typing import Any

import pytest

from transferkit.config.schema import dump_yaml, parse_yaml
from transferkit.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 1e-3),
        ("1E-3", 1e-3),
        ("-1e3", -1000.0),
        ("+1.5e+3", 1500.0),
        ("2.e2", 200.0),
        (".5e1", 5.0),
        ("1.0e-3", 1e-3),
        ("10", 10),
        ("'1e-3'", "1e-3"),
        ('"1e-3"', "1e-3"),
        ("1e", "1e"),
        ("e3", "e3"),
        ("lora-1e-3", "lora-1e-3"),
        ("1e-3x", "1e-3x"),
        ("1e-3.5", "1e-3.5"),
        ("1e-3 of all", "1e-3 of all"),
    ],
)
def test_scientific_notation_is_a_number_and_text_is_none(written: str, value: Any) -> None:
    found = parse_yaml(f"key: {written}\nlist: [{written}]\n", where="x")
    assert found == {"key": value, "list": [value]}
    assert type(found["key"]) is type(value)


@pytest.mark.parametrize(
    "value", ["1e-3", "12e45", "1.0e-3", 1e-3, 1e-7, 1e22, -2.5e-9, "7", 7, "no", None, "", "a: b"]
)
def test_what_is_written_reads_back(value: Any) -> None:
    found = parse_yaml(dump_yaml({"key": value, "list": [value]}), where="x")
    assert found == {"key": value, "list": [value]}
    assert type(found["key"]) is type(value)


def bomb(levels: int, *, merged: bool) -> str:
    """Nine aliases a level: a few lines that stand for billions of values."""
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, levels):
        names = ", ".join(f"*a{level - 1}" for _ in range(9))
        lines.append(f"a{level}: &a{level} {{<<: [{names}]}}" if merged else f"a{level}: &a{level} [{names}]")
    return "\n".join(lines)


def chain(levels: int) -> str:
    """Each list holds the one before: two levels on every line, as many as lines in all."""
    return "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, levels))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (bomb(12, merged=False), r"stands for more than 100,000 values once its aliases are written out"),
        (bomb(12, merged=True), r"stands for more than 100,000 values once its aliases are written out"),
        ("a: &a [*a]", "an alias stands inside of what it names"),
        ("a: " + "[" * 60 + "]" * 60, "nested deeper than 50 levels"),
        ("a: !!int _", "a value does not fit its tag"),
        ("a: !!bool x", "a value does not fit its tag"),
        ("a: !!timestamp x", "could not determine a constructor"),
        ("a: " + "[" * 20_000, "nested deeper than 50 levels"),
        ("a: " + "1" * 5_000, "not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        (chain(400) + "? *a399\n: x", "not valid YAML: nested too deeply"),
    ],
    ids=[
        "aliases",
        "merges",
        "inside itself",
        "deep",
        "int",
        "bool",
        "timestamp",
        "deeper",
        "large number",
        "code",
        "deep by its aliases",
    ],
)
def test_text_that_would_never_end_or_is_no_value_is_one_sentence(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=rf"^here(, line \d+, column \d+)?: not valid YAML.*|{says}") as caught:
        parse_yaml(text, where="here")
    assert re.search(says, str(caught.value))


def test_anchors_and_merge_keys_of_a_study_are_fine() -> None:
    text = "runs:\n  - &one {name: a, set: &few {x: 1, y: 2}}\n  - {<<: *one, name: b, set: {<<: *few, y: 3}}\n"
    assert parse_yaml(text, where="here")["runs"][1] == {"name": "b", "set": {"x": 1, "y": 3}}


def test_a_date_is_text_and_what_json_cannot_hold_is_refused() -> None:
    assert parse_yaml("a: 2024-06-21\nb: [2024-06-21 10:00:00]", where="x") == {
        "a": "2024-06-21",
        "b": ["2024-06-21 10:00:00"],
    }
    assert parse_yaml(dump_yaml({"a": "2024-06-21"}), where="x") == {"a": "2024-06-21"}
    for tag in ("!!set {a, b}", "!!binary aGk=", "!!timestamp 2024-06-21", "!!omap [a: 1]", "!!pairs [a: 1]"):
        with pytest.raises(ConfigError, match=r"^x, line 1.*could not determine a constructor for the tag"):
            parse_yaml(f"a: {tag}", where="x")
