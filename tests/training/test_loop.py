"""The training loop: gradients, what may change, resuming bit for bit, damage, and what a run leaves behind."""

import json
import re
import shutil
import sys
from collections import defaultdict
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.parts import digests, flip_bit, prompt_embedder, relative, source_checkpoint
from helpers.run_parts import QUIET, Stopped, Trial, interrupt_at, learned, trial, untimed
from helpers.tiny import Tiny
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from transferkit.checkpoints.checkpoint import load, save
from transferkit.config.recipe import Recipe
from transferkit.config.sections import OptimSection
from transferkit.decoder.text_states import TextState, TextStateMemory
from transferkit.decoder.tokens import Rows
from transferkit.errors import ConfigError
from transferkit.files.json import read_json, write_json
from transferkit.files.manifest import NAME, new_folder
from transferkit.files.vectors.finite import NotFiniteError
from transferkit.methods.transfer import PromptEmbedder
from transferkit.progress import Progress
from transferkit.prompting.llm import collapse
from transferkit.runner.prepare import Inputs, prepare, resolved
from transferkit.runner.provenance import lineage
from transferkit.runner.run import resume, start
from transferkit.runs.folder import read_run
from transferkit.training.schedule import make_optimizer, set_learning_rates
from transferkit.training.scoring import Evaluation, Scorer
from transferkit.training.signals import Interrupted
from transferkit.training.state import drop_states, load_newest_state
from transferkit.training.step import backward, batch_loss

LORA = {"r": 4, "dropout": 0.2}
FEW = {"kind": "center", "sample": 8}  # the readout is not what is tested here


@pytest.fixture(scope="module", name="source")
def make_source(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_checkpoint(tiny, tmp_path_factory.mktemp("source") / "checkpoint")


def recipe_of(tiny: Tiny, kind: str, **changes: Any) -> Recipe:
    changes = {"readout": FEW, "optim": {"steps": 8, "batch_size": 8}, "eval": {"every": 3}} | changes
    if kind == "lora":
        return tiny.recipe("baseline", method="lora", lora=LORA, **changes)
    return tiny.recipe(kind, **changes)


def make(tiny: Tiny, kind: str, source: Path, **changes: Any) -> Trial:
    return trial(tiny, recipe_of(tiny, kind, **changes), source=source if kind in ("adapt", "whitened") else None)


def gradients(one: Trial) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in one.embedder.named_parameters() if p.grad is not None}


# Gradient caching


