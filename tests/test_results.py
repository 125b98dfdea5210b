"""What is published: every study can be planned, every table comes out again from its records, byte for byte."""

import re
from pathlib import Path

import pytest

from transferkit.convergence import compare
from transferkit.convergence.tables import to_csv, to_json, to_markdown
from transferkit.resources import bundled_dir
from transferkit.runs import read_run
from transferkit.study import comparisons, plan, read_study, short_name

RESULTS = Path(__file__).resolve().parent.parent / "results"
STUDIES = sorted(RESULTS.glob("*/study.yaml"))
TABLES = sorted(RESULTS.glob("*/*/table.csv"))


def test_there_are_studies() -> None:
    assert STUDIES


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.parent.name)
def test_study_reads_every_recipe_it_names(study: Path) -> None:
    planned = plan(read_study(study), runs=study.parent / "runs", beside=study.parent)
    assert len({one.folder for one in planned}) == len(planned)
    assert any(one.recipe.method == "lora" for one in planned)


@pytest.mark.parametrize("table", TABLES, ids=lambda path: f"{path.parent.parent.name}-{path.parent.name}")
def test_published_table_comes_out_of_its_records_again(table: Path) -> None:
    study = table.parent.parent / "study.yaml"
    planned = plan(read_study(study), runs=study.parent / "runs", beside=study.parent)
    found = {short_name(target): runs for target, runs in comparisons(planned).items()}
    comparison = compare(found[table.parent.name])
    for name, text in (("md", to_markdown), ("csv", to_csv), ("json", to_json)):
        assert (table.parent / f"table.{name}").read_text(encoding="utf-8") == text(comparison), f"table.{name}"


@pytest.mark.parametrize(
    "folder",
    [bundled_dir("source"), *sorted(record.parent for record in RESULTS.glob("*/runs/*/record.json"))],
    ids=lambda path: path.name,
)
def test_published_run_is_finished_and_names_no_place_of_one_machine(folder: Path) -> None:
    run = read_run(folder)
    assert run.record["status"] == "done"
    assert run.record["git"]["commit"]
    for file in folder.iterdir():
        if file.is_file():
            assert not re.search(r"""(?:^|[\s"'=:])(?:/|\.\./)\w""", file.read_text(encoding="utf-8")), file.name
