"""``evaluate --templates`` and ``--poolings``: one pass, the scores of each reading alone, revisions, the spread."""

import csv
import io
import statistics
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from helpers.evaluate_call import evaluate, evaluated
from helpers.parts import TEXTS, load_reader, prompt_embedder
from helpers.set_folders import write_sets
from helpers.tiny import Tiny
from rich.console import Console

from transferkit.checkpoints.checkpoint import load, save
from transferkit.config.poolings import FrozenPooling, Pooling, available_poolings
from transferkit.config.sections import LoraSection
from transferkit.config.template import find_template, list_templates
from transferkit.errors import ConfigError
from transferkit.evaluation.encoder import MtebEncoder
from transferkit.evaluation.meta import revision
from transferkit.evaluation.readings import ReadingOptions
from transferkit.evaluation.run import run_tasks
from transferkit.evaluation.shared_pass import SharedPass
from transferkit.evaluation.tables.rows import TaskRow, spreads
from transferkit.evaluation.tables.views import views
from transferkit.evaluation.tables.written import to_csv
from transferkit.evaluation.tasks import local_tasks
from transferkit.methods.base import Embedder
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.methods.lora import LoraEmbedder
from transferkit.methods.on_backbone import BackboneEmbedder, SeveralPoolings
from transferkit.readout.fit import Fitter
from transferkit.readout.readout import Settings
from transferkit.report.terminal import rich_table

PROMPTEOL, SUMMARY = (find_template(name).template for name in ("prompteol", "summary"))
POOLINGS: list[Pooling] = list(get_args(FrozenPooling))
SOFT: list[Pooling] = ["soft", "soft+static", "before+soft", "before+soft+static"]


@pytest.fixture(scope="module", name="sets")
def make_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sets(tmp_path_factory.mktemp("readings") / "sets")


