"""SIGTERM and SIGINT, whenever they come: exit code 130, one sentence, and nothing that cannot be gone on with."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import call
from helpers.tiny import Tiny

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    """A shell that runs the tests in the background has them ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def command(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    recipe = tiny.write(tmp_path, "baseline", optim={"steps": 2}, eval={"every": 2})
    return ["baseline", str(recipe), "--method", "prompt-tuning", "--data-dir", str(tiny.data)]


def pressed(patch: pytest.MonkeyPatch, target: str, number: signal.Signals, *, when: Callable[..., bool]) -> None:
    """The process gets the signal when ``module.function`` is called so."""
    module, name = target.rsplit(".", 1)
    real = getattr(__import__(module, fromlist=[name]), name)

    def press(*given: Any, **more: Any) -> Any:
        if when(*given, **more):
            os.kill(os.getpid(), number)
        return real(*given, **more)

    patch.setattr(target, press)


def always(*_: Any, **__: Any) -> bool:
    return True


def is_last(folder: Path, state: Any, *_: Any) -> bool:
    return bool(state.step == 2)


def is_done(folder: Path, record: dict[str, Any]) -> bool:
    return bool(record["status"] == "done")


@pytest.mark.parametrize("number", SIGNALS)
def test_before_the_run_folder_nothing_is_left(
    command: list[str], number: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        pressed(patch, "transferkit.runner.prepare.load_dev_sets", number, when=always)
        assert call(patch, *command) == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["baseline.yaml"]


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    ("target", "when"),
    [
        ("transferkit.training.loop.save_state", is_last),
        ("transferkit.runner.work._save", always),
        ("transferkit.runner.run.write_record", is_done),
    ],
    ids=["in the last state", "before the checkpoint", "before the run is done"],
)
def test_after_the_last_step_the_run_can_be_resumed(
    command: list[str],
    number: signal.Signals,
    target: str,
    when: Callable[..., bool],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        pressed(patch, target, number, when=when)
        assert call(patch, *command) == 130
    (folder,) = (tmp_path / "runs").glob("prompt-tuning-*")
    way = f"interrupted; continue with `transferkit baseline --resume runs/{folder.name}`"
    assert capsys.readouterr().err.splitlines()[-1] == way
    assert json.loads((folder / "record.json").read_text())["status"] == "interrupted"
    with pytest.MonkeyPatch.context() as patch:  # and again, while it loads what it goes on with
        pressed(patch, "transferkit.runner.prepare.load_dev_sets", number, when=always)
        assert call(patch, "baseline", "--resume", f"runs/{folder.name}") == 130
    assert capsys.readouterr().err == f"{way}\n"
    with pytest.MonkeyPatch.context() as patch:
        assert call(patch, "baseline", "--resume", folder, "--quiet") == 0
    assert json.loads((folder / "record.json").read_text())["status"] == "done"
    assert {path.name for path in folder.iterdir()} == {
        *("recipe.yaml", "record.json", "metrics.jsonl", "outcomes.json", "checkpoint", "README.md")
    }


def test_the_process_has_its_own_handlers_back_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    assert call(monkeypatch, "--version") == 0
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_reader_that_has_enough_is_no_error() -> None:
    """``transferkit backbones list | head``."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "transferkit", "backbones", "list"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False, env=os.environ)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
