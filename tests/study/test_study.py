"""Studies: what a file may say, the runs it stands for, and that a second call runs nothing again."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.parts import source_checkpoint
from helpers.ports import free_port
from helpers.run_builder import unseal
from helpers.run_parts import QUIET
from helpers.tiny import Tiny
from typer.testing import CliRunner
from zoo import WORDS

from transferkit.cli.app import app
from transferkit.config.recipes import read_recipe
from transferkit.config.schema import dump_yaml
from transferkit.convergence import compare
from transferkit.errors import ConfigError
from transferkit.files.lock import sole_use
from transferkit.runner.prepare import Inputs
from transferkit.runner.run import resume, start
from transferkit.runs import checkpoint_folder
from transferkit.runs.folder import read_metrics, read_record, read_run
from transferkit.study.plan import chosen, plan, short_name
from transferkit.study.run import run_all
from transferkit.study.schema import read_study
from transferkit.study.state import comparisons, state_of
from transferkit.training.signals import Interrupted

RUNS: list[dict[str, Any]] = [
    {"name": "source", "recipe": "train.yaml"},
    {"name": "transfer", "recipe": "adapt.yaml", "source": "source"},
    {"name": "lora", "recipe": "baseline.yaml", "set": {"method": "lora", "optim.lr": 0.001}, "seeds": [3]},
    {"name": "tfidf", "recipe": "baseline.yaml", "set": {"method": "tfidf"}, "seeds": [3]},
]


def write_study(tiny: Tiny, folder: Path, runs: list[dict[str, Any]] | None = None) -> Path:
    """A study of a few steps beside its recipes; transfer and LoRA are on the tiny target."""
    for task in ("train", "adapt", "baseline"):
        tiny.write(folder, task, optim={"steps": 2}, readout={"kind": "none"})
    file = folder / "study.yaml"
    file.write_text(dump_yaml({"seeds": [3, 4], "runs": with_target(tiny, RUNS if runs is None else runs)}))
    return file


def with_target(tiny: Tiny, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    targets = {"targets": [str(tiny.target)]}
    return [{**run, **(targets if run["name"] in ("transfer", "lora") else {})} for run in runs]


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([{"name": "a", "recipe": "x"}, {"name": "a", "recipe": "x"}], "the name 'a' is used twice"),
        ([{"name": "b", "recipe": "x", "source": "a"}, {"name": "a", "recipe": "x"}], "'a' stands below it"),
        (
            [{"name": "a", "recipe": "x", "seeds": [1]}, {"name": "b", "recipe": "x", "source": "a"}],
            "its source 'a' has no seed 2",
        ),
        (
            [{"name": "a", "recipe": "x", "targets": ["p", "q"]}, {"name": "b", "recipe": "x", "source": "a"}],
            "has several targets",
        ),
        ([{"name": "A b", "recipe": "x"}], "name"),
        ([{"name": "a", "recipe": "x", "set": {"seed": 5}}], "set: 'seed' is not allowed here"),
        (
            [{"name": "a", "recipe": "x", "targets": ["p"], "set": {"embedding.backbone": "q"}}],
            "'embedding.backbone' is not allowed beside targets",
        ),
        ([{"name": "a", "recipe": "x", "seed": 1}], "unknown key 'seed'; did you mean 'seeds'"),
        ([], "runs"),
    ],
)
def test_a_study_that_cannot_run_is_refused_in_one_sentence(
    tmp_path: Path, runs: list[dict[str, Any]], message: str
) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(dump_yaml({"seeds": [1, 2], "runs": runs}))
    with pytest.raises(ConfigError, match=r"study\.yaml") as caught:
        read_study(file)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_plan_repeats_runs_for_seeds_and_targets_and_finds_the_source_of_the_same_seed(
    tiny: Tiny, tmp_path: Path
) -> None:
    planned = plan(read_study(write_study(tiny, tmp_path)), runs=Path("out"), beside=tmp_path)
    assert [one.folder.name for one in planned] == [
        "source-s3",
        "source-s4",
        "transfer-target-s3",
        "transfer-target-s4",
        "lora-target-s3",
        "tfidf-s3",
    ]
    assert [one.recipe.seed for one in planned] == [3, 4, 3, 4, 3, 3]
    assert [one.source for one in planned[2:4]] == [Path("out/source-s3"), Path("out/source-s4")]
    assert planned[4].recipe.optim.lr == 0.001
    assert planned[4].recipe.embedding.backbone == str(tiny.target)


def test_a_target_with_dots_keeps_its_whole_name() -> None:
    assert [short_name(name) for name in ("qwen2.5-0.5b", "org/Model-1.5", "/a/b.c", "x/y.yaml")] == [
        "qwen2.5-0.5b",
        "Model-1.5",
        "b.c",
        "y",
    ]


def test_a_target_that_is_no_name_is_the_folder_that_it_leads_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables of ``..`` would land above the folder that was asked for."""
    (tmp_path / "decoder" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "decoder" / "inner")
    assert [short_name(name) for name in ("..", "../", ".", "../..")] == ["decoder", "decoder", "inner", tmp_path.name]
    with pytest.raises(ConfigError, match="targets: '/' has no name that a folder could have"):
        short_name("/")


