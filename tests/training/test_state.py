"""A saved state whose files are sealed and still say what no run could have said: the one before it is taken."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from transferkit.errors import ConfigError
from transferkit.files.manifest import NAME, seal
from transferkit.training.state import Best, TrainState, load_newest_state, save_state

SCORES = {"plain": 50.0, "readout": None}
ROW = {"step": 1, "examples": 4, "seconds": 1.0, "score": SCORES, "choosing": SCORES, "scores": {"a": SCORES}}


def made(folder: Path) -> tuple[dict[str, nn.Parameter], torch.optim.Optimizer]:
    """Two states of a matrix: of step 1 with ones, of step 2 with twos."""
    named = {"w": nn.Parameter(torch.zeros(2, 3))}
    optimizer = torch.optim.AdamW(named.values())
    for step in (1, 2):
        named["w"].grad = torch.ones(2, 3)
        optimizer.step()
        named["w"].data.fill_(float(step))
        state = TrainState(step=step, examples=4 * step, tokens=9, seconds=1.0, loss=0.5, evaluated=step, metrics=[ROW])
        state.best = Best(step, dict(ROW), {"w": named["w"].detach().clone()})
        save_state(folder, state, named, optimizer)
    return named, optimizer


def facts(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = folder / "state.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return spoil


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        content = load_file(folder / "tensors.safetensors")
        change(content)
        save_file(content, folder / "tensors.safetensors")

    return spoil


SPOILED = {
    "another step": (facts(lambda one: one.update(step=7)), "state.json: step: expected that of state-0000002"),
    "no counter": (facts(lambda one: one.pop("tokens")), "state.json: tokens: this key is missing"),
    "a list": (lambda folder: (folder / "state.json").write_text("[]"), "state.json: expected a JSON object"),
    "a surrogate": (facts(lambda one: one.update(warnings=["\ud800"])), "state.json: not valid JSON (half of"),
    "a score that is a number": (facts(lambda one: one["best"]["row"].update(score=1.0)), "state.json: best.row.score"),
    "no moment": (tensors(lambda one: one.pop("exp_avg.w")), "tensors.safetensors: tensor 'exp_avg.w': expected"),
    "a flat moment": (
        tensors(lambda one: one.update({"exp_avg_sq.w": torch.zeros(6)})),
        "tensor 'exp_avg_sq.w': expected numbers of [2, 3]",
    ),
    "NaN": (tensors(lambda one: one.update({"weight.w": torch.full((2, 3), torch.nan)})), "'weight.w' holds NaN"),
    "a short best": (tensors(lambda one: one.update({"best.w": torch.zeros(1, 3)})), "tensor 'best.w': expected"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_sealed_state_of_another_shape_is_passed_over(name: str, tmp_path: Path) -> None:
    named, optimizer = made(tmp_path)
    newest = tmp_path / "state-0000002"
    spoil, says = SPOILED[name]
    spoil(newest)
    (newest / NAME).unlink()
    seal(newest)
    warnings: list[str] = []
    state = load_newest_state(tmp_path, named, optimizer, warn=warnings.append)
    assert state is not None
    assert state.step == 1
    assert torch.equal(named["w"].data, torch.ones(2, 3))
    (warning,) = warnings
    assert says in warning
    assert "state-0000002" in warning
    assert "\n" not in warning


def test_the_newest_whole_state_is_taken_and_without_one_the_run_starts_again(tmp_path: Path) -> None:
    named, optimizer = made(tmp_path)
    state = load_newest_state(tmp_path, named, optimizer, warn=pytest.fail)
    assert state is not None
    assert state.step == 2
    for folder in tmp_path.glob("state-*"):
        (folder / "state.json").write_text("null")
    with pytest.raises(ConfigError, match="none of its 2 saved states is whole; start the run again"):
        load_newest_state(tmp_path, named, optimizer, warn=lambda message: None)


def test_a_state_of_other_parameters_is_refused_and_one_without_a_best_is_taken(tmp_path: Path) -> None:
    named, optimizer = made(tmp_path)
    other = {"v": named["w"]}
    with pytest.raises(ConfigError, match="state-0000002: was saved by a run that trains other parameters; start the"):
        load_newest_state(tmp_path, other, torch.optim.AdamW(other.values()), warn=pytest.fail)
    state = TrainState(step=3, examples=12, tokens=9, seconds=1.0, loss=0.5, evaluated=-1, metrics=[])
    save_state(tmp_path, state, named, optimizer)  # before the first evaluation, as a source that learns alone
    found = load_newest_state(tmp_path, named, optimizer, warn=pytest.fail)
    assert found is not None
    assert (found.step, found.best, found.metrics) == (3, None, [])