@pytest.mark.parametrize("kind", ["train", "adapt", "lora"])
@pytest.mark.parametrize("size", [5, 16])
def test_gradient_caching_equals_the_gradient_through_everything(
    tiny: Tiny, source: Path, kind: str, size: int
) -> None:
    """The reference keeps the graphs of all micro-batches at once, each with the dropout that was drawn for it."""
    one = make(tiny, kind, source)
    calls: list[tuple[list[str], list[str], Tensor]] = []
    embed = one.embedder.embed

    def recorded(texts: list[str], instructions: list[str]) -> Tensor:
        calls.append((texts, instructions, torch.get_rng_state()))
        return embed(texts, instructions)

    one.embedder.embed = recorded  # type: ignore[method-assign, assignment]
    batch, loss = one.data.batch(0), one.recipe.loss
    one.embedder.train()
    value = backward(one.embedder, batch, loss, micro_batch_size=size, seed=3, step=0)
    found = gradients(one)
    parts = -(-2 * len(batch) // size)
    assert len(calls) == (1 if parts == 1 else 2 * parts)
    one.embedder.zero_grad(set_to_none=True)
    vectors: dict[tuple[str, str], list[Tensor]] = defaultdict(list)
    for texts, instructions, state in calls[:parts]:
        torch.set_rng_state(state)
        for key, vector in zip(zip(texts, instructions, strict=True), embed(texts, instructions), strict=True):
            vectors[key].append(vector)
    keys = [(text, batch.anchor_instruction) for text in batch.anchors]
    keys += [(text, batch.document_instruction) for text in batch.positives]
    expected = batch_loss(torch.stack([vectors[key].pop(0) for key in keys]), batch, loss)
    expected.backward()
    torch.testing.assert_close(value, expected.detach(), rtol=1e-6, atol=0)
    everything = gradients(one)
    assert found.keys() == everything.keys()
    whole = torch.cat([gradient.flatten() for gradient in everything.values()]).norm()
    for name, gradient in everything.items():
        assert float((found[name] - gradient).norm()) < 1e-5 * float(gradient.norm() + 1e-2 * whole), name


def test_gradient_caching_equals_one_large_batch(tiny: Tiny, source: Path) -> None:
    one = make(tiny, "adapt", source)
    outcomes = []
    for size in (None, 3):
        one.embedder.zero_grad(set_to_none=True)
        value = backward(one.embedder, one.data.batch(0), one.recipe.loss, micro_batch_size=size, seed=3, step=0)
        outcomes.append((value, gradients(one), one.embedder.take_tokens()))
    (plain, plain_gradients, plain_tokens), (cached, cached_gradients, cached_tokens) = outcomes
    torch.testing.assert_close(cached, plain, rtol=1e-6, atol=0)
    assert cached_tokens == plain_tokens
    for name, gradient in plain_gradients.items():
        assert relative(cached_gradients[name], gradient) < 1e-5


def test_lora_dropout_is_active_in_training_alone(tiny: Tiny, source: Path) -> None:
    one = make(tiny, "lora", source)
    for name, parameter in one.embedder.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    texts, tasks = ["a red cat", "no"], ["", ""]
    one.embedder.train()
    assert not torch.equal(one.embedder.embed(texts, tasks), one.embedder.embed(texts, tasks))
    one.embedder.eval()
    assert torch.equal(one.embedder.embed(texts, tasks), one.embedder.embed(texts, tasks))


# What may change


@pytest.mark.parametrize("kind", ["train", "adapt", "lora"])
def test_training_changes_what_learns_and_not_one_bit_of_the_rest(
    tiny: Tiny, source: Path, tmp_path: Path, kind: str
) -> None:
    one = make(tiny, kind, source, optim={"steps": 1}, eval={"every": 9})
    one.scorer.__class__ = Rising
    before, own = digests(one.embedder), set(learned(one.embedder))
    one.fit(tmp_path / "run")
    after = digests(one.embedder)
    assert before.keys() == after.keys()
    # `peft`'s wrapper shows the same tensors a second time.
    changed = {name for name in before if before[name] != after[name] and not name.startswith("peft.")}
    if kind == "adapt":
        assert own == {"alignment.weight", "alignment.offset"}
        assert changed == own
    elif kind == "lora":
        assert all(".lora_" in name for name in own)
        assert changed == {name for name in own if ".lora_B." in name}  # A has no gradient while B is zero
    else:
        assert all(name.startswith(("writer.", "alignment.")) for name in own)
        assert changed <= own
        assert len(changed) > 0.9 * len(own)


def plain_evaluation(value: float) -> Evaluation:
    """As of dev sets without halves, and without a readout."""
    scores: dict[str, float | None] = {"plain": value, "readout": None}
    return Evaluation({}, scores, scores, None, 0.0, None, [])


class Rising(Scorer):
    """In the scorer's place: each evaluation is better than the one before."""

    value = 0.0

    def __call__(self, embedder: Any) -> Evaluation:
        self.value += 1.0
        return plain_evaluation(self.value)


# Resuming


def newest_tensors(folder: Path) -> dict[str, Tensor]:
    """Weights, moments and best weights of the newest state."""
    return load_file(sorted(folder.glob("state-*"))[-1] / "tensors.safetensors")


def equal_bits(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("kind", ["train", "adapt", "lora"])
def test_interrupted_and_resumed_equals_straight_bit_for_bit(
    tiny: Tiny, source: Path, tmp_path: Path, kind: str
) -> None:
    straight = make(tiny, kind, source)
    fitted = straight.fit(tmp_path / "straight")
    assert len(straight.progress.losses) == 8
    first = make(tiny, kind, source)
    first.progress.on_step = interrupt_at(4)
    with pytest.raises(Interrupted):
        first.fit(tmp_path / "halves")
    assert max((tmp_path / "halves").glob("state-*")).name == "state-0000004"
    second = make(tiny, kind, source)
    again = second.fit(tmp_path / "halves")
    assert first.progress.losses + second.progress.losses == straight.progress.losses
    assert equal_bits(newest_tensors(tmp_path / "halves"), newest_tensors(tmp_path / "straight"))
    assert equal_bits(learned(second.embedder), learned(straight.embedder))
    assert untimed(again.state.metrics) == untimed(fitted.state.metrics)
    assert [row["step"] for row in again.state.metrics] == [0, 3, 6, 8]


@pytest.mark.parametrize("has_method", [True, False])
def test_a_state_with_keys_of_transfers_own_is_taken_up(
    tiny: Tiny, source: Path, tmp_path: Path, has_method: bool
) -> None:
    """As states were before what a method asks for, and what it shows, had a place each."""
    straight = make(tiny, "adapt", source)
    fitted = straight.fit(tmp_path / "straight")
    first = make(tiny, "adapt", source)
    first.progress.on_step = interrupt_at(4)
    with pytest.raises(Interrupted):
        first.fit(tmp_path / "halves")
    (old,) = (tmp_path / "halves").glob("state-*4")
    facts = read_json(old / "state.json")
    own, figures = facts["method"], facts.pop("figures")
    facts |= figures | {"cache_seconds": own["seconds"], "soft_token_groups": own["soft_token_groups"]}
    if not has_method:
        del facts["method"]
    with new_folder(tmp_path / "sealed") as folder:
        shutil.copytree(old, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(NAME))
        write_json(folder / "state.json", facts)
    shutil.rmtree(old)
    (tmp_path / "sealed").rename(old)
    groups = first.embedder.trainable()
    named = {name: p for name, p in first.embedder.named_parameters() if name in learned(first.embedder)}
    state = load_newest_state(tmp_path / "halves", named, make_optimizer(groups, first.recipe.optim), warn=pytest.fail)
    assert state is not None
    assert state.figures == figures
    assert figures.keys() == {"collapse"}
    second = make(tiny, "adapt", source)
    again = second.fit(tmp_path / "halves")
    assert second.progress.warnings == []
    assert first.progress.losses + second.progress.losses == straight.progress.losses
    assert untimed(again.state.metrics) == untimed(fitted.state.metrics)
    assert second.embedder.cache_seconds >= own["seconds"]


def test_an_interrupt_in_the_last_step_is_obeyed_too(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    straight = make(tiny, "adapt", source, optim={"steps": 2})
    straight.fit(tmp_path / "straight")
    first = make(tiny, "adapt", source, optim={"steps": 2})
    first.progress.on_step = interrupt_at(2)
    with pytest.raises(Interrupted):
        first.fit(tmp_path / "halves")
    second = make(tiny, "adapt", source, optim={"steps": 2})
    second.fit(tmp_path / "halves")
    assert second.progress.losses == []
    assert equal_bits(learned(second.embedder), learned(straight.embedder))


class Clock:
    """Each step of a run takes a second, those after ``slow`` of them take two."""

    def __init__(self, slow: int = 99) -> None:
        self.looks, self.now, self.slow = 0, 0.0, slow

    def __call__(self) -> float:
        self.looks += 1
        if self.looks % 2 == 0:  # before and after every step
            self.now += 1.0 if self.looks // 2 <= self.slow else 2.0
        return self.now


def timed(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr("transferkit.training.loop.perf_counter", clock)


@pytest.mark.parametrize("kind", ["adapt", "lora"])
def test_seconds_end_training_as_so_many_steps_would(
    tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    by_steps = make(tiny, kind, source, optim={"steps": 4, "batch_size": 8})
    by_steps.fit(tmp_path / "steps")
    timed(monkeypatch, Clock())
    one = make(tiny, kind, source, optim={"steps": 8, "seconds": 3.5, "batch_size": 8})
    fitted = one.fit(tmp_path / "seconds")
    assert one.progress.losses == by_steps.progress.losses
    assert equal_bits(newest_tensors(tmp_path / "seconds"), newest_tensors(tmp_path / "steps"))
    assert (fitted.state.step, fitted.state.seconds) == (4, 4.0)
    assert [row["step"] for row in fitted.state.metrics] == [0, 3, 4]
    assert one.progress.expected == [4, 4, 4, 4]


def test_steps_end_training_before_its_seconds_do(
    tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(monkeypatch, Clock(slow=1))
    one = make(tiny, "adapt", source, optim={"steps": 3, "seconds": 9.0, "batch_size": 8})
    assert one.fit(tmp_path).state.step == 3
    assert one.progress.expected == [3, 3, 3]


def test_seconds_of_before_an_interruption_count(
    tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optim = {"steps": 8, "seconds": 4.0, "batch_size": 8}
    timed(monkeypatch, Clock())
    straight = make(tiny, "adapt", source, optim=optim)
    straight.fit(tmp_path / "straight")
    timed(monkeypatch, Clock())
    first = make(tiny, "adapt", source, optim=optim)
    first.progress.on_step = interrupt_at(3)
    with pytest.raises(Interrupted):
        first.fit(tmp_path / "halves")
    timed(monkeypatch, Clock())
    second = make(tiny, "adapt", source, optim=optim)
    second.fit(tmp_path / "halves")
    assert first.progress.losses + second.progress.losses == straight.progress.losses
    assert len(straight.progress.losses) == 4
    assert equal_bits(newest_tensors(tmp_path / "halves"), newest_tensors(tmp_path / "straight"))
    third = make(tiny, "adapt", source, optim=optim)  # its end was saved
    third.fit(tmp_path / "halves")
    assert third.progress.losses == []


def test_a_run_that_ended_by_its_seconds_is_whole(
    tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(monkeypatch, Clock())
    recipe = recipe_of(tiny, "adapt", optim={"steps": 8, "seconds": 2.0, "batch_size": 8})
    folder = start(recipe, Inputs(source=source, data_dir=tiny.data), runs=tmp_path, console=QUIET)
    run = read_run(folder)
    assert (run.record["steps"], run.recipe["optim"]["seconds"], run.metrics[-1]["step"]) == (2, 2.0, 2)
    assert run.record["timings"]["train_seconds"] == 2.0
    rows = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(rows[:-1]))
    with pytest.raises(ConfigError, match=r"the row of step 2 is missing"):
        read_run(folder)


@pytest.mark.parametrize("reads", ["text", "instruction"])
def test_the_collapse_figure_is_of_what_the_text_was_read_for(tiny: Tiny, tmp_path: Path, reads: str) -> None:
    """A prompt that reads no text cannot collapse."""
    one = trial(tiny, recipe_of(tiny, "train", prompting={"reads": reads}, optim={"steps": 1, "batch_size": 8}))
    assert isinstance(one.embedder, PromptEmbedder)
    batch = one.data.batch(0)
    texts = sorted(batch.inputs()[0], key=len)
    with torch.no_grad():
        of_texts = one.embedder.writer.prompting([f"{batch.inputs()[1][0]}\n{text}\n" for text in texts])
    figure = one.fit(tmp_path / "run").state.figures.get("collapse")
    assert figure == (None if reads == "instruction" else pytest.approx(collapse(of_texts), rel=1e-3))


def test_a_warning_outlives_the_process_and_is_given_once(
    tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transferkit.methods.transfer.COLLAPSED", 2.0)  # a share: every step is below it
    first = make(tiny, "adapt", source, optim={"steps": 3})
    first.progress.on_step = interrupt_at(2)
    with pytest.raises(Interrupted):
        first.fit(tmp_path)
    second = make(tiny, "adapt", source, optim={"steps": 3})
    fitted = second.fit(tmp_path)
    assert [len(one.progress.warnings) for one in (first, second)] == [1, 0]
    assert fitted.state.warnings == first.progress.warnings
    assert "step 1: the soft tokens hardly depend on the text" in fitted.state.warnings[0]


def test_same_seed_twice_is_identical_and_another_is_not(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    runs = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        one = make(tiny, "train", source, seed=seed, optim={"steps": 3}, eval={"every": 9})
        one.fit(tmp_path / name)
        runs.append((one.progress.losses, learned(one.embedder)))
    assert runs[0][0] == runs[1][0]
    assert equal_bits(runs[0][1], runs[1][1])
    assert runs[0][0] != runs[2][0]


def test_damaged_state_falls_back_to_the_one_before(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    straight = make(tiny, "adapt", source)
    straight.fit(tmp_path / "straight")
    first = make(tiny, "adapt", source, save_every=2)
    first.progress.on_step = interrupt_at(5)
    folder = tmp_path / "damaged"
    with pytest.raises(Interrupted):
        first.fit(folder)
    states = sorted(folder.glob("state-*"))
    assert [state.name for state in states] == ["state-0000004", "state-0000005"]
    flip_bit(states[1] / "tensors.safetensors")
    second = make(tiny, "adapt", source, save_every=2)
    second.fit(folder)
    assert len(second.progress.losses) == 4  # from step 4 on
    assert len(second.progress.warnings) == 1
    assert "state-0000005/tensors.safetensors: differs from what was saved" in second.progress.warnings[0]
    assert equal_bits(newest_tensors(folder), newest_tensors(tmp_path / "straight"))


def test_all_states_damaged_is_an_error(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    first = make(tiny, "adapt", source, save_every=2)
    first.progress.on_step = interrupt_at(3)
    with pytest.raises(Interrupted):
        first.fit(tmp_path)
    for state in tmp_path.glob("state-*"):
        flip_bit(state / "tensors.safetensors")
    with pytest.raises(ConfigError, match="none of its 2 saved states is whole; start the run again"):
        make(tiny, "adapt", source).fit(tmp_path)


def test_loss_that_is_not_finite_stops_the_run(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    one = make(tiny, "adapt", source, eval={"every": 9})
    assert isinstance(one.embedder, PromptEmbedder)
    weight = one.embedder.alignment.weight
    one.progress.on_step = lambda step: weight.data.fill_(float("nan")) if step == 2 else None
    fitted = one.fit(tmp_path)
    says = "step 2: the loss is nan; lower optim.lr_alignment or optim.lr_offset, or raise prompting.tau"
    assert fitted.state.diverged == says
    assert (fitted.state.step, fitted.best.step) == (2, 0)
    assert not list(tmp_path.glob("state-*"))  # nothing that a run could go on from to the same end


def test_a_gradient_that_is_not_finite_changes_no_weight(
    tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make(tiny, "adapt", source, eval={"every": 9}, optim={"steps": 3, "batch_size": 8, "clip_norm": None})
    assert isinstance(one.embedder, PromptEmbedder)
    weight = one.embedder.alignment.weight
    weight.register_hook(lambda gradient: gradient * float("inf"))
    before = weight.detach().clone()
    fitted = one.fit(tmp_path)
    assert str(fitted.state.diverged).startswith("step 0: the gradient's norm is ")
    assert torch.equal(weight, before)


def test_vectors_that_never_were_finite_are_no_divergence(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    one = make(tiny, "adapt", source)
    assert isinstance(one.embedder, PromptEmbedder)
    one.embedder.alignment.weight.data.fill_(float("nan"))
    with pytest.raises(NotFiniteError):
        one.fit(tmp_path)
    assert not list(tmp_path.glob("state-*"))


def test_vectors_that_are_no_longer_finite_end_the_run_with_the_best_before(
    tiny: Tiny, source: Path, tmp_path: Path
) -> None:
    one = make(tiny, "adapt", source, eval={"every": 1}, save_every=1)
    assert isinstance(one.embedder, PromptEmbedder)
    weight = one.embedder.alignment.weight
    one.progress.on_step = lambda step: weight.data.fill_(float("nan")) if step == 2 else None
    fitted = one.fit(tmp_path)
    assert str(fitted.state.diverged).startswith("step 2: vectors hold NaN or infinity; lower optim.lr_alignment")
    assert fitted.best.step in (0, 1)
    assert torch.isfinite(weight).all()
    assert [state.name for state in tmp_path.glob("state-*")] == ["state-0000001"]


# What a run leaves behind


def test_best_step_is_what_remains(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    """The scores are prescribed: the best is neither the first nor the last, and a later tie does not win."""
    scores = {0: 10.0, 2: 30.0, 4: 20.0, 6: 30.0, 8: 5.0}
    one = make(tiny, "adapt", source, eval={"every": 2})
    seen: list[dict[str, Tensor]] = []
    values = iter(scores.values())

    class Prescribed(Rising):
        def __call__(self, embedder: Any) -> Evaluation:
            seen.append(learned(embedder))
            return plain_evaluation(next(values))

    one.scorer.__class__ = Prescribed
    fitted = one.fit(tmp_path)
    assert (fitted.best.step, fitted.best.choosing) == (2, 30.0)
    assert len(seen) == 5
    assert equal_bits(learned(one.embedder), seen[1])
    assert not equal_bits(seen[1], seen[4])


def test_metrics_rows(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    one = make(tiny, "adapt", source, readout={"kind": "whiten", "sample": 20}, eval={"every": 3})
    fitted = one.fit(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == fitted.state.metrics
    assert isinstance(one.embedder, PromptEmbedder)
    assert [row["step"] for row in rows] == [0, 3, 6, 8]
    assert [row["examples"] for row in rows] == [0, 24, 48, 64]
    assert (rows[0]["loss"], rows[0]["collapse"], rows[0]["tokens"]) == (None, None, 0)
    memory, dev_memory = one.embedder.writer.memory, one.embedder.writer.dev_memory
    assert memory is not None
    assert dev_memory is not None
    assert rows[0]["seconds"] == 0  # what an evaluation writes is no training ...
    assert 0 < one.embedder.cache_seconds == memory.seconds < fitted.state.seconds
    trained_on = {text for step in range(8) for text in one.data.batch(step).inputs()[0]}
    assert {prompt.split("\n")[1] for group in memory.groups for prompt in group} == trained_on
    evaluated = {*one.scorer.sample.texts, *(text for text, _ in one.scorer.unique)}
    assert {prompt.split("\n")[1] for group in dev_memory.groups for prompt in group} == evaluated
    # ... and a readout costs the writing of its sample at every step.
    assert all(row["readout_seconds"] > one.scorer.sample_writing_seconds > 0 for row in rows)
    assert [row["loss"] for row in rows[1:]] == [one.progress.losses[i - 1] for i in (3, 6, 8)]
    tokens = 0
    for step in range(8):
        batch = one.data.batch(step)
        texts = batch.anchors + batch.positives
        tokens += one.embedder.reader.rows(texts, [""] * len(texts)).num_tokens() + 3 * len(texts)
    assert rows[-1]["tokens"] == tokens
    for row in rows:
        assert set(row["scores"]) == {"intents", "sts"}
        assert row["score"] == row["scores"]["intents"]  # the one set that selects
        assert row["peak_memory_bytes"] > 0
        assert row["variant"] is None
    assert all(row["collapse"] > 0 for row in rows[1:])
    assert fitted.best.choosing == max(row["choosing"]["readout"] for row in rows)


def test_run_folder_is_resumed_and_then_left_alone(
    tiny: Tiny, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = Inputs(source=source, data_dir=tiny.data)
    recipe = recipe_of(tiny, "adapt", optim={"steps": 4}, eval={"every": 2})
    straight = start(recipe, inputs, runs=tmp_path / "straight", console=QUIET)
    with monkeypatch.context() as patch:
        patch.setattr("transferkit.runner.run.Progress", Stopped)
        with pytest.raises(Interrupted):
            start(recipe, inputs, runs=tmp_path / "halves", console=QUIET)
    (folder,) = (tmp_path / "halves").iterdir()
    assert read_run(folder).record["status"] == "interrupted"
    assert not (folder / "checkpoint").exists()
    begun = read_run(folder).record
    monkeypatch.setattr(sys, "argv", ["transferkit", "adapt", "--resume"])
    monkeypatch.setattr("transferkit.runner.record.now", lambda: "2030-01-01T00:00:00+00:00")
    assert resume(folder, console=QUIET) == folder
    record = read_run(folder).record
    assert {key: record[key] for key in ("created_at", "command")} == {
        key: begun[key] for key in ("created_at", "command")
    }
    assert begun["resumed"] == []
    assert [(one["at"], one["command"]) for one in record["resumed"]] == [
        ("2030-01-01T00:00:00+00:00", "transferkit adapt --resume")
    ]
    runs = [read_run(one) for one in (straight, folder)]
    assert [run.record["status"] for run in runs] == ["done", "done"]
    assert runs[0].record["best"] == runs[1].record["best"]
    assert untimed(runs[0].metrics) == untimed(runs[1].metrics)
    tensors = [load_file(one / "checkpoint" / "learned.safetensors") for one in (straight, folder)]
    assert equal_bits(*tensors)
    assert not list(folder.glob("state-*"))
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.rglob("*") if file.is_file()}
    resume(folder, console=QUIET)
    assert before == {
        file: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.rglob("*") if file.is_file()
    }


def test_a_set_without_an_instruction_has_those_of_the_source_on_both_sides(tiny: Tiny, tmp_path: Path) -> None:
    train = recipe_of(tiny, "adapt").data.model_dump()["train"][:1]
    for known, document in ({"document_instructions": {train[0]["name"]: "a text"}}, "a text"), ({}, None):
        source = tmp_path / str(document)
        save(prompt_embedder(tiny), source, instructions={train[0]["name"]: "find"}, **known)
        given = [train[0] | {"instruction": None, "document_instruction": None}]
        recipe = resolved(recipe_of(tiny, "adapt", data={"train": given}), source=source)
        assert (recipe.data.train[0].instruction, recipe.data.train[0].document_instruction) == ("find", document)
    own = [train[0] | {"instruction": None, "document_instruction": "mine"}]
    recipe = resolved(recipe_of(tiny, "adapt", data={"train": own}), source=tmp_path / "a text")
    assert recipe.data.train[0].document_instruction == "mine"


def test_lineage_is_shared_by_seeds_and_places_and_by_nothing_else(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    def of(**changes: Any) -> str:
        recipe = resolved(recipe_of(tiny, "adapt", **changes), source=source)
        return lineage(prepare(recipe, Inputs(source=source, data_dir=tiny.data)))

    train = recipe_of(tiny, "adapt").data.model_dump()["train"]
    one = of()
    assert of(seed=99) == one
    (tmp_path / tiny.target.name).symlink_to(tiny.target)
    assert of(embedding={"backbone": str(tmp_path / tiny.target.name)}) == one
    asked = [train[0] | {"instruction": "find something else"}, *train[1:]]
    given = [train[0] | {"document_instruction": "a text"}, *train[1:]]
    others = [of(optim={"steps": 7}), of(data={"train": asked}), of(data={"train": given})]
    assert len({one, *others}) == 4


def test_checkpoint_of_a_run_scores_what_its_best_row_says(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tiny, "adapt", readout={"kind": "whiten", "sample": 20}, eval={"every": 2})
    inputs = Inputs(source=source, data_dir=tiny.data)
    run = read_run(start(recipe, inputs, runs=tmp_path, console=QUIET))
    best = next(row for row in run.metrics if row["step"] == run.record["best"]["step"])
    scorer = trial(tiny, recipe, source=source).scorer
    embedder = load(run.folder)
    again = scorer(embedder)
    for name, scores in again.scores.items():
        assert scores == pytest.approx(best["scores"][name], abs=1e-3)
    texts = scorer.sample.texts
    refitted = scorer.fit(embedder, embedder.readout.settings)
    torch.testing.assert_close(embedder.readout.mean, refitted.mean, rtol=1e-4, atol=1e-6)
    assert embedder.encode(texts[:2]).shape == (2, 48)


# What evaluations keep, and which step is kept


def test_kept_states_change_no_number_and_stay_below_their_budget(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    rows = {}
    for gib in (0.0, 40_000 / 2**30, 1.0):
        eval_section = {"every": 3, "keep_states_gib": gib}
        start(
            recipe_of(tiny, "adapt", eval=eval_section),
            Inputs(source, tiny.data),
            runs=tmp_path,
            console=QUIET,
            name=f"kept-{gib}",
        )
        rows[gib] = untimed(read_run(tmp_path / f"kept-{gib}").metrics)
    assert rows[0.0] == rows[40_000 / 2**30] == rows[1.0]


def test_memory_keeps_whole_batches_up_to_its_budget_and_reads_the_rest_again(tiny: Tiny, source: Path) -> None:
    embedder = load(source)
    assert isinstance(embedder, PromptEmbedder)
    reader, read = embedder.reader, []

    def reading(rows: Rows) -> TextState:
        read.append(rows)
        return reader.read_text(rows)

    batches = [reader.rows([text], [""]) for text in ("the cat", "a dog sat", "see the water")]
    sizes = [reader.read_text(rows).num_bytes() for rows in batches]
    layers, width = 2, reader.read_text(batches[0]).states.shape[-1]
    positions = len(batches[0].before[0])
    assert sizes[0] >= positions * (width * 4 + 1) + layers * 2 * positions * 4  # states, mask, keys and values
    memory = TextStateMemory(budget_bytes=sizes[0] + sizes[1])
    for rows in [*batches, *batches]:
        state = memory.get(rows, read=reading)
        torch.testing.assert_close(state.states, reader.read_text(rows).states, rtol=0, atol=0)
    assert memory.used_bytes == sizes[0] + sizes[1]
    assert len(read) == 4  # the third batch did not fit: read twice


def test_training_reads_past_the_memory(tiny: Tiny, source: Path) -> None:
    embedder = load(source)
    assert isinstance(embedder, PromptEmbedder)
    memory = TextStateMemory(budget_bytes=1 << 30)
    embedder.train()
    embedder.embed(["the cat"], [""])
    assert memory.used_bytes == 0
    embedder.eval().pooled(["the cat"], [""], batch_size=1, memory=memory)
    assert memory.used_bytes > 0


def test_the_readouts_sample_costs_its_reading_and_writing_each_time(
    tiny: Tiny, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = make(tiny, "adapt", source, readout={"kind": "whiten", "sample": 20})
    assert isinstance(one.embedder, PromptEmbedder)
    asked: list[bool] = []
    whole = type(one.embedder).embed

    def embed(self: PromptEmbedder, *arguments: Any, memory: Any = None) -> torch.Tensor:
        asked.append(memory is not None)
        return whole(self, *arguments, memory=memory)

    monkeypatch.setattr(type(one.embedder), "embed", embed)
    monkeypatch.setattr("transferkit.training.scoring.perf_counter", iter(range(100)).__next__)  # a second a look
    monkeypatch.setattr("transferkit.prompting.memory.perf_counter", lambda: 0.0)
    first = one.scorer.read(one.embedder)
    assert all(asked)  # what may be kept of dev texts may be kept of the sample
    assert len(asked) > -(-len(one.scorer.unique) // one.scorer.batch_size)
    assert (first.seconds, first.sample_seconds) == (2, 1)

    memory = one.embedder.writer.memory
    assert memory is not None
    whole_pooled = type(one.embedder).pooled

    def pooled(self: PromptEmbedder, texts: list[str], *arguments: Any, **options: Any) -> torch.Tensor:
        memory.seconds += writing
        return whole_pooled(self, texts, *arguments, **options)

    monkeypatch.setattr(type(one.embedder), "pooled", pooled)
    writing = 0.25  # as if dev texts had been written, then the sample
    assert one.scorer.read(one.embedder).sample_seconds == 1
    writing = 0.0
    assert one.scorer.read(one.embedder).sample_seconds == 1.25  # what is kept since then counts too
    one.scorer.sample_reading_seconds = 9.0  # as if the first reading had been slow, and all of it was kept
    assert one.scorer.memory is not None
    one.scorer.memory.used_bytes = 1
    assert one.scorer.read(one.embedder).sample_seconds == 9.25


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_step_that_is_kept(tiny: Tiny, source: Path, tmp_path: Path, keep: str) -> None:
    one = make(tiny, "adapt", source, eval={"every": 3, "keep": keep})
    scores = iter([10.0, 30.0, 20.0, 25.0])

    class Planted(Scorer):
        def __call__(self, embedder: Any) -> Evaluation:
            both = {"plain": (score := next(scores)), "readout": score}
            return replace(super().__call__(embedder), score=both, choosing=both)

    one.scorer.__class__ = Planted
    fitted = one.fit(tmp_path / "run")
    assert (fitted.best.step, fitted.best.choosing) == ((3, 30.0) if keep == "best" else (8, 25.0))
    for name, weights in fitted.best.weights.items():
        torch.testing.assert_close(dict(one.embedder.named_parameters())[name].detach(), weights, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("optim", "says"),
    [
        ({"steps": 4, "lr": 1e-12}, r"kept step 0 \(dev \d+\.\d\); no later one was better on the rows that choose"),
        ({"steps": 0}, r"kept step 0 \(dev \d+\.\d\)"),
    ],
)
def test_the_end_of_training_says_which_step_is_kept(
    tiny: Tiny, tmp_path: Path, optim: dict[str, float], says: str
) -> None:
    console = Console(file=StringIO(), width=40)
    recipe = tiny.recipe("baseline", method="lora", optim=optim)
    folder = start(recipe, Inputs(data_dir=tiny.data), runs=tmp_path, console=console)
    assert isinstance(console.file, StringIO)
    kept = console.file.getvalue().splitlines()[-2]  # the verdict is the last one
    assert re.fullmatch(f"{folder.name}  {says}", kept), kept


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (25, "x  kept step 25 (dev 58.3)"),
        (0, "x  kept step 0 (dev 58.3); no later one was better on the rows that choose"),
    ],
)
def test_only_where_training_changed_nothing_it_is_said(step: int, line: str) -> None:
    console = Console(file=StringIO(), width=40)
    Progress(console, steps=50, title="x").kept(step, 58.26, steps=50)
    assert isinstance(console.file, StringIO)
    assert console.file.getvalue() == f"{line}\n"


def test_learning_rates_rise_stay_and_fall_to_the_last_step() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optim = OptimSection(steps=10, warmup_steps=4, cooldown_steps=3, lr=1.0)
    optimizer = make_optimizer({"model": [weight]}, optim)
    rates = []
    for step in range(10):
        set_learning_rates(optimizer, optim, step)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_what_a_user_keeps_in_a_run_folder_stays(tmp_path: Path) -> None:
    """Only what a kill left of our own writing goes."""
    own = [".state-0000002.417", ".checkpoint.old", ".record.json.99", ".README.md.7", "state-0000002"]
    theirs = [".git", ".env", ".state-notes", ".recipe.yaml.swp", ".README.md.swp", "README.md"]
    for name in (*own, *theirs):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "file").write_text("")
    drop_states(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(theirs)
