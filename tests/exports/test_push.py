"""Uploads to the hub, against a stand-in of its library's client."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from helpers.command_line import call

import transferkit
from transferkit.errors import ConfigError, RunError


class Hub:
    """What was asked of the client, and what it raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.made: list[dict[str, Any]] = []
        self.uploaded: dict[str, set[str]] = {}

    def __call__(self, **_: Any) -> "Hub":
        return self

    def create_repo(self, repo_id: str, **options: Any) -> None:
        if self.error is not None:
            raise self.error
        self.made.append({"repo_id": repo_id, **options})

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        files = (path for path in Path(folder_path).rglob("*") if path.is_file())
        self.uploaded[repo_id] = {path.relative_to(folder_path).as_posix() for path in files}


def stand_in(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> Hub:
    hub = Hub(error)
    monkeypatch.setattr(huggingface_hub, "HfApi", hub)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return hub


def test_the_whole_folder_goes_to_a_private_repository(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = stand_in(monkeypatch)
    assert call(monkeypatch, "export", checkpoints["lora"], "--to", tmp_path / "out", "--push", "me/mine") == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'out'}\n"
    assert "uploaded to me/mine" in said.err
    assert hub.made == [{"repo_id": "me/mine", "private": True, "exist_ok": True}]
    written = {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert hub.uploaded == {"me/mine": written}
    assert {"README.md", "checkpoint/manifest.json"} <= written


def test_a_hub_that_refuses_leaves_the_folder(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, ConnectionError("no route to host\nmore"))
    says = r"the hub did not take it \(no route to host\); .*out is whole; .*then `hf upload me/mine .*out`"
    with pytest.raises(RunError, match=says):
        transferkit.export(checkpoints["lora"], tmp_path / "out", push="me/mine")
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_what_is_known_before_is_said_before(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mine", "me/mi ne", "a/b/c"):
        with pytest.raises(ConfigError, match="expected NAME/REPOSITORY"):
            transferkit.export(checkpoints["lora"], tmp_path / "out", push=name)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE says to ask no hub; unset it, or leave --push away"):
        transferkit.export(checkpoints["lora"], tmp_path / "out", push="me/mine")
    assert not (tmp_path / "out").exists()
