"""Runs whose readout was chosen: one row each, as delivered, chosen by one half of the dev set, told by the other."""

from pathlib import Path
from typing import Any

from helpers.run_builder import Metric, make_run, metric

from transferkit.convergence import compare
from transferkit.convergence.report import to_page
from transferkit.convergence.tables import flat_rows, to_markdown
from transferkit.report.page import to_html

KINDS = ("plain", "whiten", "pairs")


def chosen(step: int, kind: str, choosing: float, *, reported: tuple[float, float, float], **more: Any) -> Metric:
    """A row with the scores of all three readouts; ``choosing`` is what the delivered one chose by."""
    by_kind = dict(zip(KINDS, reported, strict=True))
    row = metric(step, reported[0], by_kind[kind], **more)
    row["score"] = by_kind | {"readout": by_kind[kind]}
    row["scores"] = {
        "in-domain": row["score"],
        "elsewhere": {key: value - 20 for key, value in row["score"].items()},
    }
    row["choosing"] = dict.fromkeys(KINDS, 1.0) | {"readout": choosing}
    row["readout"] = {"kind": "none" if kind == "plain" else kind, "ridge": 0.1, "alpha": 0.5}
    return row


def lora(parent: Path, name: str, first: float, last: float, **more: Any) -> Any:
    rows = [
        chosen(0, "plain", first, reported=(50.0, 40.0, 45.0)),
        chosen(100, "pairs", last, reported=(60.0, 70.0, 80.0)),
    ]
    return make_run(parent, name, rows, label=more.pop("label", "LoRA"), **more)


def test_the_half_that_chooses_decides_and_the_other_one_is_shown(tmp_path: Path) -> None:
    """Step 0 scores lowest on the half that reports, and is kept: the other half liked it."""
    (row,) = compare([lora(tmp_path, "lora-1", 90.0, 30.0)]).rows
    assert (row.best, row.best_step, row.choosing, row.readout) == (50.0, 0, 90.0, "plain")
    assert row.other == 30.0
    assert row.by_kind == {"plain": (50.0, 30.0), "whiten": (40.0, 20.0), "pairs": (45.0, 25.0)}


def test_a_row_is_called_after_what_its_checkpoints_have(tmp_path: Path) -> None:
    same = lora(tmp_path, "lora-1", 10.0, 30.0)
    (row,) = compare([same]).rows
    assert (row.best, row.readout) == (80.0, "from pairs")
    other = lora(tmp_path, "lora-2", 90.0, 30.0, seed=18)
    (row,) = compare([same, other]).rows
    assert (row.best, row.readout) == (65.0, "from pairs or plain")


def test_the_reference_is_the_row_that_chose_best(tmp_path: Path) -> None:
    high = [chosen(0, "pairs", 20.0, reported=(50.0, 60.0, 99.0))]
    comparison = compare(
        [lora(tmp_path, "lora-1", 10.0, 30.0), make_run(tmp_path, "lora-2", high, label="LoRA at another rate")]
    )
    assert comparison.reference is not None
    assert comparison.reference.series.label == "LoRA"


def test_the_best_variant_is_the_one_that_chose_best(tmp_path: Path) -> None:
    rows = [
        chosen(0, "pairs", 40.0, reported=(50.0, 60.0, 70.0), variant="last"),
        chosen(0, "pairs", 30.0, reported=(50.0, 60.0, 90.0), variant="mean"),
    ]
    best = {"step": 0, "score": 70.0, "choosing": 40.0, "variant": "last"}
    (row,) = compare([make_run(tmp_path, "frozen-1", rows, method="frozen", trainable=0, best=best)]).rows
    assert (row.series.variant, row.best) == ("last", 70.0)


def test_every_seed_stands_with_the_variant_of_its_own_checkpoint(tmp_path: Path) -> None:
    runs = []
    for seed, chose in enumerate(("last", "mean", "last")):
        rows = [
            chosen(0, "pairs", 60.0 + (chose == "last"), reported=(50.0, 60.0, 70.0), variant="last"),
            chosen(0, "pairs", 60.5, reported=(50.0, 60.0, 90.0), variant="mean"),
        ]
        best = {"step": 0, "score": {"last": 70.0, "mean": 90.0}[chose], "variant": chose}
        runs.append(make_run(tmp_path, f"frozen-{seed}", rows, method="frozen", trainable=0, seed=seed, best=best))
    (row,) = compare(runs).rows
    assert (row.series.variant, row.best, row.best_low, row.best_high) == ("last or mean", 70.0, 70.0, 90.0)


