"""GGUF files: the same vectors and gradients as a folder of the same numbers, told apart, and unpacked in full."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from helpers.command_line import call
from helpers.gguf_files import ARCHITECTURES, gguf_family, write_gguf, write_pair
from helpers.parts import TEXTS, load_reader, relative, source_checkpoint
from helpers.tiny import Tiny
from torch import Tensor, nn
from transformers import AutoTokenizer
from zoo import WORDS, build, save, tokenizer

from transferkit.checkpoints.checkpoint import load
from transferkit.checkpoints.open import find_decoder, open_model
from transferkit.config.specs import declared_spec, lasting_name
from transferkit.decoder.gguf import architecture_facts, architectures, check_gguf, unpacked
from transferkit.decoder.identity import weights_sha256
from transferkit.decoder.loading import load_causal_lm, load_config, load_tokenizer
from transferkit.decoder.probe import probe, resolve
from transferkit.decoder.reader import Reader
from transferkit.decoder.tokens import opens_with_bos
from transferkit.errors import ConfigError
from transferkit.files.manifest import sha256_file

KINDS = ("F32", "F16", "Q8_0", "Q4_1")


@pytest.fixture(scope="module", name="pair")
def make_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A packed Llama, and the folder of what its blocks mean."""
    return write_pair("llama", tmp_path_factory.mktemp("pair"), kind="Q8_0")


def soft_gradient(reader: Reader) -> Tensor:
    """Of a random weighting of the soft positions' states."""
    generator = torch.Generator().manual_seed(0)
    soft = torch.randn(len(TEXTS), 3, reader.decoder.embedding_width, generator=generator).requires_grad_()
    states = reader(reader.rows(TEXTS, [""] * len(TEXTS)), soft).states[:, -3:].float()
    weights = torch.randn(states.shape, generator=generator)
    return torch.autograd.grad((states * weights).sum(), soft)[0]


# The same decoder


@pytest.mark.parametrize(
    ("name", "kind"), [*(("llama", kind) for kind in KINDS), *((name, "Q8_0") for name in ARCHITECTURES[1:])]
)
def test_vectors_and_gradients_are_those_of_a_folder_of_the_same_numbers(name: str, kind: str, tmp_path: Path) -> None:
    file, folder = write_pair(name, tmp_path, kind=kind)
    packed, plain = (load_reader(place) for place in (file, folder))
    assert packed.decoder.exactness.cached
    assert packed.rows(TEXTS, [""] * len(TEXTS)) == plain.rows(TEXTS, [""] * len(TEXTS))
    assert relative(soft_gradient(packed), soft_gradient(plain)) < 1e-6
    vectors = [find_decoder(str(place), pooling="mean").load().encode(TEXTS) for place in (file, folder)]
    np.testing.assert_allclose(*vectors, atol=1e-6)
    assert np.abs(vectors[0][0] - vectors[0][3]).max() > 0.01  # texts do differ


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_packed_is_plain_modules_of_the_dtype_asked_for(kind: str, tmp_path: Path) -> None:
    file, folder = write_pair("llama", tmp_path, kind=kind)
    for dtype in (torch.float32, torch.bfloat16):
        model, like = (
            load_causal_lm(str(p), revision=None, device=torch.device("cpu"), dtype=dtype) for p in (file, folder)
        )
        assert [type(module) for module in model.modules()] == [type(module) for module in like.modules()]
        assert sum(type(module) is nn.Linear for module in model.modules()) == 7 * 2 + 1
        assert {parameter.dtype for parameter in model.parameters()} == {dtype}
        assert getattr(model.config, "quantization_config", None) is None
        for (name, one), other in zip(model.named_parameters(), like.parameters(), strict=True):
            assert torch.equal(one, other), name


def test_every_weight_learns_under_autocast(pair: tuple[Path, Path]) -> None:
    """As a Prompting LLM's do: the gradients are those of the folder's."""
    gradients = []
    for place in pair:
        model = load_causal_lm(str(place), revision=None, device=torch.device("cpu"))
        ids = torch.tensor([tokenizer()(TEXTS[3])["input_ids"]])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(input_ids=ids, labels=ids).logits
        assert logits.dtype == torch.bfloat16
        logits.float().square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert len(gradients[0]) == 21
    for name, gradient in gradients[0].items():
        assert gradient is not None
        assert gradient.abs().max() > 0, name
        assert torch.equal(gradient, gradients[1][name]), name


