"""A teacher in a run: who may teach, what it reads, what a step makes of it, resuming, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from helpers.parts import relative, source_checkpoint
from helpers.run_parts import QUIET, Quiet, Stopped, Trial, trial, untimed
from helpers.tiny import Tiny, ready_made
from safetensors.torch import load_file
from scipy.stats import spearmanr
from torch import Tensor
from zoo import WORDS

from transferkit.checkpoints.checkpoint import load
from transferkit.checkpoints.open import open_model
from transferkit.config.recipe import Recipe
from transferkit.embed.files import embed_file
from transferkit.errors import ConfigError, RunError
from transferkit.files.vectors.origin import note_file
from transferkit.runner.prepare import Inputs, prepare, resolved
from transferkit.runner.provenance import lineage
from transferkit.runner.run import resume, start
from transferkit.runs.folder import read_record, read_run
from transferkit.training.lessons import Lessons, lesson_texts, teach
from transferkit.training.losses import contrastive_loss, teaching_loss
from transferkit.training.signals import Interrupted
from transferkit.training.step import backward, batch_loss
from transferkit.training.teacher import Teacher, find_teacher

TEXTS = {"name": "texts", "kind": "texts", "path": "texts.txt"}
PAIRS = {"name": "pairs", "kind": "pairs", "path": "pairs.jsonl", "instruction": "see"}
INTENTS = {"name": "intents", "kind": "knn", "path": "intents_dev.csv", "train_path": "intents.csv"}
HELD_OUT = [{**TEXTS, "part": "train"}, {**TEXTS, "part": "dev"}]
LEARNED = "learned.safetensors"


@pytest.fixture(scope="module", name="tiny")
def make_tiny(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The tiny project with a file of texts beside its data."""
    root = tmp_path_factory.mktemp("project")
    shutil.copytree(tiny.root, root, dirs_exist_ok=True)
    rng = np.random.default_rng(8)
    lines = [" ".join(rng.choice(WORDS, size=int(rng.integers(3, 9)))) for _ in range(160)]
    (root / "data" / "texts.txt").write_text("\n".join(dict.fromkeys(lines)) + "\n")
    return Tiny(root)


