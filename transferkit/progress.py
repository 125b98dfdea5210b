"""What a user sees of a run: a live line in a terminal, plain lines elsewhere, nothing when quiet."""

import logging
import re
from collections.abc import Mapping
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


class Progress:
    """Progress of one training run. Use it as a context manager.

    Args:
        console: where to write (stderr, so that stdout stays for results).
        steps: optimizer steps in all.
        title: what is running.
        live: show a bar; False writes a line an evaluation instead.
    """

    def __init__(self, console: Console, *, steps: int, title: str, live: bool) -> None:
        self.console = console
        self.title = title
        self.bar = RichProgress(
            _Words(),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            _Words("note"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not live,
            transient=True,
        )
        self.task = self.bar.add_task(title, total=steps, note="")

    def __enter__(self) -> "Progress":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def step(self, step: int, *, of: int, loss: float, tokens_per_second: float) -> None:
        """One optimizer step is done of so many as the run is expected to take."""
        self.bar.update(
            self.task, completed=step, total=of, note=f"loss {loss:.3f} · {tokens_per_second:,.0f} tokens/s"
        )

    def reading(self, done: int, total: int) -> None:
        """A teacher has read so many of the texts."""
        self.bar.update(self.task, note=f"the teacher reads: {done:,} of {total:,} texts")

    def taught(self, name: str, texts: int, seconds: float) -> None:
        """A teacher has read all texts."""
        say(f"{self.title}  the teacher ({name}) has read {texts:,} texts  {seconds:.0f} s", self.console)

    def evaluated(self, row: dict[str, Any], *, figures: Mapping[str, float] | None = None) -> None:
        """One evaluation is done; ``figures`` are those of the method."""
        parts = [f"step {row['step']:>5}"]
        parts.append("loss     -" if row["loss"] is None else f"loss {row['loss']:.3f}")
        parts.append(f"dev {_in_words(row)}")
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


def _in_words(row: Mapping[str, Any]) -> str:
    """The dev score as it is delivered, and of the other readouts."""
    score, readout = row["score"], row["readout"]
    if readout is None:
        return f"{score['plain']:5.1f} plain"
    kinds = {_SHOWN.get(key, key): value for key, value in score.items() if key != "readout" and value is not None}
    mine = _SHOWN[readout["kind"]]
    others = ", ".join(f"{name} {value:.1f}" for name, value in kinds.items() if name != mine)
    return f"{score['readout']:5.1f} {mine} ({others})"


class _Rate(ProgressColumn):
    """Texts a second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} texts/s")


def texts_bar(console: Console, *, show: bool = True) -> RichProgress:
    """A bar with texts a second, shown in a terminal alone."""
    return RichProgress(
        _Words(),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
        disable=not (show and console.is_terminal),
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