def test_what_lies_beside_it_does_not_change_it(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """transformers takes a tokenizer.json of the same folder, and an adapter, before the file's own."""
    file = tmp_path / "model.gguf"
    shutil.copyfile(pair[0], file)
    save(gguf_family("qwen2"), tmp_path, vocabulary=list(reversed(WORDS)))
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "no/model", "peft_type": "LORA"})
    )
    assert load_tokenizer(str(file)).get_vocab() == load_tokenizer(str(pair[0])).get_vocab()
    assert load_config(str(file)).model_type == "llama"
    assert np.array_equal(*(find_decoder(str(one)).load().encode(TEXTS) for one in (file, pair[0])))


def test_nothing_is_printed_while_it_is_opened(pair: tuple[Path, Path], capfd: pytest.CaptureFixture[str]) -> None:
    find_decoder(str(pair[0])).load()
    assert capfd.readouterr() == ("", "")


# Its tokenizer


@pytest.mark.parametrize(("flag", "expected"), [(True, True), (False, False), (None, True)])
def test_bos_opens_a_text_where_the_file_says_so(flag: bool | None, expected: bool, tmp_path: Path) -> None:
    """Without a flag as everywhere: where there is a BOS of its own."""
    file = write_gguf(build(gguf_family("llama")), "llama", tmp_path / "x.gguf", add_bos=flag)
    loaded = load_tokenizer(str(file))
    loaded.save_pretrained(tmp_path / "saved")
    for one in (loaded, AutoTokenizer.from_pretrained(tmp_path / "saved")):
        assert opens_with_bos(one) is expected
    assert probe(str(file)).tokenizer.add_bos is expected
    (row,) = load_reader(file).rows(["a cat"], [""]).before
    ids = tokenizer()("a cat", add_special_tokens=False)["input_ids"]
    assert row == ([0, *ids] if expected else ids)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_tokenizer_is_the_one_that_comes_back_from_a_checkpoint(name: str, tmp_path: Path) -> None:
    """From a folder the family's own class is made, which has parts that no GGUF file tells of."""
    loaded = load_tokenizer(str(write_pair(name, tmp_path)[0]))
    loaded.save_pretrained(tmp_path / "saved")
    load_config(str(tmp_path / f"{name}.F32.gguf")).save_pretrained(tmp_path / "saved")
    back = load_tokenizer(str(tmp_path / "saved"))
    assert loaded.backend_tokenizer.to_str() == back.backend_tokenizer.to_str()
    assert loaded.name_or_path == str(tmp_path / f"{name}.F32.gguf")
    if name in ("qwen2", "qwen3"):
        assert loaded.backend_tokenizer.normalizer.normalize_str("e\u0301") == "\u00e9"


# What is known of it


def test_metadata_are_those_that_the_packages_own_reader_finds(pair: tuple[Path, Path]) -> None:
    fields = GGUFReader(pair[0]).fields
    facts = check_gguf(str(pair[0]))
    known = {key: value for key, value in facts.items() if key != "rope_freqs.weight"}
    assert known.keys() == {key for key in fields if not key.startswith("GGUF.")}
    for key, value in known.items():
        found = fields[key].contents()
        same = len(found) if isinstance(found, list) and isinstance(found[0], str) else found
        assert value == same, key
    named = architecture_facts(str(pair[0]))
    assert named["llama.embedding_length"] == 64
    assert all(key.startswith("llama.") for key in named if key != "general.architecture")


@pytest.mark.parametrize(
    "more",
    [{"more": {"llama.rope.scaling.type": "linear"}}, {"tensors": {"rope_freqs.weight": np.full(8, 9, np.float32)}}],
)
def test_positions_that_the_library_does_not_scale_are_told(more: dict[str, Any], tmp_path: Path) -> None:
    model, note = build(gguf_family("llama")), "unpacked from GGUF, which saves no memory"
    plain = write_gguf(model, "llama", tmp_path / "plain.gguf")
    scaled = write_gguf(model, "llama", tmp_path / "scaled.gguf", **more)
    vectors = [find_decoder(str(file)).load().encode(TEXTS) for file in (plain, scaled)]
    assert np.array_equal(*vectors)  # the premise: once the library reads it, the sentence must go
    assert unpacked(str(plain)) == [note]
    assert unpacked(str(scaled)) == [f"{note}, without the scaling of its positions, which transformers does not read"]
    assert unpacked("org/model") == []


def test_architectures_are_decoders_alone() -> None:
    known = architectures()
    assert {"llama", "qwen2", "qwen3", "gemma3", "phi3"} <= set(known)
    assert not {"t5", "umt5", "general", "tokenizer", "bert"} & set(known)


