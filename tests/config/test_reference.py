"""The tables of keys: made from the schema, whole, and not stale in the README beside the recipes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from transferkit.config.datasets import ROLES
from transferkit.config.recipe import Recipe
from transferkit.config.reference import Key, keys, keys_table, roles_table, with_tables
from transferkit.config.schema import keys_at
from transferkit.files.builtin import builtin_dir

README = builtin_dir("recipes") / "README.md"
ROWS = {key.name: key for key in keys(Recipe)}


def test_readme_is_not_stale() -> None:
    text = README.read_text(encoding="utf-8")
    assert keys_table() in text
    assert roles_table() in text
    assert with_tables(text) == text, "run: python -m transferkit.config.reference recipes/README.md"


def test_the_command_writes_what_is_stale(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    text = README.read_text(encoding="utf-8")
    file.write_text(text.replace("softmax temperature", "hotness"), encoding="utf-8")
    subprocess.run([sys.executable, "-W", "error", "-m", "transferkit.config.reference", file], check=True)
    assert file.read_text(encoding="utf-8") == text


def test_text_without_marks_stays_as_it_is() -> None:
    assert with_tables("# Title\n\n| a | b |\n") == "# Title\n\n| a | b |\n"


def test_every_key_has_a_row_in_the_order_of_the_schema() -> None:
    tops = list(dict.fromkeys(re.split(r"[.\[]", name)[0] for name in ROWS))
    assert tops == list(Recipe.model_fields)
    for section in ("embedding", "optim", "eval"):
        assert [name for name in ROWS if name.startswith(f"{section}.")] == [
            f"{section}.{key}" for key in keys_at(Recipe, (section,))
        ]
    dev = [name.removeprefix("data.dev[].") for name in ROWS if name.startswith("data.dev[].")]
    assert dev == keys_at(Recipe, ("data", "dev", 0))
    assert "prompting.lora.r" in ROWS


@pytest.mark.parametrize("key", ROWS.values(), ids=list(ROWS))
def test_a_row_is_whole(key: Key) -> None:
    assert key.type
    assert key.meaning
    assert not re.search(r"\||\n", "".join(key).replace("\\|", ""))
    place = re.split(r"\.", key.name.replace("[]", ".0"))
    assert place[-1] in keys_at(Recipe, tuple(place[:-1]))
    if key.default not in ("", "needed"):
        yaml.safe_load(key.default.strip("`"))


@pytest.mark.parametrize(
    "key",
    [
        Key("optim.steps", "whole number", "needed", "optimizer steps", "0 measures the start alone"),
        Key("optim.seconds", "number", "", "seconds", ROWS["optim.seconds"].meaning),
        Key("loss.symmetric", "true or false", "`true`", "", "also score the anchors against each positive"),
        Key("data.train[].columns", "mapping", "`{}`", "", ROWS["data.train[].columns"].meaning),
        Key("prompting.tokens", "whole number", "", "soft tokens", ROWS["prompting.tokens"].meaning),
        Key("prompting.reads", "`instruction`, `text`", "", "", ROWS["prompting.reads"].meaning),
        Key("frozen.templates", "list", "`['{text}']`", "", ROWS["frozen.templates"].meaning),
        Key("lora.dropout", "number", "`0.0`", "share", "methods lora and qlora: dropout before the adapters"),
    ],
)
def test_a_row_says_what_the_schema_says(key: Key) -> None:
    assert ROWS[key.name] == key


def test_defaults_are_those_of_the_schema() -> None:
    for section in ("readout", "loss", "eval", "alignment"):
        model = Recipe.model_fields[section].default
        for name, value in model.model_dump().items():
            written = ROWS[f"{section}.{name}"].default.strip("`")
            assert (yaml.safe_load(written) if written else None) == value


def test_roles_of_every_kind_are_listed() -> None:
    for kind, roles in ROLES.items():
        (row,) = [line for line in roles_table().splitlines() if re.match(rf"\|.*`{kind}`.*\|.*\|", line)]
        for role, column in roles.items():
            assert f"`{role}`" in row
            assert f"`{column}`" in row
