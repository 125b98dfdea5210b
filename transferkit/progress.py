"""What a user sees of a run: a live line in a terminal, plain lines elsewhere, nothing when quiet."""

import logging
import re
from collections import deque
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

_CONTROL = re.compile(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]")


def plain(text: object, *, style: str = "") -> Text:
    """Text for a console: no markup, no emoji by its name, and nothing that a terminal would obey."""
    return Text(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", str(text)), style=style)


def say(message: object, console: Console, *, style: str = "") -> None:
    """Print ``message`` as it is, on one line however long: a path may hold brackets, and a log is read by grep."""
    console.print(plain(message, style=style), soft_wrap=True)


def warn(message: str, console: Console) -> None:
    """Something the user should know."""
    say(f"warning: {message}", console, style="yellow")


class _Words(ProgressColumn):
    """What a task is called, or one of its fields, as it is: a file's name is no markup."""

    def __init__(self, field: str | None = None) -> None:
        super().__init__()
        self.field = field

    def render(self, task: Task) -> Text:
        return plain(task.description if self.field is None else task.fields[self.field])


_LATELY = 5  # lines
EVERY = 30.0  # seconds between two lines of what is under way, where there is no terminal


class Work:
    """Something that takes long, counted: a bar in a terminal, a line every 30 seconds elsewhere, nothing when quiet.

    Use it as a context manager. Texts that a model reads in its block are counted by themselves (:func:`texts_read`).

    Args:
        console: where to write.
        doing: what is under way, as the lines begin.
        total: how much there is; None: not known.
        done: how much was done before.
        unit: what is counted.
        counts: whether texts are counted by themselves, and not by :meth:`update` and :meth:`advance` alone.
        inside: of which this is a part: it then has a bar below that one's.
    """

    def __init__(
        self,
        console: Console,
        doing: str,
        *,
        total: float | None,
        done: float = 0,
        unit: str = "texts",
        counts: bool = True,
        inside: "Work | None" = None,
    ) -> None:
        self.console = console
        self.doing, self.total, self.done, self.unit = doing, total, done, unit
        self.note = ""
        self.counts = counts
        self.said = monotonic()
        # Where the last lines were said: the rate is that of lately, for some steps cost ten times as much as others.
        self.marks: deque[tuple[float, float]] = deque([(done, self.said)], maxlen=_LATELY)
        self.inside = inside
        self.bar: RichProgress = _bar(console) if inside is None else inside.bar
        self.task = self.bar.add_task(doing, total=total, completed=int(done), note="", unit=unit)

    def __enter__(self) -> "Work":
        if self.inside is None:
            self.bar.start()
        self._token = _READING.set(self if self.counts else None)
        return self

    def __exit__(self, *_: object) -> None:
        _READING.reset(self._token)
        if self.inside is None:
            self.bar.stop()
        else:
            self.bar.remove_task(self.task)

    def begin(self, done: float) -> None:
        """Take the rate from now on, with so much done before."""
        self.done = done
        self._from_here(done)

    def _from_here(self, done: float) -> None:
        self.marks.clear()
        self.marks.append((done, monotonic()))

    def advance(self, more: float = 1) -> None:
        """So much more is done."""
        self.update(self.done + more)

    def update(self, done: float, *, total: float | None = None, note: str | None = None) -> None:
        """So much is done, of another ``total`` than before where one is given; ``note``: what else there is to say."""
        self.done = done
        self.total = self.total if total is None else total
        self.note = self.note if note is None else note
        self.bar.update(self.task, completed=done, total=self.total, note=self.note)
        if not self.console.is_terminal and monotonic() - self.said >= EVERY:
            self.said = monotonic()
            if self.inside is not None:  # a line of its part is a line of it
                self.inside.said = self.said
            say("  ".join(self._line()), self.console)
            self.marks.append((self.done, self.said))

    def so_far(self, done: int, total: int) -> None:
        """So much of so much is done of one part after the other, each of which begins with nothing done."""
        if not done:
            self._from_here(0)
        self.update(done, total=total)

    def _line(self) -> Iterator[str]:
        yield self.doing
        of = "" if self.total is None else f" of {int(self.total):,}"
        yield f"step {int(self.done):,}{of}" if self.unit == "steps" else f"{int(self.done):,}{of} {self.unit}"
        if self.note:
            yield self.note
        before, began = self.marks[0]
        if (rate := (self.done - before) / max(self.said - began, 1e-9)) > 0:
            yield _rate(rate, self.unit)
            if self.total is not None:
                yield f"{in_words(max(self.total - self.done, 0) / rate)} left"


_READING: ContextVar[Work | None] = ContextVar("what counts the texts that are read", default=None)


def texts_read(count: int) -> None:
    """A model has read so many texts: whatever shows how far it is counts them."""
    if (work := _READING.get()) is not None:
        work.advance(count)


def _rate(rate: float, unit: str) -> str:
    return f"{rate:,.{0 if rate >= 10 else 1}f} {unit}/s" if rate >= 0.1 else f"{1 / rate:,.0f} s a {unit[:-1]}"


def in_words(seconds: float) -> str:
    """A duration, as ``12 s``, ``4 min`` or ``2.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


class Progress:
    """Progress of one training run. Use it as a context manager.

    Args:
        console: where to write (stderr, so that stdout stays for results).
        steps: optimizer steps in all.
        title: what is running.
    """

    def __init__(self, console: Console, *, steps: int, title: str) -> None:
        self.console = console
        self.title = title
        self.steps = Work(console, title, total=steps, unit="steps", counts=False)
        self.begun = False

    def __enter__(self) -> "Progress":
        self.steps.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.steps.__exit__(*error)

    def step(self, step: int, *, of: int, loss: float, tokens_per_second: float) -> None:
        """One optimizer step is done of so many as the run is expected to take."""
        if not self.begun:  # what comes before the first step says nothing of how long one takes
            self.begun = True
            self.steps.begin(step)
        self.steps.update(step, total=of, note=f"loss {loss:.3f} · {tokens_per_second:,.0f} tokens/s")

    def reading(self, doing: str, texts: int | None) -> Work:
        """Something for which so many texts are read, between two steps."""
        return Work(self.console, f"{self.title}  {doing}", total=texts, inside=self.steps)

    def taught(self, name: str, texts: int, seconds: float) -> None:
        """A teacher has read all texts."""
        say(f"{self.title}  the teacher ({name}) has read {texts:,} texts  {seconds:.0f} s", self.console)

    def evaluated(self, row: dict[str, Any], *, figures: Mapping[str, float] | None = None) -> None:
        """One evaluation is done; ``figures`` are those of the method."""
        parts = [f"step {row['step']:>5}"]
        parts.append("loss     -" if row["loss"] is None else f"loss {row['loss']:.3f}")
        parts.append(f"dev {_score_of(row)}")
        parts += [f"{name} {value:.3f}" for name, value in (figures or {}).items()]
        if row["variant"] is not None:
            parts.append(row["variant"])
        parts.append(f"{row['seconds']:.0f} s")
        parts.append(f"{row['peak_memory_bytes'] / 2**30:.1f} GiB")
        say(f"{self.title}  " + "  ".join(parts), self.console)

    def kept(self, step: int, score: float, *, steps: int) -> None:
        """Training is over, and the weights of ``step`` with its ``score`` are saved; ``steps`` were run in all."""
        # Then the checkpoint holds what training began with, which nobody should take for a result of it.
        unchanged = "; no later one was better on the rows that choose" if steps and not step else ""
        message = f"{self.title}  kept step {step} (dev {score:.1f}){unchanged}"
        say(message, self.console)

    def judged(self, verdict: str) -> None:
        """The last line of a run that trained."""
        say(f"{self.title}  {verdict}", self.console)

    def warn(self, message: str) -> None:
        """As :func:`warn`."""
        warn(message, self.console)


_SHOWN = {"none": "plain", "center": "centred", "whiten": "whitened", "pairs": "from pairs"}


def _score_of(row: Mapping[str, Any]) -> str:
    """The dev score as it is delivered, and of the other readouts."""
    score, readout = row["score"], row["readout"]
    if readout is None:
        return f"{score['plain']:5.1f} plain"
    kinds = {_SHOWN.get(key, key): value for key, value in score.items() if key != "readout" and value is not None}
    mine = _SHOWN[readout["kind"]]
    others = ", ".join(f"{name} {value:.1f}" for name, value in kinds.items() if name != mine)
    return f"{score['readout']:5.1f} {mine} ({others})"


class _Rate(ProgressColumn):
    """Of what is counted, a second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else _rate(max(task.speed, 1e-3), task.fields["unit"]))


def _bar(console: Console) -> RichProgress:
    """Shown in a terminal alone."""
    return RichProgress(
        _Words(),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _Words("note"),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


_KERNELS = "bitsandbytes.backends.cpu.ops"  # the logger of what bitsandbytes says of its kernels when it is imported


def drop_kernel_message() -> None:
    """Drop what bitsandbytes says of a missing kernel of 4-bit layers, which are computed without it.

    peft and sentence-transformers import bitsandbytes where nothing has four bits, too.
    """
    logging.getLogger(_KERNELS).addFilter(_is_not_of_a_missing_kernel)


def _is_not_of_a_missing_kernel(record: logging.LogRecord) -> bool:
    return not record.msg.startswith("Failed to load CPU gemm_4bit_forward")
