"""Templates with a name: what the files may say, and that a name and its text give the same recipe."""

import json
from pathlib import Path

import pytest
import yaml
from helpers.tiny import Tiny
from typer.testing import CliRunner

from transferkit.cli.app import app
from transferkit.config.schema import parse
from transferkit.config.template import NamedTemplate, find_template, list_templates, template_name, template_text
from transferkit.errors import ConfigError

FOLDER = Path(__file__).parents[2] / "transferkit" / "config" / "templates"


def test_names_and_texts_belong_together_one_to_one() -> None:
    names = list_templates()
    assert {"plain", "prompteol", "pretended-cot", "knowledge", "summary", "clustering"} <= set(names)
    assert [template_name(find_template(name).template) for name in names] == names
    assert template_name("{text}, in short:") == "{text}, in short:"
    assert template_name("{text}{soft}") == "{text}{soft}"
    assert [template_name(find_template(name).template + "{soft}", soft=True) for name in names] == names
    assert template_name("{text}, in short:{soft}", soft=True) == "{text}, in short:{soft}"


@pytest.mark.parametrize("name", list_templates())
def test_every_named_template_ends_in_soft_tokens_where_there_are_some(name: str) -> None:
    text = find_template(name).template
    assert template_text(name, soft=False) == text
    assert template_text(name, soft=True) == text + "{soft}"
    assert template_text(text, soft=True) == text  # text is taken as it stands
    assert "\n" not in text


def test_a_named_template_holds_no_soft_tokens() -> None:
    with pytest.raises(ConfigError, match="methods with soft tokens add it"):
        parse(NamedTemplate, {"template": "{text}{soft}", "suits": ["any"], "source": "x"}, where="file")


def test_a_recipe_takes_a_name_for_its_text(tiny: Tiny) -> None:
    frozen = tiny.recipe("baseline", method="frozen", frozen={"templates": ["plain", "prompteol", "so: {text}"]})
    assert frozen.frozen.templates == ["{text}", find_template("prompteol").template, "so: {text}"]
    tuned = tiny.recipe("baseline", method="prompt-tuning", embedding={"template": "clustering", "pooling": "soft"})
    assert tuned.embedding.template == find_template("clustering").template + "{soft}"
    with pytest.raises(ConfigError, match=r"'prompteoll': neither .* in it; did you mean 'prompteol'\?"):
        tiny.recipe("baseline", method="frozen", frozen={"templates": ["prompteoll"]})


def test_command_shows_each_with_its_source() -> None:
    lines = CliRunner().invoke(app, ["templates", "--json"]).output.splitlines()
    files = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FOLDER.iterdir()}
    assert {line.pop("name"): line for line in map(json.loads, lines)} == files
    shown = CliRunner().invoke(app, ["templates"], env={"COLUMNS": "300"}).output.splitlines()
    for name, content in files.items():
        (row,) = [line for line in shown if line.split()[:1] == [name]]
        assert row.rstrip().endswith(f" {content['source']}")


def test_the_folder_holds_nothing_else() -> None:
    assert {path.suffix for path in FOLDER.iterdir()} == {".yaml"}
