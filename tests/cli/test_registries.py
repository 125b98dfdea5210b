"""What `backbones` and `recipes` print is what the files of the registries say; what ends a command early."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from helpers.command_line import call as call_with
from helpers.tiny import Tiny

import transferkit
from transferkit.config.recipes import read_recipe
from transferkit.config.specs import declared_spec, find_spec, read_spec
from transferkit.decoder.probe import probe


@pytest.fixture(name="call")
def make_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    monkeypatch.chdir(tmp_path)
    return partial(call_with, monkeypatch)


def test_a_backbone_is_shown_as_a_spec_that_reads_back(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("backbones", "show", "qwen3-0.6b") == 0
    Path("qwen3-0.6b.yaml").write_text(capsys.readouterr().out)
    assert read_spec(Path("qwen3-0.6b.yaml")) == find_spec("qwen3-0.6b")
    assert declared_spec("Qwen/Qwen3-0.6B-Base") == find_spec("qwen3-0.6b")


def test_a_probed_decoder_is_printed_or_written(
    call: Callable[..., int], tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("backbones", "probe", tiny.target) == 0
    printed = capsys.readouterr().out
    file = Path("specs/of/mine/target.yaml")  # in folders that are not there
    assert call("backbones", "probe", tiny.target, "--write", file) == 0
    assert capsys.readouterr().out == f"{file}\n"
    assert file.read_text() == printed
    assert read_spec(file).model_dump() == probe(str(tiny.target)).model_dump()


def test_recipes_of_a_new_family_are_written_where_it_says(
    call: Callable[..., int], tiny: Tiny, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("recipes", "new", "--family", "mine", "--backbone", tiny.target) == 0
    files = capsys.readouterr().out.splitlines()
    assert files == [f"recipes/mine/{task}.yaml" for task in ("train", "adapt", "baseline")]
    assert {read_recipe(file).embedding.backbone for file in files} == {str(tiny.target)}


def test_an_interruption_between_verbs_is_said(
    call: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("transferkit.cli.app.app", press)
        assert call("--version") == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("command", ["recipes list", "--version"])
def test_a_reader_that_went_away_is_no_error(command: str) -> None:
    """As in `transferkit ... | head`: printed at once or when the process ends."""
    environment = os.environ | {"PYTHONPATH": str(Path(transferkit.__file__).parents[1])}
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "transferkit", *command.split()],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=environment,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
