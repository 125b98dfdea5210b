"""The convergence table on hand-written records: targets, costs, bounds, seeds, refusals."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.run_builder import make_run, metric
from typer.testing import CliRunner

from transferkit.cli.app import app
from transferkit.config.template import find_template
from transferkit.convergence.comparison import Comparison, Row, best_up_to, compare, decoders
from transferkit.convergence.tables import to_markdown
from transferkit.errors import ConfigError
from transferkit.runs.folder import Run, read_run


def row_of(comparison: Comparison, label: str, readout: str = "plain") -> Row:
    found = [row for row in comparison.rows if row.series.label == label and row.series.readout == readout]
    assert len(found) == 1
    return found[0]


def lora(tmp_path: Path, name: str = "lora", *, best: float = 80.0, **more: Any) -> Run:
    """Reaches 90 % of ``best`` at step 50 and ``best`` at step 100, 10 seconds a step."""
    rows = [
        metric(0, 40.0, seconds=0.0),
        metric(50, 0.91 * best, seconds=500.0),
        metric(100, best, seconds=1000.0),
        metric(150, best - 1, seconds=1500.0),
    ]
    return make_run(tmp_path, name, rows, **more)


def test_costs_and_speedups_of_a_faster_row(tmp_path: Path) -> None:
    transfer = make_run(
        tmp_path,
        "transfer",
        [metric(0, 70.0, seconds=20.0), metric(10, 76.0, seconds=25.0), metric(20, 79.0, seconds=30.0)],
        method="transfer",
        trainable=37,
    )
    comparison = compare([lora(tmp_path), transfer])
    assert [target.score for target in comparison.targets] == pytest.approx([72.0, 76.0, 78.4, 80.0])
    row = row_of(comparison, "transfer")
    assert (row.initial, row.best, row.best_step, row.trainable, row.seeds) == (70.0, 79.0, 20, 37, 1)
    assert row.share == pytest.approx(98.75)
    at_95 = row.crossings[1]
    assert {name: cell.value for name, cell in at_95.cost.items()} == {
        "steps": 10, "examples": 480, "tokens": 480 * 21, "seconds": 25.0,
    }  # fmt: skip
    assert at_95.speedup["steps"].value == 10.0
    assert at_95.speedup["seconds"].value == 40.0
    assert at_95.cost["steps"].bound is None


def test_not_reached_is_empty_with_bounds(tmp_path: Path) -> None:
    slow = make_run(tmp_path, "slow", [metric(0, 30.0), metric(400, 79.9, seconds=4000.0)], method="prompt-tuning")
    crossing = row_of(compare([lora(tmp_path), slow]), "prompt-tuning").crossings[-1]
    assert crossing.cost["steps"].value is None
    assert crossing.cost["steps"].bound == 400
    assert crossing.cost["tokens"].bound == 400 * 48 * 21
    assert crossing.speedup["steps"].value is None
    assert crossing.speedup["steps"].bound == 0.25  # it needs more than 400 steps, LoRA 100
    assert crossing.speedup["seconds"].bound == 0.25


def test_a_row_that_trains_nothing_has_no_bound_and_none_where_it_stands_at_the_target(
    tmp_path: Path,
) -> None:
    weak = make_run(tmp_path, "frozen", [metric(0, 41.0, seconds=5.0)], method="frozen")
    strong = make_run(tmp_path, "tfidf", [metric(0, 90.0, seconds=5.0)], method="tfidf")
    comparison = compare([lora(tmp_path), weak, strong])
    empty = row_of(comparison, "frozen").crossings[0]
    assert (empty.cost["steps"].value, empty.cost["steps"].bound) == (None, None)
    assert (empty.speedup["steps"].value, empty.speedup["steps"].bound) == (None, None)
    there = row_of(comparison, "tfidf").crossings[3]
    assert there.cost["steps"].value == 0
    assert there.speedup["steps"].value is None  # no division by zero steps
    assert there.speedup["seconds"].value == 200.0


def test_seeds_are_medians_and_a_seed_that_never_arrives_counts_as_endless(tmp_path: Path) -> None:
    runs = [lora(tmp_path)]
    for seed, scores in enumerate([(60, 77, 78), (60, 70, 77), (60, 61, 62)]):
        rows = [metric(step, score, other=score - 10) for step, score in zip((0, 50, 100), scores, strict=True)]
        runs.append(make_run(tmp_path, f"t{seed}", rows, method="transfer", seed=seed))
    row = row_of(compare(runs), "transfer")
    assert (row.seeds, row.best, row.best_low, row.best_high, row.other) == (3, 77, 62, 78, 67)
    assert row.crossings[1].cost["steps"].value == 100  # 50, 100, never
    never = row.crossings[2].cost["steps"]  # 78.4: none of three
    assert (never.value, never.bound) == (None, 100)


def test_with_half_of_two_seeds_there_is_no_median_but_a_true_bound(tmp_path: Path) -> None:
    runs = [lora(tmp_path)]
    for seed, last in ((1, 76.5), (2, 70.0)):
        runs.append(make_run(tmp_path, f"t{seed}", [metric(0, 60), metric(40, last)], method="transfer", seed=seed))
    runs.append(make_run(tmp_path, "t3", [metric(0, 60), metric(40, 77)], method="prompt-tuning"))
    cell = row_of(compare(runs), "transfer").crossings[1].cost["steps"]
    assert (cell.value, cell.bound) == (None, 40)


def test_the_reference_is_the_best_lora_row_over_readouts(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path, "a", [metric(0, 40, 50), metric(50, 70, 69)], label="lr 1"),
        make_run(tmp_path, "b", [metric(0, 40, 50), metric(50, 68, 75)], label="lr 2"),
        make_run(tmp_path, "c", [metric(0, 40, 50), metric(50, 90, 90)], method="qlora"),
    ]
    comparison = compare(runs, targets=[1.0])
    assert comparison.reference is row_of(comparison, "lr 2", "whiten")
    assert comparison.targets[0].score == 75
    assert row_of(comparison, "lr 1").crossings[0].cost["steps"].value is None


def test_of_equal_lora_rows_the_sooner_one_is_the_reference(tmp_path: Path) -> None:
    late = make_run(tmp_path, "late", [metric(0, 40), metric(50, 60), metric(100, 70)], label="a late")
    soon = make_run(tmp_path, "soon", [metric(0, 40), metric(50, 70), metric(100, 70)], label="b soon")
    comparison = compare([late, soon])
    assert comparison.reference is not None
    assert comparison.reference.series.label == "b soon"
    assert comparison.reference.best_step == 50  # the earliest of equal scores


def test_qlora_is_the_reference_where_no_lora_was_run(tmp_path: Path) -> None:
    comparison = compare([lora(tmp_path, method="qlora")])
    assert comparison.reference is not None
    assert comparison.reference.series.method == "qlora"


def test_without_lora_there_are_no_targets(tmp_path: Path) -> None:
    comparison = compare([make_run(tmp_path, "t", [metric(0, 60), metric(50, 70)], method="transfer")])
    assert comparison.targets == ()
    assert comparison.reference is None
    assert (comparison.rows[0].share, comparison.rows[0].crossings) == (None, ())


def test_target_score_that_rounding_misses_is_reached(tmp_path: Path) -> None:
    reference = make_run(tmp_path, "lora", [metric(0, 10.0), metric(50, 74.0)])
    assert 0.9 * 74.0 > 66.6  # the premise
    exact = make_run(tmp_path, "t", [metric(0, 10.0), metric(50, 66.6)], method="transfer")
    assert row_of(compare([reference, exact]), "transfer").crossings[0].cost["steps"].value == 50


def test_readout_seconds_count_for_the_readout_row_only(tmp_path: Path) -> None:
    rows = [metric(0, 40, 41, seconds=0.0), metric(50, 80, 80, seconds=100.0, readout_seconds=7.0)]
    comparison = compare([make_run(tmp_path, "lora", rows)])
    assert row_of(comparison, "lora").crossings[3].cost["seconds"].value == 100.0
    assert row_of(comparison, "lora", "whiten").crossings[3].cost["seconds"].value == 107.0


def test_frozen_shows_its_best_variant_of_each_readout(tmp_path: Path) -> None:
    rows = [metric(0, 41, 50, variant="mean · {text}"), metric(0, 35, 55, variant="last · {text}")]
    comparison = compare([make_run(tmp_path, "frozen", rows, method="frozen")])
    plain, whitened = row_of(comparison, "frozen"), row_of(comparison, "frozen", "whiten")
    assert (plain.series.variant, plain.best) == ("mean · {text}", 41)
    assert (whitened.series.variant, whitened.best) == ("last · {text}", 55)


def test_rows_are_ordered_by_method_then_label(tmp_path: Path) -> None:
    methods = ["tfidf", "frozen", "prompting-llm-alone", "prompt-tuning", "qlora", "lora", "transfer"]
    runs = [make_run(tmp_path, f"{i}-{m}", [metric(0, 40), metric(50, 70)], method=m) for i, m in enumerate(methods)]
    runs.append(make_run(tmp_path, "9", [metric(0, 40), metric(50, 70)], label="a LoRA"))
    labels = [row.series.label for row in compare(runs).rows]
    assert labels == ["transfer", "a LoRA", "lora", *reversed(methods[:5])]


def test_templates_that_differ_are_called_by_their_names(tmp_path: Path) -> None:
    templates = [find_template("prompteol").template, "{text}: {soft}", find_template("clustering").template + "{soft}"]
    runs = [lora(tmp_path, str(i), recipe={"embedding": {"template": text}}) for i, text in enumerate(templates)]
    runs.append(lora(tmp_path, "3", recipe={"embedding": {"template": "{text}{soft}"}}, seed=1))
    runs.append(lora(tmp_path, "4", recipe={"embedding": {"template": "{text}{soft}", "layers": 2}}, seed=1))
    assert {row.series.label for row in compare(runs).rows} == {
        "lora",
        "lora [embedding.layers 2]",
        *(f"lora [embedding.template {name}]" for name in ("prompteol", "{text}: {soft}", "clustering")),
    }


def test_runs_of_one_label_with_other_settings_are_not_seeds_of_each_other(tmp_path: Path) -> None:
    runs = [
        lora(tmp_path, "a", seed=1),
        lora(tmp_path, "b", seed=2),
        lora(tmp_path, "c", seed=3, recipe={"optim": {"batch_size": 96}}),
    ]
    comparison = compare(runs)
    assert [row.series.label for row in comparison.rows] == ["lora", "lora [optim.batch_size 96]"]
    assert [row.seeds for row in comparison.rows] == [2, 1]
    assert any("Batch sizes differ" in note and "96 (lora [optim.batch_size 96])" in note for note in comparison.notes)


def test_token_embeddings_beside_the_states_of_some_rows_are_told(tmp_path: Path) -> None:
    def noted(*poolings: str) -> list[str]:
        runs = [
            lora(tmp_path / "-".join(poolings), f"run{i}", label=pooling, recipe={"embedding": {"pooling": pooling}})
            for i, pooling in enumerate(poolings)
        ]
        return [note for note in compare(runs).notes if "token embeddings" in note]

    assert noted("mean", "last") == noted("mean+static", "last+static") == []
    (note,) = noted("mean", "mean+static")
    assert "no (mean); yes (mean+static)" in note


def test_settings_of_other_methods_split_no_row(tmp_path: Path) -> None:
    runs = [
        lora(tmp_path, "a", seed=1, recipe={"frozen": {"poolings": ["mean"]}}),
        lora(tmp_path, "b", seed=2, recipe={"frozen": {"poolings": ["mean", "static"]}}),
        lora(tmp_path, "c", seed=3, recipe={"lora": {"r": 4}}),
    ]
    assert sorted(row.seeds for row in compare(runs).rows) == [1, 2]


def test_other_source_makes_another_row_and_other_paths_do_not(tmp_path: Path) -> None:
    rows = [metric(0, 60), metric(50, 70)]
    elsewhere = {"data": {"train": [{"name": "mixture", "path": "/other/train.jsonl"}]}}
    runs = [
        make_run(tmp_path, "a", rows, method="transfer", seed=1),
        make_run(tmp_path, "b", rows, method="transfer", seed=2, recipe=elsewhere),
        make_run(tmp_path, "c", rows, method="transfer", seed=3, source={"run": "other", "sha256": "6" * 64}),
    ]
    found = {row.series.label: row.seeds for row in compare(runs).rows}
    assert found == {"transfer": 2, "transfer [source other]": 1}


def change(section: str, key: str, value: Any) -> dict[str, Any]:
    """A recipe that says one thing of its own."""
    return {"recipe": {section: {key: value}}}


def test_a_label_says_only_what_most_groups_do_otherwise(tmp_path: Path) -> None:
    settings = {
        "base": {},
        "cooldown": change("optim", "cooldown_steps", 50),
        "faster": change("optim", "lr_alignment", 0.01),
        "tau": change("prompting", "tau", 1.0) | {"source": {"run": "source-tau-1-s17", "sha256": "6" * 64}},
    }
    rows = [metric(0, 60), metric(50, 70)]
    runs = [make_run(tmp_path, name, rows, method="transfer", **more) for name, more in settings.items()]
    assert [row.series.label for row in compare(runs).rows] == [
        "transfer",
        "transfer [optim.cooldown_steps 50]",
        "transfer [optim.lr_alignment 0.01]",
        "transfer [prompting.tau 1.0, source source-tau-1]",
    ]


def test_where_no_value_leads_every_label_says_its_own(tmp_path: Path) -> None:
    runs = [lora(tmp_path, name, **change("loss", "temperature", value)) for name, value in (("b", 0.1), ("a", 0.2))]
    assert {row.series.label: row.series.runs[0].record["run"] for row in compare(runs).rows} == {
        "lora [loss.temperature 0.2]": "a",
        "lora [loss.temperature 0.1]": "b",
    }


def test_what_is_not_set_is_no_difference_to_null(tmp_path: Path) -> None:
    runs = [lora(tmp_path, "a", seed=1), lora(tmp_path, "b", seed=2, **change("embedding", "layers", None))]
    runs.append(lora(tmp_path, "c", **change("embedding", "template", "{text}")))
    found = {row.series.label: row.seeds for row in compare(runs).rows}
    assert found == {"lora": 2, "lora [embedding.template plain]": 1}
    most = [*runs[:2], *[lora(tmp_path, f"d{n}", **change("embedding", "layers", n)) for n in (1, 2)], runs[2]]
    labels = {row.series.label for row in compare(most).rows}
    assert labels == {
        "lora",
        "lora [embedding.layers 1]",
        "lora [embedding.layers 2]",
        "lora [embedding.template plain]",
    }
    assert {row.series.label for row in compare([*runs[2:], lora(tmp_path, "z")]).rows} == {
        "lora [embedding.template plain]",
        "lora [embedding.template not set]",
    }


def sourced(parent: Path, name: str, run: str, *, seed: int, lineage: str) -> Run:
    source = {"run": run, "sha256": f"{seed}" * 32, "lineage": lineage * 64}
    rows = [metric(0, 60), metric(50, 70)]
    return make_run(parent, name, rows, method="transfer", seed=seed, source=source)


def test_a_source_is_named_by_its_run_less_the_seed_where_that_tells_sources_apart(tmp_path: Path) -> None:
    runs = [sourced(tmp_path, f"a{seed}", f"long-s{seed}", seed=seed, lineage="a") for seed in (17, 18)]
    runs += [sourced(tmp_path, f"b{seed}", f"short-s{seed}", seed=seed, lineage="b") for seed in (17, 18)]
    assert {row.series.label: row.seeds for row in compare(runs).rows} == {
        "transfer [source long]": 2,
        "transfer [source short]": 2,
    }
    runs.append(sourced(tmp_path, "c", "short-s17", seed=17, lineage="c"))  # of another folder, with another recipe
    assert {row.series.label for row in compare(runs).rows} == {
        "transfer [source long]",
        "transfer [source trained as bbbbbbbb]",
        "transfer [source trained as cccccccc]",
    }


def test_seeds_whose_sources_have_several_names_are_one_row_named_by_what_they_share(tmp_path: Path) -> None:
    runs = [sourced(tmp_path, f"a{seed}", f"one-s{seed}", seed=seed, lineage="a") for seed in (17, 18)]
    runs.append(sourced(tmp_path, "b", "two", seed=17, lineage="b"))
    runs.append(sourced(tmp_path, "c", "three", seed=18, lineage="b"))
    assert {row.series.label: row.seeds for row in compare(runs).rows} == {
        "transfer [source one]": 2,
        "transfer [source trained as bbbbbbbb]": 2,
    }


def test_no_two_groups_share_a_label(tmp_path: Path) -> None:
    # Two texts that are called by one name, beside a third; and two methods of one label.
    runs = [
        lora(tmp_path, str(i), **change("embedding", "template", text))
        for i, text in enumerate(["{text}: {soft}", "{text}", "{text}{soft}"])
    ]
    assert sorted(row.series.label for row in compare(runs).rows) == [
        "lora [embedding.template plain] (1)",
        "lora [embedding.template plain] (2)",
        "lora [embedding.template {text}: {soft}]",
    ]
    both = [lora(tmp_path, "a"), lora(tmp_path, "b", method="transfer", label="lora")]
    assert sorted(row.series.label for row in compare(both).rows) == ["lora (a)", "lora (b)"]


def test_the_reference_may_take_whichever_readout_is_there_sooner(tmp_path: Path) -> None:
    rows = [
        metric(0, 40, 60, seconds=0.0, readout_seconds=9.0),
        metric(50, 60, 76, seconds=50.0, readout_seconds=9.0),
        metric(55, 77, 77, seconds=55.0, readout_seconds=9.0),
        metric(200, 80, 78, seconds=200.0, readout_seconds=9.0),
    ]
    whitened = [metric(0, 50, 60, seconds=1.0), metric(25, 60, 77, seconds=9.0)]
    comparison = compare([make_run(tmp_path, "lora", rows), make_run(tmp_path, "t", whitened, method="transfer")])
    assert comparison.reference is row_of(comparison, "lora")
    at_95 = comparison.targets[1]
    assert at_95.score == 76
    # Steps of the whitened row (50, not 55), seconds of the plain one (55, not 50 + 9): each by itself.
    assert {name: cell.value for name, cell in at_95.cost.items()} == {
        "steps": 50, "examples": 2400, "tokens": 2400 * 21, "seconds": 55.0,
    }  # fmt: skip
    transfer = row_of(comparison, "transfer", "whiten").crossings[1]
    assert (transfer.speedup["steps"].value, transfer.speedup["seconds"].value) == (2.0, 5.0)
    # The reference's own rows are measured by the same rule; a target that only one of them reaches has its cost.
    own = row_of(comparison, "lora").crossings[1].speedup["steps"].value
    assert own == pytest.approx(50 / 55)
    assert row_of(comparison, "lora", "whiten").crossings[1].speedup["steps"].value == 1.0
    assert (comparison.targets[3].score, comparison.targets[3].cost["steps"].value) == (80, 200)


def test_other_lora_rows_do_not_lend_the_reference_their_cost(tmp_path: Path) -> None:
    fast = make_run(tmp_path, "fast", [metric(0, 40), metric(10, 77)], label="another rate")
    assert compare([lora(tmp_path), fast]).targets[1].cost["steps"].value == 100


def test_bounds_of_a_reference_that_no_seed_majority_carries(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path, f"l{seed}", [metric(0, 40, 30), metric(100, best, 50)], seed=seed)
        for seed, best in ((1, 70), (2, 90))
    ]
    cost = compare(runs, targets=[1.0]).targets[0].cost["steps"]  # the median is 80, one of two seeds reaches it
    assert (cost.value, cost.bound) == (None, 100)


def test_runs_that_keep_the_last_step_are_rows_of_their_last_step(tmp_path: Path) -> None:
    last = {"eval": {"keep": "last"}}
    runs = []
    for seed, (high, end) in enumerate([(80.0, 71.0), (90.0, 73.0), (85.0, 60.0)]):
        rows = [metric(0, 40.0, other=1.0), metric(50, high, other=2.0), metric(100, end, other=end - 10)]
        runs.append(make_run(tmp_path, f"l{seed}", rows, seed=seed, recipe=last))
    rows = [metric(0, 60.0), metric(50, 74.0), metric(100, 71.0)]
    runs.append(make_run(tmp_path, "t", rows, method="transfer", recipe={"eval": {"keep": "best"}}))
    comparison = compare(runs)
    row = row_of(comparison, "lora")
    assert (row.best, row.best_low, row.best_high, row.best_step, row.other) == (71.0, 60.0, 73.0, 100, 61.0)
    assert [target.score for target in comparison.targets][-1] == 71.0
    assert row_of(comparison, "transfer").best == 74.0
    assert best_up_to(row.series, 50) == 85.0
    assert best_up_to(row.series, 99) == 85.0
    assert best_up_to(row.series, 100) == 71.0
    assert any("eval.keep differs: best (transfer); last (lora)" in note for note in comparison.notes)
    nothing_chose_it = "Best is the last evaluation, as eval.keep says; nothing chose it."
    assert nothing_chose_it not in to_markdown(comparison)
    assert nothing_chose_it in to_markdown(compare(runs[:-1]))


def test_a_run_that_keeps_its_last_step_has_a_target_only_where_it_stays_there(tmp_path: Path) -> None:
    last = {"eval": {"keep": "last"}}
    curves = {"falls": [60.0, 80.0, 60.0], "returns": [80.0, 60.0, 75.0], "stays": [60.0, 75.0, 80.0]}
    runs = [make_run(tmp_path, "lora", [metric(0, 40.0), metric(50, 75.0)])]
    for name, scores in curves.items():
        rows = [metric(50 * i, value) for i, value in enumerate(scores)]
        runs.append(make_run(tmp_path, name, rows, method="transfer", label=name, recipe=last))
    found = {row.series.label: row.crossings[-1].cost["steps"] for row in compare(runs).rows}
    assert (found["falls"].value, found["falls"].bound) == (None, 100)
    assert found["returns"].value == 100
    assert found["stays"].value == 50


def test_of_two_lora_rows_that_keep_the_last_step_the_better_last_step_is_the_reference(tmp_path: Path) -> None:
    last = {"eval": {"keep": "last"}}
    peak = make_run(tmp_path, "a", [metric(0, 40), metric(50, 90), metric(100, 60)], label="peak", recipe=last)
    flat = make_run(tmp_path, "b", [metric(0, 40), metric(50, 60), metric(100, 70)], label="flat", recipe=last)
    reference = compare([peak, flat]).reference
    assert reference is not None
    assert reference.series.label == "flat"


def test_a_note_says_where_precision_differs(tmp_path: Path) -> None:
    """Of runs that were written before it had a name of its own, too."""
    old, new = {"embedding": {"dtype": "float32"}}, {"precision": "float32"}
    runs = [lora(tmp_path, "a", recipe=old), lora(tmp_path, "b", recipe=new, precision="float32", seed=18)]
    together = compare(runs)
    assert [row.seeds for row in together.rows] == [2]  # one experiment
    assert not any("precision" in note for note in together.notes)
    half = {"recipe": {"precision": "bfloat16"}, "precision": "bfloat16", "backbone": {"dtype": "bfloat16"}}
    apart = compare([*runs, lora(tmp_path, "c", **half)])
    assert sorted(row.series.label for row in apart.rows) == ["lora", "lora [precision bfloat16]"]
    note = "Models computed in precision bfloat16 (lora [precision bfloat16]); float32 (lora)."
    assert note in apart.notes


def test_rows_that_ended_by_their_seconds_are_named(tmp_path: Path) -> None:
    limited = make_run(tmp_path, "l", [metric(0, 60.0), metric(50, 74.0)], recipe={"optim": {"seconds": 36.5}})
    free = make_run(tmp_path, "t", [metric(0, 60.0), metric(50, 74.0)], method="transfer")
    note = "Runs that ended by their training seconds (optim.seconds), not by their steps: lora (36.5 s)."
    assert note in compare([limited, free]).notes
    assert not any("optim.seconds" in one for one in compare([free]).notes)


def test_notes_name_other_devices_repeated_seeds_and_dirty_checkouts(tmp_path: Path) -> None:
    runs = [
        lora(tmp_path, "a", device="cpu"),
        lora(tmp_path, "b", device="cuda", git={"commit": "abc", "dirty": True}),
    ]
    notes = " ".join(compare(runs).notes)
    assert "seconds and memory cannot be compared: cpu (lora); cuda (lora)" in notes
    assert "a, b have the same seed 17" in notes
    assert "uncommitted changes: b" in notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"data": {"train_sha256": "b" * 64, "dev_sha256": "d" * 64, "train": [], "dev": []}},
            "training data differs",
        ),
        ({"backbone": {"weights_sha256": "f" * 64}}, "target backbone differs"),
        ({"backbone": {"config_sha256": "f" * 64}}, "target backbone differs"),
        ({"backbone": {"tokenizer_sha256": "f" * 64}}, "target backbone differs"),
        ({"status": "interrupted"}, r"not finished: 'second' \(interrupted\).*--allow-unfinished"),
    ],
)
def test_refusals_name_the_runs(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        compare([lora(tmp_path, "first"), lora(tmp_path, "second", **change)])
    assert "'second'" in str(caught.value)


def test_refusal_names_the_dev_set_that_differs(tmp_path: Path) -> None:
    first, second = lora(tmp_path, "first"), lora(tmp_path, "second")
    second.record["data"]["dev_sha256"] = "9" * 64
    second.record["data"]["dev"][1]["sha256"] = "8" * 64
    with pytest.raises(ConfigError, match=r"the dev sets differ in elsewhere .*'first'.*'second'"):
        compare([first, second])


def test_texts_alone_compare_under_one_teacher_and_instruction_only(tmp_path: Path) -> None:
    def taught(name: str, lineage: str | None, sha256: str, instruction: str) -> Run:
        dev = {"name": "texts", "kind": "texts", "select": True, "sha256": "3" * 64, "texts": 500}
        data = {"train_sha256": "a" * 64, "dev_sha256": "d" * 64, "train": [], "dev": [dev]}
        recipe = {"data": {"dev": [{"name": "texts", "instruction": instruction}]}}
        teacher = {"kind": "source", "name": name, "sha256": sha256 * 64, "lineage": lineage}
        return lora(tmp_path, name, data=data, recipe=recipe, teacher=teacher)

    first = taught("first", "line", "1", "see")
    assert len(compare([first, taught("seed", "line", "2", "see")]).rows) == 1  # seeds of one teacher
    with pytest.raises(ConfigError, match=r"the teacher that texts alone are scored by differs .*'first'.*'other'"):
        compare([first, taught("other", None, "2", "see")])
    with pytest.raises(
        ConfigError, match=r"instructions of dev sets of texts alone differ .*'ask': 'asked'; 'see': 'first'"
    ):
        compare([first, taught("asked", "line", "1", "ask")])
    both = [lora(tmp_path, name, teacher={"lineage": None, "sha256": name}) for name in ("one", "two")]
    assert compare(both).rows  # they score no texts


def test_who_taught_tells_rows_apart_and_not_where_it_lay(tmp_path: Path) -> None:
    def taught(name: str, key: str, place: str, sha256: str, seed: int) -> Run:
        recipe = {"teacher": {"model": None, "backbone": None, "vectors": None, "weight": 1.0} | {key: place}}
        teacher = {"kind": "x", "name": Path(place).name, "sha256": sha256 * 64, "lineage": None}
        return lora(tmp_path, name, seed=seed, recipe=recipe, teacher=teacher)

    seeds = [taught("a", "vectors", "/a/kept.npy", "1", 17), taught("b", "vectors", "/b/other.npy", "1", 18)]
    (row,) = compare([*seeds, taught("c", "model", "/c/encoder", "1", 19)]).rows
    assert row.seeds == 3
    rows = compare([*seeds, taught("d", "vectors", "/a/kept.npy", "2", 17)]).rows
    assert sorted((row.series.label, row.seeds) for row in rows) == [("lora", 2), ("lora [teacher 22222222]", 1)]


def test_a_run_given_twice_is_refused(tmp_path: Path) -> None:
    run = lora(tmp_path)
    with pytest.raises(ConfigError, match="'lora' is given twice"):
        compare([run, read_run(run.folder)])


def test_a_source_run_is_refused_with_what_to_pass_instead(tmp_path: Path) -> None:
    source = make_run(tmp_path, "source", [metric(0, 60), metric(50, 70)], method="source")
    with pytest.raises(ConfigError, match=r"'source' is a source run.*pass the adapt runs"):
        compare([lora(tmp_path), source])


def test_no_run_unmeasured_run_and_bad_target_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one run"):
        compare([])
    with pytest.raises(ConfigError, match="'empty' has no scored evaluation"):
        compare([make_run(tmp_path, "empty", [], status="interrupted")], allow_unfinished=True)
    with pytest.raises(ConfigError, match=r"targets: .*got 95"):
        compare([lora(tmp_path)], targets=[95])


def test_rows_without_the_target_compare_with_any(tmp_path: Path) -> None:
    prompting = {"name": "small", "weights_sha256": "0" * 64, "config_sha256": "1" * 64}
    runs = [
        lora(tmp_path),
        make_run(tmp_path, "tfidf", [metric(0, 45)], method="tfidf"),
        make_run(tmp_path, "alone", [metric(0, 50)], method="prompting-llm-alone", backbone=prompting),
    ]
    assert len(compare(runs).rows) == 3


def test_unfinished_runs_are_marked_when_allowed(tmp_path: Path) -> None:
    comparison = compare([lora(tmp_path, "cut", status="interrupted")], allow_unfinished=True)
    assert comparison.rows[0].unfinished == ("cut",)
    assert "cut (interrupted, step 150)" in comparison.notes[0]


def test_the_order_of_the_folders_changes_nothing(tmp_path: Path) -> None:
    runs = [lora(tmp_path, name, seed=seed, best=80.0 + seed) for seed, name in enumerate("abc")]
    assert compare(runs) == compare(runs[::-1])


def test_comparing_and_printing_never_import_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from rich.console import Console\n"
        "from transferkit.convergence import report, tables\n"
        "from transferkit.convergence.comparison import compare; from transferkit.runs.folder import read_run\n"
        "comparison = compare([read_run(Path(sys.argv[1]))])\n"
        "tables.print_table(comparison, Console(stderr=True))\n"
        "tables.to_csv(comparison)\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'matplotlib'} & set(sys.modules)))\n"
        "report.write_comparison(comparison, Path(sys.argv[2])); print('torch' in sys.modules)"
    )
    folders = [str(lora(tmp_path).folder), str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "False"]


def test_encoders_of_one_name_are_told_apart_by_their_hash_and_stand_beside_any_decoder(tmp_path: Path) -> None:
    def ready(name: str, sha256: str, seed: int) -> Run:
        encoder, label = {"name": "mini", "sha256": sha256 * 64}, "ready-made encoder mini"
        return make_run(tmp_path, name, [metric(0, 80.0)], method="encoder", label=label, seed=seed, encoder=encoder)

    found = compare([lora(tmp_path, "lora"), ready("a", "1", 17), ready("b", "1", 18), ready("c", "2", 19)])
    assert [(row.series.label, row.seeds) for row in found.rows] == [
        ("lora", 1),
        ("ready-made encoder mini", 2),
        ("ready-made encoder mini [encoder 22222222]", 1),
    ]
    assert decoders(found) == ["target-4m"]


def test_folders_without_a_run_are_left_out_with_a_word(tmp_path: Path) -> None:
    """`runs/*` names the index of a search too; alone it is an error."""
    run = lora(tmp_path)
    (tmp_path / "search").mkdir()
    found = CliRunner().invoke(app, ["compare", str(run.folder), str(tmp_path / "search"), "--json"])
    assert found.exit_code == 0
    assert f"left out, for no run is in it: {tmp_path / 'search'}" in found.stderr
    alone = CliRunner().invoke(app, ["compare", str(tmp_path / "search")])
    assert isinstance(alone.exception, ConfigError)


def test_what_one_seed_did_not_count_has_no_cost(tmp_path: Path) -> None:
    rows = [metric(0, 40.0), metric(50, 60.0)]
    uncounted = [{**row, "tokens": None} for row in rows]
    runs = [make_run(tmp_path, "a", rows, seed=1), make_run(tmp_path, "b", uncounted, seed=2)]
    cost = compare(runs, targets=[1.0]).targets[0].cost
    assert (cost["tokens"].value, cost["tokens"].bound) == (None, None)
    assert cost["steps"].value == 50
