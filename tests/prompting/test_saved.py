"""A Prompting LLM that a checkpoint shares: linked between a user's folders, never into the installed package."""

from pathlib import Path
from typing import Any

import pytest
from helpers.parts import source_checkpoint
from helpers.tiny import Tiny

from transferkit.errors import ConfigError
from transferkit.prompting.saved import load_tensors, save_writer
from transferkit.runs.checkpoint_folder import checkpoint_folder

NO_WRITER: Any = None  # what is shared is not written


def inodes(folder: Path) -> set[tuple[int, int]]:
    return {(path.stat().st_dev, path.stat().st_ino) for path in folder.rglob("*") if path.is_file()}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_shares_no_file_with_the_package(tmp_path: Path) -> None:
    save_writer(NO_WRITER, tmp_path, shared=Path("bundled-toy"))
    bundled = checkpoint_folder(Path("bundled-toy")) / "prompting"
    assert content(tmp_path / "prompting") == content(bundled)
    assert not inodes(tmp_path) & inodes(bundled)


def test_a_source_of_ones_own_is_linked(tiny: Tiny, tmp_path: Path) -> None:
    source = source_checkpoint(tiny, tmp_path / "source")
    (tmp_path / "run").mkdir()
    save_writer(NO_WRITER, tmp_path / "run", shared=source)
    assert inodes(tmp_path / "run") == inodes(source / "prompting")


def test_weights_that_are_none_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "learned.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigError, match=r"learned\.safetensors: cannot be read \(.*\); restore the checkpoint from"):
        load_tensors(tmp_path / "learned.safetensors")
