"""A checkpoint that was edited and sealed again: a sentence that names the file, never a traceback, never vectors."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.parts import prompt_embedder, source_checkpoint
from helpers.run_parts import build
from helpers.tiny import Tiny
from safetensors.torch import load_file, save_file

from transferkit.checkpoints.checkpoint import load, save
from transferkit.checkpoints.open import open_model
from transferkit.errors import ConfigError
from transferkit.files.builtin import bundled_dir
from transferkit.files.manifest import NAME, seal
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.runner.prepare import resolved


@pytest.fixture(scope="module")
def whole(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "checkpoint"
    save(prompt_embedder(tiny), folder, instructions={"pairs": "see"})
    return folder


def key(path: str, value: Any = None) -> Callable[[Path], None]:
    """Replace a key of the description; None drops it."""

    def edit(folder: Path) -> None:
        file = folder / "embedder.json"
        content = json.loads(file.read_text())
        *above, last = path.split(".")
        place = content
        for name in above:
            place = place[name]
        if value is None:
            del place[last]
        else:
            place[last] = value
        file.write_text(json.dumps(content))

    return edit


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


def tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor] | None) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = load_file(folder / "learned.safetensors")
        if change is None:
            del content[name]
        else:
            content[name] = change(content[name]).contiguous()
        save_file(content, folder / "learned.safetensors")

    return edit


def empty(folder: Path, name: str) -> str:
    """The description with nothing in a section."""
    return json.dumps(json.loads((folder / "embedder.json").read_text()) | {name: None})


EDITED = {
    "no mapping": (text("embedder.json", "null"), "embedder.json: expected a JSON object"),
    "deep": (text("embedder.json", "[" * 9000 + "]" * 9000), "embedder.json: not valid JSON (nested too deeply)"),
    "a surrogate": (
        text("embedder.json", '{"format": 1, "kind": "\\ud800"}'),
        "embedder.json: not valid JSON (half of",
    ),
    "a later format": (key("format", 2), "embedder.json: checkpoint format 2, expected 1"),
    "a section that is empty": (
        lambda folder: text("embedder.json", empty(folder, "alignment"))(folder),
        "embedder.json: alignment: expected a mapping, got nothing",
    ),
    "a way to read that is gone": (
        key("prompting.reads", "everything"),
        ": its Prompting LLM reads 'everything', which is no longer offered",
    ),
    "readout is a number": (key("readout", 0), "embedder.json: readout: expected a mapping"),
    "instructions are a number": (key("instructions", 3), "embedder.json: instructions: expected a mapping"),
    "no Prompting LLM": (key("prompting"), "embedder.json: key 'prompting': is missing"),
    "no alignment": (key("alignment"), "embedder.json: key 'alignment': is missing"),
    "no tau": (key("prompting.tau"), "embedder.json: prompting.tau: this key is missing"),
    "a newer setting": (key("prompting.sharpness", 2.0), "embedder.json: prompting.sharpness: unknown key"),
    "a newer fact of the spec": (key("backbone.spec.sides", 2), "embedder.json: backbone.spec.sides: unknown key"),
    "too many tokens": (key("prompting.tokens", 10**30), "embedder.json: prompting.tokens"),
    "other tokens": (key("prompting.tokens", 2), "learned.safetensors: tensor 'offset': expected shape"),
    "no offsets": (key("alignment.offset", False), "learned.safetensors: tensor 'offset': belongs to no part"),
    "another width": (key("readout.width", 7), "embedder.json: readout.width: expected"),
    "a readout without tensors": (key("readout.kind", "whiten"), "learned.safetensors: tensor 'mean': is missing"),
    "W is gone": (tensor("alignment.weight", None), "learned.safetensors: tensor 'weight': is missing"),
    "W is short": (tensor("alignment.weight", lambda w: w[:3]), "tensor 'weight': expected shape"),
    "W is flat": (tensor("alignment.weight", lambda w: w.flatten()), "tensor 'weight': expected shape"),
    "W is whole numbers": (tensor("alignment.weight", lambda w: w.long()), "tensor 'weight': expected torch.float32"),
    "W holds NaN": (tensor("alignment.weight", lambda w: w * torch.nan), "'alignment.weight' holds NaN or infinity"),
    "a tokenizer that is a number": (text("prompting/tokenizer.json", "5"), "prompting: "),
    "settings of a tokenizer that are text": (text("prompting/tokenizer_config.json", '""'), "prompting: "),
    "a config that is null": (text("prompting/config.json", "null"), "prompting: "),
}


@pytest.mark.parametrize("name", EDITED)
def test_an_edit_that_contradicts_itself_or_the_weights_is_refused(name: str, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(whole, folder)
    edit, says = EDITED[name]
    edit(folder)
    (folder / NAME).unlink()
    seal(folder)
    with pytest.raises(ConfigError) as caught:
        load(folder)
    assert f"{folder}/{says}" in str(caught.value) or (str(folder) in str(caught.value) and says in str(caught.value))
    assert "\n" not in str(caught.value)


def test_what_is_well_formed_is_another_checkpoint(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(whole, folder)
    key("of_a_newer_version", {"a": 1})(folder)
    key("prompting.tau", 9.0)(folder)
    (folder / NAME).unlink()
    seal(folder)
    assert load(folder).encode(["a cat"]).shape == load(whole).encode(["a cat"]).shape


@pytest.mark.parametrize(
    ("method", "edit", "says"),
    [
        ("prompt-tuning", tensor("prompt", lambda p: p[:, :-1]), "tensor 'prompt': expected rows of 48, got shape"),
        ("prompt-tuning", tensor("prompt", lambda p: p[0]), "tensor 'prompt': expected rows of 48, got shape"),
        ("prompting-llm-alone", key("join", "sum"), "join: expected 'mean'"),
    ],
)
def test_what_another_method_keeps_is_checked_too(
    method: str, edit: Callable[[Path], None], says: str, tiny: Tiny, tmp_path: Path
) -> None:
    source = source_checkpoint(tiny, tmp_path / "source") if method == "prompting-llm-alone" else None
    folder = tmp_path / "checkpoint"
    recipe = resolved(tiny.recipe("baseline", method=method), source=source)
    save(build(recipe, source=source), folder, instructions={})
    assert load(folder).encode(["a cat"]).shape[0] == 1
    edit(folder)
    (folder / NAME).unlink()
    seal(folder)
    with pytest.raises(ConfigError, match=says) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", "5"),
        ("tokenizer.json", '{"model": {"type": "BPE", "vocab": {}, "merges": [["a", 1]]}}'),
        ("tokenizer_config.json", '""'),
        ("tokenizer_config.json", '{"model_max_length": "\\u0000", "tokenizer_class": "PreTrainedTokenizerFast"}'),
        ("config.json", "[]"),
    ],
)
def test_a_decoder_whose_files_have_another_shape_is_refused(file: str, content: str, tmp_path: Path) -> None:
    folder = tmp_path / "decoder"
    shutil.copytree(bundled_dir("bundled-qwen3-2m"), folder)
    (folder / file).write_text(content)
    with pytest.raises(ConfigError, match=str(folder)) as caught:
        open_model(str(folder))
    assert "\n" not in str(caught.value)


def test_the_whole_decoder_is_read(tmp_path: Path) -> None:
    shutil.copytree(bundled_dir("bundled-qwen3-2m"), tmp_path / "decoder")
    assert isinstance(open_model(str(tmp_path / "decoder")), FrozenEmbedder)
