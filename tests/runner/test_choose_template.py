"""Template `auto`: every named one and variations of the best are tried where training starts, and the best is read."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from helpers.parts import source_checkpoint
from helpers.run_builder import unseal
from helpers.run_parts import QUIET, Stopped, untimed
from helpers.tiny import Tiny
from rich.console import Console
from safetensors.torch import load_file

from transferkit.config.methods import MethodFacts, all_methods
from transferkit.config.resolve import behind
from transferkit.config.template import Template, list_templates, templates_to_try, variations
from transferkit.convergence import compare
from transferkit.errors import ConfigError, RunError
from transferkit.runner.dry_run import describe
from transferkit.runner.prepare import Inputs, prepare, resolved
from transferkit.runner.provenance import lineage
from transferkit.runner.run import resume, start
from transferkit.runs.checkpoint_folder import source_facts
from transferkit.runs.folder import read_run
from transferkit.study.plan import Planned
from transferkit.study.run import is_same_run
from transferkit.training.signals import Interrupted

AUTO = {"template": "auto"}
LEARNING = [facts for facts in all_methods().values() if facts.learns and facts.has_backbone]


@pytest.fixture(scope="module", name="source")
def make_source(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_checkpoint(tiny, tmp_path_factory.mktemp("auto") / "source", offsets=0.1)


def inputs(tiny: Tiny, facts: MethodFacts, source: Path) -> Inputs:
    return Inputs(source=source if facts.needs_source else None, data_dir=tiny.data)


@pytest.mark.parametrize("facts", LEARNING, ids=lambda facts: facts.name)
def test_the_best_template_is_read(tiny: Tiny, source: Path, facts: MethodFacts) -> None:
    named = {"method": facts.name} if facts.task == "baseline" else {}
    recipe = tiny.recipe(facts.task, **named, embedding=AUTO | {"max_length": 24})
    complete = resolved(recipe, source=inputs(tiny, facts, source).source)
    console = Console(file=(said := StringIO()), width=200)
    prepared = prepare(complete, inputs(tiny, facts, source), console=console)
    tried = prepared.template_choice["tried"]
    lines = said.getvalue().splitlines()
    left_out = [line for line in lines if line.startswith("template left out")]  # too long for a tiny context
    assert len(lines) == len(tried) + len(left_out)
    assert len(list_templates()) < len(lines) <= len(list_templates()) + 5
    assert {line.split()[3].rstrip(":") for line in left_out} <= {"emotion", "knowledge"}
    assert prepared.recipe.embedding.template == max(tried, key=lambda one: tried[one])
    assert prepared.embedder.template == prepared.recipe.embedding.template
    assert all(Template.parse(one).has_soft is facts.soft_tokens for one in tried)
    # Nothing was trained or drawn meanwhile: what is read so from the beginning starts with the same weights.
    fixed = tiny.recipe(facts.task, **named, embedding={"template": prepared.embedder.template, "max_length": 24})
    again = prepare(resolved(fixed, source=inputs(tiny, facts, source).source), inputs(tiny, facts, source))
    for name, weights in again.embedder.state_dict().items():
        assert weights.equal(prepared.embedder.state_dict()[name]), name


def test_a_run_knows_what_was_asked_for_and_goes_on_with_what_was_chosen(
    tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, given = tiny.recipe("adapt", embedding=AUTO), Inputs(source=source, data_dir=tiny.data)
    straight = start(recipe, given, runs=tmp_path, name="straight", console=QUIET)
    run = read_run(straight)
    assert run.record["template_choice"]["asked"]["template"] == "auto"
    assert run.recipe["embedding"]["template"] in run.record["template_choice"]["tried"]
    with monkeypatch.context() as patch:
        patch.setattr("transferkit.runner.run.Progress", Stopped)
        with pytest.raises(Interrupted):
            start(recipe, given, runs=tmp_path, name="stopped", console=QUIET)
    stopped = resume(tmp_path / "stopped", console=QUIET)
    again = read_run(stopped)
    assert again.record["template_choice"] == run.record["template_choice"]
    assert again.recipe["embedding"] == run.recipe["embedding"]
    assert untimed(again.metrics) == untimed(run.metrics)
    first, second = (load_file(folder / "checkpoint" / "learned.safetensors") for folder in (straight, stopped))
    assert all(first[name].equal(second[name]) for name in first)
    assert source_facts(stopped)["lineage"] == source_facts(straight)["lineage"]
    for folder in (straight, stopped):
        assert is_same_run(Planned("adapt", recipe, source, folder))
    assert compare([run]).rows[0].series.label == "transfer, W + offsets, source start"


def test_a_lineage_holds_the_template_as_it_was_asked_for(tiny: Tiny, source: Path) -> None:
    given = Inputs(source=source, data_dir=tiny.data)
    asked = resolved(tiny.recipe("adapt", embedding=AUTO), source=source)
    prepared = prepare(asked, given, console=QUIET)
    of = [lineage(prepared)]
    for template in list(prepared.template_choice["tried"])[:2]:  # as another seed may choose
        of.append(lineage(replace(prepared, recipe=behind(asked, template))))
    assert len(set(of)) == 1
    assert lineage(replace(prepared, template_choice={})) != of[0]  # the same one, asked for by itself


def test_seeds_that_chose_differently_are_seeds_of_one_row(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    folders = []
    for seed in (3, 4):
        recipe = tiny.recipe("adapt", embedding=AUTO, optim={"steps": 1}, seed=seed)
        given = Inputs(source=source, data_dir=tiny.data)
        folders.append(start(recipe, given, runs=tmp_path, name=f"s{seed}", console=QUIET))
    file = folders[0] / "recipe.yaml"
    chosen = read_run(folders[0]).recipe["embedding"]["template"]
    assert chosen in file.read_text(encoding="utf-8").replace("\\", "")
    unseal(folders[0])
    file.write_text(file.read_text(encoding="utf-8").replace(f"template: '{chosen}'", "template: 'other {text}{soft}'"))
    (row,) = compare([read_run(folder) for folder in folders]).rows
    assert row.seeds == 2


def test_memory_that_runs_out_while_templates_are_tried_is_one_sentence(
    tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("transferkit.runner.choose_template.Scorer.__call__", full)
    with pytest.raises(RunError, match=r"^embedding\.template: auto: out of GPU memory while .*, or name a template"):
        start(
            tiny.recipe("adapt", embedding=AUTO),
            Inputs(source=source, data_dir=tiny.data),
            runs=tmp_path,
            console=QUIET,
        )
    assert not list(tmp_path.iterdir())


def test_a_variation_that_is_another_named_template_is_read_once(
    tiny: Tiny, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "transferkit.runner.choose_template.variations", lambda best: [best, templates_to_try(soft=True)[0]]
    )
    console = Console(file=(said := StringIO()), width=200)
    recipe = resolved(tiny.recipe("adapt", embedding=AUTO), source=source)
    prepared = prepare(recipe, Inputs(source=source, data_dir=tiny.data), console=console)
    scored = [line for line in said.getvalue().splitlines() if line.startswith("template ") and "left out" not in line]
    assert len(scored) == len(prepared.template_choice["tried"])


def test_texts_alone_cannot_choose(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    data = tiny.mapping("adapt")["data"]
    dev = [*data["dev"], {"name": "alone", "kind": "texts", "path": "intents.csv", "select": True}]
    recipe = tiny.recipe("adapt", embedding=AUTO, data=data | {"dev": dev})
    with pytest.raises(ConfigError, match=r"auto is chosen before a teacher has read 'alone', so that set cannot choo"):
        prepare(resolved(recipe, source=source), Inputs(source=source, data_dir=tiny.data), console=QUIET)


def test_a_dry_run_asks_no_model(tiny: Tiny, source: Path) -> None:
    plan = describe(tiny.recipe("adapt", embedding=AUTO), Inputs(source=source, data_dir=tiny.data))
    assert f"template: auto\n  {len(templates_to_try(soft=True))} named ones" in plan


@pytest.mark.parametrize("soft", ["", "{soft}"])
def test_variations_are_short_and_all_different(soft: str) -> None:
    for text in templates_to_try(soft=bool(soft)):
        found = variations(text)
        assert 1 <= len(found) <= 4
        assert len({*found, text}) == len(found) + 1
        for one in found:
            parsed = Template.parse(one)
            assert one.endswith(soft)
            assert parsed.has_soft is bool(soft)
            assert abs(len(one) - len(text)) <= 4


def test_variations_end_and_quote_in_other_ways() -> None:
    assert variations('Say "{text}" in one word:') == [
        'Say "{text}" in one word: "',
        'Say "{text}" in one word:"',
        'Say "{text}" in one word',
        "Say {text} in one word:",
    ]
    assert variations("{text}{soft}") == ['"{text}"{soft}']
