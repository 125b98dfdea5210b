"""Wrong input on the command line: exit code, one sentence that helps, no traceback, nothing half-written."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from string import Template

import pytest
from helpers.command_line import call
from helpers.tiny import Tiny
from wrong import gguf as wrong_gguf
from wrong import inputs as spoil
from wrong import recipes as wrong_recipes
from wrong import runs as wrong_runs
from wrong.inputs import Case, World

import transferkit

CASES = wrong_recipes.CASES | wrong_runs.CASES | wrong_gguf.CASES


@pytest.fixture(scope="module")
def runs(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of each kind that the cases need."""
    folder = tmp_path_factory.mktemp("runs")
    common = ["--data-dir", str(tiny.data), "--runs", str(folder), "--quiet", "--set", "optim.steps=2"]
    baseline = ["baseline", str(tiny.write(folder, "baseline")), "--method"]
    with pytest.MonkeyPatch.context() as patch:
        assert run(["train", str(tiny.write(folder, "train")), *common], patch) == 0
        assert run([*baseline, "lora", *common], patch) == 0
        assert run([*baseline, "tfidf", *common], patch) == 0
    return {
        name: next(folder.glob(f"{start}-*"))
        for name, start in (("source", "train"), ("lora", "lora"), ("tfidf", "tfidf"))
    }


