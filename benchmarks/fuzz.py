"""Give transferkit recipes, specs, studies, rows of data and command lines that hypothesis makes up.

    python benchmarks/fuzz.py                                   # 2,000 examples, some minutes on one core
    python benchmarks/fuzz.py --examples 20000 --seed 1 --out fuzz.json
    python benchmarks/fuzz.py --only rows --examples 500

Each must end in an exit code of 0, 1, 2 or 130, within --seconds, and never in a traceback. What did not is printed
once a kind, with one example, and the exit code is 1. It needs the package hypothesis.
"""

import argparse
import contextlib
import io
import json
import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from made_up import CASES, Case
from rich.console import Console
from rich.table import Table

from transferkit.cli.app import main as command_line
from transferkit.config.datasets import DataSection
from transferkit.config.schema import parse
from transferkit.data.dev_sets import load_dev_sets
from transferkit.data.training_sets import load_training_data
from transferkit.errors import TransferkitError
from transferkit.files.text_files import TextFile

CODES = (0, 1, 2, 130)
WARM = (
    ["embed", "nowhere", "texts.txt", "--out", "out.npy"],
    ["evaluate", "nowhere", "--dry-run"],
    ["backbones", "probe", "."],
)


class TooLongError(BaseException):
    """Nothing that the product would catch."""


@dataclass(frozen=True)
class Outcome:
    """What became of one example: ``code``, ``HANG``, ``TRACEBACK`` or ``CODE`` and where it happened."""

    area: str
    verdict: str
    where: str
    example: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Make up, try, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=2000, help="in all; hypothesis makes a few less")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20.0, help="that one example may take")
    parser.add_argument("--only", action="append", choices=list(CASES), help="an area; repeatable")
    parser.add_argument("--out", type=Path, help="JSON with counts and every fault")
    given_ = parser.parse_args(arguments)
    out = given_.out and given_.out.absolute()
    found = measure(given_.examples, first=given_.seed, seconds=given_.seconds, only=given_.only)
    counts = Counter((one.area, one.verdict) for one in found)
    faults = {(one.verdict, one.where.partition(" ")[0]): one for one in reversed(found) if one.example}
    print_table(counts, list(faults.values()), Console())
    if out is not None:
        report = {
            "counts": {f"{area} {verdict}": count for (area, verdict), count in sorted(counts.items())},
            "faults": [asdict(one) for one in faults.values()],
        }
        out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(bool(faults))


def measure(
    examples: int, *, first: int = 0, seconds: float = 20.0, only: Sequence[str] | None = None
) -> list[Outcome]:
    """Try made-up inputs of every area in an empty folder, without network."""
    areas = [name for name in CASES if not only or name in only]
    whole = sum(CASES[name].share for name in areas)
    found: list[Outcome] = []
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, _environment(folder)):
        os.chdir(folder)
        try:
            for command in WARM if "lines" in areas else ():  # libraries take seconds to import
                tried(CASES["lines"], command)
            for name in areas:
                case = CASES[name]
                count = max(1, round(examples * case.share / whole))
                found += [judge(case, name, example, seconds) for example in _made(case.examples, count, first)]
        finally:
            os.chdir(here)
    return found


def judge(case: Case, area: str, example: Any, seconds: float) -> Outcome:
    """One example, and what it ended in."""
    try:
        with _at_most(seconds):
            code = tried(case, example)
    except TooLongError:
        return Outcome(area, "HANG", "", repr(example)[:2000])
    except BaseException as error:  # pyo3 panics are no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        said = f"{_place(error)} {type(error).__name__}: {str(error)[:150]!r}"
        return Outcome(area, "TRACEBACK", said, repr(example)[:2000])
    if code in CODES:
        return Outcome(area, str(code), "", "")
    return Outcome(area, "CODE", str(code), repr(example)[:2000])


def _place(error: BaseException) -> str:
    """The innermost line of transferkit; one fault is many examples."""
    ours = [one for one in traceback.extract_tb(error.__traceback__) if f"{os.sep}transferkit{os.sep}" in one.filename]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""


def tried(case: Case, example: Any) -> Any:
    """Exit code of what an example asks for; whatever it prints is thrown away, as a terminal would encode it."""
    for name, content in case.files(example).items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    warnings.simplefilter("ignore")
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=how) for how in ("strict", "backslashreplace"))
    command = case.command(example)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        if command is None:
            return _rows(case, example)
        nothing = io.TextIOWrapper(io.BytesIO())  # on standard input
        with patch.object(sys, "argv", ["transferkit", *command]), patch.object(sys, "stdin", nothing):
            try:
                command_line()
            except SystemExit as end:
                return end.code if end.code is not None else 0
    return 0


def _rows(case: Case, example: Any) -> int:
    """Rows as training, dev sets and ``embed`` read them: all of them, and what each says of a file is a sentence."""
    code = 0
    for read in _readers(case.sections(example)):
        try:
            read()
        except TransferkitError as error:
            if "\n" in str(error).strip():
                raise ValueError(f"more than a sentence: {error}") from error
            code = error.exit_code
    return code


def _readers(sections: dict[str, Any]) -> Iterator[Callable[[], object]]:
    def section() -> DataSection:
        return parse(DataSection, sections["data"], where="recipe")

    yield lambda: load_training_data(section(), data_dir=None, batch_size=4, seed=0)
    yield lambda: load_dev_sets(section(), data_dir=None)
    yield lambda: TextFile.named(sections["file"], column=sections["column"]).count()


def _made(strategy: st.SearchStrategy[Any], count: int, first: int) -> list[Any]:
    made: list[Any] = []

    @seed(first)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def gather(example: Any) -> None:
        made.append(example)

    gather()
    return made


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _environment(folder: str) -> dict[str, str]:
    return {"HF_HUB_OFFLINE": "1", "TRANSFERKIT_CACHE": str(Path(folder, ".cache")), "NO_COLOR": "1", "TERM": "dumb"}


def print_table(counts: Counter[tuple[str, str]], faults: Sequence[Outcome], console: Console) -> None:
    """Verdicts by area, then every kind of fault with an example."""
    verdicts = [*map(str, CODES), "HANG", "TRACEBACK", "CODE"]
    table = Table("area", "examples", *verdicts, title="exit codes of made-up inputs")
    for area in [*dict.fromkeys(area for area, _ in counts), ""]:
        numbers = [sum(n for (a, v), n in counts.items() if area in ("", a) and v == verdict) for verdict in verdicts]
        table.add_row(area or "all", str(sum(numbers)), *map(str, numbers))
    console.print(table)
    for one in faults:
        console.print(f"{one.verdict} {one.area} {one.where}\n  {one.example}", markup=False, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