@pytest.fixture(scope="module", name="source")
def make_source(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_checkpoint(tiny, tmp_path_factory.mktemp("source") / "checkpoint", offsets=0.1)


def recipe_of(tiny: Tiny, task: str = "adapt", *, train: list[Any] | None = None, **changes: Any) -> Recipe:
    """A short run on the texts alone, unless it says otherwise."""
    data = {"train": [TEXTS] if train is None else train, "dev": changes.pop("dev", [INTENTS])}
    changes = {"readout": {"kind": "center", "sample": 8}, "optim": {"steps": 6, "batch_size": 8}} | changes
    return tiny.recipe(task, data=data, **changes)


def inputs(tiny: Tiny, source: Path | None) -> Inputs:
    return Inputs(source=source, data_dir=tiny.data)


def taught(tiny: Tiny, source: Path | None, recipe: Recipe) -> tuple[Trial, Lessons]:
    """A trial of the recipe, and what its teacher said."""
    one = trial(tiny, recipe, source=source)
    teacher = teacher_of(tiny, source, recipe)
    with TemporaryDirectory() as folder:
        lessons, *_ = teach(teacher, one.recipe, one.data, [], Quiet(), folder=Path(folder))
    assert lessons is not None
    return one, lessons


def teacher_of(tiny: Tiny, source: Path | None, recipe: Recipe) -> Teacher:
    complete = resolved(recipe, source=source)
    found = find_teacher(complete, source=source, data_dir=tiny.data, device=torch.device("cpu"))
    assert found is not None
    return found


# What it reads, and what a step makes of it


@pytest.mark.parametrize("train", [[TEXTS], [TEXTS, PAIRS]])
def test_a_teacher_reads_what_the_steps_use_and_nothing_else(
    tiny: Tiny, source: Path, train: list[dict[str, Any]]
) -> None:
    one, lessons = taught(tiny, source, recipe_of(tiny, train=train, teacher={"weight": 0.5}))
    batches = [one.data.batch(step) for step in range(6)]
    used = [pair for batch in batches for pair in zip(*batch.inputs(), strict=True)]
    assert {batch.set_name for batch in batches} == {str(one["name"]) for one in train}
    assert list(lessons.places) == list(dict.fromkeys(used)) == lesson_texts(one.recipe, one.data)
    source_itself = load(source)
    for batch in batches:
        texts, instructions = batch.inputs()
        expected = source_itself.encode(texts, instruction=instructions)
        torch.testing.assert_close(lessons.vectors(batch).numpy(), expected, rtol=0, atol=1e-5)


def test_pairs_are_taught_only_where_a_teacher_is_asked_for(tiny: Tiny, source: Path) -> None:
    one, lessons = taught(tiny, source, recipe_of(tiny, train=[TEXTS, PAIRS]))
    assert {text for text, _ in lessons.places} <= set((tiny.data / "texts.txt").read_text().splitlines())
    weights = {batch.set_name: lessons.weight(batch) for batch in map(one.data.batch, range(6))}
    assert weights == {"texts": 1.0, "pairs": 0.0}
    assert resolved(recipe_of(tiny, train=[PAIRS]), source=source).teacher is None


def test_the_loss_of_pairs_is_contrastive_and_weighted_teaching(tiny: Tiny, source: Path) -> None:
    one, lessons = taught(tiny, source, recipe_of(tiny, train=[PAIRS], teacher={"weight": 0.3, "temperature": 0.2}))
    batch = one.data.batch(0)
    vectors = torch.randn(16, 12, generator=torch.Generator().manual_seed(1))
    ids = [torch.from_numpy(x) for x in (batch.anchor_ids, batch.positive_ids)]
    pairs = contrastive_loss(
        vectors[:8], vectors[8:], anchor_ids=ids[0], positive_ids=ids[1], temperature=0.05, symmetric=True
    )
    similar = teaching_loss(vectors, lessons.vectors(batch), text_ids=torch.cat(ids), temperature=0.2)
    found = batch_loss(vectors, batch, one.recipe.loss, lessons)
    torch.testing.assert_close(found, pairs + 0.3 * similar)
    torch.testing.assert_close(batch_loss(vectors, batch, one.recipe.loss), pairs, rtol=0, atol=0)
    alone = batch_loss(vectors, batch, one.recipe.loss, replace(lessons, alone=True))
    torch.testing.assert_close(alone, 0.3 * similar)


@pytest.mark.parametrize("train", [[TEXTS], [PAIRS]])
def test_gradient_caching_equals_one_large_batch(tiny: Tiny, source: Path, train: list[dict[str, Any]]) -> None:
    one, lessons = taught(tiny, source, recipe_of(tiny, train=train, teacher={}))
    outcomes: list[tuple[Tensor, dict[str, Tensor]]] = []
    for size in (None, 3):
        one.embedder.zero_grad(set_to_none=True)
        batch = one.data.batch(0)
        value = backward(one.embedder, batch, one.recipe.loss, micro_batch_size=size, seed=3, step=0, lessons=lessons)
        named = one.embedder.named_parameters()
        outcomes.append((value, {name: p.grad.clone() for name, p in named if p.grad is not None}))
    (plain, gradients), (cached, cached_gradients) = outcomes
    torch.testing.assert_close(cached, plain, rtol=1e-5, atol=0)
    assert gradients.keys() == cached_gradients.keys() == {"alignment.weight", "alignment.offset"}
    for name, gradient in gradients.items():
        assert relative(cached_gradients[name], gradient) < 1e-4


@pytest.mark.parametrize(
    "readout", ["auto", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("none", "whiten")), "pairs"]
)
def test_agreement_is_of_the_vectors_that_are_delivered(tiny: Tiny, source: Path, tmp_path: Path, readout: str) -> None:
    recipe = recipe_of(tiny, dev=HELD_OUT[1:], readout={"kind": readout, "sample": 40})
    run = read_run(start(recipe, inputs(tiny, source), runs=tmp_path, console=QUIET))
    (dev,) = prepare(resolved(recipe, source=source), inputs(tiny, source)).dev_sets
    student = load(run.folder)
    gold, found = (one.encode(dev.texts, instruction=dev.instructions) for one in (load(source), student))
    assert run.record["best"]["score"] == pytest.approx(dev.taught(gold).reported_score(found), abs=1e-3)
    if readout != "auto":
        assert student.readout.kind == {"pairs": "whiten"}.get(readout, readout)