@pytest.fixture(name="read")
def make_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that a decoder read, as often as it did."""
    seen: list[str] = []
    real = BackboneEmbedder.read

    def read(embedder: BackboneEmbedder, texts: list[str], instructions: list[str], **options: Any) -> object:
        seen.extend(texts)
        return real(embedder, texts, instructions, **options)

    monkeypatch.setattr(BackboneEmbedder, "read", read)
    return seen


def checkpoint(tiny: Tiny, folder: Path, method: str) -> Path:
    """A checkpoint with a readout that was fitted to its own vectors."""
    embedder: BackboneEmbedder = prompt_embedder(tiny)
    if method == "lora":
        reader = load_reader(tiny.target, template="{text}", soft_tokens=0)
        embedder = LoraEmbedder.on(reader, pooling="mean", lora=LoraSection(), seed=0)
        for name, parameter in embedder.adapter().items():
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    pooled = embedder.pooled(TEXTS, [""] * len(TEXTS), batch_size=4)
    embedder.readout = Fitter(pooled).fit(Settings("whiten", ridge=0.1))
    save(embedder, folder, instructions={})
    return folder


def plain(embedder: Embedder, instruction: str = "") -> np.ndarray:
    return embedder.encode(TEXTS, instruction=instruction, readout=False)


def test_a_frozen_decoder_in_every_way(
    tiny: Tiny,
    sets: Path,
    tmp_path: Path,
    read: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    common = ["--tasks-from", sets, "--tasks", "same,likeness", "--batch-size", 16, "--json", "--quiet"]
    product = [tiny.target, *common, "--templates", "plain,prompteol,summary", "--poolings", "all"]
    assert evaluate(monkeypatch, *product, "--out", tmp_path / "all") == 0
    together = evaluated(capsys)
    rows = {(row["template"], row["pooling"], row["task"]): row for row in together["rows"]}
    assert len(rows) == len(together["rows"]) == 3 * len(POOLINGS) * 2
    assert len({row["revision"] for row in rows.values()}) == 3 * len(POOLINGS)
    assert [one["method"] for one in together["means"]][: len(POOLINGS) + 1] == [
        *(f"frozen, {pooling} · plain" for pooling in POOLINGS),
        "frozen, last · prompteol",
    ]
    texts = {(row["template"], row["task"]): row["texts"] for row in rows.values() if row["pooling"] == "last"}
    assert len(read) == sum(texts.values())  # one pass a template, not one a pooling
    assert {row["texts"] for row in rows.values() if row["pooling"] != "last"} == {0}
    assert {row["shared"] for row in rows.values()} == {True}

    for name, template, pooling in (("prompteol", PROMPTEOL, "max"), ("plain", "{text}", "weighted_mean")):
        read.clear()
        command = [tiny.target, *common, "--template", template, "--pooling", pooling]
        assert evaluate(monkeypatch, *command, "--out", tmp_path / f"{pooling} alone") == 0
        for row in evaluated(capsys)["rows"]:
            shared = rows[name, pooling, row["task"]]
            assert row["score"] == pytest.approx(shared["score"], abs=1e-4)
            assert row["revision"] == shared["revision"]
        assert read
        read.clear()
        assert evaluate(monkeypatch, *command, "--out", tmp_path / "all") == 0  # the score is there already
        capsys.readouterr()
        assert read == []
    distinct = {row["score"] for key, row in rows.items() if key[2] == "likeness" and "static" not in key[1]}
    assert len(distinct) == 3 * 4  # the premise

    caption = "Those that were read for another pooling are not counted."
    assert caption in (tmp_path / "all" / "table.md").read_text()  # it shows a score that was measured so
    alone = (tmp_path / "weighted_mean alone" / "table.md").read_text()
    assert "Texts: different ones that were read" in alone
    assert caption not in alone
    table = list(csv.DictReader(io.StringIO((tmp_path / "all" / "table.csv").read_text())))
    assert len(table) == 2  # of the last call
    for spread in together["spreads"]:
        chosen = [row for row in rows.values() if f"target: frozen, {row['pooling']}" == spread["label"]]
        if spread["task"] is not None:
            scores = [row["score"] for row in chosen if row["task"] == spread["task"]]
        else:
            scores = [
                statistics.fmean(row["score"] for row in chosen if row["template"] == name)
                for name in ("plain", "prompteol", "summary")
            ]
        assert len(scores) == spread["templates"] == 3
        for key, value in zip(("low", "median", "high"), sorted(scores), strict=True):
            assert spread[key] == pytest.approx(value, abs=1e-5)
    assert len(together["spreads"]) == len(POOLINGS) * 3


@pytest.mark.slow
def test_decoders_in_several_ways_beside_a_checkpoint_as_it_was_trained(
    tiny: Tiny,
    sets: Path,
    tmp_path: Path,
    read: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = checkpoint(tiny, tmp_path / "lora", "lora")
    common = ["--tasks-from", sets, "--tasks", "likeness", "--out", tmp_path / "out", "--json", "--quiet"]
    assert evaluate(monkeypatch, folder, *common) == 0
    (trained,) = evaluated(capsys)["rows"]
    read.clear()
    ways = ["--template", "prompteol", "--template", "{text}", "--pooling", "last", "--pooling", "max"]
    assert evaluate(monkeypatch, folder, tiny.target, *common, *ways) == 0
    found = evaluated(capsys)
    kept, *frozen = found["rows"]
    assert kept == trained
    assert [(row["template"], row["pooling"]) for row in frozen] == [
        (template, pooling) for template in ("prompteol", "plain") for pooling in ("last", "max")
    ]
    assert len(read) == 2 * frozen[0]["texts"]  # a pass a template
    assert [one["label"] for one in found["spreads"] if one["task"] is None] == [
        f"target: frozen, {pooling}" for pooling in ("last", "max")
    ]
    assert evaluate(monkeypatch, tiny.target, *common, "--templates", "prompteol,plain", "--poolings", "last,max") == 0
    assert [row["score"] for row in evaluated(capsys)["rows"]] == [row["score"] for row in frozen]

    assert evaluate(monkeypatch, tiny.target, *common, *ways, "--layers", 2) == 0
    deeper = evaluated(capsys)["rows"]
    assert deeper[0]["method"] == "frozen, last 2 layers, last · prompteol"
    assert {row["revision"] for row in deeper}.isdisjoint(row["revision"] for row in frozen)
    reader = load_reader(tiny.target, template=PROMPTEOL, soft_tokens=0, layers=2)
    out = tmp_path / "by hand"
    encoder = MtebEncoder(FrozenEmbedder(reader, pooling="last"), name="target")
    tasks = local_tasks(sets, names=["likeness"])
    (expected,) = run_tasks([[encoder]], tasks, out=out, batch_size=16, console=Console(quiet=True))
    assert deeper[0]["score"] == pytest.approx(expected.score, abs=1e-4)


@pytest.mark.parametrize("method", ["lora", "transfer"])
def test_a_checkpoint_behind_another_template(
    tiny: Tiny,
    sets: Path,
    tmp_path: Path,
    method: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = checkpoint(tiny, tmp_path / method, method)
    common = [folder, "--tasks-from", sets, "--tasks", "likeness", "--out", tmp_path / "out", "--json", "--quiet"]
    assert evaluate(monkeypatch, *common) == 0
    (trained,) = evaluated(capsys)["rows"]
    assert evaluate(monkeypatch, *common, "--templates", "plain,summary", "--poolings", "all") == 0
    rows = evaluated(capsys)["rows"]
    own = POOLINGS if method == "lora" else SOFT + POOLINGS
    assert [(row["template"], row["pooling"]) for row in rows] == [(t, p) for t in ("plain", "summary") for p in own]
    assert {row["method"] for row in rows} == {
        f"{method} without readout, {pooling} · {template}" for pooling in own for template in ("plain", "summary")
    }
    assert len({row["revision"] for row in rows} | {trained["revision"]}) == len(rows) + 1
    distinct = {round(row["score"], 3) for row in [*rows, trained] if "static" not in row["pooling"]}
    assert len(distinct) == 2 * (4 if method == "lora" else 6) + 1  # the premise
    assert trained["method"] == method


def test_a_checkpoint_without_its_readout(
    tiny: Tiny,
    sets: Path,
    tmp_path: Path,
    read: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = checkpoint(tiny, tmp_path / "lora", "lora")
    common = ["--tasks-from", sets, "--tasks", "likeness", "--out", tmp_path / "out", "--json", "--quiet"]
    rows = []
    for options in ([], ["--readout", "whiten"], ["--readout", "none"], ["--templates", "plain", "--poolings", "mean"]):
        assert evaluate(monkeypatch, folder, *common, *options) == 0
        rows += evaluated(capsys)["rows"]
    own, named, without, reread = rows
    assert named == own
    assert (own["method"], without["method"]) == ("lora", "lora without readout")
    assert without["revision"] != own["revision"]
    assert without["score"] == pytest.approx(reread["score"], abs=1e-4)  # the same vectors, by another way
    assert without["score"] != pytest.approx(own["score"], abs=1e-2)  # the premise
    read.clear()
    assert evaluate(monkeypatch, folder, *common, "--readout", "none") == 0
    assert evaluated(capsys)["rows"] == [without]
    assert read == []  # its score was kept beside the other one

    for wrong, said in (
        ([tiny.target, "--readout", "none"], "--readout none is for checkpoints, got none"),
        ([folder, "--readout", "pairs"], "holds a readout of kind whiten and none of kind pairs"),
        ([folder, "--readout", "whiten", "--templates", "plain"], "with --templates checkpoints are read without"),
    ):
        assert evaluate(monkeypatch, *wrong, *common) == 2
        assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("method", ["lora", "transfer"])
def test_rereading_equals_a_method_that_was_made_so(tiny: Tiny, tmp_path: Path, method: str) -> None:
    embedder = load(checkpoint(tiny, tmp_path / "checkpoint", method))
    assert isinstance(embedder, BackboneEmbedder)
    soft = "{soft}" if method == "transfer" else ""
    before, name = embedder.encode(TEXTS), revision(embedder)
    reference: BackboneEmbedder
    if method == "transfer":
        reference = prompt_embedder(tiny, template=SUMMARY + soft, pooling="last")
    else:
        adapted = load(tmp_path / "checkpoint")
        assert isinstance(adapted, LoraEmbedder)
        reader = adapted.reader.behind(SUMMARY)
        reference = LoraEmbedder(reader, adapted.peft, pooling="last", lora=adapted.lora)
    view = embedder.reread(template=SUMMARY + soft, pooling="last")
    np.testing.assert_allclose(view.encode(TEXTS), plain(reference), atol=1e-6)
    assert view.readout.kind == "none"
    assert np.abs(view.encode(TEXTS) - plain(embedder)).max() > 1e-3
    parameters = dict(view.named_parameters())
    assert parameters.keys() == dict(embedder.named_parameters()).keys()
    for key, parameter in embedder.named_parameters():
        assert parameters[key] is parameter, key
    np.testing.assert_array_equal(embedder.encode(TEXTS), before)  # the method itself stays as it was
    assert revision(embedder) == name
    assert len({name, revision(view), revision(embedder.reread(template="{text}" + soft, pooling="last"))}) == 3


def test_a_shared_pass_gives_what_each_view_gives(tiny: Tiny, read: list[str]) -> None:
    embedder = prompt_embedder(tiny)
    views = [embedder.reread(template="so: {text}{soft}", pooling=pooling) for pooling in SOFT + POOLINGS]
    expected = {(view.pooling, task): plain(view, task) for view in views for task in ("", "see")}
    for keep_bytes, passes in ((2**20, 1), (0, len(views))):
        shared = SharedPass(views, keep_bytes=keep_bytes)
        for turn in (1, 2):
            shared.begin(f"task {turn}")
            for task in ("", "see"):
                read.clear()
                assert shared.unread(TEXTS, instruction=task) == len(TEXTS)
                for view in views:
                    found = shared.encode(TEXTS[::-1], pooling=view.pooling, instruction=task, batch_size=3)
                    np.testing.assert_allclose(found[::-1], expected[view.pooling, task], atol=1e-5)
                assert len(read) == passes * len(TEXTS)
                assert shared.unread(TEXTS, instruction=task) == (0 if keep_bytes else len(TEXTS))
        shared.begin("task 2")
        assert shared.unread(TEXTS, instruction="see") == (0 if keep_bytes else len(TEXTS))
    assert shared.encode([], pooling="max", instruction="", batch_size=3).shape == (0, embedder.backbone.output_width)


@pytest.mark.parametrize(
    ("method", "poolings"),
    [
        ("frozen", "max,static"),
        ("transfer", "static,max"),
        pytest.param("frozen", "static,max", marks=pytest.mark.slow),
        pytest.param("transfer", "max,static", marks=pytest.mark.slow),
    ],
)
def test_a_pooling_without_an_instruction_costs_no_pass_of_its_own(
    tiny: Tiny,
    sets: Path,
    tmp_path: Path,
    method: str,
    poolings: str,
    read: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model: list[object] = [tiny.target, "--template", "{instruction} {text}"]
    if method == "transfer":
        model = [checkpoint(tiny, tmp_path / method, method)]
        read.clear()
    common = ["--tasks-from", sets, "--tasks", "likeness", "--json", "--quiet", "--instruction", "likeness=see"]
    assert evaluate(monkeypatch, *model, *common, "--poolings", poolings, "--out", tmp_path / "both") == 0
    rows = {row["pooling"]: row for row in evaluated(capsys)["rows"]}
    assert len(read) == sum(row["texts"] for row in rows.values()) == len(set(read))
    read.clear()
    alone = [*model, *common[:-2], "--poolings", "static", "--out", tmp_path / "alone"]
    assert evaluate(monkeypatch, *alone) == 0
    (row,) = evaluated(capsys)["rows"]
    assert (row["score"], row["revision"]) == (pytest.approx(rows["static"]["score"]), rows["static"]["revision"])
    assert read == []


def test_poolings_of_one_pass_stand_side_by_side(tiny: Tiny) -> None:
    embedder = prompt_embedder(tiny)
    poolings: list[Pooling] = ["max", "static", "soft+static", "soft"]
    shared = SeveralPoolings(embedder, poolings=poolings)
    together = shared.pooled(TEXTS, ["see"] * len(TEXTS), batch_size=3)
    width = embedder.backbone.output_width
    assert together.shape == (len(TEXTS), 2 * width + embedder.backbone.embedding_width)  # each part once
    each = [prompt_embedder(tiny, pooling=pooling) for pooling in poolings]
    alone = [one.pooled(TEXTS, ["see"] * len(TEXTS), batch_size=3) for one in each]
    for pooling, vectors in zip(poolings, alone, strict=True):
        torch.testing.assert_close(shared.part(together, pooling), vectors, rtol=0, atol=1e-6)


def test_which_poolings_a_template_allows() -> None:
    assert available_poolings("{text}{soft}") == SOFT + POOLINGS
    assert available_poolings("{text}") == POOLINGS
    assert available_poolings("{soft}{text}") == POOLINGS  # soft positions that never see the text


def test_variants_are_the_product_and_a_models_own_where_nothing_is_listed() -> None:
    assert ReadingOptions().variants(["{text}"], ["mean"], soft=False, model="m") == [("{text}", "mean")]
    every = ReadingOptions(templates=tuple(list_templates()), poolings="all")
    for soft in (False, True):
        found = every.variants(["x {text}"], ["mean"], soft=soft, model="m")
        assert len(found) == len(set(found)) == len(list_templates()) * len(SOFT * soft + POOLINGS)
        assert all(one.template.endswith("{soft}") == soft for one in found)
    kept = ReadingOptions(poolings=("last",)).variants(["{soft}{text}"], ["mean"], soft=True, model="m")
    assert kept == [("{soft}{text}", "last")]
    with pytest.raises(ConfigError, match=r"--poolings soft: m: its template '{soft}{text}' has none behind the text"):
        ReadingOptions(poolings=("soft",)).variants(["{soft}{text}"], ["mean"], soft=True, model="m")
    with pytest.raises(ConfigError, match="has no soft tokens; use last, mean, weighted_mean, max, static, "):
        ReadingOptions(poolings=("soft",)).variants(["{text}"], ["mean"], soft=False, model="m")


def rows_of(model: str, scores: dict[str, list[float | None]], *, revision: str = "1") -> list[TaskRow]:
    """A model through several templates, with a score a task."""
    return [
        TaskRow(
            model, f"frozen, mean · {name}", revision + name, task, "STS", "rho", score, template=name, pooling="mean"
        )
        for name, own in scores.items()
        for task, score in zip(("first", "second"), own, strict=True)
    ]


def test_spread_is_of_the_templates_of_one_model() -> None:
    rows = rows_of("a", {"plain": [10, 50], "summary": [20, 30], "x {text}": [60, 20]})
    found = {one.task: (one.low, one.median, one.high) for one in spreads(rows, types=["STS"] * 2)}
    assert found == {None: (25, 30, 40), "first": (10, 20, 60), "second": (20, 30, 50)}
    assert spreads(rows, types=["STS"] * 3)[0].low is None  # a task is still to come
    both = [*rows, *rows_of("a", {"plain": [1, 1], "summary": [2, 2]}, revision="2")]
    assert [(one.templates, one.low) for one in spreads(both, types=["STS"] * 2)] == [(3, 25), (3, 10), (3, 20)] + [
        (2, 1)
    ] * 3
    missing = rows_of("a", {"plain": [10, 50], "summary": [None, 30]})
    assert [one.median for one in spreads(missing, types=["STS"] * 2)] == [None, None, 40]
    assert spreads(rows_of("a", {"plain": [10, 50]}), types=["STS"] * 2) == []
    alone = [TaskRow("a", method, "1", "first", "STS", "rho", 1.0) for method in ("TF-IDF", "prompting LLM alone")]
    assert spreads(alone, types=["STS"]) == []


def test_spread_fits_a_terminal_and_equals_the_csv() -> None:
    rows = rows_of("bundled-llama-5m", {name: [3.0 * place, 7.0] for place, name in enumerate(list_templates())})
    (spread,) = [one for one in views(rows, types=["STS"] * 2) if one.in_terminal and one.title.startswith("Spread")]
    assert spread.title == "Spread over templates"
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(rich_table(spread))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert max(map(len, lines)) <= 80
    (first,) = [line for line in lines if "mean over tasks" in line]
    assert first.split()[-6:] == ["mean", "over", "tasks", "3.5", "11.0", "18.5"]
    by_task: dict[str, list[float]] = {}
    for row in csv.DictReader(io.StringIO(to_csv(rows))):
        by_task.setdefault(row["task"], []).append(float(row["score"]))
    for cells in spread.rows[1:]:
        scores = by_task[cells[1]]
        assert cells[2:] == tuple(f"{one:.1f}" for one in (min(scores), statistics.median(scores), max(scores)))
