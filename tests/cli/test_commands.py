"""The command line: help, version, what goes to which stream, and a whole transfer through the real console."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import call
from helpers.tiny import Tiny

import transferkit

COMMANDS = [
    "",
    *(
        "train",
        "adapt",
        "baseline",
        "compare",
        "study",
        "augment",
        "embed",
        "export",
        "evaluate",
        "search",
        "bridge",
        "attention",
        "demo",
        "doctor",
        "templates",
    ),
    *("study run", "study init"),
    *("backbones", "backbones list", "backbones show", "backbones probe"),
    *("recipes", "recipes list", "recipes show", "recipes check", "recipes copy", "recipes new"),
]
MANY_STEPS = 80  # enough for a signal to arrive in the middle
CONSOLE = [sys.executable, "-m", "transferkit"]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(Path(transferkit.__file__).parents[1])}


def console(*arguments: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    process = subprocess.run(
        [*CONSOLE, *map(str, arguments)], cwd=cwd, env=environment(), capture_output=True, text=True, check=False
    )
    assert process.returncode == code, process.stderr
    return process


@contextmanager
def started(*arguments: object, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is still running; it is ended with the block."""
    process = subprocess.Popen(
        [*CONSOLE, *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def record(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "record.json").read_text())
    return content


def steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*command.split(), "--help") == 0
    stdout, stderr = capsys.readouterr()
    assert f"transferkit {command}".rstrip() in stdout
    assert stderr == ""


def test_every_command_is_in_the_list_above() -> None:
    import typer

    def names(group: object, prefix: str) -> Iterator[str]:
        for name, one in getattr(group, "commands", {}).items():
            yield f"{prefix}{name}"
            yield from names(one, f"{prefix}{name} ")

    from transferkit.cli.app import app

    assert {"", *names(typer.main.get_command(app), "")} == set(COMMANDS)