def test_taught_alone_pairs_are_texts(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    """Which texts belong together changes nothing; the data are the same, so the runs stand in one table."""
    recipe = recipe_of(tiny, train=[PAIRS], teacher={"alone": True})
    folder = start(recipe, inputs(tiny, source), runs=tmp_path, name="alone", console=QUIET)
    beside = start(recipe_of(tiny, train=[PAIRS]), inputs(tiny, source), runs=tmp_path, name="pairs", console=QUIET)
    records = [read_record(one) for one in (folder, beside)]
    assert records[0]["data"]["train_sha256"] == records[1]["data"]["train_sha256"]
    assert records[0]["label"] == f"{records[1]['label']}, label-free"
    one, lessons = taught(tiny, source, recipe)
    assert lessons.alone
    batch = one.data.batch(0)
    mixed = replace(batch, positives=batch.positives[::-1], positive_ids=batch.positive_ids[::-1].copy())
    losses = []
    for some in (batch, mixed):
        losses.append(
            backward(one.embedder, some, one.recipe.loss, micro_batch_size=None, seed=0, step=0, lessons=lessons)
        )
    torch.testing.assert_close(losses[1], losses[0])
    with pytest.raises(ConfigError, match="teacher: weight: 0 beside alone: true leaves sets of pairs nothing"):
        recipe_of(tiny, train=[PAIRS], teacher={"alone": True, "weight": 0.0})


def test_a_student_comes_closer_to_its_teacher(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    """On texts alone, from the teacher's own decoder: W starts at random, and its teacher has the right one."""
    recipe = recipe_of(
        tiny,
        train=HELD_OUT[:1],
        dev=HELD_OUT[1:],
        embedding={"backbone": str(tiny.source)},
        alignment={"init": "random"},
        optim={"steps": 40, "batch_size": 16},
        eval={"every": 20},
        readout={"kind": "none"},
    )
    folder = start(recipe, inputs(tiny, source), runs=tmp_path, console=QUIET)
    scores = [row["scores"]["texts"]["plain"] for row in read_run(folder).metrics]
    assert scores[2] > scores[1] > scores[0] + 5
    assert all(row["scores"]["texts"]["readout"] is None for row in read_run(folder).metrics)
    dev = prepare(resolved(recipe, source=source), inputs(tiny, source)).dev_sets[0]
    held_out = [dev.texts[int(i)] for i in dev.parts["reporting"].places]
    cosines = [v @ v.T for v in (load(where).encode(held_out) for where in (folder, source))]
    above = np.triu_indices(len(held_out), 1)
    best = read_record(folder)["best"]["score"]
    assert best in scores
    assert best == pytest.approx(100 * spearmanr(*(c[above] for c in cosines)).statistic, abs=0.05)


# Who may teach


@pytest.mark.parametrize("suffix", [".npy", ".parquet", pytest.param(".jsonl", marks=pytest.mark.slow)])
def test_kept_vectors_teach_as_the_source_that_made_them(tiny: Tiny, source: Path, tmp_path: Path, suffix: str) -> None:
    kept = tmp_path / f"kept{suffix}"
    embed_file(source, str(tiny.data / "texts.txt"), kept, instruction="", console=QUIET)
    weights = []
    for name, teacher in (("model", None), ("vectors", {"vectors": str(kept)})):
        recipe = recipe_of(
            tiny, train=HELD_OUT[:1], dev=HELD_OUT[1:], **({} if teacher is None else {"teacher": teacher})
        )
        folder = start(recipe, inputs(tiny, source), runs=tmp_path, name=name, console=QUIET)
        weights.append(load_file(folder / "checkpoint" / LEARNED)["alignment.weight"])
        kind = {"model": "source", "vectors": "vectors"}[name]
        assert read_record(folder)["teacher"]["kind"] == kind
    assert relative(weights[1], weights[0]) < 1e-4


@pytest.mark.parametrize("kind", ["checkpoint", "decoder", "encoder"])
def test_another_model_teaches_train(tiny: Tiny, source: Path, tmp_path: Path, kind: str) -> None:
    model = {"checkpoint": source, "decoder": tiny.target, "encoder": tiny.encoder}[kind]
    recipe = recipe_of(tiny, "train", train=[TEXTS, PAIRS], teacher={"model": str(model), "weight": 2.0})
    one, lessons = taught(tiny, None, recipe)
    batch = one.data.batch(0)
    texts, instructions = batch.inputs()
    if kind == "encoder":
        from sentence_transformers import SentenceTransformer

        expected = SentenceTransformer(str(model), device="cpu").encode(texts, normalize_embeddings=True)
    else:
        expected = open_model(str(model)).encode(texts, instruction=instructions)
    torch.testing.assert_close(lessons.vectors(batch).numpy(), expected, rtol=0, atol=1e-5)
    folder = start(recipe, inputs(tiny, None), runs=tmp_path, console=QUIET)
    record = read_record(folder)
    assert record["teacher"]["kind"] == kind
    assert record["label"].endswith("start, with a teacher")
    assert record["timings"]["teacher_seconds"] > 0


def test_a_run_that_nobody_teaches_says_nothing_of_it(tiny: Tiny, tmp_path: Path) -> None:
    plain = start(tiny.recipe("train", optim={"steps": 1}), inputs(tiny, None), runs=tmp_path, name="p", console=QUIET)
    assert read_record(plain)["teacher"] is None
    assert "teacher_seconds" not in read_record(plain)["timings"]


def test_a_method_without_a_source_is_scored_by_a_named_teacher(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    dev = [{**TEXTS, "limit": 20}]
    recipe = recipe_of(tiny, "baseline", method="frozen", train=[PAIRS], dev=dev, teacher={"model": str(source)})
    folder = start(recipe, inputs(tiny, None), runs=tmp_path, console=QUIET)
    (row,) = read_run(folder).metrics
    one = prepare(resolved(recipe, source=None), inputs(tiny, None)).dev_sets[0]
    vectors = [load(where).encode(one.texts, instruction="", readout=False) for where in (folder, source)]
    assert row["scores"]["texts"]["plain"] == pytest.approx(one.taught(vectors[1]).reported_score(vectors[0]), abs=1e-3)
    with pytest.raises(ConfigError, match=r"teacher: data\.dev 'texts' holds texts alone, and frozen has no source"):
        resolved(recipe_of(tiny, "baseline", method="frozen", train=[PAIRS], dev=dev), source=None)


def test_texts_are_read_with_the_one_instruction_of_the_source(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tiny, train=HELD_OUT[:1], dev=HELD_OUT[1:])
    both = resolved(recipe, source=source).data
    assert (both.train[0].instruction, both.dev[0].instruction) == ("", "")  # it has two
    folder = start(
        recipe_of(tiny, train=[PAIRS], optim={"steps": 0}), inputs(tiny, source), runs=tmp_path, console=QUIET
    )
    both = resolved(recipe, source=folder).data
    assert (both.train[0].instruction, both.dev[0].instruction) == ("see", "see")


# Resuming, lineages, what is refused


def test_interrupted_and_resumed_equals_straight_bit_for_bit(
    tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(tiny, train=[*HELD_OUT[:1], PAIRS], dev=HELD_OUT[1:], teacher={"weight": 0.5})
    straight = start(recipe, inputs(tiny, source), runs=tmp_path, name="straight", console=QUIET)
    with monkeypatch.context() as patch:
        patch.setattr("transferkit.runner.run.Progress", Stopped)
        with pytest.raises(Interrupted):
            start(recipe, inputs(tiny, source), runs=tmp_path, name="halves", console=QUIET)
    halves = resume(tmp_path / "halves", console=QUIET)
    first, second = (load_file(folder / "checkpoint" / LEARNED) for folder in (straight, halves))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert untimed(read_run(halves).metrics) == untimed(read_run(straight).metrics)


def test_a_teacher_that_was_interrupted_reads_what_is_missing_alone(
    tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {"train": [*HELD_OUT[:1], PAIRS], "dev": HELD_OUT[1:], "teacher": {"weight": 0.5}}
    recipe = recipe_of(tiny, eval={"every": 3, "batch_size": 4}, **data)
    real, read = Teacher.vectors, list[list[str]]()

    def noted(self: Teacher, texts: list[str], *args: Any, **options: Any) -> np.ndarray:
        read.append(texts)
        if stop_at is not None and len(read) == stop_at:
            raise KeyboardInterrupt
        return real(self, texts, *args, **options)

    monkeypatch.setattr(Teacher, "vectors", noted)
    monkeypatch.setattr("transferkit.training.lessons._BATCHES_A_BLOCK", 1)
    stop_at: int | None = None
    straight = start(recipe, inputs(tiny, source), runs=tmp_path, name="straight", console=QUIET)
    everything, read = read, []
    assert len(everything) > 4  # the premise
    stop_at = len(everything) - 1  # in the texts that are scored
    with pytest.raises((KeyboardInterrupt, Interrupted)):
        start(recipe, inputs(tiny, source), runs=tmp_path, name="halves", console=QUIET)
    stop_at, read = None, []
    halves = resume(tmp_path / "halves", console=QUIET)
    assert read == everything[-2:]
    first, second = (load_file(folder / "checkpoint" / LEARNED) for folder in (straight, halves))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert untimed(read_run(halves).metrics) == untimed(read_run(straight).metrics)
    assert read_record(halves)["timings"]["teacher_seconds"] > 0
    assert not list(halves.glob(".teacher*"))


def test_what_a_teacher_said_of_other_texts_is_not_taken(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    one = trial(tiny, recipe_of(tiny), source=source)
    said = []
    for steps in (6, 5, 5):
        recipe = resolved(recipe_of(tiny, optim={"steps": steps, "batch_size": 8}), source=source)
        teacher = teacher_of(tiny, source, recipe_of(tiny))
        lessons, *_ = teach(teacher, recipe, one.data, [], Quiet(), folder=tmp_path)
        assert lessons is not None
        said.append(lessons)
        (part,) = tmp_path.glob(".teacher-0.part")
        part.write_bytes(part.read_bytes()[:-4])  # damaged: all is read again
    assert len(said[1].places) < len(said[0].places)
    for lessons in said[1:]:
        torch.testing.assert_close(lessons.rows, said[0].rows[: len(lessons.rows)], rtol=0, atol=1e-6)


def test_another_teacher_is_refused_when_a_run_goes_on(
    tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept.npy"
    embed_file(source, str(tiny.data / "texts.txt"), kept, instruction="", console=QUIET)
    with monkeypatch.context() as patch:
        patch.setattr("transferkit.runner.run.Progress", Stopped)
        with pytest.raises(Interrupted):
            start(
                recipe_of(tiny, teacher={"vectors": str(kept)}),
                inputs(tiny, source),
                runs=tmp_path,
                name="r",
                console=QUIET,
            )
    changed = np.load(kept) + 1
    np.save(kept, changed)
    with pytest.raises(ConfigError, match=r"kept\.npy: differs from what kept\.npy\.json says of it \(sha256\)"):
        resume(tmp_path / "r", console=QUIET)
    note_file(kept).unlink()
    with pytest.raises(ConfigError, match="the teacher changed since this run began"):
        resume(tmp_path / "r", console=QUIET)


def test_a_lineage_tells_teachers_apart_and_not_the_places_where_they_lie(
    tiny: Tiny, source: Path, tmp_path: Path
) -> None:
    def of(**teacher: Any) -> str:
        return lineage(prepare(resolved(recipe_of(tiny, teacher=teacher), source=source), inputs(tiny, source)))

    kept = tmp_path / "kept.npy"
    embed_file(source, str(tiny.data / "texts.txt"), kept, instruction="", console=QUIET)
    (tmp_path / "elsewhere").mkdir()
    moved = Path(shutil.copy(kept, tmp_path / "elsewhere" / "renamed.npy"))
    changed = tmp_path / "changed" / kept.name
    changed.parent.mkdir()
    np.save(changed, np.load(kept) + 1)
    here, there, other = (of(vectors=str(path)) for path in (kept, moved, changed))
    assert here == there != other
    alike = [of(model=str(shutil.copytree(tiny.source, tmp_path / name))) for name in ("one", "two")]
    assert alike[0] == alike[1] != here
    assert len({here, of(), of(weight=2.0), of(temperature=0.1)}) == 4


def test_texts_that_a_file_has_no_vectors_of_are_refused_before_anything_is_written(
    tiny: Tiny, source: Path, tmp_path: Path
) -> None:
    texts = (tiny.data / "texts.txt").read_text().splitlines()
    kept = tmp_path / "kept.jsonl"
    rows = [{"text": text, "vector": [1.0, 2.0]} for text in texts[:-3]]
    kept.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = recipe_of(tiny, optim={"steps": 40, "batch_size": 8}, teacher={"vectors": str(kept)})
    with pytest.raises(ConfigError, match=r"kept\.jsonl holds no vector of '.*' and 2 more; embed the texts of this"):
        start(recipe, inputs(tiny, source), runs=tmp_path / "runs", console=QUIET)
    np.save(tmp_path / "kept.npy", np.ones((len(texts) - 1, 4), dtype=np.float32))
    recipe = recipe_of(tiny, teacher={"vectors": str(tmp_path / "kept.npy")})
    with pytest.raises(
        ConfigError, match=rf"holds {len(texts) - 1} vectors and .*texts\.txt {len(texts)} texts; embed"
    ):
        start(recipe, inputs(tiny, source), runs=tmp_path / "runs", console=QUIET)
    recipe = recipe_of(tiny, train=[PAIRS], teacher={"vectors": str(tmp_path / "kept.npy")})
    with pytest.raises(ConfigError, match=r"carries no texts, .*there are 0; write it as \.parquet"):
        start(recipe, inputs(tiny, source), runs=tmp_path / "runs", console=QUIET)
    assert not list((tmp_path / "runs").glob("*"))


def test_a_source_whose_decoder_is_gone_names_the_way_out_and_takes_it(tiny: Tiny, tmp_path: Path) -> None:
    decoder = tmp_path / "decoder"
    shutil.copytree(tiny.source, decoder)
    source = source_checkpoint(tiny, tmp_path / "source", backbone=decoder)
    kept = tmp_path / "kept.parquet"
    embed_file(source, str(tiny.data / "texts.txt"), kept, instruction="", console=QUIET)
    decoder.rename(tmp_path / "moved")
    options: dict[str, Any] = {"alignment": {"init": "anchors"}}
    with pytest.raises(
        ConfigError, match=r"the source cannot teach: .*decoder.*teacher\.backbone.*teacher\.vectors"
    ) as e:
        start(recipe_of(tiny, **options), inputs(tiny, source), runs=tmp_path / "runs", console=QUIET)
    assert "\n" not in str(e.value)
    assert not list((tmp_path / "runs").glob("*"))
    for name, teacher in (("vectors", {"vectors": str(kept)}), ("moved", {"backbone": str(tmp_path / "moved")})):
        recipe = recipe_of(tiny, teacher=teacher, **options)
        start(recipe, inputs(tiny, source), runs=tmp_path / "runs", name=name, console=QUIET)
    first, second = (
        load_file(tmp_path / "runs" / name / "checkpoint" / LEARNED)["alignment.weight"]
        for name in ("vectors", "moved")
    )
    assert relative(first, second) < 1e-4


def test_a_ready_made_encoder_that_is_not_safe_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    folder = ready_made(tmp_path / "encoder")
    recipe = recipe_of(tiny, "train", teacher={"model": str(folder)})
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(
        json.dumps([*modules, {"idx": 2, "name": "2", "path": "", "type": "own.Code"}])
    )
    with pytest.raises(ConfigError, match=r"needs code of its own \(own\.Code\), and transferkit does not run"):
        teacher_of(tiny, None, recipe)
    (folder / "modules.json").write_text("{")
    with pytest.raises(ConfigError, match=r"modules\.json: not valid JSON"):
        teacher_of(tiny, None, recipe)
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"pytorch_model\.bin: pickled weights are not loaded"):
        teacher_of(tiny, None, recipe)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ConfigError, match=r"encoder cannot be loaded \(.*\); restore it") as error:
        teacher_of(tiny, None, recipe)
    assert "\n" not in str(error.value)


def test_a_teachers_vector_that_is_not_finite_is_named(tiny: Tiny, source: Path) -> None:
    teacher = Teacher("decoder", "mine", "0", lambda texts, tasks, size: np.array([[1.0], [np.nan]]))
    with pytest.raises(RunError, match="teacher mine: its vector of 'b' holds NaN or infinity"):
        teacher.vectors(["a", "b"], ["", ""], batch_size=2)


def test_a_teacher_that_does_not_fit_is_one_sentence(tiny: Tiny, source: Path) -> None:
    for teacher, words in (
        ({"model": "qwen3-0.6"}, r"teacher\.model: unknown backbone 'qwen3-0\.6'.*did you mean 'qwen3-0\.6b'"),
        ({"model": str(tiny.data)}, r"teacher\.model: .*not a complete checkpoint .*not a model folder"),
        ({"vectors": "none.npy"}, r"teacher\.vectors: .*none\.npy: no such file; `transferkit embed"),
        ({"vectors": "texts.txt"}, r"texts\.txt: expected a file ending in \.npy, \.jsonl, \.parquet, got '\.txt'"),
    ):
        with pytest.raises(ConfigError, match=words):
            teacher_of(tiny, source, recipe_of(tiny, teacher=teacher))
    encoder = recipe_of(tiny, teacher={"model": str(tiny.encoder), "backbone": str(tiny.target)})
    with pytest.raises(ConfigError, match=r"teacher\.backbone: is for a checkpoint; .* is a model of sentence-transf"):
        teacher_of(tiny, source, encoder)
    with pytest.raises(ConfigError, match="teacher: vectors: stands in the place of a model"):
        recipe_of(tiny, teacher={"vectors": "a.npy", "model": "b"})
    with pytest.raises(ConfigError, match=r"teacher: it names nobody, and source has no source"):
        resolved(recipe_of(tiny, "train", train=[PAIRS], teacher={"weight": 0.5}), source=None)


def test_nothing_is_opened_where_nothing_is_taught(tiny: Tiny, source: Path) -> None:
    for recipe in (
        recipe_of(tiny, optim={"steps": 0}),
        recipe_of(tiny, train=[PAIRS], teacher={"model": "nowhere/none", "weight": 0.0}),
        recipe_of(tiny, "baseline", method="tfidf", train=[TEXTS]),
    ):
        given = source if recipe.task == "adapt" else None
        assert prepare(resolved(recipe, source=given), inputs(tiny, given)).teacher is None


def test_weights_learn_the_same_in_a_run_whose_dev_set_alone_is_taught(
    tiny: Tiny, source: Path, tmp_path: Path
) -> None:
    """A dev set must not change what is learned."""
    found = []
    for name, dev in (("plain", [INTENTS]), ("scored", [INTENTS, {**TEXTS, "select": False}])):
        recipe = recipe_of(tiny, train=[PAIRS], dev=dev)
        one = start(recipe, inputs(tiny, source), runs=tmp_path, name=name, console=QUIET)
        found.append(load_file(one / "checkpoint" / LEARNED))
        assert read_record(one)["label"].endswith("source start")
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
