"""What a user sees of a run: a live line in a terminal, plain lines elsewhere, nothing when quiet."""

from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text


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
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
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

    def step(self, step: int, *, loss: float, tokens_per_second: float) -> None:
        """One optimizer step is done."""
        self.bar.update(self.task, completed=step, note=f"loss {loss:.3f} · {tokens_per_second:,.0f} tokens/s")

    def evaluated(self, row: dict[str, Any]) -> None:
        """One evaluation is done."""
        parts = [f"step {row['step']:>5}"]
        parts.append("loss     -" if row["loss"] is None else f"loss {row['loss']:.3f}")
        parts.append(f"dev {row['score']['plain']:5.1f} plain")
        if row["score"]["readout"] is not None:
            parts.append(f"{row['score']['readout']:5.1f} with readout")
        if row["collapse"] is not None:
            parts.append(f"collapse {row['collapse']:.3f}")
        if row["variant"] is not None:
            parts.append(row["variant"])
        parts.append(f"{row['seconds']:.0f} s")
        parts.append(f"{row['peak_memory_bytes'] / 2**30:.1f} GiB")
        # One line an evaluation, whatever the width: a log is read by grep.
        self.console.print(f"{self.title}  " + "  ".join(parts), highlight=False, markup=False, soft_wrap=True)

    def kept(self, step: int, score: float, *, steps: int) -> None:
        """Training is over, and the weights of ``step`` are saved; ``steps`` were run in all."""
        # Then the checkpoint holds what training began with, which nobody should take for a result of it.
        unchanged = "; no later step scored better" if steps and not step else ""
        message = f"{self.title}  kept step {step} (dev {score:.1f}){unchanged}"
        self.console.print(message, highlight=False, markup=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        """Something the user should know."""
        self.console.print(f"warning: {message}", style="yellow", markup=False, highlight=False, soft_wrap=True)


class _Rate(ProgressColumn):
    """Texts a second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.0f} texts/s")


def texts_bar(console: Console) -> RichProgress:
    """A bar with texts a second, shown in a terminal alone."""
    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
