"""What the libraries stumble over while they load a decoder, in the words of this package."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import Tiny
from transformers import AutoConfig, AutoModel

from transferkit.decoder.identity import all_weights_sha256
from transferkit.decoder.loading import load_config, load_trunk
from transferkit.decoder.text_states import TextState
from transferkit.errors import ConfigError, RunError, TransferkitError

CPU: dict[str, Any] = {"dtype": torch.float32, "quantization": "none", "device": torch.device("cpu")}


class Layer:
    """Of a cache: a tensor, what is no tensor, and states by name as recurrent layers keep them."""

    def __init__(self) -> None:
        self.keys = torch.zeros(2, 3)
        self.states = {"conv": torch.zeros(4), "inner": {"recurrent": torch.zeros(5, dtype=torch.float64)}}
        self.seen = 3


class Layers:
    layers = (Layer(), Layer())


@pytest.mark.parametrize(
    ("location", "error", "says"),
    [
        ("org/model", OSError(errno.ENOSPC, "No space left on device"), "the disk is full; make room for the hub's"),
        (
            "org/model",
            OSError("You are trying to access a gated repo."),
            "a gated model; accept its licence on the hub",
        ),
        ("org/model", OSError("x is not a valid git identifier"), "the hub has no such revision; check the spec's"),
        ("org/model", OSError("offline"), "neither a local folder nor reachable or cached on the hub"),
        ("$MODEL", ImportError("This requires the SentencePiece library"), "its tokenizer needs sentencepiece; `pip"),
        ("$MODEL", OSError("damaged"), "cannot be loaded (damaged)"),
    ],
)
def test_reasons(location: str, error: Exception, says: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(AutoConfig, "from_pretrained", fail)
    place = location.replace("$MODEL", str(tiny.target))
    with pytest.raises(ConfigError) as caught:
        load_config(place, revision=None)
    assert str(caught.value).startswith(f"{place}: {says}")
    assert "\n" not in str(caught.value)


def test_memory_that_runs_out_is_a_fault_of_the_machine(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    says = "does not fit into the GPU's memory; use precision: bfloat16 or --quantize nf4"
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.Module, "to", full)
        with pytest.raises(RunError, match=says):
            load_trunk(str(tiny.target), revision=None, **CPU)
    monkeypatch.setattr(AutoModel, "from_pretrained", full)
    with pytest.raises(RunError, match=says):
        load_trunk(str(tiny.target), revision=None, **CPU)


def test_weights_in_several_files_and_whole_numbers_among_them_are_hashed(tiny: Tiny, tmp_path: Path) -> None:
    """Split in two they have the hash of the whole; a mask of whole numbers counts too."""
    from safetensors.torch import load_file, save_file

    whole, split = (shutil.copytree(tiny.source, tmp_path / name) for name in ("whole", "split"))
    tensors = load_file(whole / "model.safetensors") | {"mask": torch.tensor([0, 1])}
    save_file(tensors, whole / "model.safetensors")
    (split / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {name: f"model-{1 + place % 2}.safetensors" for place, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in names if files[name] == file}, split / file)
    (split / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    hashes = [all_weights_sha256(str(folder), revision=None) for folder in (whole, split)]
    assert hashes[0] == hashes[1]
    save_file(tensors | {"mask": torch.tensor([1, 1])}, whole / "model.safetensors")
    assert all_weights_sha256(str(whole), revision=None) != hashes[1]


def test_a_state_counts_the_bytes_of_every_layer_and_dict() -> None:
    state = TextState(Layers(), torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool))  # type: ignore[arg-type]
    assert state.num_bytes() == 24 + 6 + 2 * (24 + 16 + 40)


def test_an_error_of_ours_keeps_its_words(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise TransferkitError("said already")

    monkeypatch.setattr(AutoConfig, "from_pretrained", refuse)
    with pytest.raises(TransferkitError, match=r"^said already$"):
        load_config(str(tiny.target), revision=None)
