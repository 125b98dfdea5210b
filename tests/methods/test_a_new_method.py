"""A method is one file: the documentation's example lies beside the others, and every command takes it."""

import importlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import call
from helpers.evaluate_call import evaluated
from helpers.pages import python_of
from helpers.run_parts import QUIET, Stopped, learned, untimed
from helpers.set_folders import write_sets
from helpers.tiny import Tiny

import transferkit.methods
from transferkit.checkpoints.checkpoint import load
from transferkit.config import methods
from transferkit.config.methods import MethodFacts, baseline_methods
from transferkit.errors import ConfigError
from transferkit.methods import registry
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.runner.prepare import Inputs
from transferkit.runner.run import resume, start
from transferkit.runs.folder import read_run
from transferkit.training.signals import Interrupted

TEXTS = ["a red cat", "i see two cars in the water", "no"]
LEARNING = {"optim": {"steps": 4, "lr": 0.1}, "eval": {"every": 2, "keep": "last"}}
Call = Callable[..., int]


@pytest.fixture(name="gain")
def make_gain(tmp_path: Path) -> Iterator[None]:
    """The example's text as ``gain.py`` in the folder of the methods, for the time of a test."""
    (code,) = python_of("docs/adding-a-method.md")
    # The folder is read for facts, and modules are found through the package: a copy of the one, beside the other.
    folder = shutil.copytree(methods._FOLDER, tmp_path / "methods", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "gain.py").write_text(code, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "_FOLDER", folder)
        patch.setattr(transferkit.methods, "__path__", [*transferkit.methods.__path__, str(folder)])
        importlib.invalidate_caches()
        methods._in_files.cache_clear()
        yield
    methods._in_files.cache_clear()
    if sys.modules.pop("transferkit.methods.gain", None) is not None:
        del transferkit.methods.gain


@pytest.fixture(name="run")
def make_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Exit code of a command line, run in this process below an empty folder."""
    monkeypatch.chdir(tmp_path)
    return partial(call, monkeypatch)


def test_it_is_not_known_before_it_is_there(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match=r"method: expected 'lora', .* or 'encoder', got 'gain'"):
        tiny.recipe("baseline", method="gain")


@pytest.mark.usefixtures("gain")
def test_every_command_takes_it(tiny: Tiny, tmp_path: Path, run: Call, capsys: pytest.CaptureFixture[str]) -> None:
    assert baseline_methods()[-1] == "gain"
    recipe = tiny.write(tmp_path, "baseline", **LEARNING)
    command = ["baseline", recipe, "--data-dir", tiny.data, "--method"]

    assert run(*command, "gain", "--dry-run") == 0
    plan = capsys.readouterr().out
    assert "\nmethod: gain\n  trained, evaluated from step 0 on; the last step becomes the checkpoint\n" in plan
    assert re.search(r"\n  trainable +48 of ", plan)
    assert "full: no soft tokens, so the whole row is one pass" in plan
    assert not (tmp_path / "runs").exists()

    for method in ("gain", "lora"):
        assert run(*command, method, "--quiet") == 0
    gain, lora = map(Path, capsys.readouterr().out.splitlines())
    record, metrics = read_run(gain).record, read_run(gain).metrics
    assert (record["method"], record["label"], record["status"]) == ("gain", "gain", "done")
    assert record["parameters"]["trainable"] == 48
    assert [row["step"] for row in metrics] == [0, 2, 4]

    opened = load(gain)
    assert type(opened).__name__ == "GainEmbedder"
    vectors = opened.encode(TEXTS, readout=False)
    as_it_was = FrozenEmbedder(opened.reader, pooling=opened.pooling).encode(TEXTS)  # type: ignore[attr-defined]
    assert np.abs(vectors - as_it_was).max() > 1e-3  # it learned

    assert run("compare", lora, gain, "--json", "--out", "report") == 0
    table = json.loads(capsys.readouterr().out)
    assert list(dict.fromkeys(row["method"] for row in table["rows"])) == ["lora", "gain"]
    assert "| gain " in Path("report/table.md").read_text(encoding="utf-8")

    Path("texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    assert run("embed", gain, "texts.txt", "--out", "texts.npy") == 0
    assert "3 vectors in texts.npy" in capsys.readouterr().err
    np.testing.assert_allclose(np.load("texts.npy"), opened.encode(TEXTS), atol=1e-5)

    sets = write_sets(tmp_path / "sets")
    options = ["--tasks-from", sets, "--tasks", "likeness", "--out", "scores", "--json", "--quiet"]
    assert run("evaluate", gain, lora, *options) == 0
    rows = evaluated(capsys)["rows"]
    assert [(row["model"], row["problem"]) for row in rows] == [(gain.name, None), (lora.name, None)]
    assert rows[0]["score"] is not None
    assert rows[0]["revision"] != rows[1]["revision"]
    assert gain.name in Path("scores/table.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("gain")
def test_it_is_resumed_bit_for_bit(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, inputs = tiny.recipe("baseline", method="gain", **LEARNING), Inputs(data_dir=tiny.data)
    whole = start(recipe, inputs, runs=tmp_path, console=QUIET, name="whole")
    with monkeypatch.context() as patch:
        patch.setattr("transferkit.runner.run.Progress", Stopped)
        with pytest.raises(Interrupted):
            start(recipe, inputs, runs=tmp_path, console=QUIET, name="halves")
    resume(tmp_path / "halves", console=QUIET)
    assert untimed(read_run(tmp_path / "halves").metrics) == untimed(read_run(whole).metrics)
    first, second = load(whole), load(tmp_path / "halves")
    assert learned(first).keys() == learned(second).keys()
    np.testing.assert_array_equal(first.encode(TEXTS), second.encode(TEXTS))


def test_one_outside_of_the_folder_is_known_once_it_is_registered(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "_registered", {})
    monkeypatch.setattr(registry, "_registered", {})

    @registry.register
    class Elsewhere(FrozenEmbedder):
        facts = MethodFacts(name="elsewhere", task="baseline", place=10, title="elsewhere", kind="elsewhere")

    assert baseline_methods()[-1] == "elsewhere"
    assert registry.method_class(tiny.recipe("baseline", method="elsewhere").facts) is Elsewhere
    assert registry.class_of_kind("elsewhere") is Elsewhere