def test_version(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out == f"transferkit {transferkit.__version__}\n"


def test_an_interrupted_command_says_so(
    call: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press() -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr("transferkit.config.template.list_templates", press)
    assert call("templates") == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_commands_do_not_report_a_missing_kernel_for_four_bits(
    call: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    logger.filters.clear()  # of what ran before in this process
    assert call("--version") == 0
    logger.warning("Failed to load CPU gemm_4bit_forward from kernels-community: %s. Please", "no kernels")
    logger.warning("something else")
    assert caplog.messages == ["something else"]


def test_lists_name_what_is_built_in(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("recipes", "list") == 0
    assert capsys.readouterr().out.split() == transferkit.list_recipes()
    assert call("backbones", "list", "--json") == 0
    names = [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()]
    assert names == transferkit.list_backbones()


@pytest.mark.parametrize("width", ["40", "80"])
def test_backbones_are_listed_by_their_whole_names(
    width: str, call: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    assert call("backbones", "list") == 0
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert set(transferkit.list_backbones()) <= set(shown.split())


def test_a_checked_recipe_gets_a_verdict(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert call("recipes", "check", "bundled/adapt") == 0
    stdout, stderr = capsys.readouterr()
    assert stdout.startswith("task: adapt")
    assert stderr == "bundled/adapt: valid; data files are not opened here, --dry-run of its command does that\n"


def test_a_recipe_is_shown_whole(
    tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("# Mine.\nbase: bundled/adapt\nseed: 4\n", encoding="utf-8")
    assert call("recipes", "show", "mine.yaml") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("# Mine.\ntask: adapt\nseed: 4                           # order of the data")
    Path("whole.yaml").write_text(shown, encoding="utf-8")
    assert transferkit.read_recipe("whole.yaml") == transferkit.read_recipe("mine.yaml")


def test_streams_of_a_run(
    tiny: Tiny, tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["baseline", tiny.write(tmp_path, "baseline"), "--method", "tfidf", "--data-dir", tiny.data]
    command += ["--runs", tmp_path / "runs"]

    assert call(*command) == 0
    stdout, stderr = capsys.readouterr()
    (folder,) = (tmp_path / "runs").iterdir()
    assert stdout == f"{folder}\n"
    assert folder.name in stderr
    assert "step     0" in stderr

    assert call(*command, "--quiet") == 0
    stdout, stderr = capsys.readouterr()
    assert Path(stdout.rstrip("\n")).parent == tmp_path / "runs"
    assert stderr == ""

    assert call(*command, "--json") == 0
    assert record(tmp_path / "runs" / json.loads(capsys.readouterr().out)["run"])["status"] == "done"

    assert call("baseline", "--resume", folder) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == f"{folder}\n"
    assert "already done" in stderr


def test_a_dry_run_writes_nothing(
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tiny.write(tmp_path, "baseline")
    assert call("baseline", recipe, "--method", "frozen", "--data-dir", tiny.data, "--dry-run") == 0
    assert "method: frozen" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [recipe]


@pytest.mark.slow
def test_an_interrupt_is_resumed_to_the_end(tiny: Tiny, tmp_path: Path, call: Callable[..., int]) -> None:
    recipe = tiny.write(
        tmp_path, "baseline", optim={"steps": MANY_STEPS}, eval={"every": MANY_STEPS}, save_every=MANY_STEPS
    )
    command = ["baseline", recipe, "--method", "prompt-tuning", "--data-dir", tiny.data, "--runs", "runs"]
    with started(*command, cwd=tmp_path) as process:
        assert process.stderr is not None
        while "step     0" not in (line := process.stderr.readline()):
            assert line, "ended before its first evaluation"
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
    assert process.returncode == 130
    assert stdout == ""
    (folder,) = (tmp_path / "runs").iterdir()
    assert stderr.splitlines()[-1] == f"interrupted; continue with `transferkit baseline --resume runs/{folder.name}`"
    assert "Traceback" not in stderr
    assert record(folder)["status"] == "interrupted"
    (state,) = folder.glob("state-*")
    assert 0 <= int(state.name.removeprefix("state-")) < MANY_STEPS

    assert call("baseline", "--resume", folder, "--quiet") == 0
    assert record(folder)["status"] == "done"
    assert steps(folder) == [0, MANY_STEPS]


@pytest.mark.slow
def test_a_killed_run_is_resumed_to_the_end(tiny: Tiny, tmp_path: Path, call: Callable[..., int]) -> None:
    recipe = tiny.write(tmp_path, "baseline", optim={"steps": MANY_STEPS}, eval={"every": MANY_STEPS}, save_every=1)
    command = ["baseline", recipe, "--method", "prompt-tuning", "--data-dir", tiny.data, "--runs", "runs"]
    with started(*command, cwd=tmp_path) as process:
        assert process.stderr is not None
        while "step     0" not in (line := process.stderr.readline()):
            assert line, "ended before its first evaluation"
        while not list((tmp_path / "runs").glob("*/state-*")):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    (folder,) = (tmp_path / "runs").glob("[!.]*")  # beside it lies the lock that the kill left
    assert record(folder)["status"] == "running"
    assert not (folder / "checkpoint").exists()
    (folder / ".state-0000021.1").mkdir(exist_ok=True)  # as a kill in the middle of a save leaves it

    assert call("baseline", "--resume", folder, "--quiet") == 0
    assert record(folder)["status"] == "done"
    assert steps(folder) == [0, MANY_STEPS]
    assert {path.name for path in folder.iterdir()} == {
        *("recipe.yaml", "record.json", "metrics.jsonl", "outcomes.json", "checkpoint", "README.md")
    }


@pytest.mark.slow
def test_a_transfer_through_the_console(tiny: Tiny, tmp_path: Path) -> None:
    def run(verb: str, *arguments: object) -> Path:
        process = console(verb, tiny.write(tmp_path, verb), "--data-dir", tiny.data, *arguments, cwd=tmp_path)
        folder = Path(process.stdout.removesuffix("\n"))
        assert folder.parent == Path("runs")
        assert folder.name in process.stderr
        assert "Traceback" not in process.stderr
        return tmp_path / folder

    source = run("train")
    adapted = run("adapt", "--source", source)
    lora = run("baseline", "--method", "lora")

    table = console("compare", adapted, lora, "--out", "report", cwd=tmp_path)
    assert "LoRA r 8" in table.stdout
    assert "transfer, W + offsets" in table.stdout
    assert {"table.md", "table.csv", "table.json", "report.html"} <= {p.name for p in (tmp_path / "report").iterdir()}
    as_json = console("compare", adapted, lora, "--json", cwd=tmp_path)
    assert json.loads(as_json.stdout) == json.loads((tmp_path / "report" / "table.json").read_text())

    texts = ["the cat", "a long way to the water", "the cat"]
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    console("embed", adapted, "texts.txt", "--out", "vectors.npy", "--instruction", "see", cwd=tmp_path)
    vectors = np.load(tmp_path / "vectors.npy")
    assert np.array_equal(vectors[0], vectors[2])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    expected = transferkit.load(adapted).encode(texts, instruction="see")
    assert np.abs(vectors - expected).max() <= 1e-5


@pytest.mark.parametrize(
    "command", ["compare NAME", "embed NAME x.txt --out x.npy", "recipes check NAME.yaml", "study NAME"]
)
def test_a_name_that_no_file_system_holds_is_a_sentence(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.txt").write_text("a cat\n")
    assert call(monkeypatch, *command.replace("NAME", "n" * 300).split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: nnnn")
    assert "File name too long" in said
    assert said.count("\n") == 1


def test_search_knows_its_checkpoint_before_it_reads_the_docstrings_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("docstrings were read")

    monkeypatch.setattr("transferkit.embed.search.docstring_entries", read)
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "search", "a question", "--checkpoint", "nowhere") == 2
    assert "nowhere: no such checkpoint" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")],
    ids=["Python's", "torch's"],
)
def test_too_little_memory_is_one_sentence(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("transferkit.embed.files.embed_file", fails)
    (tmp_path / "texts.txt").write_text("a red cat\n")
    out = str(tmp_path / "vectors.npy")
    assert call(monkeypatch, "embed", "bundled-toy", str(tmp_path / "texts.txt"), "--out", out) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: this machine has not enough memory for that; lower ")
    assert len(said.splitlines()) == 1
