"""A checkpoint belongs to one backbone: what is told apart, and what is not."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.parts import TEXTS, load_reader, source_checkpoint
from helpers.tiny import Tiny
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM
from zoo import FAMILIES, WORDS, save, tokenizer

from transferkit.checkpoints.checkpoint import load
from transferkit.decoder.identity import all_weights_sha256, weights_sha256
from transferkit.errors import ConfigError
from transferkit.files.manifest import NAME, seal


@pytest.fixture(scope="module", name="checkpoint")
def make_checkpoint(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_checkpoint(tiny, tmp_path_factory.mktemp("identity") / "checkpoint")


@pytest.fixture(name="copy")
def copy_of_the_backbone(tiny: Tiny, tmp_path: Path) -> Path:
    return shutil.copytree(tiny.source, tmp_path / "moved")


def edit_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_weight(folder: Path, name: str, factor: float = 1.5) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    assert name in tensors
    tensors[name] = tensors[name] * factor
    save_file(tensors, file, metadata={"format": "pt"})


def fine_tune(folder: Path) -> None:
    """One matrix outside the embeddings: what merging LoRA into it does."""
    edit_weight(folder, "model.layers.1.mlp.down_proj.weight")


def other_family(folder: Path) -> None:
    shutil.rmtree(folder)
    save(FAMILIES["qwen3"], folder, vocabulary=WORDS[: len(WORDS) - 6])


def other_tokenizer(folder: Path) -> None:
    tokenizer(list(reversed(WORDS[: len(WORDS) - 6]))).save_pretrained(folder)


def other_config(folder: Path) -> None:
    edit_config(folder, rms_norm_eps=1e-3)


@pytest.mark.parametrize(
    ("change", "named"),
    [(other_family, "config"), (fine_tune, "weights"), (other_tokenizer, "tokenizer"), (other_config, "config")],
)
def test_another_backbone_is_refused(checkpoint: Path, copy: Path, change: Callable[[Path], None], named: str) -> None:
    change(copy)
    with pytest.raises(ConfigError) as caught:
        load(checkpoint, backbone=str(copy))
    message = str(caught.value)
    assert "differs from it in" in message
    assert named in message
    assert "transferkit adapt" in message


def test_fine_tune_has_the_same_config_tokenizer_and_embeddings(tiny: Tiny, copy: Path) -> None:
    fine_tune(copy)
    base, tuned = (load_reader(folder).decoder.identity for folder in (tiny.source, copy))
    assert base.differences(tuned) == ["weights"]


def test_another_embedding_scale_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    """As if another library version had moved the factor into or out of the embedding module."""
    other = shutil.copytree(checkpoint, tmp_path / "checkpoint")
    file = other / "embedder.json"
    description = json.loads(file.read_text())
    description["backbone"]["identity"]["embedding_scale"] *= 48**0.5
    file.write_text(json.dumps(description))
    reseal(other)
    with pytest.raises(ConfigError, match=r"differs from it in embedding_scale; .*`transferkit adapt"):
        load(other)


def reseal(folder: Path) -> None:
    (folder / NAME).unlink()
    seal(folder)


def test_embedding_scale_is_the_families_own(tmp_path: Path) -> None:
    for name, expected in (("gemma", 48**0.5), ("llama", 1.0)):
        save(FAMILIES[name], tmp_path / name)
        assert load_reader(tmp_path / name).decoder.identity.embedding_scale == pytest.approx(expected, rel=1e-3)


def test_same_backbone_elsewhere_is_accepted(checkpoint: Path, copy: Path) -> None:
    edit_config(copy, transformers_version="5.0.0", use_cache=False, torch_dtype="bfloat16")
    moved = load(checkpoint, backbone=str(copy))
    np.testing.assert_array_equal(moved.encode(TEXTS), load(checkpoint).encode(TEXTS))


def test_identity_does_not_depend_on_dtype_or_quantisation(tiny: Tiny) -> None:
    plain = load_reader(tiny.source).decoder.identity
    for changed in (load_reader(tiny.source, dtype="bfloat16"), load_reader(tiny.source, quantization="nf4")):
        assert plain.differences(changed.decoder.identity) == []


def test_scale_may_differ_by_rounding_alone(tiny: Tiny) -> None:
    mine = load_reader(tiny.source).decoder.identity
    scale = mine.embedding_scale
    assert mine.differences(replace(mine, embedding_scale=scale * 1.0005)) == []
    assert mine.differences(replace(mine, embedding_scale=scale * 1.002)) == ["embedding_scale"]


def test_every_weight_of_the_decoder_counts(copy: Path) -> None:
    before = weights_sha256(str(copy), revision=None)
    for name in load_file(copy / "model.safetensors"):
        edit_weight(copy, name)
        after = weights_sha256(str(copy), revision=None)
        assert after != before, name
        before = after


def test_pickled_weights_are_not_loaded(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    torch.save(tensors, copy / "pytorch_model.bin")
    with pytest.raises(ConfigError) as caught:
        load_reader(copy)
    assert str(caught.value) == (
        f"{copy}: holds no safetensors weights; convert the checkpoint first (pickled weights are not loaded)"
    )


def test_weights_that_another_user_wrote_for_himself_are_named(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """safetensors says that there is no such file; the superuser, who may run this test, can read every one."""
    file, real = copy / "model.safetensors", os.access
    file.chmod(0)

    def closed(*_: object, **__: object) -> None:
        raise FileNotFoundError(f"No such file or directory: {file}")

    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != file and real(path, mode))
    monkeypatch.setattr(AutoModel, "from_pretrained", closed)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", closed)
    with pytest.raises(
        ConfigError, match=r"moved: its model\.safetensors may not be read by this user; change .* a\+r"
    ):
        load_reader(copy)


def test_an_adapter_beside_the_weights_is_refused(checkpoint: Path, copy: Path) -> None:
    """transformers would apply it without a word, and the weights would have the same hash."""
    (copy / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(ConfigError, match=r"a PEFT adapter lies beside the weights .* merge it into the weights"):
        load(checkpoint, backbone=str(copy))


def change_one_number(folder: Path) -> None:
    """The last number of a matrix, which no sample of its rows holds."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name, tensor in tensors.items() if tensor.dim() == 2 and len(tensor) > 40)
    tensors[name][-2, -1] += 1
    save_file(tensors, file, metadata={"format": "pt"})


