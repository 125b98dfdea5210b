"""What is published: every study can be planned, every table comes out again from its records, byte for byte."""

import csv
import re
from dataclasses import fields
from pathlib import Path

import pytest
from mteb.results.task_result import TaskResult
from pydantic import TypeAdapter

from transferkit.config.methods import heeded
from transferkit.config.recipes import recorded_recipe
from transferkit.config.schema import flat
from transferkit.convergence import compare
from transferkit.convergence.series import recipe_facts
from transferkit.convergence.tables import to_csv, to_json, to_markdown
from transferkit.decoder.probe import resolve
from transferkit.evaluation.meta import meta_name
from transferkit.evaluation.tables import written as mteb_table
from transferkit.evaluation.tables.rows import TaskRow
from transferkit.files.builtin import SHIPPED, bundled_dir
from transferkit.files.manifest import sha256_file
from transferkit.runs.folder import read_metrics, read_run
from transferkit.study.plan import plan, short_name
from transferkit.study.run import is_same_run
from transferkit.study.schema import read_study
from transferkit.study.state import comparisons, record_folders

RESULTS = Path(__file__).resolve().parents[2] / "results"
STUDIES = sorted(RESULTS.glob("*/study.yaml"))
TABLES = sorted(RESULTS.glob("*/*/table.csv"))
EVALUATIONS = sorted(RESULTS.glob("*/table.csv"))
PLACE = re.compile(r"""(?:^|[\s"'=:])(?:/|\.\./)\w""")  # of one machine: an absolute path, or one out of the folder
WITH_PROMPT_TUNING = [
    study
    for study in (*STUDIES, *sorted((bundled_dir("toy").parents[1] / "study").glob("demo*.yaml")))
    if "method: prompt-tuning" in study.read_text(encoding="utf-8")
]


def test_there_are_studies() -> None:
    assert STUDIES


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.parent.name)
def test_study_reads_every_recipe_it_names(study: Path) -> None:
    planned = plan(read_study(study), runs=study.parent / "runs", beside=study.parent)
    assert len({one.folder for one in planned}) == len(planned)
    assert any(one.recipe.method == "lora" for one in planned)


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.parent.name)
def test_runs_of_one_table_share_their_data(study: Path) -> None:
    """What `compare` would refuse after hours: other training data or dev sets, or two decoders in one table."""
    planned = plan(read_study(study), runs=study.parent / "runs", beside=study.parent)
    rows = [one for one in planned if not one.is_source]
    for target in {one.target for one in rows} - {None}:
        data: dict[str, list[str]] = {}
        for one in rows:
            if one.target in (target, None):
                data.setdefault(one.recipe.data.model_dump_json(), []).append(one.folder.name)
        assert len(data) == 1, f"not comparable: {sorted(data.values(), key=len)[0]}"
    decoders = [resolve(target).location for target in {one.target for one in rows} if target]
    assert len(set(decoders)) == len(decoders)  # one decoder under two names would be two tables


def test_published_runs_start_from_the_published_sources() -> None:
    """By the hash of the source's manifest."""
    compared = 0
    for folder in (record.parent for record in RESULTS.glob("*/runs/*/record.json")):
        if (source := read_run(folder).record["source"]) is None:
            continue
        manifest = folder.with_name(source["run"]) / "checkpoint-manifest.json"
        compared += 1
        assert sha256_file(manifest) == source["sha256"], folder.name
    assert compared > 20


def test_there_is_prompt_tuning() -> None:
    assert WITH_PROMPT_TUNING


@pytest.mark.parametrize("study", WITH_PROMPT_TUNING, ids=lambda path: path.parent.name)
def test_prompt_tuning_learns_at_the_rate_of_the_transfers_offsets(study: Path) -> None:
    """Both are free vectors in the place of soft tokens: at another rate the rival would be held back."""
    recipes = [one.recipe for one in plan(read_study(study), runs=study.parent / "runs", beside=study.parent)]
    tuned = {recipe.optim.lr for recipe in recipes if recipe.method == "prompt-tuning"}
    assert tuned
    assert tuned <= {recipe.optim.lr_offset for recipe in recipes if recipe.task == "adapt"}