def test_two_runs_never_share_a_folder(tiny: Tiny, tmp_path: Path) -> None:
    file = write_study(tiny, tmp_path, [{"name": "a", "recipe": "train.yaml", "targets": ["org1/m", "org2/m"]}])
    with pytest.raises(ConfigError, match="a-m-s3 would be the folder of two runs"):
        plan(read_study(file), runs=tmp_path, beside=tmp_path)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (
            {"recipe": "adapt.yaml"},
            "source: this key is missing, and adapt starts from one; name a run of the study that trains, a checkpoint "
            "folder, or `bundled`",
        ),
        (
            {"recipe": "baseline.yaml", "set": {"method": "prompting-llm-alone"}},
            "source: this key is missing, and prompting-llm-alone starts from one",
        ),
        (
            {"recipe": "baseline.yaml", "set": {"method": "lora"}, "source": "source"},
            "source: lora starts from nothing, a source is for adapt and prompting-llm-alone; leave it away",
        ),
        ({"recipe": "train.yaml", "source": "source"}, "source: train starts from nothing"),
        ({"recipe": "adapt.yaml", "source": "tfidf"}, "source: 'tfidf' trains no Prompting LLM"),
        ({"recipe": "baseline.yaml"}, "method: this key is missing; set it to one of lora, qlora"),
        (
            {"recipe": "adapt.yaml", "source": "source", "targets": ["qwen3-0.6"]},
            "unknown backbone 'qwen3-0.6'; did you mean 'qwen3-0.6b'?",
        ),
        ({"recipe": "train.yaml", "set": {"embedding.more_backbones": ["none.yaml"]}}, "none.yaml: no such file"),
        ({"recipe": "train.yaml", "set": {"prompting.backbone": "./none"}}, "./none: no such model folder"),
        ({"recipe": "train.yaml", "set": {"embedding.backbone": None}}, "no decoder is named; give --target"),
    ],
)
def test_what_a_run_would_be_refused_for_is_found_in_the_plan(
    run: dict[str, Any], says: str, tiny: Tiny, tmp_path: Path
) -> None:
    file = write_study(tiny, tmp_path, [RUNS[0], RUNS[3], {"name": "last", "seeds": [3], **run}])
    with pytest.raises(ConfigError) as caught:
        plan(read_study(file), runs=tmp_path / "runs", beside=tmp_path)
    assert str(caught.value).startswith(f"study, run 'last': {says}")
    assert "\n" not in str(caught.value)


def test_two_targets_never_share_the_folder_of_their_tables(tiny: Tiny, tmp_path: Path) -> None:
    lora = {**RUNS[2], "targets": ["org1/m"]}
    file = write_study(tiny, tmp_path, [{**lora, "name": "a"}, {**lora, "name": "b", "targets": ["org2/m"]}])
    with pytest.raises(ConfigError, match=r"'org1/m' and 'org2/m' would both go to the folder m; rename") as caught:
        plan(read_study(file), runs=tmp_path, beside=tmp_path)
    assert "\n" not in str(caught.value)