def test_every_number_counts(tiny: Tiny, checkpoint: Path, copy: Path) -> None:
    change_one_number(copy)
    same = weights_sha256(str(copy), revision=None) == weights_sha256(str(tiny.source), revision=None)
    assert same  # the premise: the sampled numbers are the same
    with pytest.raises(ConfigError, match=r"differs from it in weights; carry the skill over"):
        load(checkpoint, backbone=str(copy))


def test_a_checkpoint_from_before_every_number_counted_is_read(checkpoint: Path, tmp_path: Path) -> None:
    older = shutil.copytree(checkpoint, tmp_path / "older")
    description = json.loads((older / "embedder.json").read_text())
    del description["backbone"]["identity"]["all_weights_sha256"]
    (older / "embedder.json").write_text(json.dumps(description))
    (older / NAME).unlink()
    seal(older)
    np.testing.assert_array_equal(load(older).encode(TEXTS), load(checkpoint).encode(TEXTS))


def test_weights_are_read_once_for_their_hash(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of the same size and time are the same files."""
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "cache"))
    first = all_weights_sha256(str(copy), revision=None)
    with monkeypatch.context() as patch:
        patch.setattr("transferkit.decoder.identity._hash_all", lambda files: "read again")
        assert all_weights_sha256(str(copy), revision=None) == first
        change_one_number(copy)
        assert all_weights_sha256(str(copy), revision=None) == "read again"


def test_a_file_that_was_changed_under_its_old_time_is_read_again(copy: Path) -> None:
    (file,) = copy.glob("*.safetensors")
    before, then = all_weights_sha256(str(copy), revision=None), file.stat()
    content = bytearray(file.read_bytes())
    content[-2] ^= 64
    file.write_bytes(content)
    os.utime(file, ns=(then.st_atime_ns, then.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (then.st_size, then.st_mtime_ns)
    assert all_weights_sha256(str(copy), revision=None) != before


def test_the_precision_of_the_files_and_how_they_are_split_do_not_count(copy: Path) -> None:
    file = copy / "model.safetensors"
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(file).items()}
    save_file({name: tensor.float() for name, tensor in tensors.items()}, file)
    before = all_weights_sha256(str(copy), revision=None)
    save_file(tensors, file)
    assert all_weights_sha256(str(copy), revision=None) == before


@pytest.mark.parametrize("names", [{"a": "../model.safetensors"}, {"a": 3}, ["a"], None], ids=str)
def test_an_index_names_files_beside_it(copy: Path, names: object) -> None:
    (copy / "model.safetensors").rename(copy.parent / "model.safetensors")
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    with pytest.raises(ConfigError, match=r"index\.json: expected a weight_map of names of files beside it"):
        weights_sha256(str(copy), revision=None)


def test_an_index_that_names_a_file_that_is_gone(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    with pytest.raises(ConfigError, match=r"lacks model-1\.safetensors, which model\.safetensors\.index\.json names"):
        weights_sha256(str(copy), revision=None)


def test_weights_that_hold_nan_are_refused_at_load(copy: Path) -> None:
    """Also where a decoder never reads that number in the check at load time."""
    tensors = load_file(copy / "model.safetensors")
    name = next(name for name in tensors if "embed" in name)
    tensors[name][-1, -1] = float("nan")
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"weight .*embed.* holds NaN, so every vector would; restore"):
        load_reader(copy)
