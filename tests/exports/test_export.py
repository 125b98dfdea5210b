"""Exports: the vectors of ``encode`` through sentence-transformers, what the folder holds, and what is refused."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.checkpoints import DOCUMENTS, KINDS, QUESTIONS
from helpers.command_line import call
from helpers.parts import TEXTS, flip_bit, source_checkpoint
from helpers.tiny import Tiny
from packaging.requirements import Requirement

import transferkit
from transferkit import load
from transferkit.augment.similarity import embedder_sha256
from transferkit.checkpoints.open import open_model
from transferkit.embed.files import embedder_digest
from transferkit.errors import ConfigError
from transferkit.exports import requirements
from transferkit.exports.requirements import NEEDS
from transferkit.files.encoder_folder import is_encoder
from transferkit.files.lock import sole_use

ROOT = Path(transferkit.__file__).parents[1]
NAMES = [facts.name for facts in KINDS]


def opened(folder: Path, **options: Any) -> Any:
    from sentence_transformers import SentenceTransformer  # seconds

    return SentenceTransformer(str(folder), trust_remote_code=True, device="cpu", **options)


def assert_same(vectors: Any, expected: np.ndarray) -> None:
    np.testing.assert_allclose(np.asarray(vectors), expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_an_export_gives_the_vectors_of_encode(name: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    embedder = load(checkpoints[name])
    model = opened(transferkit.export(checkpoints[name], tmp_path / "out"))
    queries, documents = embedder.encode(TEXTS), embedder.encode(TEXTS, side="document")
    assert_same(model.encode(TEXTS), queries)
    assert_same(model.encode_query(TEXTS), queries)
    assert_same(model.encode_document(TEXTS), documents)
    assert_same(model.encode(TEXTS, prompt_name="document"), documents)
    assert_same(model.encode(TEXTS, prompt="two dogs"), embedder.encode(TEXTS, instruction="two dogs"))
    assert model.get_embedding_dimension() == queries.shape[1]
    assert model.max_seq_length == embedder.max_tokens
    if embedder.reads_instruction:  # the premise: what is told apart above is different
        assert np.abs(queries - documents).max() > 1e-4


def test_what_sentence_transformers_does_with_vectors(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    vectors = load(checkpoints["transfer"]).encode(TEXTS)
    model = opened(transferkit.export(checkpoints["transfer"], tmp_path / "out"))
    assert_same(model.similarity(model.encode(TEXTS), model.encode(TEXTS)), vectors @ vectors.T)
    cut = vectors[:, :8] / np.linalg.norm(vectors[:, :8], axis=1, keepdims=True)
    assert_same(model.encode(TEXTS, truncate_dim=8, normalize_embeddings=True, convert_to_tensor=True), cut)
    assert_same(model.encode(TEXTS, batch_size=2), vectors)
    assert_same(model.encode(TEXTS[0]), vectors[0])
    assert len(model.encode([])) == 0
    with pytest.raises(ConfigError, match="text 0: expected text"):
        model.encode([{"text": "a cat"}])
    with pytest.raises(ConfigError, match="reads 24 tokens of a text"):
        model.max_seq_length = 5


def test_a_model_that_is_saved_again_is_the_same(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    made = transferkit.export(checkpoints["transfer"], tmp_path / "out")
    model = opened(made)
    for _ in range(2):  # the second time over the first
        model.save_pretrained(str(tmp_path / "again"))
    again = opened(tmp_path / "again")
    assert again.prompts == model.prompts
    assert again.similarity_fn_name == "cosine"
    assert_same(again.encode(TEXTS), model.encode(TEXTS))
    assert (tmp_path / "again/README.md").read_text() == (made / "README.md").read_text()
    again.save_pretrained(str(tmp_path / "again"))  # over itself
    assert embedder_digest(tmp_path / "again") == embedder_digest(checkpoints["transfer"])


def test_transferkit_takes_an_export_for_its_checkpoint(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    (checkpoints["lora"] / "notes.md").write_text("mine")
    made = transferkit.export(checkpoints["lora"], tmp_path / "out")
    (checkpoints["lora"] / "notes.md").unlink()
    assert not (made / "checkpoint" / "notes.md").exists()
    assert embedder_digest(made) == embedder_digest(checkpoints["lora"])
    assert_same(open_model(str(made)).encode(TEXTS), load(checkpoints["lora"]).encode(TEXTS))
    assert not is_encoder(str(made))  # as evaluate and teachers ask first
    assert embedder_sha256(str(made)) == embedder_sha256(str(checkpoints["lora"]))


def test_prompts_are_instructions(tiny: Tiny, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    one = json.loads((transferkit.export(checkpoints["lora"], tmp_path / "one") / CONFIG).read_text())
    assert one["prompts"] == {"query": QUESTIONS, "document": DOCUMENTS}
    source = source_checkpoint(tiny, tmp_path / "source")
    several = json.loads((transferkit.export(source, tmp_path / "several") / CONFIG).read_text())
    assert several["prompts"] == {"query": "", "document": "", "intents": "find the cat", "pairs": "see"}
    file = source / "embedder.json"
    file.write_text(file.read_text().replace('"pairs": "see"', '"pairs": "two"', 1))
    reseal(source)
    differ = json.loads((transferkit.export(source, tmp_path / "differ") / CONFIG).read_text())
    assert differ["prompts"] == {
        "query": "",
        "document": "",
        "intents": "find the cat",
        "pairs-query": "two",
        "pairs-document": "see",
    }


CONFIG = "config_sentence_transformers.json"


def reseal(folder: Path) -> None:
    from transferkit.files.manifest import seal

    (folder / "manifest.json").unlink()
    seal(folder)


def test_a_decoder_that_moved(tiny: Tiny, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(tiny.target, moved)
    gone = tmp_path / "gone"
    shutil.copytree(checkpoints["frozen"], gone)
    file = gone / "embedder.json"
    file.write_text(file.read_text().replace(str(tiny.target), str(tmp_path / "nowhere")))
    reseal(gone)
    made = transferkit.export(gone, tmp_path / "out")
    with pytest.raises(ConfigError, match="nowhere"):  # when it is made, not at the first text
        opened(made)
    vectors = opened(made, model_kwargs={"backbone": str(moved)}).encode(TEXTS)
    assert_same(vectors, load(checkpoints["frozen"]).encode(TEXTS))
    with pytest.raises(ConfigError, match="model_kwargs: expected backbone, got dtype"):
        opened(made, model_kwargs={"dtype": "float32"})


def test_versions_are_stated_as_the_package_has_them_and_checked(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    declared = {one.name: one.specifier for one in map(Requirement, lines)}
    for name in ("torch", "transformers"):
        assert Requirement(f"{name}{NEEDS[name]}").specifier == declared[name]
    made = transferkit.export(checkpoints["frozen"], tmp_path / "out")
    assert json.loads((made / CONFIG).read_text())["requirements"] == NEEDS  # which sentence-transformers 6 checks too
    found = {"torch": "2.5", "transformers": "5.20", "sentence-transformers": "broken"}

    def version(name: str) -> str:
        if name not in found:
            raise requirements.metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(requirements.metadata, "version", version)
    says = r"out: expected transferkit>=0.1.0, got none, torch>=2.6, got 2.5, sentence-transformers>=5.4, got broken; "
    with pytest.raises(ConfigError, match=f"{says}pip install 'transferkit>=0.1.0' 'torch>=2.6' 'sent"):
        requirements.check_versions(NEEDS, where="out")


def test_a_library_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its modules lie elsewhere, so nothing of the export could be imported."""
    found = dict.fromkeys(NEEDS, "5.20") | {"sentence-transformers": "5.3.0"}
    monkeypatch.setattr(requirements.metadata, "version", found.__getitem__)
    monkeypatch.setitem(sys.modules, "sentence_transformers.base.modules", None)
    monkeypatch.delitem(sys.modules, "transferkit.exports.module", raising=False)
    with pytest.raises(ConfigError, match=r"this export: expected sentence-transformers>=5\.4, got 5\.3\.0; pip"):
        importlib.import_module("transferkit.exports.module")