def test_whole_sections_can_be_set(tiny: Tiny, tmp_path: Path) -> None:
    runs = [{"name": "lora", "recipe": "baseline.yaml", "set": {"method": "lora", "lora": {"r": 4, "alpha": 8.0}}}]
    planned = plan(read_study(write_study(tiny, tmp_path, runs)), runs=tmp_path, beside=tmp_path)
    assert (planned[0].recipe.lora.r, planned[0].recipe.lora.alpha) == (4, 8.0)


def test_a_source_that_was_trained_again_is_not_taken_for_the_old_one(tiny: Tiny, tmp_path: Path) -> None:
    planned = plan(read_study(write_study(tiny, tmp_path)), runs=tmp_path / "runs", beside=tmp_path)
    source, transfer = planned[0], planned[2]
    run_all([source, transfer], data_dir=tiny.data, console=QUIET)
    manifest = source.folder / "checkpoint" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(ConfigError, match="transfer-target-s3: holds a run of another source"):
        run_all([transfer], data_dir=tiny.data, console=QUIET)


def test_a_folder_that_a_kill_left_empty_is_used(tiny: Tiny, tmp_path: Path) -> None:
    planned = plan(read_study(write_study(tiny, tmp_path)), runs=tmp_path / "runs", beside=tmp_path)
    planned[-1].folder.mkdir(parents=True)
    run_all(planned[-1:], data_dir=tiny.data, console=QUIET)
    assert state_of(planned[-1].folder) == "done"


def test_a_source_that_is_nothing_is_named_with_the_closest_run(tiny: Tiny, tmp_path: Path) -> None:
    runs = [RUNS[0], {"name": "transfer", "recipe": "adapt.yaml", "source": "sorce"}]
    file = write_study(tiny, tmp_path, runs)
    with pytest.raises(ConfigError, match=r"'sorce' is neither a run of the study nor a folder.*'source'"):
        plan(read_study(file), runs=tmp_path, beside=tmp_path)


def test_a_source_may_be_a_checkpoint_beside_the_study(tiny: Tiny, tmp_path: Path) -> None:
    source_checkpoint(tiny, tmp_path / "mine")
    file = write_study(tiny, tmp_path, [{**RUNS[1], "source": "mine"}])
    planned = plan(read_study(file), runs=tmp_path / "runs", beside=tmp_path)
    assert {one.source for one in planned} == {tmp_path / "mine"}


def test_only_and_seed_choose_and_refuse(tiny: Tiny, tmp_path: Path) -> None:
    planned = plan(read_study(write_study(tiny, tmp_path)), runs=tmp_path / "runs", beside=tmp_path)
    assert [one.folder.name for one in chosen(planned, names=["transfer"], seeds=[4])] == ["transfer-target-s4"]
    assert chosen(planned, names=None, seeds=None) == planned
    with pytest.raises(ConfigError, match="--only lara: the study has no such run; it has lora, source"):
        chosen(planned, names=["lara"], seeds=None)
    with pytest.raises(ConfigError, match="--seed 9: the study has no such run; it has 3, 4"):
        chosen(planned, names=None, seeds=[9])
    with pytest.raises(ConfigError, match="--only lora --seed 4: the study has no such run; it has lora with seed 3"):
        chosen(planned, names=["lora"], seeds=[4])


def test_a_study_runs_once_is_taken_up_and_its_seeds_share_a_row(tiny: Tiny, tmp_path: Path) -> None:
    file = write_study(tiny, tmp_path)
    planned = plan(read_study(file), runs=tmp_path / "runs", beside=tmp_path)
    sources = [one for one in planned if one.is_source]
    run_all(sources, data_dir=tiny.data, console=QUIET)
    assert comparisons(planned) == {}  # sources alone are no comparison
    run_all(planned[:3], data_dir=tiny.data, console=QUIET)
    finished = {one.folder: read_record(one.folder)["finished_at"] for one in planned[:3]}
    before = {folder: (folder / "record.json").stat().st_mtime_ns for folder in finished}
    # As a kill leaves it: begun, no state saved.
    started = planned[3].folder
    run_all([planned[3]], data_dir=tiny.data, console=QUIET)
    record = read_record(started)
    inputs = {"source": str(planned[3].source), "data_dir": str(tiny.data)}
    (started / "record.json").write_text(json.dumps(record | {"status": "running", "inputs": inputs}))
    run_all(planned, data_dir=tiny.data, console=QUIET)
    assert {folder: (folder / "record.json").stat().st_mtime_ns for folder in finished} == before
    assert all(state_of(one.folder) == "done" for one in planned)

    (found,) = comparisons(planned).values()
    assert {run.record["run"] for run in found} == {one.folder.name for one in planned if not one.is_source}
    comparison = compare(found)
    transfer = [row for row in comparison.rows if row.series.method == "transfer"]
    # Two sources of different seeds are one experiment: one row with two seeds, not two rows.
    assert [row.seeds for row in transfer] == [2]
    assert [row.series.label for row in transfer] == ["transfer, W + offsets, source start"]
    assert comparison.reference is not None


