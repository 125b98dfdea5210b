"""The schema of recipes, --set, the built-in files and the README beside them."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.tiny import Tiny

from transferkit.config.recipe import Recipe, recipe_yaml
from transferkit.config.recipe_text import whole_text
from transferkit.config.recipes import RETIRED, list_recipes, read_mapping, read_recipe, recipe_path, set_key
from transferkit.config.schema import Strict, dump_yaml, keys_at, parse, parse_yaml, read_yaml
from transferkit.config.sections import TeacherSection
from transferkit.config.specs import find_spec, list_backbones
from transferkit.config.template import template_name, template_text
from transferkit.errors import ConfigError
from transferkit.files.builtin import builtin_dir
from transferkit.runner.prepare import resolved

TASKS = ("train", "adapt", "baseline")
LOCAL = "mixture"  # the one folder of recipes on local files, without backbones
OFFLINE = "bundled"  # the one whose data and decoders are there without network; adapt and baseline are on a target
ON_TOYS = (OFFLINE, "mixture")  # families whose recipes were measured with the bundled decoders
BASES = ["base/adapt", "base/baseline", "base/bundled", "base/mixture", "base/train"]
BASELINE_ONLY = "roth"  # a paper's baseline, on local files
FAMILIES = sorted({name.split("/")[0] for name in list_recipes()} - {LOCAL, OFFLINE, BASELINE_ONLY})
NEEDED = ["llama", "qwen2.5", "qwen3", "mistral", "gemma3", "phi3", "smollm2", "olmo2", "pythia", "gpt2"]
MINIMAL: dict[str, Any] = {
    "task": "train",
    "prompting": {"backbone": "small"},
    "data": {
        "train": [{"name": "a", "kind": "pairs", "path": "a.csv"}],
        "dev": [{"name": "d", "kind": "sts", "path": "d.csv"}],
    },
    "optim": {"steps": 10},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(MINIMAL), encoding="utf-8")
    return path


@cache
def builtin(name: str) -> Recipe:
    return read_recipe(name, task=name.split("/")[1])  # type: ignore[arg-type]


@cache
def whole(name: str) -> str:
    return whole_text(recipe_path(name))


# Errors of the schema


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.stpes=3", r"optim\.stpes: unknown key 'stpes'; did you mean 'steps'\?"),
        ("prompting.token=5", r"prompting\.token: unknown key 'token'; did you mean 'tokens'\?"),
        ("lora.zzz=3", r"lora\.zzz: unknown key 'zzz'; allowed: r, alpha, dropout"),
        ("data.dev.0.zzz=3", r"data\.dev\.0\.zzz: unknown key 'zzz'; allowed: name, kind, path, train_path"),
        ("task=trian", r"task: expected 'train', 'adapt' or 'baseline', got 'trian'; did you mean 'train'\?"),
        ("data.train.0.kind=pair", r"data\.train\.0\.kind: expected .*, got 'pair'; did you mean 'pairs'\?"),
        ("optim.steps=2.5", r"optim\.steps: expected a whole number, got 2\.5"),
        ("optim.lr=fast", r"optim\.lr: expected a number, got the text 'fast'"),
        ("optim.lr=.inf", r"optim\.lr: .*finite.*, got inf"),
        ("optim.lr=0", r"optim\.lr: .*greater than 0, got 0"),
        ("seed=4294967296", r"seed: .*less than or equal to 4294967295"),
        ("lora.r=9223372036854775807", r"lora\.r: .*less than or equal to 1000000"),
        ("seed=true", r"seed: expected a whole number, got True"),
        ("data.dev.0.select=1", r"data\.dev\.0\.select: expected true or false, got 1"),
        ("data=3", r"data: expected a mapping, got 3"),
        ("data.train=3", r"data\.train: expected a list, got 3"),
        ("data.train=[]", r"data\.train: .*at least 1 item"),
        ("data.train.0={name: a, path: b}", r"data\.train\.0\.kind: this key is missing"),
        ("data.train.0.hub_id=org/set", r"data\.train\.0: needs exactly one of path, hub_id and builtin"),
        ("data.train.0.path=null", r"data\.train\.0: needs exactly one of path, hub_id and builtin"),
        ("data.dev.0.builtin=installed-docs", r"data\.dev\.0: needs exactly one of path, hub_id and builtin"),
        ("data.train.0.builtin=installed", r"builtin: expected 'installed-docs', got 'installed'; did you mean"),
        (
            "data.dev.0={name: d, kind: knn, builtin: installed-docs, train_path: t.csv}",
            r"data\.dev\.0: train_path, corpus_path, qrels_path: not allowed beside builtin",
        ),
        (
            "data.train.0.columns={query: q}",
            r"unknown role 'query' for kind 'pairs', allowed: anchor, positive",
        ),
        ("data.dev.0.kind=knn", r"data\.dev\.0: train_path: this key is missing"),
        ("data.dev.0.kind=retrieval", r"data\.dev\.0: corpus_path, qrels_path: both are needed"),
        ("data.dev.0.select=false", r"dev: no set has select: true"),
        ("prompting.backbone=null", r"prompting\.backbone: this key is missing"),
        ("method=lora", r"method: only a baseline has one, this is a train recipe"),
        ("task=adapt", r"prompting\.backbone: not allowed in adapt"),
        ("optim.warmup_steps=10", r"warmup_steps: expected fewer than steps \(10\), got 10"),
        ("embedding.template='{txt}'", r"embedding\.template: .*unknown placeholder \{txt\}"),
        ("frozen.templates=['{text}',plain]", r"frozen\.templates: '\{text\}' stands twice; give each once"),
        ("frozen.poolings=[mean,mean]", r"frozen\.poolings: 'mean' stands twice; give each once"),
        ("frozen.templates=['{text}{soft}']", r"frozen\.templates: .*gets no \{soft\} tokens"),
    ],
)
def test_mistake_is_one_sentence_with_file_and_key(file: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        read_recipe(str(file), overrides=[override])
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("path", "unused"), RETIRED.items())
def test_a_key_that_is_gone_is_let_through_where_it_changed_nothing(file: Path, path: str, unused: Any) -> None:
    """Copies of recipes and run folders of earlier versions have it."""
    section, key = path.split(".")
    mapping = read_yaml(file)
    mapping.setdefault(section, {})[key] = unused
    file.write_text(dump_yaml(mapping))
    assert key not in read_recipe(str(file)).model_dump()[section]
    with pytest.raises(ConfigError, match=rf"{re.escape(path)}: 'x' is no longer offered.*remove this key"):
        read_recipe(str(file), overrides=[f"{path}=x"])


def test_further_mistakes_are_counted(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"\(and 2 more\)$"):
        read_recipe(str(file), overrides=["a=1", "b=2", "optim.c=3"])


@pytest.mark.parametrize("written", ["1e-3", "1.0e-3", "1E-3", "0.001", ".1e-2"])
def test_a_number_may_be_written_in_any_way(tmp_path: Path, written: str) -> None:
    path = tmp_path / "mine.yaml"
    text = yaml.safe_dump(MINIMAL).replace("steps: 10", f"steps: 10\n  lr: {written}")
    path.write_text(text, encoding="utf-8")
    assert read_recipe(str(path)).optim.lr == 1e-3
    assert read_recipe(str(path), overrides=[f"optim.lr_offset={written}"]).optim.lr_offset == 1e-3
    path.write_text(text.replace(written, f"'{written}'"), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"optim\.lr: expected a number, got the text '{re.escape(written)}'"):
        read_recipe(str(path))
    with pytest.raises(ConfigError, match=r"optim\.lr_offset: expected a number, got the text"):
        read_recipe(str(path), overrides=["optim.lr=1e-3", f"optim.lr_offset='{written}'"])


def test_key_written_twice_is_an_error(file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8") + "task: adapt\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line \d+, column 1: not valid YAML: key 'task' is written twice"):
        read_recipe(str(file))


def test_yaml_that_builds_on_an_anchor_is_merged_and_still_refuses_a_key_twice() -> None:
    text = "base: &base {a: 1, b: 2}\nmine: {<<: *base, b: 3}\n"
    assert parse_yaml(text, where="x")["mine"] == {"a": 1, "b": 3}
    with pytest.raises(ConfigError, match="key 'b' is written twice"):
        parse_yaml(text.replace("b: 3", "b: 3, b: 4"), where="x")


def test_same_name_twice_is_an_error(file: Path) -> None:
    one = "{name: a, kind: pairs, path: b.csv}"
    with pytest.raises(ConfigError, match="data: train: the name 'a' is used twice"):
        read_recipe(str(file), overrides=[f"data.train=[{one}, {one}]"])


def test_soft_pooling_before_the_text_is_refused(file: Path) -> None:
    template = "embedding.template='{soft}{text}'"
    with pytest.raises(ConfigError, match="pooling: 'soft' reads positions that stand before the text"):
        read_recipe(str(file), overrides=[template, "embedding.pooling=soft"])
    assert read_recipe(str(file), overrides=[template, "embedding.pooling=mean"]).embedding.pooling == "mean"


# Names


def test_unknown_name_gives_the_closest_one() -> None:
    with pytest.raises(ConfigError, match=r"unknown recipe 'llama/trian'; did you mean 'llama/train'\?"):
        read_recipe("llama/trian")


def test_name_with_yaml_is_a_file_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^llama/train\.yaml: no such file; check its name and folder$"):
        read_recipe("llama/train.yaml")


def test_recipe_of_another_task_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"adapt\.yaml: task: expected 'train' for this command, got 'adapt'"):
        read_recipe("llama/adapt", task="train")


# --set


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("a.b=2", 2),
        ("a.b=2e-5", 2e-5),
        ("a.b='2e-5'", "2e-5"),
        ("a.b=null", None),
        ("a.b=", None),
        ("a.b=[x, y]", ["x", "y"]),
        ("a.b=k=v", "k=v"),
        ("a.b=hello there", "hello there"),
        ("a.b='{text}'", "{text}"),
        ('a.b="1234567"', "1234567"),
    ],
)
def test_set_reads_the_value_as_yaml(override: str, value: Any) -> None:
    mapping: dict[str, Any] = {"a": {"b": 1, "c": 3}}
    set_key(mapping, override)
    assert mapping == {"a": {"b": value, "c": 3}}


def test_set_reaches_list_items_and_makes_missing_sections(file: Path) -> None:
    overrides = ["data.train.0.weight=2.5", "data.dev.0.name=other", "eval.every=7", "frozen.poolings.0=last"]
    with pytest.raises(ConfigError, match=r"expected a position"):  # a default is no place: write the whole list
        read_recipe(str(file), overrides=[*overrides[:-1], "frozen.poolings=[]", overrides[-1]])
    recipe = read_recipe(str(file), overrides=[*overrides[:-1], "frozen.poolings=[mean, mean]", overrides[-1]])
    assert recipe.data.train[0].weight == 2.5
    assert recipe.data.dev[0].name == "other"
    assert recipe.eval.every == 7
    assert recipe.frozen.poolings == ["last", "mean"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.steps", r"expected key\.path=value"),
        ("=3", r"expected key\.path=value"),
        ("data.train.1.weight=2", "expected a position from 0 to 0, got '1'"),
        ("data.train.-1.weight=2", "expected a position from 0 to 0, got '-1'"),
        ("data.train.first.weight=2", "expected a position from 0 to 0, got 'first'"),
        ("data.train.²=2", "expected a position from 0 to 0, got '²'"),
        ("task.x=2", "'x' stands below a value that has no keys"),
        ("task.x.y=2", "'x' stands below a value that has no keys"),
        ("embedding.template={text}{soft}", "not valid YAML"),
    ],
)
def test_bad_override_is_named(file: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        read_recipe(str(file), overrides=[override])
    assert str(error.value).startswith(f"--set {override}")


# The built-in recipes


def test_every_needed_family_has_the_three_recipes() -> None:
    assert set(NEEDED) <= set(FAMILIES)
    complete = [f"{family}/{task}" for family in [*FAMILIES, LOCAL, OFFLINE] for task in TASKS]
    assert list_recipes() == sorted([*complete, f"{BASELINE_ONLY}/baseline"])


def test_folder_holds_recipes_their_bases_and_their_readme_only() -> None:
    folder = builtin_dir("recipes")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {f"{name}.yaml" for name in [*list_recipes(), *BASES]} | {"README.md"}
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.yaml")) <= 1800


@pytest.mark.parametrize("name", BASES)
def test_base_is_one_level_says_so_and_is_used(name: str) -> None:
    path = builtin_dir("recipes") / f"{name}.yaml"
    assert "base" not in read_yaml(path)
    assert path.read_text(encoding="utf-8").startswith("# What ")
    assert [one for one in list_recipes() if read_yaml(recipe_path(one)).get("base") == name]
    with pytest.raises(ConfigError, match="unknown recipe"):
        recipe_path(name)


@pytest.mark.parametrize("name", [name for name in list_recipes() if "base" in read_yaml(recipe_path(name))])
def test_recipe_writes_nothing_that_its_base_says_already(name: str) -> None:
    def repeated(own: dict[str, Any], below: dict[str, Any]) -> list[str]:
        found = [key for key in own if key in below and own[key] == below[key]]
        nested = (key for key in own if isinstance(own[key], dict) and isinstance(below.get(key), dict))
        return found + [f"{key}.{one}" for key in nested for one in repeated(own[key], below[key])]

    own = read_yaml(recipe_path(name))
    base = own.pop("base")
    assert base in BASES
    assert not repeated(own, read_yaml(builtin_dir("recipes") / f"{base}.yaml"))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", TASKS)
def test_family_holds_its_backbones_and_says_what_was_measured(family: str, task: str) -> None:
    sections = ["prompting", "embedding"] if task == "train" else ["embedding"]
    path = recipe_path(f"{family}/{task}")
    mapping = read_yaml(path)
    assert mapping.pop("base") == f"base/{task}"
    assert {section: list(keys) for section, keys in mapping.items()} == {name: ["backbone"] for name in sections}
    assert "measured" in path.read_text(encoding="utf-8").partition("\nbase:")[0].splitlines()[-1]


@pytest.mark.parametrize("name", list_recipes())
def test_resolved_recipe_survives_yaml(name: str) -> None:
    recipe = builtin(name)
    text = recipe_yaml(recipe)
    assert parse(Recipe, parse_yaml(text, where=name), where=name) == recipe
    assert set(yaml.safe_load(text)) == set(Recipe.model_fields)


@pytest.mark.parametrize("name", list_recipes())
def test_recipe_is_a_document(name: str) -> None:
    task = name.split("/")[1]
    lines = whole(name).splitlines()
    assert re.match(r"# (Train|Carry|What) .*\w.*", lines[0])
    assert lines[1] == "#"
    assert lines[2].startswith(f"#   transferkit {task} {name}")
    assert max(len(line) for line in lines) <= 110
    assert all(line == line.rstrip() for line in lines)
    mapping = read_mapping(recipe_path(name))
    assert not {"base", "include", "inherits", "defaults", "<<"} & set(mapping)
    for section in ("alignment", "embedding", "readout", "loss", "optim"):  # every knob says what it is
        for key in mapping.get(section, {}):
            if key not in ("dropout", "weight_decay"):
                assert any(re.match(rf"  {key}: .+ # .+", line) for line in lines), (section, key)


@pytest.mark.parametrize("name", list_recipes())
def test_recipe_says_all_that_its_task_uses(name: str) -> None:
    """Nothing is left to a default that may change, but for what other places decide."""
    task = name.split("/")[1]
    mapping = read_mapping(recipe_path(name))
    sections = {
        "train": ["prompting", "alignment", "embedding", "readout", "data", "loss", "optim", "eval"],
        "adapt": ["alignment", "embedding", "readout", "data", "loss", "optim", "eval"],
        "baseline": [
            "method",
            "prompting",
            "embedding",
            "lora",
            "frozen",
            "readout",
            "data",
            "loss",
            "optim",
            "eval",
        ],
    }[task]
    keys = [k for k in Recipe.model_fields if k in {*sections, "task", "seed", "precision", "save_every", "tracking"}]
    assert list(parse_yaml(whole(name), where=name)) == keys
    elsewhere = {
        "prompting": {"lora"}
        if task == "train"
        else set(Recipe.model_fields["prompting"].annotation.model_fields) - {"tokens"},  # type: ignore[union-attr]
        "embedding": {"backbone", "template", "pooling", "layers", *(["more_backbones"] if task != "train" else [])},
        "optim": {"lr"} if task == "adapt" else {"lr_alignment", "lr_offset"} if task == "baseline" else set(),
    }
    for section in sections:
        model = Recipe.model_fields[section].annotation
        if isinstance(model, type) and issubclass(model, Strict):
            assert set(model.model_fields) - set(mapping[section]) <= elsewhere.get(section, set()), section


@pytest.mark.parametrize("family", [*FAMILIES, LOCAL, OFFLINE])
def test_three_recipes_of_a_family_can_be_compared(family: str) -> None:
    def shared(recipe: Recipe) -> dict[str, Any]:
        values = recipe.model_dump(include={"seed", "data", "loss", "readout", "tracking"})
        there = {"template", "pooling", "layers", *(["backbone"] if family == OFFLINE else [])}
        values["embedding"] = recipe.embedding.model_dump(exclude=there)
        values["batch"] = (recipe.optim.batch_size, recipe.optim.micro_batch_size, recipe.eval.batch_size)
        return values

    first, *others = [shared(builtin(f"{family}/{task}")) for task in TASKS]
    assert all(other == first for other in others)
    train, baseline = builtin(f"{family}/train"), builtin(f"{family}/baseline")
    # Measured: decoders of a few million parameters make nothing of a prompt, real ones a summary.
    template = template_text("plain" if family in ON_TOYS else "one-word", soft=True)
    assert (train.embedding.template, train.embedding.pooling) == (template, "soft")
    # What adapt reads, or else the source's; the rows beside it read the same.
    adapt = builtin(f"{family}/adapt").embedding
    assert adapt.template in (template, None if family in ON_TOYS else template)
    pooling = adapt.pooling or train.embedding.pooling
    assert (baseline.embedding.template, baseline.embedding.pooling) == (template, pooling)
    assert baseline.embedding.backbone == builtin(f"{family}/adapt").embedding.backbone
    assert baseline.prompting.tokens == train.prompting.tokens
    assert baseline.method == "lora"


@pytest.mark.parametrize("name", list_recipes())
def test_only_sets_inside_the_mixture_select(name: str) -> None:
    data = builtin(name).data
    trained = {one.name for one in data.train}
    assert {one.name for one in data.dev if one.select} <= trained
    assert {one.name for one in data.dev if not one.select}.isdisjoint(trained)
    assert all(one.instruction for one in [*data.train, *data.dev])
    for one in data.dev:
        same = [other for other in data.train if other.name == one.name]
        assert all(other.instruction == one.instruction for other in same)


@pytest.mark.parametrize("family", FAMILIES)
def test_family_names_backbones_of_the_registry(family: str) -> None:
    recipe = builtin(f"{family}/train")
    assert recipe.embedding.backbone in list_backbones()
    assert recipe.prompting.backbone in list_backbones()
    spec, small = find_spec(recipe.embedding.backbone), find_spec(recipe.prompting.backbone)
    assert spec.family == family
    assert small.hidden_size < spec.hidden_size
    assert recipe.embedding.quantization in spec.quantizations
    assert recipe.precision == "auto"
    longest = recipe.embedding.max_length + (recipe.prompting.tokens or 0)
    assert spec.max_length is None or longest <= spec.max_length


@pytest.mark.parametrize("family", FAMILIES)
def test_family_trains_on_public_data(family: str) -> None:
    data = builtin(f"{family}/train").data
    for one in [*data.train, *data.dev]:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", one.hub_id or "")
        assert one.revision is None or re.fullmatch(r"[0-9a-f]{40}", one.revision)


@pytest.mark.parametrize("task", TASKS)
def test_families_differ_in_names_only(task: str) -> None:
    """What is tried in one family is tried in all; the spaces before comments follow the names' lengths."""

    def nameless(family: str) -> str:
        text = whole(f"{family}/{task}")
        recipe = builtin(f"{family}/train")
        for name, stands_for in (
            (recipe.embedding.backbone, "BACKBONE"),
            (recipe.prompting.backbone, "SMALL"),
        ):
            text = text.replace(str(name), stands_for)
        text = re.sub(rf"\b{re.escape(family)}/(train|adapt|baseline)", r"FAMILY/\1", text)
        return re.sub(" +#", " #", text)

    texts = {nameless(family) for family in FAMILIES}
    assert len(texts) == 1


