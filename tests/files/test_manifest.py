"""Sealed folders: whole or absent, readable by whoever may read the folder, and nothing in them unchecked."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from transferkit.errors import ConfigError, RunError
from transferkit.files.json import read_json
from transferkit.files.manifest import NAME, new_folder, verify


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    target = tmp_path / "folder"
    with new_folder(target) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "config.json").write_text("{}")
        save_file({"x": torch.zeros(2)}, folder / "learned.safetensors")
    return target


def reseal(folder: Path, files: Any) -> None:
    (folder / NAME).write_text(json.dumps({"format": 1, "files": files}))


def test_every_file_may_be_read_by_whoever_may_read_the_manifest(sealed: Path) -> None:
    """safetensors writes for the owner alone."""
    modes = {stat.S_IMODE(path.stat().st_mode) for path in sealed.rglob("*") if path.is_file()}
    assert len(modes) == 1
    assert set(verify(sealed)) == {"inner/config.json", "learned.safetensors"}


@pytest.mark.parametrize("name", ["inner/added_tokens.json", "adapter_config.json", "inner/model.safetensors"])
def test_a_file_that_a_loader_would_read_unchecked_is_refused(sealed: Path, name: str) -> None:
    (sealed / "README.md").write_text("a note of the user's")
    (sealed / "inner" / ".DS_Store").write_text("a desktop's")
    verify(sealed)
    (sealed / name).write_text("{}")
    with pytest.raises(ConfigError, match=f"{name}: does not belong to this checkpoint, .* remove it"):
        verify(sealed)


def test_a_manifest_of_another_format_is_refused(sealed: Path) -> None:
    (sealed / NAME).write_text(json.dumps({"format": 2, "files": verify(sealed)}))
    with pytest.raises(ConfigError, match=r"manifest\.json: format: expected 1, got 2; another version of transferkit"):
        verify(sealed)


def test_what_a_kill_between_two_renames_left_is_put_back(sealed: Path) -> None:
    sealed.rename(sealed.with_name(f".{sealed.name}.old"))
    with pytest.raises(ZeroDivisionError), new_folder(sealed):
        raise ZeroDivisionError
    assert set(verify(sealed)) == {"inner/config.json", "learned.safetensors"}
    assert [path.name for path in sealed.parent.iterdir()] == [sealed.name]


def test_an_entry_that_was_dropped_is_such_a_file(sealed: Path) -> None:
    files = verify(sealed)
    del files["inner/config.json"]
    reseal(sealed, files)
    with pytest.raises(ConfigError, match=r"config\.json: does not belong to this checkpoint"):
        verify(sealed)


def test_names_and_links_that_lead_out_are_refused(sealed: Path) -> None:
    outside = sealed.parent / "outside.json"
    outside.write_text("{}")
    files = verify(sealed)
    reseal(sealed, files | {"../outside.json": files["inner/config.json"]})
    with pytest.raises(ConfigError, match=r"manifest\.json: damaged"):
        verify(sealed)
    reseal(sealed, files)
    (sealed / "inner" / "config.json").unlink()
    (sealed / "inner" / "config.json").symlink_to(outside)
    with pytest.raises(ConfigError, match=r"config\.json: leads out of the checkpoint; put the file itself there"):
        verify(sealed)


@pytest.mark.parametrize(
    "content",
    ["null", '"files"', "[]", '{"files": null}', '{"files": ["a"]}', '{"files": {"a": 1}}', "{", "[" * 100_000, "\xff"],
    ids=["null", "text", "list", "no files", "names", "number", "half", "nested", "latin"],
)
def test_a_manifest_of_another_shape_is_damaged(sealed: Path, content: str) -> None:
    (sealed / NAME).write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"manifest\.json: damaged; restore the checkpoint from a copy"):
        verify(sealed)


def test_json_that_is_nested_without_end_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(ConfigError, match=r"a\.json: not valid JSON"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (SafetensorError("I/O error: No space left on device (os error 28)"), "No space left on device"),
        (OSError(28, "No space left on device"), r"could not be written \(No space left on device\); nothing else"),
    ],
    ids=["safetensors", "system"],
)
def test_a_full_disk_leaves_what_was_there(sealed: Path, error: Exception, says: str) -> None:
    before = {path: path.read_bytes() for path in sealed.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=says), new_folder(sealed):
        raise error
    assert {path: path.read_bytes() for path in sealed.rglob("*") if path.is_file()} == before
    assert [path.name for path in sealed.parent.iterdir()] == [sealed.name]


@pytest.mark.parametrize("name", ["n" * 300, "é" * 200, "/etc/hostname", "../x.safetensors", "a\0b", "", "a//b", "./a"])
def test_a_name_that_no_file_of_the_folder_has_is_no_entry(sealed: Path, name: str) -> None:
    """A system call would stumble over the first two, and the next two are files of somebody else."""
    files = verify(sealed)
    reseal(sealed, files | {name: files["inner/config.json"]})
    with pytest.raises(ConfigError, match=r"manifest\.json: damaged; restore the checkpoint from a copy"):
        verify(sealed)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"a": "\\ud800"}', "not valid JSON .half of a surrogate pair"),
        (b'{"a": "\\uDC00x"}', "not valid JSON .half of a surrogate pair"),
        (b'{"a": "\xff"}', "cannot be read as UTF-8"),
        (b"[" * 9000, "not valid JSON .nested too deeply"),
        (b"9" * 5000, "not valid JSON"),
    ],
)
def test_json_that_could_not_be_written_again_is_refused(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"facts\.json: {says}"):
        read_json(tmp_path / "facts.json")


def test_a_whole_surrogate_pair_is_a_letter_like_others(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text('{"a": "\\ud83d\\ude00"}')
    assert read_json(tmp_path / "facts.json") == {"a": "\U0001f600"}
