"""What is seen of something that takes long: a bar in a terminal, a line every 30 seconds elsewhere, else nothing."""

import re
from io import StringIO

import pytest
from rich.console import Console

from transferkit.progress import Progress, Work, texts_read


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("transferkit.progress.monotonic", clock)
    return clock


@pytest.fixture(name="pipe")
def a_pipe() -> Console:
    return Console(file=StringIO(), width=40)


def lines(console: Console) -> list[str]:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue().splitlines()


def test_a_pipe_gets_a_line_every_thirty_seconds(clock: Clock, pipe: Console) -> None:
    with Work(pipe, "vectors.npy", total=4000, done=1000):
        for second in range(1, 91):
            clock.now = 100.0 + second
            texts_read(20)
    assert lines(pipe) == [
        "vectors.npy  1,600 of 4,000 texts  20 texts/s  2 min left",
        "vectors.npy  2,200 of 4,000 texts  20 texts/s  90 s left",
        "vectors.npy  2,800 of 4,000 texts  20 texts/s  60 s left",
    ]


def test_what_is_over_in_seconds_says_nothing(clock: Clock, pipe: Console) -> None:
    with Work(pipe, "vectors.npy", total=40):
        clock.now += 29
        texts_read(40)
    assert lines(pipe) == []


def test_of_what_nobody_knows_the_end_no_time_is_told(clock: Clock, pipe: Console) -> None:
    with Work(pipe, "standard input", total=None):
        clock.now += 60
        texts_read(3)
    assert lines(pipe) == ["standard input  3 texts  20 s a text"]


def test_training_says_step_loss_rate_and_time_left(clock: Clock, pipe: Console) -> None:
    with Progress(pipe, steps=7200, title="adapt-x") as progress:
        clock.now += 500  # says nothing of how long a step takes
        for step in range(11, 72):  # it was resumed
            progress.step(step, of=7211, loss=1 / step, tokens_per_second=5000.4)
            clock.now += 1
    assert lines(pipe) == [
        "adapt-x  step 11 of 7,211  loss 0.091 · 5,000 tokens/s",
        "adapt-x  step 41 of 7,211  loss 0.024 · 5,000 tokens/s  1.0 steps/s  2.0 h left",
        "adapt-x  step 71 of 7,211  loss 0.014 · 5,000 tokens/s  1.0 steps/s  2.0 h left",
    ]


def test_the_rate_is_that_of_lately(clock: Clock, pipe: Console) -> None:
    with Work(pipe, "source", total=160, unit="steps") as work:
        for _ in range(100):
            clock.now += 1
            work.advance()
        for _ in range(10):  # the decoder joins in
            clock.now += 30
            work.advance()
    assert lines(pipe)[-1] == "source  step 110 of 160  30 s a step  25 min left"


def test_what_is_read_between_two_steps_is_counted_by_itself(clock: Clock, pipe: Console) -> None:
    with Progress(pipe, steps=8, title="adapt-x") as progress:
        texts_read(5)  # of a batch that is trained on: no evaluation
        with progress.reading("evaluates step 4", 300):
            clock.now += 30
            texts_read(60)
        progress.step(5, of=8, loss=0.5, tokens_per_second=10)
    assert lines(pipe) == ["adapt-x  evaluates step 4  60 of 300 texts  2.0 texts/s  2 min left"]


def test_a_terminal_shows_what_is_under_way(clock: Clock) -> None:
    console = Console(file=StringIO(), width=200, force_terminal=True, color_system=None)
    with Progress(console, steps=8, title="adapt-x") as progress:
        progress.step(3, of=8, loss=0.25, tokens_per_second=10)
        with progress.reading("evaluates step 3", 300) as reading:
            texts_read(120)
            shown = bar_of(reading)
        after = bar_of(progress.steps)
    steps, evaluation = (line.split("  ") for line in shown)
    assert "3/8" in shown[0]
    assert "loss 0.250" in shown[0]
    assert steps[0].startswith("adapt-x")
    assert "120/300" in shown[1]
    assert evaluation[1].startswith("evaluates step 3")
    assert len(after) == 1  # the part is over


def bar_of(work: Work) -> list[str]:
    console = Console(file=StringIO(), width=200, color_system=None)
    console.print(work.bar.make_tasks_table(work.bar.tasks))
    return lines(console)


def test_only_the_innermost_counts_and_none_after_it(clock: Clock, pipe: Console) -> None:
    with Work(pipe, "outer", total=9) as outer:
        with Work(pipe, "inner", total=9, inside=outer) as inner:
            texts_read(2)
        with Work(pipe, "pairs", total=9, counts=False, inside=outer) as pairs:
            texts_read(4)
            pairs.advance(0.5)
        texts_read(1)
    texts_read(7)
    assert (outer.done, inner.done, pairs.done) == (1, 2, 0.5)


def test_nothing_when_quiet(clock: Clock) -> None:
    console = Console(file=StringIO(), width=40, quiet=True)
    with Work(console, "vectors.npy", total=40):
        clock.now += 90
        texts_read(20)
    assert lines(console) == []


@pytest.mark.parametrize("text", ["[red]x", "a\x1b[2Jb"])
def test_a_name_is_no_markup(text: str, clock: Clock, pipe: Console) -> None:
    with Work(pipe, text, total=40):
        clock.now += 30
        texts_read(20)
    (line,) = lines(pipe)
    assert line.startswith(re.sub("\x1b", "\N{REPLACEMENT CHARACTER}", text))
    assert "\x1b" not in line