def test_a_folder_with_another_recipe_is_not_taken_for_the_run(tiny: Tiny, tmp_path: Path) -> None:
    planned = plan(read_study(write_study(tiny, tmp_path)), runs=tmp_path / "runs", beside=tmp_path)
    tfidf = planned[-1]
    run_all([tfidf], data_dir=tiny.data, console=QUIET)
    scores = read_metrics(tfidf.folder)
    changed = plan(
        read_study(write_study(tiny, tmp_path, [{**RUNS[-1], "set": {"method": "tfidf", "eval.every": 1}}])),
        runs=tmp_path / "runs",
        beside=tmp_path,
    )
    with pytest.raises(ConfigError, match="tfidf-s3: holds a run of another recipe; remove it, or choose"):
        run_all(changed[-1:], data_dir=tiny.data, console=QUIET)
    assert read_metrics(tfidf.folder) == scores
    # A section that this method does not heed may change.
    settings = {"method": "tfidf", "frozen.poolings": ["max"], "lora.r": 2}
    same = plan(
        read_study(write_study(tiny, tmp_path, [{**RUNS[-1], "set": settings}])),
        runs=tmp_path / "runs",
        beside=tmp_path,
    )
    run_all(same[-1:], data_dir=tiny.data, console=QUIET)
    assert read_metrics(tfidf.folder) == scores


def test_command_lists_runs_and_writes_a_report(tiny: Tiny, tmp_path: Path) -> None:
    runs = [
        {"name": "lora", "recipe": "baseline.yaml", "set": {"method": "lora"}, "seeds": [3]},
        {"name": "frozen", "recipe": "baseline.yaml", "set": {"method": "frozen"}, "seeds": [3]},
    ]
    file = write_study(tiny, tmp_path, [{**run, "targets": [str(tiny.target)]} for run in runs])
    arguments = ["study", str(file), "--runs", str(tmp_path / "runs"), "--data-dir", str(tiny.data)]
    listed = CliRunner().invoke(app, [*arguments, "--list"])
    assert listed.exit_code == 0, listed.output
    assert listed.output.split() == [
        str(tmp_path / "runs" / "lora-target-s3"),
        "not",
        "begun",
        str(tmp_path / "runs" / "frozen-target-s3"),
        "not",
        "begun",
    ]
    assert not (tmp_path / "runs").exists()
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "report")])
    assert done.exit_code == 0, done.output
    assert "LoRA r 8" in done.output
    (folder,) = (tmp_path / "report").iterdir()
    assert (folder / "report.html").is_file()
    again = CliRunner().invoke(app, [*arguments, "--list"])
    assert again.output.count("  done") == 2
    states = [{"folder": str(tmp_path / "runs" / f"{name}-target-s3"), "state": "done"} for name in ("lora", "frozen")]
    assert json.loads(CliRunner().invoke(app, [*arguments, "--list", "--json"]).stdout) == {"runs": states}
    said = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert said["runs"] == states
    assert said["tables"] == {str(tiny.target): json.loads((folder / "table.json").read_text(encoding="utf-8"))}


