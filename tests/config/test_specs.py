"""The registry of backbones: every file, the README beside them, and the errors of reading a spec."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from transferkit.config.specs import BackboneSpec, TokenizerFacts, find_spec, list_backbones, read_spec
from transferkit.decoder.probe import probe
from transferkit.errors import ConfigError
from transferkit.files.builtin import builtin_dir, bundled_dir

ROOT = Path(__file__).resolve().parents[2]
MINIMAL = {"name": "tiny", "family": "llama", "hub_id": "org/tiny", "model_type": "llama", "hidden_size": 16}


@pytest.fixture(params=list_backbones())
def spec(request: pytest.FixtureRequest) -> BackboneSpec:
    return find_spec(request.param)


def write_spec(folder: Path, changes: dict[str, Any] | None = None, *, stem: str = "tiny") -> Path:
    """A spec file: MINIMAL with ``changes``; None removes a key."""
    mapping = {key: value for key, value in {**MINIMAL, **(changes or {})}.items() if value is not None}
    path = folder / f"{stem}.yaml"
    path.write_text(yaml.safe_dump(mapping), encoding="utf-8")
    return path


# The registry


def test_every_file_of_the_folder_is_a_backbone() -> None:
    files = {path.name for path in builtin_dir("backbones").iterdir()}
    assert files == {f"{name}.yaml" for name in list_backbones()} | {"README.md"}
    assert list_backbones() == sorted(list_backbones())


def test_registry_is_broad() -> None:
    specs = [find_spec(name) for name in list_backbones()]
    assert len(specs) >= 30
    assert len({spec.family for spec in specs}) >= 15
    assert len({spec.model_type for spec in specs}) >= 15
    assert len({spec.where for spec in specs if not spec.bundled}) == sum(not spec.bundled for spec in specs)


def test_spec_is_complete(spec: BackboneSpec) -> None:
    assert re.fullmatch(r"[a-z0-9.\-]+", spec.name)
    assert re.fullmatch(r"[a-z0-9.\-]+", spec.family)
    assert spec.bundled or re.fullmatch(r"[\w.\-]+/[\w.\-]+", spec.hub_id or "")
    assert spec.revision is None or re.fullmatch(r"[0-9a-f]{40}", spec.revision)
    assert bool(spec.sources) != spec.bundled  # the facts of a bundled one can be read beside it
    for source in spec.sources:
        assert re.fullmatch(r"https://\S+|[\w.\-]+/[\w.\-]+ \S+", source), source
    assert spec.quantizations[0] == "none"
    assert spec.embedding_size != spec.hidden_size


@pytest.mark.parametrize("name", [name for name in list_backbones() if find_spec(name).bundled])
def test_bundled_backbone_is_whole_and_says_what_it_is(name: str) -> None:
    """The probe reads the same facts from its files, and the card measures it against a 5-gram model."""
    spec = find_spec(name)
    folder = Path(spec.location)
    assert folder == bundled_dir(name)
    probed = probe(str(folder))
    for field in ("model_type", "hidden_size", "num_layers", "max_length", "tokenizer"):
        assert getattr(probed, field) == getattr(spec, field), field
    assert max(file.stat().st_size for file in folder.iterdir()) < 25_000_000
    card = (folder / "card.md").read_text(encoding="utf-8")
    bits = [float(figure) for figure in re.findall(r"\| (\d\.\d{3})(?: bits per byte)? \|\n", card)[:2]]
    assert bits[0] < bits[1], "weaker than the 5-gram model on the same tokens"
    assert "## Samples at temperature" in card
    last = json.loads((folder / "pretrain.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert f"{last['tokens']:,.0f}" in card
    recipe = (folder / "pretrain.yaml").read_text(encoding="utf-8")
    assert recipe == (ROOT / "benchmarks" / "pretrain" / f"{name}.yaml").read_text(encoding="utf-8")


def test_every_bundled_backbone_has_a_spec() -> None:
    folders = {path.name for path in (ROOT / "transferkit" / "bundled").iterdir() if path.is_dir()} - {"source", "toy"}
    assert folders == {name for name in list_backbones() if find_spec(name).bundled}
    weights = sum(file.stat().st_size for file in (ROOT / "transferkit" / "bundled").rglob("*.safetensors"))
    assert weights < 60_000_000


def test_model_type_is_known_to_transformers(spec: BackboneSpec) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    assert spec.model_type in CONFIG_MAPPING_NAMES


def test_file_opens_with_a_comment_and_keeps_the_order_of_the_schema(spec: BackboneSpec) -> None:
    text = (builtin_dir("backbones") / f"{spec.name}.yaml").read_text(encoding="utf-8")
    assert re.match(r"# [A-Z].*\.\nname: ", text)
    for keys, model in (
        (yaml.safe_load(text), BackboneSpec),
        (yaml.safe_load(text).get("tokenizer", {}), TokenizerFacts),
    ):
        assert list(keys) == [field for field in model.model_fields if field in keys]


def test_nf4_is_declared_where_the_architecture_has_linear_layers(spec: BackboneSpec) -> None:
    """4-bit loading replaces modules of exactly ``nn.Linear``; a subclass stays as it is."""
    torch = pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(spec.model_type)
    if hasattr(config, "layer_types") and config.layer_types:
        config.layer_types = config.layer_types[:2]
    if spec.model_type != "gpt_neo":  # its depth follows from attention_types
        config.num_hidden_layers = 2
    with torch.device("meta"):
        trunk = AutoModel.from_config(config)
    linear = sum(type(module) is torch.nn.Linear for module in trunk.modules())
    if "nf4" in spec.quantizations:
        assert linear >= 8
    elif spec.model_type in ("falcon", "gpt2"):
        assert linear == 0


def test_readme_names_every_field() -> None:
    readme = (builtin_dir("backbones") / "README.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([\w.]+)` \|", readme, flags=re.MULTILINE))
    assert rows == set(BackboneSpec.model_fields) | {f"tokenizer.{field}" for field in TokenizerFacts.model_fields}


def test_reading_specs_imports_no_torch() -> None:
    code = (
        "import sys; from transferkit.config.specs import find_spec, list_backbones; find_spec(list_backbones()[0]);"
        "print(sorted({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# Reading one


def test_minimal_spec_gets_the_defaults(tmp_path: Path) -> None:
    spec = read_spec(write_spec(tmp_path))
    assert (spec.location, spec.pooling, spec.template, spec.quantizations) == (
        "org/tiny",
        "soft",
        "{text}{soft}",
        ["none"],
    )
    assert spec.tokenizer == TokenizerFacts(add_bos=None, has_pad=None, append_eos=False, vocab_size=None)


def test_path_is_relative_to_the_spec_file(tmp_path: Path) -> None:
    path = write_spec(tmp_path, {"hub_id": None, "path": "weights/tiny"})
    assert find_spec(str(path)).location == str(tmp_path / "weights" / "tiny")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hiden_size": 8}, r"hiden_size: unknown key 'hiden_size'; did you mean 'hidden_size'\?"),
        (
            {"tokenizer": {"add_boss": True}},
            r"tokenizer\.add_boss: unknown key 'add_boss'; did you mean 'add_bos'\?",
        ),
        ({"hidden_size": "16"}, r"hidden_size: expected a whole number, got the text '16'"),
        ({"hidden_size": 0}, r"hidden_size: .*greater than or equal to 1, got 0"),
        ({"hidden_size": None}, r"hidden_size: this key is missing"),
        ({"gated": "yes please"}, r"gated: expected true or false, got the text 'yes please'"),
        ({"pooling": "softt"}, r"pooling: expected .*got 'softt'; did you mean 'soft'\?"),
        ({"quantizations": ["nf5"]}, r"quantizations\.0: expected .*got 'nf5'; did you mean 'nf4'\?"),
        ({"template": "{soft}"}, r"template: .*needs \{text\} exactly once, got it 0 times"),
        ({"path": "weights"}, r"needs exactly one of hub_id, path and bundled: true"),
        ({"hub_id": None}, r"needs exactly one of hub_id, path and bundled: true"),
        ({"name": "other"}, r"name: expected 'tiny' \(the file's name\), got 'other'"),
    ],
)
def test_mistake_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_spec(write_spec(tmp_path, changes))
    assert "tiny.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_malformed_file_is_an_error_and_not_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_spec(tmp_path)
    (tmp_path / "broken.yaml").write_text("name: [broken\n", encoding="utf-8")
    monkeypatch.setattr("transferkit.config.specs.builtin_dir", lambda kind: tmp_path)
    assert list_backbones() == ["broken", "tiny"]
    assert find_spec("tiny").name == "tiny"
    with pytest.raises(ConfigError, match=r"broken\.yaml, line \d+, column \d+: not valid YAML"):
        find_spec("broken")


def test_key_written_twice_is_an_error(tmp_path: Path) -> None:
    path = write_spec(tmp_path)
    path.write_text(path.read_text(encoding="utf-8") + "hidden_size: 32\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="key 'hidden_size' is written twice"):
        read_spec(path)


def test_unknown_name_gives_the_closest() -> None:
    name = list_backbones()[0]
    with pytest.raises(ConfigError, match=rf"unknown backbone '{name}x'; did you mean '{re.escape(name)}'\?"):
        find_spec(f"{name}x")
    with pytest.raises(ConfigError, match="no such file"):
        find_spec("missing.yaml")


@pytest.mark.parametrize(
    ("shape", "family"),
    [
        ({"hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9}, "smollm2"),
        ({"hidden_size": 2048, "num_hidden_layers": 16}, "llama"),
        ({"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}, "llama"),
    ],
)
def test_family_of_a_decoder_without_a_spec(tmp_path: Path, shape: dict[str, int], family: str) -> None:
    """That of a built-in one of the same shape, else of the same architecture, so that recipes fit."""
    from transformers import LlamaConfig
    from zoo import tokenizer

    LlamaConfig(**shape).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    assert probe(str(tmp_path)).family == family


# Against the hub


@pytest.mark.network
def test_declared_facts_hold_on_the_hub(spec: BackboneSpec) -> None:
    from transferkit.decoder.loading import load_config, load_tokenizer

    try:
        config = load_config(spec.location, revision=spec.revision).get_text_config()
    except ConfigError as error:
        if spec.gated:
            pytest.skip(f"gated, and no access: {error}")
        raise
    tokenizer = load_tokenizer(spec.location, revision=spec.revision)
    positions = getattr(config, "max_position_embeddings", None)
    found = {
        "model_type": config.model_type,
        "hidden_size": config.hidden_size,
        "embedding_size": getattr(config, "word_embed_proj_dim", config.hidden_size),
        "num_layers": config.num_hidden_layers,
        "max_length": positions,
        "has_pad": tokenizer.pad_token is not None,
        "vocab_size": len(tokenizer),
    }
    declared = {
        "model_type": spec.model_type,
        "hidden_size": spec.hidden_size,
        "embedding_size": spec.embedding_size or spec.hidden_size,
        "num_layers": spec.num_layers,
        "max_length": spec.max_length,
        "has_pad": spec.tokenizer.has_pad,
        "vocab_size": spec.tokenizer.vocab_size,
    }
    assert {key: found[key] for key in declared if declared[key] is not None} == {
        key: value for key, value in declared.items() if value is not None
    }
    if spec.tokenizer.add_bos:
        assert tokenizer.bos_token_id is not None


def test_a_local_copy_stands_for_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = find_spec("smollm2-135m")
    copy = tmp_path / spec.name
    monkeypatch.setenv("TRANSFERKIT_DECODERS", str(tmp_path))
    assert (spec.location, spec.where) == (spec.hub_id, spec.hub_id)  # no copy of it there
    copy.mkdir()
    assert spec.location == spec.hub_id  # a folder without a model
    (copy / "config.json").write_text("{}")
    assert (spec.location, spec.where) == (str(copy), "$TRANSFERKIT_DECODERS/smollm2-135m")
    assert spec.model_dump()["path"] is None  # a checkpoint says the name and not the place
    monkeypatch.delenv("TRANSFERKIT_DECODERS")
    assert spec.location == spec.hub_id


def test_a_bundled_decoder_or_a_folder_has_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERKIT_DECODERS", str(tmp_path))
    for name in ("bundled-llama-5m", "tiny"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    assert find_spec("bundled-llama-5m").location == str(bundled_dir("bundled-llama-5m"))
    here = tmp_path / "elsewhere"
    assert read_spec(write_spec(tmp_path, {"hub_id": None, "path": str(here)})).location == str(here)
