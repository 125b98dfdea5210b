"""The checkpoint folder: which names are one, what is told apart from it, and what ``bundled`` means."""

import shutil
from pathlib import Path

import pytest
from helpers.parts import source_checkpoint
from helpers.tiny import Tiny

from transferkit.checkpoints.checkpoint import load
from transferkit.errors import ConfigError
from transferkit.files.builtin import SHIPPED, TOY, bundled_dir
from transferkit.runs.checkpoint_folder import (
    checkpoint_folder,
    given_folder,
    is_checkpoint,
    read_description,
    source_facts,
)


def test_which_names_are_checkpoints(tiny: Tiny, tmp_path: Path) -> None:
    source = source_checkpoint(tiny, tmp_path / "source")
    run = tmp_path / "run"
    shutil.copytree(source, run / "checkpoint")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "record.json").write_text("{}")
    for folder in (source, run, unfinished, *SHIPPED):
        assert is_checkpoint(str(folder))
    for name in (str(tiny.target), "bundled-llama-5m", "org/model", "./none"):
        assert not is_checkpoint(name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"empty: not a complete checkpoint .* and not a model folder \(no config"):
        is_checkpoint(str(tmp_path / "empty"))


def test_what_is_no_checkpoint_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such checkpoint or run folder"):
        read_description(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="not a complete checkpoint"):
        read_description(tmp_path)
    (tmp_path / "record.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"this run has no checkpoint yet .* continue it with --resume"):
        read_description(tmp_path)


def test_what_ships_has_its_name_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, folder in SHIPPED.items():
        (tmp_path / name).mkdir()
        assert given_folder(name) == bundled_dir(folder)
        assert checkpoint_folder(name) == bundled_dir(folder) / "checkpoint"
        assert given_folder(tmp_path / name) == tmp_path / name
        assert source_facts(name)["run"] == source_facts(bundled_dir(folder))["run"] == str(name)
    assert load(TOY).encode(["a text"], instruction="").shape[0] == 1
