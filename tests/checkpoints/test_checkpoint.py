"""Checkpoints: the same vectors after loading, whole or absent, damage found and named."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.parts import TEXTS, flip_bit, load_prompting, load_reader, prompt_embedder, source_checkpoint
from helpers.run_parts import trial
from helpers.tiny import Tiny

from transferkit.checkpoints.checkpoint import load, save
from transferkit.config.sections import LoraSection
from transferkit.errors import ConfigError, RunError
from transferkit.files.manifest import new_folder
from transferkit.methods.base import Embedder
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.methods.lora import LoraEmbedder
from transferkit.methods.prompt_tuning import PromptTuningEmbedder
from transferkit.methods.prompting_alone import PromptingAlone
from transferkit.methods.transfer import PromptEmbedder
from transferkit.prompting.writer import Writer
from transferkit.readout.fit import Fitter
from transferkit.readout.readout import Settings
from transferkit.runs.checkpoint_folder import read_description


@pytest.fixture(scope="module", name="source")
def make_source(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_checkpoint(tiny, tmp_path_factory.mktemp("checkpoint") / "source")


def lora(tiny: Tiny) -> Embedder:
    reader = load_reader(tiny.target, template="{text}", soft_tokens=0)
    embedder = LoraEmbedder.on(reader, pooling="mean", lora=LoraSection(r=4, dropout=0.5), seed=0)
    for i, parameter in enumerate(embedder.trainable()["model"]):
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(i))
    return embedder


def with_adapters(tiny: Tiny) -> Embedder:
    embedder = prompt_embedder(tiny)
    embedder.writer.prompting.add_lora(LoraSection(r=4), seed=0)
    for i, parameter in enumerate(embedder.trainable()["model"]):
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(i))
    return embedder


KINDS: dict[str, Callable[[Tiny], Embedder]] = {
    "transfer": prompt_embedder,
    "transfer, static": lambda tiny: prompt_embedder(tiny, pooling="soft+static"),
    "transfer, prefix": lambda tiny: prompt_embedder(tiny, template="{soft} {text}.", pooling="weighted_mean"),
    "transfer, instruction": lambda tiny: prompt_embedder(tiny, reads="instruction"),
    "transfer, Prompting LLM with adapters": with_adapters,
    "lora": lora,
    "prompt tuning": lambda tiny: PromptTuningEmbedder.on(load_reader(tiny.target), pooling="soft", tokens=3, seed=1),
    "frozen": lambda tiny: FrozenEmbedder(load_reader(tiny.target, template="see: {text}"), pooling="last"),
    "prompting alone": lambda tiny: PromptingAlone(Writer(load_prompting(tiny.prompting)), join="side by side+static"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_same_vectors_after_loading(tiny: Tiny, tmp_path: Path, kind: str) -> None:
    embedder = KINDS[kind](tiny).eval().requires_grad_(False)
    pooled = embedder.pooled(TEXTS, ["see"] * len(TEXTS), batch_size=3)
    embedder.readout = Fitter(pooled).fit(Settings("whiten", ridge=0.1))
    save(embedder, tmp_path / "checkpoint", instructions={"intents": "see"})
    again = load(tmp_path / "checkpoint")
    assert type(again) is type(embedder)
    assert not [p for p in again.parameters() if p.requires_grad]
    expected = embedder.encode(TEXTS, instruction="see")
    tolerance = 1e-5 if "adapters" in kind else 1e-6  # merging rounds
    np.testing.assert_allclose(again.encode(TEXTS, instruction="see"), expected, atol=tolerance)
    assert read_description(tmp_path / "checkpoint")["instructions"] == {"intents": "see"}


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")


def test_flipped_bit_in_any_file_is_found_and_named(source: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(source, tmp_path / "damaged")
    files = files_of(folder)
    names = {file.name for file in files}
    assert {"learned.safetensors", "embedder.json", "model.safetensors", "tokenizer.json"} <= names
    for file in files:
        flip_bit(file)
        with pytest.raises(ConfigError) as caught:
            load(folder)
        assert str(caught.value).startswith(f"{file}: differs from what was saved")
        flip_bit(file)
    load(folder)  # a second flip mends it


def test_missing_file_is_found_and_named(source: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(source, tmp_path / "incomplete")
    for file in files_of(folder):
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(ConfigError) as caught:
            load(folder)
        assert str(caught.value).startswith(f"{file}: missing from the checkpoint")
        file.write_bytes(content)
    (folder / "manifest.json").unlink()
    with pytest.raises(ConfigError, match=r"not a complete checkpoint \(no manifest.json in it\)"):
        load(folder)


def test_damaged_manifest_is_told_in_one_sentence(source: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(source, tmp_path / "damaged")
    for content in ("", "{}", "[1]", '{"files": {"embedder.json": '):
        (folder / "manifest.json").write_text(content)
        with pytest.raises(ConfigError, match=r"manifest.json: damaged; restore the checkpoint from a copy"):
            load(folder)


def test_adapted_checkpoint_shares_the_prompting_llm_and_outlives_its_source(
    tiny: Tiny, source: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(source, tmp_path / "source")
    embedder = trial(tiny, tiny.recipe("adapt"), source=own).embedder
    save(embedder, tmp_path / "adapted", instructions={}, prompting_from=own)
    shared, original = (one / "prompting" / "model.safetensors" for one in (tmp_path / "adapted", own))
    assert shared.stat().st_ino == original.stat().st_ino
    assert shared.stat().st_nlink == 2
    expected = embedder.encode(TEXTS, instruction="see")
    shutil.rmtree(own)
    assert shared.stat().st_nlink == 1
    np.testing.assert_allclose(load(tmp_path / "adapted").encode(TEXTS, instruction="see"), expected, atol=1e-6)


def test_copies_where_links_are_impossible(
    tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    embedder = prompt_embedder(tiny)
    save(embedder, tmp_path / "adapted", instructions={}, prompting_from=source)
    copied = tmp_path / "adapted" / "prompting" / "model.safetensors"
    assert copied.stat().st_ino != (source / "prompting" / "model.safetensors").stat().st_ino
    np.testing.assert_allclose(load(tmp_path / "adapted").encode(TEXTS), embedder.encode(TEXTS), atol=1e-6)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), ValueError])
def test_failure_while_writing_leaves_the_previous_checkpoint_whole(tmp_path: Path, error: Exception) -> None:
    target = tmp_path / "checkpoint"
    with new_folder(target) as folder:
        (folder / "a").write_text("first")
    expected = RunError if isinstance(error, OSError) else error

    def write_half() -> None:
        with new_folder(target) as folder:
            (folder / "a").write_text("second")
            raise error

    with pytest.raises(expected) as caught:  # type: ignore[arg-type]
        write_half()
    if expected is RunError:
        assert "could not be written (No space left on device)" in str(caught.value)
    assert (target / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    with new_folder(target) as folder:
        (folder / "a").write_text("third")
    assert (target / "a").read_text() == "third"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_failing_save_leaves_the_previous_checkpoint_whole(
    tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted between the tensors and the description."""
    folder = shutil.copytree(source, tmp_path / "checkpoint")
    before = load(folder).encode(TEXTS)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("transferkit.checkpoints.checkpoint.write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        save(prompt_embedder(tiny), folder, instructions={})
    np.testing.assert_array_equal(load(folder).encode(TEXTS), before)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_checkpoint_may_be_called_like_a_decoder(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="bundled-olmo2-5m: a decoder and no checkpoint"):
        load("bundled-olmo2-5m")
    shutil.copytree(source, "bundled-olmo2-5m")
    assert isinstance(load("bundled-olmo2-5m"), PromptEmbedder)
