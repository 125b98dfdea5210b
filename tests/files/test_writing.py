"""A machine that refuses to write: one sentence with the way out, and what was there before is whole."""

import builtins
import errno
import importlib
import io
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import call
from helpers.run_builder import make_run, metric
from helpers.tiny import Tiny
from safetensors import SafetensorError

from transferkit.errors import ConfigError, RefusedError
from transferkit.files.json import write_text
from transferkit.files.lock import sole_use
from transferkit.files.manifest import new_folder, verify
from transferkit.files.writable import refusal, writing
from transferkit.report.pictures import write_figure

OPEN = io.open
CODES = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.ENOENT)


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_what_the_system_said_stands_in_the_sentence(code: int) -> None:
    with (
        pytest.raises(RefusedError, match=rf"^out: cannot be written \({os.strerror(code)}\); make room$") as caught,
        writing("out: cannot be written", way_out="make room"),
    ):
        raise OSError(code, os.strerror(code))
    assert caught.value.exit_code == 1
    assert caught.value.what == f"out: cannot be written ({os.strerror(code)})"


@pytest.mark.parametrize(
    "error",
    [
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        Exception("No space left on device (os error 28)"),  # what tokenizers raises
    ],
    ids=["safetensors", "tokenizers"],
)
def test_libraries_with_errors_of_their_own_are_understood(error: Exception) -> None:
    assert refusal(error) == "No space left on device"


def test_a_file_in_the_way_is_wrong_input_and_a_mistake_stays_a_mistake() -> None:
    with pytest.raises(ConfigError, match="in the way"), writing("out", way_out="move it"):
        raise NotADirectoryError(errno.ENOTDIR, "a file in the way")
    with pytest.raises(KeyError), writing("out", way_out="move it"):
        raise KeyError("name")


def test_a_real_limit_leaves_the_text_before(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "before")
    with limited(3), pytest.raises(OSError, match="File too large"):
        write_text(tmp_path / "a.txt", "far longer than three bytes")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "before")]