def test_probe_names_it_after_its_file(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = probe(str(pair[0]))
    assert (spec.name, spec.family, spec.location, spec.hub_id) == ("llama.q8-0", "llama", str(pair[0]), None)
    assert (spec.model_type, spec.hidden_size, spec.num_layers, spec.max_length) == ("llama", 64, 2, 64)
    (tmp_path / "Link.GGUF").symlink_to(pair[0])
    monkeypatch.chdir(tmp_path)
    assert lasting_name("Link.GGUF") == str(tmp_path / "Link.GGUF")
    assert declared_spec("Link.GGUF") is None
    linked = resolve("Link.GGUF")
    assert (linked.name, linked.location) == ("link", str(tmp_path / "Link.GGUF"))


def test_a_spec_may_point_to_it(pair: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copyfile(pair[0], tmp_path / "x.gguf")
    facts = "family: llama\npath: x.gguf\nmodel_type: llama\nhidden_size: 64\ntokenizer:\n  add_bos: false\n"
    (tmp_path / "mine.yaml").write_text(f"name: mine\n{facts}")
    reader = load_reader(tmp_path, spec=resolve(str(tmp_path / "mine.yaml")))
    assert reader.decoder.encoder.bos == []


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    for name in ("llama", "qwen2"):
        new, _ = write_pair(name, tmp_path)
        new.replace(file)
        assert probe(str(file)).model_type == name


# Checkpoints


def test_checkpoint_belongs_to_the_file(tiny: Tiny, pair: tuple[Path, Path], tmp_path: Path) -> None:
    file, folder = pair
    checkpoint = source_checkpoint(tiny, tmp_path / "checkpoint", backbone=file)
    vectors = load(checkpoint).encode(TEXTS)
    moved = shutil.copyfile(file, tmp_path / "moved.gguf")
    assert weights_sha256(str(moved), revision=None) == sha256_file(file)
    np.testing.assert_array_equal(load(checkpoint, backbone=str(moved)).encode(TEXTS), vectors)
    coarser, _ = write_pair("llama", tmp_path, kind="Q4_0")
    for other, named in ((coarser, "weights"), (folder, "config")):
        with pytest.raises(ConfigError, match=f"differs from it in [^;]*{named}"):
            load(checkpoint, backbone=str(other))


def test_the_whole_way_on_files_alone(
    tiny: Tiny,
    pair: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Prompting LLM, source's backbone and target are GGUF files; the checkpoint needs the target's alone."""
    monkeypatch.chdir(tmp_path)
    (prompting, _), (target, plain) = (write_pair(name, tmp_path) for name in ("qwen2", "gemma3"))
    common = ["--data-dir", tiny.data, "--set", "optim.steps=2", "--set", "readout.sample=20"]
    names = ["--set", f"prompting.backbone={prompting.name}", "--target", pair[0]]
    assert call(monkeypatch, "train", tiny.write(tmp_path, "train"), *common, *names) == 0
    said = capfd.readouterr()
    source = Path(said.out.strip())
    note = "unpacked from GGUF, which saves no memory"
    assert f"; {note}; Prompting LLM {note}; " in said.err
    prompting.unlink()
    adapt = ["adapt", tiny.write(tmp_path, "adapt"), *common, "--source", source]
    assert call(monkeypatch, *adapt, "--target", target.name, "--dry-run") == 0
    assert f"float32, quantization none, {note}" in capfd.readouterr().out
    assert call(monkeypatch, *adapt, "--target", target.name) == 0
    run = Path(capfd.readouterr().out.strip())
    record = json.loads((run / "record.json").read_text())
    assert record["backbone"]["location"] == str(target)
    assert record["backbone"]["weights_sha256"] == sha256_file(target)
    assert call(monkeypatch, *adapt, "--target", plain) == 0
    like = Path(capfd.readouterr().out.strip())
    monkeypatch.chdir(tiny.root)
    vectors = [open_model(str(tmp_path / one)).encode(TEXTS, instruction="find the cat") for one in (run, like)]
    np.testing.assert_allclose(*vectors, atol=1e-5)


def test_without_links_the_file_is_copied(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    linked = find_decoder(str(pair[0])).load(dtype="float32").encode(TEXTS)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert np.array_equal(find_decoder(str(pair[0])).load(dtype="float32").encode(TEXTS), linked)


def test_weights_of_other_shapes_than_the_file_says_are_told(tmp_path: Path) -> None:
    model = build(gguf_family("llama"))
    file = write_gguf(model, "llama", tmp_path / "other.gguf", more={"llama.feed_forward_length": 32})
    with pytest.raises(ConfigError, match=r"\(its weights have other shapes than its metadata say\); take"):
        find_decoder(str(file)).load()