def test_a_damaged_export_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    made = transferkit.export(checkpoints["transfer"], tmp_path / "out")
    flip_bit(made / "checkpoint" / "learned.safetensors")
    with pytest.raises(ConfigError, match=r"learned.safetensors: differs from what was saved"):
        opened(made)


def test_a_copy_in_the_hubs_cache_is_links(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    """Its files are links to blobs beside the snapshots; links to anywhere else are refused, as ever."""
    made = transferkit.export(checkpoints["prompt-tuning"], tmp_path / "out")
    repository = tmp_path / "models--me--mine"
    snapshot = repository / "snapshots" / "0123abcd"
    (repository / "blobs").mkdir(parents=True)
    for number, file in enumerate(sorted(path for path in made.rglob("*") if path.is_file())):
        blob, link = repository / "blobs" / str(number), snapshot / file.relative_to(made)
        shutil.copyfile(file, blob)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    assert_same(opened(snapshot).encode(TEXTS), load(checkpoints["prompt-tuning"]).encode(TEXTS))
    elsewhere = tmp_path / "learned.safetensors"
    shutil.copyfile(made / "checkpoint" / "learned.safetensors", elsewhere)
    (snapshot / "checkpoint" / "learned.safetensors").unlink()
    (snapshot / "checkpoint" / "learned.safetensors").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="leads out of the checkpoint"):
        opened(snapshot)


