"""Kill runs at random moments, finish them, and compare what they leave with a run that was never killed.

    python benchmarks/kill.py                       # 100 kills over train, adapt, LoRA and evaluate
    python benchmarks/kill.py --kills 20 --only adapt --out kill.json

Bundled decoders, a few sentences, a few steps. Half of the SIGKILLs come at a random time, half just before a random
change of a file: an opening for writing, a rename, a new folder, a removal. Every fourth run is killed again while it
is resumed. Then SIGINT and SIGTERM at random times, which must end with exit code 130. Every run is then resumed to its
end, and must hold the same bytes in every file of its checkpoint (of `evaluate`: the same scores), the same rows of
metrics, and nothing else.

Each run is forked from this process, which has imported everything and loaded nothing: so loading is killed too, but
not the import of libraries. Exit code 1 where a run did not end so.
"""

import argparse
import gc
import itertools
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

# One thread, nothing from the hub, before the libraries read it.
os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1", NO_COLOR="1")

from kill_jobs import JOBS, Job, jobs
from rich.console import Console
from rich.table import Table

from transferkit.cli.app import main as command_line
from transferkit.files.json import write_json
from transferkit.progress import say

# What a run imports where it needs it: by name, so that no child does it again.
IMPORTED = (
    "transferkit.runner.run",
    "sklearn.feature_extraction.text",
    *(f"transferkit.methods.{name}" for name in ("transfer", "prompting_alone", "lora", "tfidf")),
    *(f"transformers.models.{name}.modeling_{name}" for name in ("llama", "qwen3", "gpt_neox")),
)
LIMIT = 300.0  # seconds after which a run hangs
Doom = Callable[[int], None]


@dataclass(frozen=True)
class Row:
    """One kill or signal and what came of it; ``wrong`` is None where all was as it should be."""

    job: str
    signal: str
    by: str  # the clock, or a change of a file
    at: float
    moment: str
    wrong: str | None