def test_every_table_has_plain_whitened_and_pairs(tmp_path: Path) -> None:
    tfidf = metric(0, 46.0)
    tfidf["choosing"], tfidf["readout"] = {"plain": 45.0, "readout": None}, None
    runs = [
        lora(tmp_path, "lora-1", 10.0, 30.0),
        make_run(tmp_path, "tfidf-1", [tfidf], method="tfidf", trainable=0),
    ]
    comparison = compare(runs)
    first, second = flat_rows(comparison)
    assert list(first) == list(second)
    assert [first[f"{kind}_score"] for kind in KINDS] == [60, 70, 80]
    assert [first[f"{kind}_other_sets_score"] for kind in KINDS] == [40, 50, 60]
    assert [second[f"{kind}_score"] for kind in KINDS] == [46, None, None]
    text = to_markdown(comparison)
    assert "| Plain | Whitened | From pairs |" in text
    assert "| 60.0 / 40.0 | 70.0 / 50.0 | 80.0 / 60.0 |" in text
    assert "best on the choosing halves; the scores are of the reporting halves" in text


def test_runs_from_before_readouts_were_chosen_stand_in_two_rows(tmp_path: Path) -> None:
    rows = compare([make_run(tmp_path, "lora-1", [metric(0, 40.0, 45.0), metric(100, 80.0, 85.0)])]).rows
    assert [(row.readout, row.best) for row in rows] == [("plain", 80.0), ("whitened", 85.0)]
    assert all(row.by_kind == {} for row in rows)


def test_what_the_checkpoints_are_is_marked(tmp_path: Path) -> None:
    comparison = compare([lora(tmp_path, "lora-1", 10.0, 30.0), lora(tmp_path, "lora-2", 10.0, 30.0, seed=18)])
    assert [row["kept"] for row in flat_rows(comparison)] == [True]
    text = to_markdown(comparison)
    assert "| 100 ● |" in text
    assert "●: this step, with this readout, is what the checkpoints of the row's runs are." in text
    page = to_html(to_page(comparison, curves="<svg></svg>", scores="<svg></svg>"))
    assert "<td>100 ●</td>" in page
    assert "<dt>At step ●</dt>" in page

    stopped = lora(tmp_path, "lora-3", 10.0, 30.0, status="interrupted", best=None)
    (row,) = compare([stopped], allow_unfinished=True).rows
    assert not row.kept  # it left none
    assert "●" not in to_markdown(compare([stopped], allow_unfinished=True))


def test_of_two_rows_of_one_run_the_checkpoint_is_one(tmp_path: Path) -> None:
    metrics = [metric(0, 40.0, 45.0), metric(100, 80.0, 85.0)]
    old = make_run(tmp_path, "lora-1", metrics, best={"step": 100, "score": 85.0, "variant": None})
    assert [(row.readout, row.kept) for row in compare([old]).rows] == [("plain", False), ("whitened", True)]
    none = make_run(tmp_path, "lora-2", [metric(0, 40.0), metric(100, 80.0)])
    assert [row.kept for row in compare([none]).rows] == [True]
    read = [metric(0, 40.0, 45.0, variant="last"), metric(0, 50.0, 55.0, variant="mean")]
    for variant, kept in (("last", False), ("mean", True)):  # the row is of the best one, "mean"
        best = {"step": 0, "score": 55.0, "variant": variant}
        run = make_run(tmp_path, f"frozen-{variant}", read, method="frozen", trainable=0, best=best)
        assert [row.kept for row in compare([run]).rows] == [False, kept]


def test_the_standard_error_is_of_the_rows_that_report(tmp_path: Path) -> None:
    data = {
        "train_sha256": "a" * 64,
        "dev_sha256": "d" * 64,
        "train": [{"name": "mixture", "rows": 9600, "skipped_rows": 0}],
        "dev": [{"name": "in-domain", "kind": "knn", "select": True, "sha256": "1", "texts": 900, "reported_rows": 64}],
    }
    recipe = {"data": {"train": [{"name": "mixture"}], "dev": [{"name": "in-domain", "kind": "knn", "limit": 128}]}}
    runs = [lora(tmp_path, "lora-1", 10.0, 30.0, data=data, recipe=recipe)]
    transfer = [chosen(0, "pairs", 5.0, reported=(50.0, 60.0, 70.0)), chosen(9, "pairs", 6.0, reported=(1.0, 2.0, 3.0))]
    more = {"data": data, "recipe": recipe, "method": "transfer"}
    text = to_markdown(compare([*runs, make_run(tmp_path, "adapt-1", transfer, **more)]))
    assert "an accuracy of 80.0 over at most 64 texts has a standard error of at least 5.0 points" in text