def test_the_command(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "export", checkpoints["lora"], "--to", "a/mine") == 0
    said = capsys.readouterr()
    assert said.out == "a/mine\n"
    assert 'SentenceTransformer("a/mine", trust_remote_code=True)' in said.err
    assert [path.name for path in Path("a").iterdir()] == ["mine"]
    found = {path.name for path in Path("a/mine").iterdir()}
    assert found == {"README.md", "checkpoint", CONFIG, "manifest.json", "modules.json", "transferkit.json"}
    refused = {
        ("export", checkpoints["lora"], "--to", "a/mine"): "--to a/mine: exists already",
        ("export", "nowhere", "--to", "b"): "nowhere: no such checkpoint or run folder",
        ("export", checkpoints["lora"], "--to", checkpoints["lora"] / "b"): "lies in the checkpoint",
        ("export", checkpoints["lora"], "--to", "a/mine/README.md/b"): "is a file",
    }
    for arguments, says in refused.items():
        assert call(monkeypatch, *arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert says in said.err
        assert said.err.count("\n") == 1
    with sole_use(Path("c"), option="--to"):
        assert call(monkeypatch, "export", checkpoints["lora"], "--to", "c") == 2
    assert "another process is writing to it" in capsys.readouterr().err
    assert not Path("b").exists()
    assert not Path("c").exists()


def test_a_method_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text('{"method": "tfidf"}')
    with pytest.raises(ConfigError, match="a tfidf run has no checkpoint"):
        transferkit.export(tmp_path, tmp_path / "out")


@pytest.mark.slow
def test_in_a_fresh_process(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    for name in NAMES:
        transferkit.export(checkpoints[name], tmp_path / name)
        np.save(tmp_path / f"{name}.npy", load(checkpoints[name]).encode(TEXTS))
    code = f"""
import numpy as np
from sentence_transformers import SentenceTransformer
for name in {NAMES!r}:
    vectors = SentenceTransformer(name, trust_remote_code=True, device="cpu").encode({TEXTS!r})
    assert (vectors * np.load(name + ".npy")).sum(1).min() > 0.9999, name
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