def test_mixture_is_local_and_an_evaluation_is_small() -> None:
    recipe = builtin(f"{LOCAL}/train")
    assert recipe.embedding.backbone is None
    sets = [*recipe.data.train, *recipe.data.dev]
    assert all(one.path is not None and not Path(one.path).is_absolute() for one in sets)
    weights = {one.name: one.weight for one in recipe.data.train}
    assert weights["clinc150"] / sum(weights.values()) == pytest.approx(0.3)
    assert len(weights) == 8
    texts_a_row = {"knn": 6, "sts": 2, "clustering": 1}
    assert sum(texts_a_row[one.kind] * (one.limit or 10**9) for one in recipe.data.dev) <= 6200
    for one in recipe.data.dev:  # a knn set that is its own neighbour would score 100
        assert one.train_path is None or one.train_path != one.path


def test_roth_trains_on_synthetic_pairs_and_measures_clustering() -> None:
    recipe = builtin(f"{BASELINE_ONLY}/baseline")
    assert (recipe.method, recipe.embedding.backbone) == ("lora", None)
    assert template_name(str(recipe.embedding.template), soft=True) == "clustering"
    assert [one.path for one in recipe.data.train] == ["synthetic/arxiv_titles.parquet"]
    assert [one.kind for one in recipe.data.dev] == ["clustering", "clustering"]