def main(arguments: list[str] | None = None) -> None:
    """Kill, resume, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs in all")
    parser.add_argument("--signals", type=int, default=5, help="of SIGINT and of SIGTERM, for every kind of run")
    parser.add_argument("--only", choices=JOBS, action="append", help="no other kinds of runs; repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON with every kill")
    given = parser.parse_args(arguments)
    for name in IMPORTED:
        import_module(name)
    if "evaluate" in (given.only or JOBS):
        import_module("transferkit.evaluation.run")  # seconds
    gc.freeze()  # no child looks at what it inherits
    rows: list[Row] = []

    def add(new: list[Row]) -> None:
        for row in new:
            rows.append(row)
            ended = "ended as without" if row.wrong is None else f"WRONG: {row.wrong}"
            say(f"{len(rows):>4}  {row.job}, {row.signal} by {row.by}, {row.moment}: {ended}", Console(stderr=True))
        if given.out is not None:
            wrong = sum(row.wrong is not None for row in rows)
            write_json(given.out, {"seed": given.seed, "wrong": wrong, "rows": [asdict(row) for row in rows]})

    with tempfile.TemporaryDirectory(prefix="transferkit-kill-") as folder:
        work, rng = Path(folder).resolve(), random.Random(given.seed)
        os.environ["TRANSFERKIT_CACHE"] = str(work / "cache")
        trials = [Trial(job, work) for job in jobs(work) if job.name in (given.only or JOBS)]
        turn = itertools.cycle(trials)
        while sum(row.signal == "SIGKILL" for row in rows) < given.kills:
            add(next(turn).killed(rng))
        for trial, number in itertools.product(trials, (signal.SIGINT, signal.SIGTERM)):
            for _ in range(given.signals):
                add([trial.signalled(rng, number)])
    Console().print(table(rows))
    sys.exit(1 if any(row.wrong is not None for row in rows) else 0)


class Trial:
    """Runs of one job, and what one that nobody killed leaves."""

    def __init__(self, job: Job, work: Path) -> None:
        self.job, self.work, self.number = job, work, 0
        place = self._place()
        changes = work / "changes"
        started = time.monotonic()
        code = _wait(_fork(job.begin(place), self.log, counted=changes))
        self.seconds = time.monotonic() - started
        if code:
            raise SystemExit(f"{job.name}: does not run at all ({code}):\n{self.log.read_text(encoding='utf-8')}")
        self.changes = int(changes.read_text())
        self.whole = job.found(place)

    def killed(self, rng: random.Random) -> list[Row]:
        """A run that is killed once, every fourth twice, and then finished."""
        place, rows = self._place(), list[Row]()
        command = self.job.begin(place)
        for _ in range(2 if rng.random() < 0.25 else 1):
            by_clock = rng.random() < 0.5
            at = rng.uniform(0, self.seconds) if by_clock else rng.randint(1, self.changes)
            by = "clock" if by_clock else "change of a file"
            child = _fork(command, self.log, doomed=None if by_clock else int(at))
            code = _wait(child, number=signal.SIGKILL if by_clock else None, after=at)
            if code == -signal.SIGKILL:
                rows.append(Row(self.job.name, "SIGKILL", by, round(at, 3), self.job.moment(place), None))
            elif code:  # it may have come to its end before
                rows.append(Row(self.job.name, "SIGKILL", by, at, self.job.moment(place), self._said(code)))
            command = self.job.go_on(place)
        wrong = self._finished(place)
        return [Row(**asdict(row) | {"wrong": row.wrong or wrong}) for row in rows]

    def signalled(self, rng: random.Random, number: signal.Signals) -> Row:
        """A run that is asked to stop, and then finished."""
        while True:
            place, at = self._place(), rng.uniform(0.01, self.seconds)
            code = _wait(_fork(self.job.begin(place), self.log), number=number, after=at)
            if code == 0:  # it had come to its end before
                continue
            moment, wrong = self.job.moment(place), None if code == 130 else self._said(code)
            return Row(self.job.name, number.name, "clock", round(at, 3), moment, wrong or self._finished(place))

    def _finished(self, place: Path) -> str | None:
        """Resume to the end; what is not as without a kill."""
        folders = [path for path in place.glob("[!.]*") if path.is_dir()] if place.is_dir() else []
        if code := _wait(_fork(self.job.go_on(place), self.log)):
            return self._said(code)
        found = self.job.found(place)
        different = [key for key in self.whole if found.get(key) != self.whole[key]]
        if different:
            return f"differs from a run that was not killed in {', '.join(different)}: {place}"
        if self.job.name in ("adapt", "lora") and folders:  # with what a kill left before a run wrote of itself
            runs = [str(path) for path in sorted(place.glob("[!.]*"))]
            if code := _wait(_fork(["compare", *runs], self.log)):
                return self._said(code)
        return None

    def _place(self) -> Path:
        self.number += 1
        place = self.work / f"{self.job.name}-{self.number}"
        self.log = self.work / f"{place.name}.log"
        return place

    def _said(self, code: int) -> str:
        said = self.log.read_text(encoding="utf-8").strip().splitlines()
        return f"exit code {code}: {said[-1] if said else 'nothing said'}"


def _fork(command: list[str], log: Path, *, doomed: int | None = None, counted: Path | None = None) -> int:
    """Run a command line in a child; ``doomed``: the change of a file before which it kills itself."""
    sys.stdout.flush()
    if child := os.fork():
        return child
    code, changes = 1, 0
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it

    def hook(event: str, given: tuple[Any, ...]) -> None:
        nonlocal changes
        if _is_change(event, given, str(log.parent)):
            changes += 1
            if changes == doomed:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
        sys.argv = ["transferkit", *command]
        sys.addaudithook(hook)
        command_line()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        if counted is not None:
            counted.write_text(str(changes))
        os._exit(code)


def _is_change(event: str, given: tuple[Any, ...], below: str) -> bool:
    """Whether an audit event is a change of a file that a run owns."""
    if event == "open":
        path, mode, flags = given
        writes = flags & (os.O_WRONLY | os.O_RDWR) if mode is None else set(mode) & set("wax+")
    else:
        path, writes = given[0] if given else None, event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir")
    return bool(writes) and isinstance(path, str | os.PathLike) and os.fspath(path).startswith(below)


def _wait(child: int, *, number: signal.Signals | None = None, after: float = 0.0) -> int:
    """Exit code of a child, after a signal at a time where one is asked for; of one that hangs it is -SIGALRM."""
    started, asked = time.monotonic(), number is None
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        passed = time.monotonic() - started
        if not asked and number is not None and passed >= after:
            os.kill(child, number)
            asked = True
        if passed > LIMIT:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -signal.SIGALRM
        time.sleep(0.001)


def table(rows: list[Row]) -> Table:
    """Kinds of runs and signals: how many, at which moments, how many ended as without."""
    shown = Table(title="Killed, resumed, compared with a run that was not", title_justify="left")
    for name in ("run", "signal", "how many", "moments", "as without"):
        shown.add_column(name, justify="right" if name in ("how many", "as without") else "left")
    for job, name in dict.fromkeys((row.job, row.signal) for row in rows):
        own = [row for row in rows if (row.job, row.signal) == (job, name)]
        moments = Counter(row.moment for row in own).most_common()
        said = ", ".join(f"{count} {moment}" for moment, count in moments)
        shown.add_row(job, name, str(len(own)), said, str(sum(row.wrong is None for row in own)))
    return shown


if __name__ == "__main__":
    main()
