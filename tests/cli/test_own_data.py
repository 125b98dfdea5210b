"""``--data``: from one file of a user to a checkpoint, and to what it is worth."""

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.own_files import write_own_files
from helpers.tiny import Tiny

from transferkit.cli.training.ending import show_ending
from transferkit.config.recipes import read_recipe
from transferkit.runs.folder import read_record


@pytest.fixture(name="here")
def make_here(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a source and files of a user."""
    write_own_files(tiny, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SHORT = ("--set", "optim.steps=2", "--set", "eval.every=1", "--set", "precision=float32")


def the_run() -> Path:
    (folder,) = Path("runs").glob("[!.]*")
    return folder


@pytest.mark.parametrize("file", ["tickets.csv", "faq.jsonl"])
def test_one_file_is_enough(
    here: Path, tiny: Tiny, call: Callable[..., int], capsys: pytest.CaptureFixture[str], file: str
) -> None:
    assert call("adapt", "--source", "source", "--target", tiny.target, "--data", file, *SHORT) == 0
    said, folder = capsys.readouterr().err, the_run()
    assert f"{file}: " in said
    assert "(guessed; --text, --label, --query, --passage say otherwise)" in said
    assert "rows to learn from" in said
    record = read_record(folder)
    found = record["verdict"]
    assert [one["name"] for one in found["against"]][-1] == "TF-IDF"
    for name in ("its start", "the frozen decoder", "the Prompting LLM alone", "TF-IDF"):
        (score,) = (one["score"] for one in found["against"] if one["name"] == name)
        assert any(
            line.split()[-4:-3] == [f"{score:.1f}"] for line in said.splitlines() if line.strip().startswith(name)
        )
    assert "orth it" in said
    assert f"next: transferkit embed {folder} FILE" in said
    assert f"or: transferkit export {folder} --to FOLDER" in said
    assert f"again: transferkit adapt {folder / 'recipe.yaml'} --source source" in said
    assert call("adapt", folder / "recipe.yaml", "--source", "source", "--runs", "again") == 0
    (again,) = Path("again").glob("[!.]*")
    weights = [(one / "checkpoint" / "learned.safetensors").read_bytes() for one in (folder, again)]
    assert weights[0] == weights[1]


def test_a_baseline_keeps_the_steps_of_its_recipe(here: Path, tiny: Tiny, call: Callable[..., int]) -> None:
    arguments = ("--target", tiny.target, "--data", "tickets.csv", "--label", "queue", "--method", "frozen")
    assert call("baseline", *arguments, "--instruction", "see") == 0
    recipe = read_recipe(str(the_run() / "recipe.yaml"))
    assert recipe.optim.steps == read_recipe("mixture/baseline").optim.steps
    assert recipe.data.train[0].instruction == recipe.data.dev[0].instruction == "see"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--text", "body"), "--text says something about the file of --data; give that, or leave it away"),
        (("--instruction", "see"), "--instruction says something about the file of --data"),
        (("--data", "tickets.csv", "--unlabelled", "t.txt"), "--data and --unlabelled both take the place"),
        (("--data", "tickets.csv", "--data-dir", "."), "--data-dir is where a recipe's files lie"),
        (
            ("bundled/adapt", "--data-dir", "."),
            "--data-dir .: the recipe reads nothing there, its data are installed-docs",
        ),
        (("--data", "tickets.csv", "--label", "quue"), "no column 'quue'; did you mean 'queue'? for --label"),
    ],
)
def test_what_does_not_go_together(
    here: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert call("adapt", "--source", "source", "--target", "x", *arguments) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not Path("runs").exists()


def verdict(word: str, *differences: float) -> dict[str, object]:
    against = [
        {"name": name, "score": 70.0 - gained, "difference": gained, "error": 1.0}
        for name, gained in zip(("its start", "TF-IDF"), differences, strict=True)
    ]
    return {"word": word, "score": 70.0, "against": against}


@pytest.mark.parametrize(
    ("word", "differences", "last", "sentences"),
    [
        (
            "GAIN",
            (3.0, 9.0),
            70.0,
            ["Worth it: ahead of everything that needs no training, of its start by +3.0 ± 1.0"],
        ),
        ("MARGINAL", (0.5, 9.0), 69.0, ["Not shown to be worth it: +0.5 ± 1.0 against its start, which is within"]),
        ("MARGINAL", (3.0, -1.5), 70.0, ["Not shown to be worth it: TF-IDF is ahead by 1.5 ± 1.0, which is within"]),
        ("REGRESSION", (3.0, -4.0), 70.0, ["Not worth it: TF-IDF is decidedly better (-4.0 ± 1.0); use that instead"]),
        ("NO EFFECT", (0.0, 9.0), 70.0, ["Not worth it: training moved no vector"]),
        ("NO EFFECT at 0", (0.0, 9.0), 70.0, ["no step was better than the start on the rows that choose."]),
        (
            "NO EFFECT at 0 of 100",
            (0.0, 9.0),
            70.0,
            ["on the rows that choose; they leave nothing to gain"],
        ),
        ("GAIN", (3.0, 9.0), 60.0, ["Worth it", "Training on hurt: step 8 has 10.0 less than step 4, which was kept"]),
    ],
)
def test_the_sentence_follows_the_verdict(
    capsys: pytest.CaptureFixture[str], word: str, differences: tuple[float, float], last: float, sentences: list[str]
) -> None:
    from rich.console import Console

    word, _, at = word.partition(" at ")
    record = {"verdict": verdict(word, *differences), "label": "transfer [x]", "task": "adapt", "source": None}
    record["best"] = {"step": 0 if at else 4, "score": 70.0, "choosing": 100.0 if "of 100" in at else 80.0}
    metrics = [{"step": 4, "score": {"plain": 70.0}}, {"step": 8, "score": {"plain": last}}]
    show_ending(record, metrics, Path("runs/a"), Console(width=200), source=None)
    said = capsys.readouterr().out
    assert "transfer [x]" in said
    for sentence in sentences:
        assert sentence in said
    assert ("Training on hurt" in said) == (len(sentences) == 2)
    assert said.rstrip().endswith("again: transferkit adapt runs/a/recipe.yaml")
    for name, called in (("bundled-toy", "bundled-toy"), ("source-s17", "SOURCE")):  # of a resumed run
        show_ending(record | {"source": {"run": name}}, metrics, Path("runs/a"), Console(), source=None)
        assert (
            capsys.readouterr().out.rstrip().endswith(f"again: transferkit adapt runs/a/recipe.yaml --source {called}")
        )