def test_offline_recipes_need_nothing_but_the_installation() -> None:
    recipes = [builtin(f"{OFFLINE}/{task}") for task in TASKS]
    backbones = [name for one in recipes for name in (one.embedding.backbone, one.prompting.backbone) if name]
    assert all(find_spec(name).bundled for name in backbones)
    assert len(set(backbones)) == 3, "the target is neither the source's decoder nor the Prompting LLM"
    assert all(one.builtin for recipe in recipes for one in [*recipe.data.train, *recipe.data.dev])
    trained = {one.split for one in recipes[0].data.train}
    assert "unseen" not in trained
    assert [one.split for one in recipes[0].data.dev if not one.select] == ["unseen"]


def test_what_the_method_of_a_recipe_does_not_have_is_said(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match=r"method: expected 'lora', .*, got None"):
        _ = tiny.recipe("baseline").facts
    tfidf = resolved(tiny.recipe("baseline", method="tfidf"), source=None)
    with pytest.raises(ConfigError, match="tfidf: no backbone embeds in this method, so nothing reads a template"):
        _ = tfidf.reading
    frozen = resolved(tiny.recipe("baseline", method="frozen", embedding={"template": "auto"}), source=None)
    assert frozen.reading.template == "{text}"  # nothing learns, so there is nothing to choose it for
    assert keys_at(Recipe, ("seed",)) == list(Recipe.model_fields)
    assert keys_at(Recipe, ("teacher",)) == list(TeacherSection.model_fields)
