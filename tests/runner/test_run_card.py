"""The card of a run folder: what its record knows, how it is loaded, the same after a stop, and no user's file lost."""

import json
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from helpers.command_line import call
from helpers.run_parts import QUIET, Stopped
from helpers.tiny import Tiny
from rich.console import Console

import transferkit
from transferkit import read_recipe
from transferkit.errors import ConfigError
from transferkit.files.json import flush
from transferkit.report.card import run_card
from transferkit.report.formats import count, score, signed
from transferkit.runner.prepare import Inputs
from transferkit.runner.run import resume, start
from transferkit.runs.checkpoint_folder import read_description
from transferkit.runs.folder import delivered, read_run
from transferkit.training.signals import Interrupted


@pytest.fixture(scope="module")
def runs(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Verb or method -> its run, made by the command line."""
    folder = tmp_path_factory.mktemp("runs")
    common = ["--data-dir", tiny.data, "--runs", folder, "--quiet", "--set", "optim.steps=2"]
    with pytest.MonkeyPatch.context() as patch:
        assert call(patch, "train", tiny.write(folder, "train"), *common) == 0
        (source,) = folder.glob("train-*/")
        assert call(patch, "adapt", tiny.write(folder, "adapt"), "--source", source, *common) == 0
        for method in ("lora", "frozen", "tfidf"):
            assert call(patch, "baseline", tiny.write(folder, "baseline"), "--method", method, *common) == 0
    return {name: next(folder.glob(f"{name}-*/")) for name in ("train", "adapt", "lora", "frozen", "tfidf")}


def one(tiny: Tiny, runs: Path, **changes: object) -> Path:
    """A short run of LoRA in Python."""
    recipe = tiny.recipe("baseline", method="lora", optim={"steps": 4}, eval={"every": 2}, **changes)
    return start(recipe, Inputs(data_dir=tiny.data), runs=runs, name="run", console=QUIET)


def stopped(tiny: Tiny, runs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, interrupted after step 2."""
    with monkeypatch.context() as patch:
        patch.setattr("transferkit.runner.run.Progress", Stopped)
        with pytest.raises(Interrupted):
            one(tiny, runs)
    return runs / "run"


@pytest.mark.parametrize("name", ["train", "adapt", "lora", "frozen"])
def test_the_card_says_what_the_record_says(name: str, runs: dict[str, Path]) -> None:
    folder = runs[name]
    run, said = read_run(folder), (folder / "README.md").read_text(encoding="utf-8")
    record = run.record
    best = next(
        row
        for row in run.metrics
        if (row["step"], row["variant"]) == (record["best"]["step"], record["best"].get("variant"))
    )
    for dev in record["data"]["dev"]:
        assert f"| {dev['name']} | {dev['kind']} | {score(delivered(best['scores'][dev['name']]))} |" in said
    for train in record["data"]["train"]:
        assert f"| {train['name']} | {count(train['rows'])} |" in said
    against = (record.get("verdict") or {"against": []})["against"]
    assert (name == "frozen") == (not against)
    for rival in against:
        ahead = f"{signed(rival['difference'])} ± {rival['error']:.1f}"
        assert f"| {rival['name']} | {score(rival['score'])} | {ahead} |" in said
    assert ("2 optimizer steps" in said) == (name != "frozen")
    assert (f"from the source {runs['train'].name}." in said.replace("\\", "")) == (name == "adapt")
    assert "| licence of the decoder | not known; see where it comes from |" in said
    assert "The licences of these texts are their owners' matter." in said
    for one in read_recipe(str(folder / "recipe.yaml")).data.train:
        assert f"| {one.name} | {one.instruction} | " in said
    assert f"transferkit {record['versions']['transferkit']}" in said
    assert record["created_at"][:10] not in said


@pytest.mark.parametrize("name", ["train", "adapt", "lora", "frozen"])
def test_its_lines_load_the_run_from_the_folder_around_it(
    name: str, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import ModelCard

    folder = runs[name]
    said = (folder / "README.md").read_text(encoding="utf-8")
    assert ModelCard(said).data.to_dict()["library_name"] == "transferkit"
    assert "license" not in ModelCard(said).data.to_dict()  # it holds no weights of the decoder
    (python,) = (block.split("```")[0] for block in said.split("```python\n")[1:])
    shell = [block.split("\n```")[0] for block in said.split("```bash\n")[1:]]
    adapt = [f"transferkit adapt --source {folder.name} --target MODEL"] if name == "train" else []
    assert shell == [
        f"transferkit embed {folder.name} texts.txt --out vectors.npy",
        f"transferkit export {folder.name} --to FOLDER",
        *adapt,
    ]
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, folder.name)
    Path("texts.txt").write_text("a cat\nthe water\n")
    exec(compile(python, "card", "exec"), {})
    assert call(monkeypatch, *shell[0].split()[1:], "--quiet") == 0
    assert Path("vectors.npy").is_file()
    assert call(monkeypatch, *shell[1].split()[1:]) == 0
    theirs = Path("FOLDER/README.md").read_text(encoding="utf-8")
    assert "SentenceTransformer" in theirs
    assert said.split("## Training")[1].startswith(theirs.split("## Training")[1])  # one record, told in one way


def test_a_run_without_a_checkpoint_has_none(runs: dict[str, Path], tiny: Tiny) -> None:
    assert not (runs["tfidf"] / "README.md").exists()
    resume(runs["tfidf"], console=QUIET)
    assert not (runs["tfidf"] / "README.md").exists()


def test_a_run_that_was_stopped_has_the_card_of_one_that_was_not(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = one(tiny, tmp_path / "straight")
    folder = stopped(tiny, tmp_path / "halves", monkeypatch)
    assert not (folder / "README.md").exists()
    resume(folder, console=QUIET)
    assert (folder / "README.md").read_bytes() == (straight / "README.md").read_bytes()
    assert not list(folder.glob(".*"))


def test_a_done_run_that_lacks_it_gets_it_by_resume(tiny: Tiny, tmp_path: Path) -> None:
    """As a kill behind the last record leaves it, or an earlier version."""
    folder, said = one(tiny, tmp_path), StringIO()
    file = folder / "README.md"
    before = file.read_bytes()
    file.rename(folder / ".README.md.417")
    resume(folder, console=Console(file=said, width=400))
    assert file.read_bytes() == before
    assert not (folder / ".README.md.417").exists()
    assert "already done" in said.getvalue()
    file.write_text("edited")
    resume(folder, console=QUIET)
    assert file.read_text() == "edited"
    file.unlink()
    shutil.rmtree(folder / "checkpoint")  # of a run that was published without it
    resume(folder, console=QUIET)
    assert not file.exists()


def test_a_run_that_goes_on_writes_its_own_card_anew_and_leaves_a_users_file(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = (
        run_card(read_run(one(tiny, tmp_path / "other")), read_description(tmp_path / "other" / "run")) + "of another"
    )
    folder, said = tmp_path / "runs" / "run", StringIO()
    file = folder / "README.md"
    stopped(tiny, tmp_path / "runs", monkeypatch)
    file.write_text(ours, encoding="utf-8")
    resume(folder, console=QUIET)
    assert file.read_bytes() == (tmp_path / "other" / "run" / "README.md").read_bytes()
    shutil.rmtree(folder)
    stopped(tiny, tmp_path / "runs", monkeypatch)
    file.write_bytes("what I tried, caf\xe9".encode("latin-1"))
    resume(folder, console=Console(file=said, width=400))
    assert file.read_bytes() == "what I tried, caf\xe9".encode("latin-1")
    assert f"{file}: is not transferkit's and stays; the run has no card" in said.getvalue()
    assert read_run(folder).record["status"] == "done"


def test_a_full_disk_is_one_sentence_and_the_run_stays_done(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tiny.write(tmp_path, "baseline", optim={"steps": 2}, eval={"every": 2})
    with monkeypatch.context() as patch:
        patch.setattr("transferkit.files.json.flush", _full(flush))
        assert call(patch, "baseline", recipe, "--method", "lora", "--data-dir", tiny.data, "--quiet") == 1
    (folder,) = Path("runs").glob("lora-*/")
    assert capsys.readouterr().err == (
        f"error: {folder}: the run is done, but its README.md cannot be written (No space left on device); mend that, "
        f"then write it with --resume {folder}\n"
    )
    assert json.loads((folder / "record.json").read_text())["status"] == "done"
    names = {path.name for path in folder.iterdir()}
    assert names == {"recipe.yaml", "record.json", "metrics.jsonl", "outcomes.json", "checkpoint"}
    read_run(folder)
    transferkit.load(folder)
    assert call(monkeypatch, "baseline", "--resume", folder, "--quiet") == 0
    assert (folder / "README.md").is_file()


def _full(real: Callable[[Path], None]) -> Callable[[Path], None]:
    """No space for the card alone."""

    def flush(path: Path) -> None:
        if "README.md" in path.name:
            raise OSError(28, "No space left on device")
        real(path)

    return flush


def test_a_checkpoint_that_was_damaged_meanwhile_gets_no_card(tiny: Tiny, tmp_path: Path) -> None:
    folder = one(tiny, tmp_path)
    (folder / "README.md").unlink()
    weights = folder / "checkpoint" / "learned.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(ConfigError, match=r"learned\.safetensors: differs from what was saved"):
        resume(folder, console=QUIET)
    assert not (folder / "README.md").exists()