@pytest.mark.parametrize("table", TABLES, ids=lambda path: f"{path.parent.parent.name}-{path.parent.name}")
def test_published_table_comes_out_of_its_records_again(table: Path) -> None:
    study = table.parent.parent / "study.yaml"
    planned = plan(read_study(study), runs=study.parent / "runs", beside=study.parent)
    for one in planned:
        if (one.folder / "record.json").is_file() and not is_same_run(one):
            # A source that is published without its weights: what the recipe leaves to it cannot be compared.
            since = flat(recorded_recipe(one.folder).model_dump())  # keys that are younger than the record
            recorded = since | recipe_facts(read_run(one.folder))
            asked = {key: value for key, value in flat(heeded(one.recipe.model_dump())).items() if value is not None}
            if one.recipe.precision == "auto":
                del asked["precision"]  # it is what the run began with
            assert asked == {key: recorded.get(key) for key in asked}, one.folder.name
    records = record_folders(read_study(study), study.parent / "runs")
    found = {short_name(target): runs for target, runs in comparisons(planned, records=records).items()}
    comparison = compare(found[table.parent.name])
    for name, text in (("md", to_markdown), ("csv", to_csv), ("json", to_json)):
        assert (table.parent / f"table.{name}").read_text(encoding="utf-8") == text(comparison), f"table.{name}"


@pytest.mark.parametrize("table", EVALUATIONS, ids=lambda path: path.parent.name)
def test_published_evaluation_comes_out_of_its_scores_again(table: Path, tmp_path: Path) -> None:
    """Every row is what lies in mteb's layout beside it, and the tables are what these rows give."""
    rows = [_task_row(line) for line in csv.DictReader(table.read_text(encoding="utf-8").splitlines())]
    assert rows
    for row in rows:
        folder = table.parent / "results" / meta_name(row.model).replace("/", "__") / row.revision
        assert 100 * TaskResult.from_disk(folder / f"{row.task}.json").get_score() == pytest.approx(row.score, abs=1e-4)
        (noted,) = [note for note in read_metrics(folder) if note["task"] == row.task]
        assert noted["done"]
        for name in ("seconds", "encoder_seconds", "texts", "shared"):
            assert noted[name] == getattr(row, name)
    types = {row.task: row.type for row in rows}
    for file in mteb_table.write_tables(rows, tmp_path, types=list(types.values())):
        assert (table.parent / file.name).read_text(encoding="utf-8") == file.read_text(encoding="utf-8"), file.name
    for file in table.parent.rglob("*.json*"):
        assert not PLACE.search(file.read_text(encoding="utf-8")), file


def _task_row(line: dict[str, str]) -> TaskRow:
    given = {field.name: line[field.name] for field in fields(TaskRow) if line.get(field.name)}
    return TypeAdapter(TaskRow).validate_python(given)


def test_tables_of_results_hold_published_scores_alone() -> None:
    """Rows by their method are published ones; every other score stands in a table that its section links."""
    compared = 0
    pages = "\n## ".join((RESULTS / page).read_text(encoding="utf-8") for page in ("README.md", "toys.md"))
    for section in re.split(r"\n#{2,} ", pages):
        links = [RESULTS / link for link in re.findall(r"\]\(([^)]*table\.md)\)", section)]
        text = "\n".join(link.read_text(encoding="utf-8") for link in links)
        published = {float(score) for score in re.findall(r"(?<![\d.])\d+\.\d(?!\d)", text)}
        rows = [line for line in section.splitlines() if line.startswith("|") and links]
        for row in rows:
            for score in re.findall(r"(?<![\d.+-])\d+\.\d(?!\d)", row):
                assert float(score) in published, row
                compared += 1
            if re.match(r"\| (transfer|LoRA|QLoRA|prompt tuning|prompting LLM|frozen backbone|TF-IDF)", row):
                assert any(_cells(row) <= _cells(line) for line in text.splitlines()), row
    assert compared > 200


def _cells(row: str) -> set[str]:
    """The cells of a Markdown table's row."""
    return {cell.strip() for cell in row.strip("|").split(" | ")}


@pytest.mark.parametrize(
    "folder",
    [*map(bundled_dir, SHIPPED.values()), *sorted(record.parent for record in RESULTS.glob("*/runs/*/record.json"))],
    ids=lambda path: path.name,
)
def test_published_run_is_finished_and_names_no_place_of_one_machine(folder: Path) -> None:
    run = read_run(folder)
    assert run.record["status"] == "done"
    assert run.record["git"]["commit"]
    for file in folder.iterdir():
        if file.is_file():
            assert not PLACE.search(file.read_text(encoding="utf-8")), file.name