def test_a_study_without_a_table_says_why(tiny: Tiny, tmp_path: Path) -> None:
    arguments = ["study", str(write_study(tiny, tmp_path)), "--runs", str(tmp_path / "runs"), "--only", "tfidf"]
    done = CliRunner().invoke(app, [*arguments, "--data-dir", str(tiny.data)])
    assert done.exit_code == 0, done.output
    (sentence,) = [line for line in done.stderr.splitlines() if "table" in line]
    assert sentence.startswith("no table yet: none of the runs that are done embeds with a target")
    machine = CliRunner().invoke(app, [*arguments, "--data-dir", str(tiny.data), "--json"])
    assert json.loads(machine.stdout)["tables"] == {}
    again = CliRunner().invoke(app, [*arguments, "--data-dir", str(tiny.data), "--out", str(tmp_path / "report")])
    assert again.exit_code == 0, again.output
    words = " ".join(again.stderr.split())
    assert f"some runs of the study are not done yet, so nothing is written into {tmp_path / 'report'}" in words
    assert not (tmp_path / "report").exists()


def test_an_interrupted_study_says_that_nothing_is_lost(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(planned: list[Any], **_: Any) -> None:
        raise Interrupted(planned[0].folder)

    monkeypatch.setattr("transferkit.study.run.run_all", press)
    study = ["study", str(write_study(tiny, tmp_path)), "--data-dir", str(tiny.data)]
    done = CliRunner().invoke(app, [*study, "--runs", str(tmp_path / "runs")])
    assert done.exit_code == 130
    assert done.stderr == "interrupted; the same command goes on where this one stopped\n"


def test_a_place_for_the_report_that_cannot_be_is_found_before_the_first_run(tiny: Tiny, tmp_path: Path) -> None:
    file = write_study(tiny, tmp_path)
    arguments = ["study", str(file), "--runs", str(tmp_path / "runs"), "--data-dir", str(tiny.data)]
    refused = CliRunner().invoke(app, [*arguments, "--out", str(file / "report"), "--only", "tfidf"])
    assert isinstance(refused.exception, ConfigError)
    assert f"{file}/report: cannot write there ({file} is a file); choose another with --out" in str(refused.exception)
    assert not (tmp_path / "runs").exists()


def test_a_target_folder_is_relative_to_the_study(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "decoder").symlink_to(tiny.target)
    file = write_study(tiny, tmp_path, [{**RUNS[2], "name": "lora-2", "targets": ["decoder"]}])
    (one,) = plan(read_study(file), runs=tmp_path / "runs", beside=tmp_path)
    assert one.recipe.embedding.backbone == str(tmp_path / "decoder")
    assert one.folder.name == "lora-2-decoder-s3"


def test_a_study_with_local_decoders_is_taken_up_from_any_folder(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "decoder").symlink_to(tiny.target)
    lora = {**RUNS[2], "name": "lora-2", "targets": ["decoder"]}
    source = {**RUNS[0], "seeds": [3], "set": {"prompting.backbone": "prompting", "embedding.backbone": "source"}}
    write_study(tiny, tmp_path / "sub", [source, lora])
    monkeypatch.chdir(tiny.root)  # what `set` names is relative to it, a target to the study
    above = os.path.relpath(tmp_path / "sub", tiny.root)
    planned = plan(read_study(Path(above, "study.yaml")), runs=tmp_path / "runs", beside=Path(above))
    run_all(planned, data_dir=tiny.data, console=QUIET)
    recorded = [read_recipe(str(one.folder / "recipe.yaml")) for one in planned]
    assert recorded[0].prompting.backbone == str(tiny.prompting)
    assert recorded[0].embedding.backbone == str(tiny.source)
    assert recorded[1].embedding.backbone == str(tmp_path / "sub" / "decoder")
    monkeypatch.chdir(write_study(tiny, tmp_path / "sub", [lora]).parent)
    again = plan(read_study(Path("study.yaml")), runs=tmp_path / "runs", beside=Path())
    run_all(again, data_dir=None, console=QUIET)  # nothing is run again, so no data are looked for
    monkeypatch.chdir(tmp_path)
    inputs = {"source": None, "data_dir": str(tiny.data)}
    for one in planned:
        record = read_record(one.folder) | {"status": "interrupted", "inputs": inputs}
        (one.folder / "record.json").write_text(json.dumps(record))
        resume(one.folder, console=QUIET)
        assert state_of(one.folder) == "done"


@pytest.mark.parametrize("holds", ["table.md", "config.json"])
def test_a_name_of_the_registry_stays_the_name_beside_the_folder_of_its_tables(
    tiny: Tiny, tmp_path: Path, holds: str
) -> None:
    name = "bundled-gptneox-5m"
    (tmp_path / name).mkdir()
    (tmp_path / name / holds).write_text("")
    file = write_study(tiny, tmp_path, [{**RUNS[2], "name": "lora-2", "targets": [name]}])
    (one,) = plan(read_study(file), runs=tmp_path / "runs", beside=tmp_path)
    assert one.target == name


def test_of_what_lies_beside_a_study_only_a_decoder_or_a_spec_is_a_target(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "org" / "model").mkdir(parents=True)
    spec = {"name": "mine", "family": "mine", "path": "model", "model_type": "llama", "hidden_size": 8}
    (tmp_path / "mine.yaml").write_text(dump_yaml(spec))
    names = ["org/model", "mine.yaml", "packed.gguf"]
    (tmp_path / "packed.gguf").write_bytes(b"GGUF")
    file = write_study(tiny, tmp_path, [{**RUNS[2], "name": "lora-2", "targets": names}])
    planned = plan(read_study(file), runs=tmp_path / "runs", beside=tmp_path)
    assert [one.target for one in planned] == ["org/model", str(tmp_path / "mine.yaml"), str(tmp_path / "packed.gguf")]


def test_a_clone_of_finished_records_writes_its_tables_without_data_or_checkpoints(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_study(tiny, tmp_path, [{**run, "seeds": [3]} for run in RUNS[:3]])
    planned = plan(read_study(file), runs=tmp_path / "runs", beside=tmp_path)
    run_all(planned, data_dir=tiny.data, console=QUIET)
    clone = tmp_path / "clone" / "runs"
    shutil.copytree(tmp_path / "runs", clone, ignore=shutil.ignore_patterns("checkpoint"))
    assert not list(clone.glob("*/checkpoint"))
    before = {path: path.read_bytes() for path in sorted(clone.rglob("*")) if path.is_file()}
    monkeypatch.chdir(tmp_path / "clone")
    done = CliRunner().invoke(app, ["study", str(file), "--runs", str(clone), "--out", "tables"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "clone" / "tables" / "target" / "table.md").is_file()
    assert {path: path.read_bytes() for path in sorted(clone.rglob("*")) if path.is_file()} == before


def test_a_conflict_is_found_before_the_first_run(tiny: Tiny, tmp_path: Path) -> None:
    planned = plan(read_study(write_study(tiny, tmp_path)), runs=tmp_path / "runs", beside=tmp_path)
    run_all(planned[-1:], data_dir=tiny.data, console=QUIET)
    runs = [*RUNS[:3], {**RUNS[3], "set": {"method": "tfidf", "eval.every": 1}}]
    changed = plan(read_study(write_study(tiny, tmp_path, runs)), runs=tmp_path / "runs", beside=tmp_path)
    with pytest.raises(ConfigError, match="tfidf-s3: holds a run of another recipe"):
        run_all(changed, data_dir=tiny.data, console=QUIET)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["tfidf-s3"]


@pytest.mark.parametrize(
    ("file", "what"), [("pairs.jsonl", "training data"), ("sts.tsv", "dev sets")], ids=lambda value: value
)
def test_other_data_than_a_finished_run_has_are_found_before_the_first_run(
    file: str, what: str, tiny: Tiny, tmp_path: Path
) -> None:
    planned = plan(read_study(write_study(tiny, tmp_path)), runs=tmp_path / "runs", beside=tmp_path)
    run_all(planned[-1:], data_dir=tiny.data, console=QUIET)
    other = tmp_path / "other"
    shutil.copytree(tiny.data, other)
    (other / file).write_text("\n".join((other / file).read_text().splitlines()[:-1]) + "\n")
    for chosen_runs in (planned, planned[4:5]):
        with pytest.raises(ConfigError, match=f"tfidf-s3: its {what} are others than .* would have") as caught:
            run_all(chosen_runs, data_dir=other, console=QUIET, whole=planned)
        assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["tfidf-s3"]
    run_all(planned[-1:], data_dir=other, console=QUIET)  # what is done asks for no data
    run_all(planned[4:], data_dir=tiny.data, console=QUIET)


def test_a_study_without_labels_goes_on_after_its_first_run(tiny: Tiny, tmp_path: Path) -> None:
    """What a teacher and a source decide of a run is known once it began, and no other data for that."""
    data = tmp_path / "data"
    shutil.copytree(tiny.data, data)
    (data / "texts.txt").write_text("".join(f"the {one} {two}\n" for one in WORDS[:12] for two in WORDS[:12]))
    both: dict[str, Any] = {"name": "texts", "kind": "texts", "path": "texts.txt"}
    pairs = {"name": "pairs", "kind": "pairs", "path": "pairs.jsonl", "instruction": "see"}
    apart = {"data.train": [{**both, "part": "train"}], "data.dev": [{**both, "part": "dev"}]}
    runs = [
        {"name": "source", "recipe": "train.yaml", "set": {"data.train": [pairs]}, "seeds": [3, 4]},
        {"name": "transfer", "recipe": "adapt.yaml", "source": "source", "set": apart},
    ]
    planned = plan(read_study(write_study(tiny, tmp_path, runs)), runs=tmp_path / "runs", beside=tmp_path)
    run_all(planned[:3], data_dir=data, console=QUIET)
    recorded = read_run(planned[2].folder)
    assert recorded.recipe["data"]["dev"][0]["instruction"] == "see"  # of its source
    run_all(planned, data_dir=data, console=QUIET)
    (row,) = compare([recorded, read_run(planned[3].folder)]).rows
    assert row.seeds == 2
    with (data / "texts.txt").open("a") as file:
        file.write("\n".join(f"another text {number}" for number in range(20)))
    shutil.rmtree(planned[3].folder)
    with pytest.raises(ConfigError, match="transfer-target-s3: its training data are others than"):
        run_all(planned, data_dir=data, console=QUIET)


def test_finished_runs_that_no_table_can_hold_are_found_before_the_first_run(tiny: Tiny, tmp_path: Path) -> None:
    planned = plan(read_study(write_study(tiny, tmp_path)), runs=tmp_path / "runs", beside=tmp_path)
    run_all(planned[4:], data_dir=tiny.data, console=QUIET)
    tfidf = planned[-1].folder
    unseal(tfidf)
    record = read_record(tfidf)
    (tfidf / "record.json").write_text(json.dumps(record | {"data": record["data"] | {"train_sha256": "0" * 64}}))
    with pytest.raises(ConfigError, match=r"the training data differs .*'tfidf-s3'"):
        run_all(planned, data_dir=tiny.data, console=QUIET)
    (tfidf / "record.json").write_text(json.dumps(record))
    (tfidf / "metrics.jsonl").write_text("")
    with pytest.raises(ConfigError, match=r"tfidf-s3/metrics.jsonl: the row of step 0 is missing"):
        run_all(planned, data_dir=tiny.data, console=QUIET)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["lora-target-s3", "tfidf-s3"]


def test_a_source_that_was_sealed_anew_is_the_same(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan(read_study(write_study(tiny, tmp_path)), runs=tmp_path / "runs", beside=tmp_path)
    source, transfer = planned[0], planned[2]
    run_all([source, transfer], data_dir=tiny.data, console=QUIET)
    unseal(transfer.folder)
    record = read_record(transfer.folder)
    now, before = record["source"]["sha256"], "0" * 64
    earlier = record | {"source": record["source"] | {"sha256": before}}
    (transfer.folder / "record.json").write_text(json.dumps(earlier))
    with pytest.raises(ConfigError, match="transfer-target-s3: holds a run of another source"):
        run_all([source, transfer], data_dir=tiny.data, console=QUIET)
    monkeypatch.setattr(checkpoint_folder, "_RESEALED", {before: now})
    run_all([source, transfer], data_dir=tiny.data, console=QUIET)
    assert read_record(transfer.folder) == earlier  # nothing ran again


def test_a_transfer_of_another_source_is_found_before_the_source_is_trained(tiny: Tiny, tmp_path: Path) -> None:
    runs = [{**run, "seeds": [3]} for run in RUNS[:2]]
    planned = plan(read_study(write_study(tiny, tmp_path, runs)), runs=tmp_path / "runs", beside=tmp_path)
    run_all(planned, data_dir=tiny.data, console=QUIET)
    renamed = [{**runs[0], "name": "longer"}, {**runs[1], "source": "longer"}]
    other = plan(read_study(write_study(tiny, tmp_path, renamed)), runs=tmp_path / "runs", beside=tmp_path)
    with pytest.raises(ConfigError, match="transfer-target-s3: holds a run of another source"):
        run_all(other, data_dir=tiny.data, console=QUIET)
    assert not other[0].folder.exists()
    # Of a source of the same name that is gone nothing can be said.
    shutil.rmtree(planned[0].folder)
    run_all(planned[1:], data_dir=None, console=QUIET)
    checkpoint = replace(planned[1], source=planned[0].folder / "checkpoint")
    run_all([checkpoint], data_dir=None, console=QUIET)


def test_a_run_that_another_process_has_is_left_to_it(tiny: Tiny, tmp_path: Path) -> None:
    planned = plan(read_study(write_study(tiny, tmp_path)), runs=tmp_path / "runs", beside=tmp_path)[-1:]
    folder = planned[0].folder
    code = (
        "import sys; from pathlib import Path; from transferkit.files.lock import sole_use\n"
        "with sole_use(Path(sys.argv[1])):\n    print('here', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "here\n"
    with pytest.raises(ConfigError, match="tfidf-s3: another process is writing to it; wait for it") as caught:
        run_all(planned, data_dir=tiny.data, console=QUIET)
    assert "\n" not in str(caught.value)
    assert state_of(folder) is None
    other.kill()  # the lock dies with its process, its file stays
    other.communicate()
    run_all(planned, data_dir=tiny.data, console=QUIET)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    run_all(planned, data_dir=tiny.data, console=QUIET)  # a finished run is nobody's


def test_who_comes_second_to_a_new_run_is_told_of_the_first_and_spoils_nothing(tiny: Tiny, tmp_path: Path) -> None:
    one = plan(read_study(write_study(tiny, tmp_path)), runs=tmp_path / "runs", beside=tmp_path)[-1]
    run_all([one], data_dir=tiny.data, console=QUIET)
    record = read_record(one.folder) | {"status": "running", "inputs": {"source": None, "data_dir": str(tiny.data)}}
    (one.folder / "record.json").write_text(json.dumps(record))
    before = {path.name: path.read_bytes() for path in one.folder.iterdir() if path.is_file()}
    inputs = Inputs(data_dir=tiny.data)
    with (
        sole_use(one.folder),
        pytest.raises(ConfigError, match="tfidf-s3: another process is writing to it; wait for it"),
    ):
        start(one.recipe, inputs, runs=one.folder.parent, name=one.folder.name, console=QUIET)
    with pytest.raises(ConfigError, match=r"holds a run already \(running\); continue it with --resume") as caught:
        start(one.recipe, inputs, runs=one.folder.parent, name=one.folder.name, console=QUIET)
    assert "remove" not in str(caught.value)
    other = replace(one, recipe=one.recipe.model_copy(update={"save_every": 1}))
    with pytest.raises(ConfigError, match="tfidf-s3: holds a run of another recipe; choose another folder"):
        run_all([other], data_dir=tiny.data, console=QUIET)
    assert {path.name: path.read_bytes() for path in one.folder.iterdir() if path.is_file()} == before


@pytest.mark.slow  # imports everything in two processes of their own; test_distributed.py has the arithmetic
def test_two_processes_share_the_runs_and_one_of_them_speaks(tiny: Tiny, tmp_path: Path) -> None:
    file = write_study(tiny, tmp_path, [RUNS[2], RUNS[3]])
    arguments = ["study", str(file), "--runs", str(tmp_path / "runs"), "--data-dir", str(tiny.data)]
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "transferkit", *arguments],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    planned = plan(read_study(file), runs=tmp_path / "runs", beside=tmp_path)
    assert [state_of(one.folder) for one in planned] == ["done", "done"]
    assert ["LoRA r 8" in out for out, _ in said] == [True, False]
    assert [err.count("[1/2]") for _, err in said] == [1, 0]