def test_a_real_limit_leaves_the_pictures_before(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    before = {path: path.read_bytes() for path in write_figure(Figure, tmp_path, "curves")}
    with limited(100), pytest.raises(OSError, match="File too large"):
        write_figure(lambda: Figure(figsize=(1, 1)), tmp_path, "curves")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_rename_that_is_refused_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one has moved aside when the new one cannot take its place."""
    target = tmp_path / "checkpoint"
    with new_folder(target) as made:
        (made / "weights.json").write_text("1")
    real = Path.replace

    def refuse(self: Path, to: Path) -> Path:
        if Path(to) == target and ".old" not in self.name:
            raise OSError(errno.EIO, "Input/output error")
        return real(self, to)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(RefusedError, match="Input/output error"), new_folder(target) as made:
        (made / "weights.json").write_text("2")
    verify(target)
    assert (target / "weights.json").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_lock_that_cannot_be_made_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", refusing(os.open, 1, below=tmp_path))
    says = r"cannot write there \(.*\); mend that, or choose another with --runs"
    with pytest.raises(RefusedError, match=says), sole_use(tmp_path / "run"):
        pass


@pytest.mark.parametrize("command", ["recipes list", "backbones list --json", "--version"])
def test_standard_output_on_a_full_disk(command: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    import subprocess
    import sys

    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "transferkit", *command.split()], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "error: standard output: No space left on device; mend that and run it again\n"


# Every change of a file that a command makes, refused one after the other


@contextmanager
def limited(size: int) -> Iterator[None]:
    """No file of this process may grow beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def refusing(real: Callable[..., Any], turn: int, *, below: Path, seen: list[int] | None = None) -> Callable[..., Any]:
    """``real``, whose changes of files ``below`` are counted in ``seen``; the ``turn``-th of them is refused."""
    counted = seen if seen is not None else [0]

    def maybe(path: Any, *given: Any, **more: Any) -> Any:
        mode = str(given[0] if given else more.get("mode", "r"))
        reads = real is OPEN and not set(mode) & set("wax+")
        if not reads and isinstance(path, str | os.PathLike) and str(path).startswith(str(below)):
            counted[0] += 1
            if counted[0] == turn:
                raise OSError(CODES[turn % 3], os.strerror(CODES[turn % 3]), str(path))
        return real(path, *given, **more)

    return maybe


COMMANDS = {
    "a run that learns": "baseline {here}/baseline.yaml --method prompt-tuning --data-dir {data} --runs {out} --quiet",
    "a run that measures": "baseline {here}/baseline.yaml --method tfidf --data-dir {data} --runs {out} --quiet",
    "embed": "embed bundled-toy {here}/texts.txt --out {out}/vectors.parquet --quiet",
    "search": "search cat --checkpoint bundled-toy --texts {here}/texts.txt --index {out}",
    "compare": "compare {here}/lora {here}/frozen --out {out}",
    "export": "export bundled-toy --to {out}",
    "a recipe": "recipes copy bundled/adapt --to {out}",
    "a spec": "backbones probe {target} --write {out}.yaml",
}


def drawn_once(patch: pytest.MonkeyPatch) -> None:
    """Give every picture of a format the bytes of the first one: drawing takes long, and writing is refused here."""
    from matplotlib.figure import Figure

    real, pictures = Figure.savefig, dict[str, bytes]()

    def savefig(figure: Figure, file: io.BytesIO, **options: Any) -> None:
        if (kind := options["format"]) not in pictures:
            real(figure, drawn := io.BytesIO(), **options)
            pictures[kind] = drawn.getvalue()
        file.write(pictures[kind])

    patch.setattr(Figure, "savefig", savefig)


MANY = {"a run that learns", "search"}  # writes, so many seconds


@pytest.mark.parametrize(
    "command", [pytest.param(COMMANDS[name], id=name, marks=[pytest.mark.slow] * (name in MANY)) for name in COMMANDS]
)
def test_every_write_of_a_command_may_be_refused(
    command: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At each turn another one is refused, until none is left; then the same command, or its resume, succeeds."""
    tiny.write(tmp_path, "baseline", optim={"steps": 2}, eval={"every": 2})
    (tmp_path / "texts.txt").write_text("a cat\nthe water\n")
    make_run(tmp_path, "lora", [metric(0, 50.0), metric(50, 60.0)])
    make_run(tmp_path, "frozen", [metric(0, 40.0, variant="mean")], method="frozen", trainable=0)
    drawn_once(monkeypatch)
    refused = 0
    for turn in range(1, 200):
        out = tmp_path / f"out{turn}"
        words = command.format(here=tmp_path, data=tiny.data, out=out, target=tiny.target).split()
        seen = [0]
        with monkeypatch.context() as patch:
            for module, name in ((io, "open"), (builtins, "open"), (os, "mkdir"), (os, "replace"), (os, "rename")):
                patch.setattr(module, name, refusing(getattr(module, name), turn, below=tmp_path, seen=seen))
            code = call(patch, *words)
        stderr = capsys.readouterr().err
        if seen[0] < turn:  # fewer changes than that: nothing was refused, and this was the last
            assert code == 0, stderr
            break
        if code == 0:  # one that is tried and may fail, such as the clean-up of a link
            continue
        refused += 1
        errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
        assert code == 1, stderr
        assert "Traceback" not in stderr
        assert len(errors) == 1
        assert os.strerror(CODES[turn % 3]) in errors[0]
        assert "; " in errors[0]  # behind it stands the way out
        if "with --resume" in errors[0]:
            folder = errors[0].split("--resume ")[1].split()[0]
            with monkeypatch.context() as patch:
                assert call(patch, "baseline", "--resume", folder, "--quiet") == 0
            capsys.readouterr()
    else:
        pytest.fail("there was always one more")
    assert refused >= 2


def test_a_run_on_a_disk_that_is_really_full_goes_on_when_there_is_room(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The record has room, the weights have not: safetensors itself meets the limit."""
    recipe = tiny.write(tmp_path, "baseline", optim={"steps": 2}, eval={"every": 2})
    runs = tmp_path / "runs"
    with limited(10_000):
        code = call(
            monkeypatch, "baseline", recipe, "--method", "lora", "--data-dir", tiny.data, "--runs", runs, "--quiet"
        )
    stderr = capsys.readouterr().err
    assert code == 1, stderr
    (folder,) = runs.glob("lora-*")
    assert stderr.startswith(f"error: {folder / 'state-0000002'}: could not be written (File too large")
    assert stderr.endswith(f"; mend that, then continue with --resume {folder}\n")
    assert not list(folder.glob(".*"))
    assert call(monkeypatch, "baseline", "--resume", folder, "--quiet") == 0


@pytest.mark.parametrize("target", ["transferkit.training.loop.save_state", "transferkit.runner.work._save"])
def test_a_run_folder_that_went_away_is_not_made_anew(
    target: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, runs = tiny.write(tmp_path, "baseline", optim={"steps": 2}, eval={"every": 2}), tmp_path / "runs"
    module, name = target.rsplit(".", 1)
    real = getattr(importlib.import_module(module), name)

    def after_it_went(*given: Any) -> None:
        for folder in runs.glob("prompt-tuning-*"):
            folder.rename(tmp_path / "moved")
        real(*given)

    monkeypatch.setattr(target, after_it_went)
    command = ["baseline", recipe, "--method", "prompt-tuning", "--data-dir", tiny.data, "--runs", runs, "--quiet"]
    assert call(monkeypatch, *command) == 1
    assert "No such file or directory; mend that, then continue with --resume" in capsys.readouterr().err
    assert not list(runs.glob("[!.]*"))
