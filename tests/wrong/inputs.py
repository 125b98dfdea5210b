"""The world that wrong inputs are tried in: a finished source run, two baselines, and ways to spoil copies of them."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.run_builder import unseal
from helpers.tiny import Tiny


@dataclass(frozen=True)
class World:
    """Folders that one case may use. ``here`` is its own and the current folder; the runs are shared and only read."""

    tiny: Tiny
    here: Path
    source: Path
    lora: Path
    tfidf: Path
    monkeypatch: pytest.MonkeyPatch

    def names(self) -> dict[str, str]:
        """What ``$NAME`` stands for in a command line."""
        return {
            "TRAIN": str(self.here / "train.yaml"),
            "ADAPT": str(self.here / "adapt.yaml"),
            "BASELINE": str(self.here / "baseline.yaml"),
            "DATA": str(self.here / "data"),
            "SOURCE": str(self.source),
            "LORA": str(self.lora),
            "TFIDF": str(self.tfidf),
            "MODEL": str(self.tiny.target),
        }


Spoil = Callable[[World], None]


@dataclass(frozen=True)
class Case:
    """A command line, what is spoilt before it, and what the sentence must hold (in this order)."""

    command: str
    says: tuple[str, ...]
    spoil: Spoil | None = None
    code: int = 2


def both(first: Spoil, second: Spoil) -> Spoil:
    """One after the other."""

    def spoil(world: World) -> None:
        first(world)
        second(world)

    return spoil


def recipe(task: str, change: Callable[[str], str]) -> Spoil:
    """Change the text of a recipe file."""

    def spoil(world: World) -> None:
        file = world.here / f"{task}.yaml"
        file.write_text(change(file.read_text()))

    return spoil


def data(name: str, content: str | bytes, *, append: bool = False) -> Spoil:
    """Replace a data file, or append to it."""

    def spoil(world: World) -> None:
        file = world.here / "data" / name
        old = file.read_bytes() if append else b""
        file.write_bytes(old + (content if isinstance(content, bytes) else content.encode()))

    return spoil


def remove(name: str) -> Spoil:
    """Delete a file or folder."""

    def spoil(world: World) -> None:
        path = world.here / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return spoil


def write(name: str, content: str | bytes = "a file") -> Spoil:
    """Write a file."""

    def spoil(world: World) -> None:
        path = world.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return spoil


def folder(name: str) -> Spoil:
    """Make an empty folder."""
    return lambda world: (world.here / name).mkdir()


def run_copy(of: str, change: Callable[[World, Path], None] = lambda world, run: None) -> Spoil:
    """Copy a run to ``run/`` and change it."""

    def spoil(world: World) -> None:
        target = world.here / "run"
        shutil.copytree(getattr(world, of), target)
        if "sha256" in json.loads((target / "record.json").read_text()):  # else that alone would be said
            unseal(target)
        change(world, target)

    return spoil


def record(**changes: Any) -> Callable[[World, Path], None]:
    """Replace keys of the record; one that ends in ``__key`` replaces that key of the section."""

    def change(world: World, run: Path) -> None:
        content = json.loads((run / "record.json").read_text())
        for name, value in changes.items():
            section, _, key = name.partition("__")
            if key:
                content[section][key] = value
            else:
                content[section] = value
        (run / "record.json").write_text(json.dumps(content))

    return change


def no_checkpoint(world: World, run: Path) -> None:
    """As an interruption leaves it."""
    shutil.rmtree(run / "checkpoint")
    record(status="interrupted")(world, run)


def flip_bit(world: World, run: Path) -> None:
    """Flip the last bit of the learned weights."""
    file = run / "checkpoint" / "learned.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def reads_instruction(world: World, run: Path) -> None:
    """A sound checkpoint whose Prompting LLM reads the instruction alone."""
    from transferkit.files.manifest import seal

    file = run / "checkpoint" / "embedder.json"
    content = json.loads(file.read_text())
    content["prompting"]["reads"] = "instruction"
    file.write_text(json.dumps(content))
    (run / "checkpoint" / "manifest.json").unlink()
    seal(run / "checkpoint")


def drop_adapter(world: World, run: Path) -> None:
    """A sound checkpoint whose weights lack one of the adapters."""
    from safetensors.torch import load_file, save_file

    from transferkit.files.manifest import seal

    file = run / "checkpoint" / "learned.safetensors"
    tensors = load_file(file)
    del tensors[next(name for name in tensors if name.startswith("adapter."))]
    save_file(tensors, file)
    (run / "checkpoint" / "manifest.json").unlink()
    seal(run / "checkpoint")


def resumes_with(**changes: Any) -> Callable[[World, Path], None]:
    """An interrupted run that reads the case's own data."""

    def change(world: World, run: Path) -> None:
        inputs = {"source": None, "data_dir": str(world.here / "data")}
        record(status="interrupted", inputs=inputs, **changes)(world, run)

    return change


def model(change: Callable[[Path], None] = lambda folder: None, **config: Any) -> Spoil:
    """Copy the target decoder to ``model/``, change keys of its config, then its files."""

    def spoil(world: World) -> None:
        target = world.here / "model"
        shutil.copytree(world.tiny.target, target)
        file = target / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | config))
        change(target)

    return spoil


def drop_tensor(model: Path) -> None:
    """Take one tensor out of the weights."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(model / "model.safetensors")
    tensors.pop("gpt_neox.layers.0.attention.dense.weight")
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})


def pickle_weights(model: Path) -> None:
    """The same weights as a pickle alone."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()


def truncate_weights(model: Path) -> None:
    """Half of the weights file, as a broken download leaves it."""
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def drop_tokenizer(model: Path) -> None:
    """A model folder without its tokenizer."""
    for file in model.glob("tokenizer*"):
        file.unlink()


def encoder_decoder(world: World) -> None:
    """A small encoder-decoder in ``model/``; its weights are never looked at."""
    from transformers import T5Config

    T5Config(vocab_size=128, d_model=16).save_pretrained(world.here / "model")


def not_installed(package: str) -> Spoil:
    """Let ``package`` look absent."""

    def spoil(world: World) -> None:
        import importlib.util

        import transferkit.runner.prepare

        real = importlib.util.find_spec

        def find_spec(name: str, *rest: Any) -> Any:
            return None if name == package else real(name, *rest)

        world.monkeypatch.setattr(importlib.util, "find_spec", find_spec)
        world.monkeypatch.setattr(transferkit.runner.prepare, "find_spec", find_spec)

    return spoil


def nothing_to_quantise(world: World) -> None:
    """bitsandbytes is there and the decoder is loaded, but none of its layers is a plain linear one."""
    import transferkit.decoder.loading as loading

    real = loading._load_weights

    def load(auto_class: Any, location: str, revision: str | None, dtype: Any, quantizer: Any, device: Any) -> Any:
        return real(auto_class, location, revision, dtype, None, device)

    world.monkeypatch.setattr(loading, "_load_weights", load)


def processes(count: int) -> Spoil:
    """As if started in ``count`` processes."""

    def spoil(world: World) -> None:
        from accelerate import Accelerator

        world.monkeypatch.setattr(Accelerator, "num_processes", property(lambda self: count))

    return spoil


def interrupt(target: str) -> Spoil:
    """Ctrl-C at the moment when ``module.function`` is called."""

    def spoil(world: World) -> None:
        def press(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        world.monkeypatch.setattr(target, press)

    return spoil


def full_disk(target: str) -> Spoil:
    """No space left when ``module.function`` is called."""

    def spoil(world: World) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        world.monkeypatch.setattr(target, refuse)

    return spoil
