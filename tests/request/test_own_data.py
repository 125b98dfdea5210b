"""A user's file as changes of a recipe: they give a valid one, sized for so many rows."""

from pathlib import Path
from typing import Any

import pytest

from transferkit.config.recipes import read_recipe
from transferkit.errors import ConfigError
from transferkit.request.columns import find_columns
from transferkit.request.own_data import own_data


def tickets(folder: Path, rows: int) -> Path:
    file = folder / "my tickets: 'new'.csv"
    file.write_text("body,queue\n" + "".join(f"ticket {i} about {i % 4},q{i % 4}\n" for i in range(rows)))
    return file


@pytest.mark.parametrize("task", ["train", "adapt", "baseline"])
def test_labelled_texts_become_the_data_of_a_built_in_recipe(tmp_path: Path, task: Any) -> None:
    file = tickets(tmp_path, 2000)
    own = own_data(find_columns(file, {}), task)
    recipe = read_recipe(f"mixture/{task}", overrides=own.overrides, task=task)
    (train,), (dev,) = recipe.data.train, recipe.data.dev
    assert (train.kind, train.part, train.path, train.columns) == (
        "labelled", "train", str(file), {"text": "body", "label": "queue"},
    )  # fmt: skip
    assert (dev.kind, dev.part, dev.path, dev.columns, dev.select, dev.limit) == (
        "knn", "dev", str(file), train.columns, True, 600,
    )  # fmt: skip
    assert train.instruction == dev.instruction == "Find the category of the text."
    assert recipe.readout.sample == 1400
    if task == "adapt":
        assert (recipe.optim.batch_size, recipe.optim.steps, recipe.eval.every) == (24, 100, 25)
    else:
        assert recipe.optim.steps == read_recipe(f"mixture/{task}").optim.steps
    assert own.said[1].endswith(
        "1,400 rows to learn from, 600 held out, of which one half chooses and the other reports"
    )


@pytest.mark.parametrize(
    ("rows", "batch", "steps", "sample"), [(100, 8, 40, 68), (200, 14, 48, 140), (10_000, 24, 100, 2_000)]
)
def test_sizes_follow_the_rows(tmp_path: Path, rows: int, batch: int, steps: int, sample: int) -> None:
    own = own_data(find_columns(tickets(tmp_path, rows), {}), "adapt")
    recipe = read_recipe("mixture/adapt", overrides=own.overrides)
    assert (recipe.optim.batch_size, recipe.optim.steps, recipe.readout.sample) == (batch, steps, sample)
    assert recipe.optim.steps % recipe.eval.every == 0


def test_texts_alone_are_taught_by_the_source(tmp_path: Path) -> None:
    file = tmp_path / "t.txt"
    file.write_text("".join(f"line {i}\n" for i in range(300)))
    own = own_data(find_columns(file, {}), "adapt")
    recipe = read_recipe("mixture/adapt", overrides=own.overrides)
    assert [(one.kind, one.part) for one in (*recipe.data.train, *recipe.data.dev)] == [
        ("texts", "train"),
        ("texts", "dev"),
    ]


def test_a_bad_row_is_named(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("text,label\n" + "".join(f"text {i},{i % 2}\n" for i in range(60)) + " ,1\n")
    with pytest.raises(ConfigError, match=r"--data: .*t\.csv, row 61, column 'text': expected text, got only blanks"):
        own_data(find_columns(file, {}), "adapt")
