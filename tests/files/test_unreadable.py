"""A file that is there and that the system will not give: one sentence, whoever reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transferkit.errors import ConfigError, RunError, first_line
from transferkit.files import environment as facts_of_here
from transferkit.files.builtin import builtin_dir, bundled_dir
from transferkit.files.encoder_folder import check_encoder
from transferkit.files.locations import check_location
from transferkit.files.manifest import new_folder, verify
from transferkit.files.tables import column_values, read_table
from transferkit.files.text_files import TextFile
from transferkit.files.writable import check_writable


def denied(patch: pytest.MonkeyPatch, *names: str) -> None:
    """Files of these names cannot be opened; the rights themselves would not keep the superuser out."""
    real = Path.open

    def refuse(self: Path, *given: Any, **more: Any) -> Any:
        if self.name in names:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *given, **more)

    patch.setattr(Path, "open", refuse)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.txt", lambda path: read_table(path, {"text"}, where=str(path))),
        ("a.csv", lambda path: read_table(path, {"text"}, where=str(path))),
        ("a.jsonl", lambda path: list(column_values(path, "text", where=str(path)))),
        ("a.txt", lambda path: list(TextFile.named(str(path), column="text"))),
        ("a.gguf", lambda path: check_location(str(path))),
    ],
    ids=["lines", "table", "column", "texts", "decoder"],
)
def test_the_sentence_names_it_and_the_reason(
    name: str, read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text("text\n")
    denied(monkeypatch, name)
    with pytest.raises(ConfigError, match=rf"{name}.*: cannot be read .*Permission denied") as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_of_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with new_folder(tmp_path / "checkpoint") as folder:
        (folder / "learned.safetensors").write_bytes(b"x")
    denied(monkeypatch, "learned.safetensors")
    with pytest.raises(ConfigError, match=r"learned\.safetensors: cannot be read \(Permission denied\); restore it"):
        verify(tmp_path / "checkpoint")


def test_a_folder_without_the_right_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ConfigError, match=r"cannot write there \(.* is read-only\); choose another with --out"):
        check_writable(tmp_path / "new", option="--out")
    assert not (tmp_path / "new").exists()


def test_an_installation_that_lacks_its_files_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transferkit.files.builtin._PACKAGE", tmp_path / "transferkit")
    (tmp_path / "recipes").mkdir()  # a stranger's, beside the package
    with pytest.raises(ConfigError, match=r"no built-in recipes: looked in .*; reinstall transferkit"):
        builtin_dir("recipes")
    with pytest.raises(ConfigError, match=r"no bundled 'source': .* does not exist; reinstall transferkit"):
        bundled_dir("source")
    (tmp_path / "transferkit" / "builtin" / "recipes").mkdir(parents=True)
    assert builtin_dir("recipes") == tmp_path / "transferkit" / "builtin" / "recipes"


def test_facts_of_a_machine_without_git_or_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_of_here, "_PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.setenv("PATH", str(tmp_path))
    facts = facts_of_here.environment()
    assert facts["versions"].keys() == {"python", "numpy"}
    assert facts["versions"]["numpy"] == np.__version__
    assert facts["git"] is None
    monkeypatch.setattr(facts_of_here, "__file__", str(tmp_path / "site-packages" / "transferkit" / "files" / "x.py"))
    assert facts_of_here.environment()["git"] is None


def test_errors_in_one_line_are_those_of_the_innermost_cause() -> None:
    outer = RunError("cannot be loaded")
    outer.__cause__ = OSError("disk is gone\nat sector 5")
    assert first_line(outer) == "disk is gone"
    assert first_line(KeyError()) == "KeyError"


@pytest.mark.parametrize("content", ["[1]", '{"type": 3}', "3", '[{"name": "0"}]'])
def test_a_list_of_modules_of_another_shape(content: str, tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text(content)
    with pytest.raises(ConfigError, match=r"modules\.json: cannot be read \(.*\); restore it"):
        check_encoder(str(tmp_path))


def test_pickled_weights_beside_safe_ones_are_nothing(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text('[{"type": "sentence_transformers.models.Transformer"}]')
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"pytorch_model\.bin: pickled weights are not loaded"):
        check_encoder(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert check_encoder(str(tmp_path)) == tmp_path