@pytest.fixture
def world(tiny: Tiny, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    shutil.copytree(tiny.data, here / "data")
    for task in ("train", "adapt", "baseline"):
        tiny.write(here, task)
    return World(tiny, here, **runs, monkeypatch=monkeypatch)


def arguments(command: str, world: World) -> list[str]:
    """The command line as a list; run verbs read the case's data and write into its folder."""
    parts = shlex.split(Template(command).substitute(world.names()))
    if parts[0] in ("train", "adapt", "baseline") and "--resume" not in parts:
        reads_there = "--unlabelled" not in parts and any(not part.startswith("-") for part in parts[1:2])
        parts += ["--data-dir", world.names()["DATA"]] if reads_there and "--data-dir" not in parts else []
        parts += [] if "--runs" in parts else ["--runs", "runs"]
    return parts


def run(parts: list[str], patch: pytest.MonkeyPatch) -> int:
    """Exit code of the command line, run in this process."""
    return call(patch, *parts)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below ``folder``, dot files too."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def check_sentence(stderr: str, says: tuple[str, ...]) -> None:
    """One line ``error: ...`` that holds the fragments in their order."""
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    place = 0
    for fragment in says:
        found = stderr.find(fragment, place)
        assert found >= 0, f"{fragment!r} is not in its place in {stderr!r}"
        place = found + len(fragment)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_wrong_input(case: Case, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    if case.spoil is not None:
        case.spoil(world)
    before = contents(world.here)
    assert run(arguments(case.command, world), world.monkeypatch) == case.code
    check_sentence(capsys.readouterr().err, case.says)
    assert contents(world.here) == before


def test_nothing_is_printed_before_a_wrong_recipe(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments("train $TRAIN --set optim.lr=-1 --json", world), world.monkeypatch) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("trian", "Did you mean 'train'?"),
        ("train --nope", "No such option: --nope"),
        ("train $TRAIN --source $SOURCE", "No such option: --source"),
        ("compare", "Missing argument 'RUN...'"),
        ("embed $SOURCE data/intents.csv", "Missing option '--out'"),
        ("embed $SOURCE data/intents.csv --out x.npy --batch-size 0", "Invalid value for '--batch-size'"),
        ("recipes nope", "No such command 'nope'"),
    ],
)
def test_wrong_usage(command: str, says: str, world: World, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(world.here)
    assert run(shlex.split(Template(command).substitute(world.names())), world.monkeypatch) == 2
    stderr = capsys.readouterr().err
    assert says in stderr
    assert "Traceback" not in stderr
    assert contents(world.here) == before


@pytest.mark.parametrize("name", ["unknown recipe", "compare what is no run", "copy recipes onto existing files"])
def test_the_same_in_a_process_of_its_own(name: str, world: World) -> None:
    case = CASES[name]
    if case.spoil is not None:
        case.spoil(world)
    before = contents(world.here)
    command = [sys.executable, "-m", "transferkit", *arguments(case.command, world)]
    environment = os.environ | {"PYTHONPATH": str(Path(transferkit.__file__).parents[1])}
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert process.returncode == case.code
    assert process.stdout == ""
    check_sentence(process.stderr, case.says)
    assert contents(world.here) == before


def only_run(world: World) -> Path:
    (folder,) = (world.here / "runs").iterdir()
    return folder


def status(run_folder: Path) -> str:
    return str(json.loads((run_folder / "record.json").read_text())["status"])


def test_a_loss_that_diverges_fails_and_says_so_in_the_record(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transferkit.training.step.batch_loss", lambda vectors, *_: vectors.sum() * float("nan"))
        assert run(arguments("train $TRAIN --quiet", world), world.monkeypatch) == 1
    folder = only_run(world)
    checkpoint = folder.relative_to(world.here) / "checkpoint"
    stderr = capsys.readouterr().err
    check_sentence(
        stderr, ("step 0: the loss is nan", "raise loss.temperature", "step 0 (dev ", f"are kept in {checkpoint}")
    )
    assert "resume" not in stderr
    assert "optim.lr" not in stderr  # no rate has done anything yet
    record = json.loads((folder / "record.json").read_text())
    assert record["status"] == "failed"
    assert "step 0: the loss is nan" in record["error"]
    assert record["best"]["step"] == 0
    # What was kept serves, and to go on would diverge again.
    embed = ["embed", str(folder), "data/sts.tsv", "--column", "sentence1", "--out", "v.npy", "--quiet"]
    assert run(embed, world.monkeypatch) == 0
    assert run(arguments(f"adapt $ADAPT --source {folder} --quiet --runs adapted", world), world.monkeypatch) == 0
    capsys.readouterr()
    assert run(["train", "--resume", str(folder), "--quiet"], world.monkeypatch) == 2
    check_sentence(capsys.readouterr().err, ("diverged and would do so again", "step 0: the loss is nan"))
    assert run(["train", "--resume", str(folder), "--quiet", "--force-resume"], world.monkeypatch) == 0
    record = json.loads((folder / "record.json").read_text())
    assert record["status"] == "done"
    assert "diverged" not in record
    assert "step 0: the loss is nan" in record["resumed"][-1]["forced"]["diverged"][0]


def test_a_full_disk_leaves_no_half_checkpoint_and_can_be_resumed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        spoil.full_disk("transferkit.checkpoints.checkpoint.save_file")(World(**{**vars(world), "monkeypatch": patch}))
        assert run(arguments("baseline $BASELINE --method lora --quiet", world), world.monkeypatch) == 1
    check_sentence(capsys.readouterr().err, ("checkpoint: could not be written", "No space left on device"))
    folder = only_run(world)
    assert status(folder) == "failed"
    assert not [path for path in folder.iterdir() if path.name.startswith((".", "checkpoint"))]
    assert run(["baseline", "--resume", str(folder), "--quiet"], world.monkeypatch) == 0
    assert status(folder) == "done"


def test_ctrl_c_before_the_run_folder_leaves_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    spoil.interrupt("transferkit.runner.prepare.load_dev_sets")(world)
    before = contents(world.here)
    assert run(arguments("train $TRAIN", world), world.monkeypatch) == 130
    assert "Traceback" not in capsys.readouterr().err
    assert contents(world.here) == before


def test_ctrl_c_between_two_steps_keeps_the_step(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    import transferkit.training.loop as loop

    real = loop.training_step

    def press(*given: object, step: int, **more: object) -> float:
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return real(*given, step=step, **more)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "training_step", press)
        assert run(arguments("baseline $BASELINE --method lora", world), world.monkeypatch) == 130
    folder = only_run(world)
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert (
        stderr.splitlines()[-1]
        == f"interrupted; continue with `transferkit baseline --resume {folder.relative_to(world.here)}`"
    )
    assert status(folder) == "interrupted"
    assert (folder / "state-0000003").is_dir()
    assert run(["baseline", "--resume", str(folder), "--quiet"], world.monkeypatch) == 0
    assert status(folder) == "done"
    assert (folder / "checkpoint" / "manifest.json").is_file()
    assert not list(folder.glob("state-*"))


def test_ctrl_c_while_measuring_leaves_a_run_that_can_be_resumed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        spoil.interrupt("transferkit.training.scoring.Scorer.read")(World(**{**vars(world), "monkeypatch": patch}))
        assert run(arguments("baseline $BASELINE --method tfidf", world), world.monkeypatch) == 130
    assert "continue with `transferkit baseline --resume runs/tfidf-" in capsys.readouterr().err
    folder = only_run(world)
    assert status(folder) == "interrupted"
    assert run(["baseline", "--resume", str(folder), "--quiet"], world.monkeypatch) == 0
    assert status(folder) == "done"
