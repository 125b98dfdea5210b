"""YAML: which scalars are numbers, and that what is written reads back."""

from typing import Any

import pytest

from transferkit.config.schema import dump_yaml, parse_yaml


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
