"""Precision: `auto` measures once a machine, and attention over short texts takes the way that is fast in bfloat16."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from zoo import FAMILIES, build

from transferkit.config.resolve import ChosenPrecision
from transferkit.decoder import device as module
from transferkit.decoder.device import (
    CACHE,
    bfloat16_speed,
    cache_folder,
    choose_precision,
    measure_bfloat16,
    short_attention,
)

CPU = torch.device("cpu")


class Machine:
    """In the measurement's place: counts, and says what it was made with."""

    def __init__(self, speed: float) -> None:
        self.speed, self.times = speed, 0

    def __call__(self, device: torch.device) -> float:
        self.times += 1
        return self.speed


@pytest.fixture(name="folder")
def make_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that nothing was kept in."""
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(name="machine")
def make_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(3.4)
    monkeypatch.setattr(module, "measure_bfloat16", machine)
    return machine


@pytest.mark.parametrize(
    ("speed", "precision", "said"),
    [
        (3.4, "bfloat16", "precision bfloat16 (measured: 3.4x float32 here)"),
        (1.5, "bfloat16", "precision bfloat16 (measured: 1.5x float32 here)"),
        (1.4, "float32", "precision float32 (measured: bfloat16 is 1.4x float32 here)"),
        (0.0, "float32", "precision float32 (measured: bfloat16 is 0.0x float32 here)"),
    ],
)
def test_auto_takes_what_is_faster_and_says_why(machine: Machine, speed: float, precision: str, said: str) -> None:
    machine.speed = speed
    chosen = choose_precision("auto", CPU)
    assert (chosen.precision, chosen.speed) == (precision, speed)
    assert str(chosen) == said


def test_what_was_asked_for_is_not_measured(machine: Machine) -> None:
    assert choose_precision("float32", CPU) == ChosenPrecision("float32")
    assert str(choose_precision("bfloat16", CPU)) == "precision bfloat16"
    assert machine.times == 0


def test_a_machine_is_measured_once(machine: Machine, folder: Path) -> None:
    assert [bfloat16_speed(CPU) for _ in range(3)] == [3.4] * 3
    assert machine.times == 1
    (kept,) = json.loads((folder / "precision.json").read_text(encoding="utf-8")).items()
    assert f"{torch.get_num_threads()} threads, cpu, torch {torch.__version__}" in kept[0]
    assert kept[1] == 3.4


def test_another_machine_in_the_same_folder_is_measured_too(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bfloat16_speed(CPU)
    machine.speed = 0.4
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert bfloat16_speed(CPU) == 0.4
    monkeypatch.undo()
    monkeypatch.setattr(module, "measure_bfloat16", machine)
    assert machine.times == 2
    assert first == 3.4


@pytest.mark.parametrize("content", ["{", "[1]", '{"a machine": "fast"}'])
def test_a_cache_that_cannot_be_read_is_measured_again(machine: Machine, folder: Path, content: str) -> None:
    folder.mkdir()
    (folder / "precision.json").write_text(content, encoding="utf-8")
    assert bfloat16_speed(CPU) == 3.4
    assert bfloat16_speed(CPU) == 3.4
    assert machine.times == 1  # what was damaged was written anew


def test_a_cache_that_cannot_be_written_is_no_error(machine: Machine, folder: Path) -> None:
    folder.write_text("a file where a folder should be", encoding="utf-8")
    assert [bfloat16_speed(CPU) for _ in range(2)] == [3.4, 3.4]
    assert machine.times == 2


def test_where_measurements_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv(CACHE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache" / "transferkit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "transferkit"


@pytest.mark.parametrize(("able", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_is_asked(machine: Machine, monkeypatch: pytest.MonkeyPatch, able: bool, precision: str) -> None:
    def is_supported(including_emulation: bool = True) -> bool:
        return able or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert str(choose_precision("auto", torch.device("cuda"))) == f"precision {precision}"
    assert machine.times == 0


def test_the_measurement_takes_turns_and_leaves_the_random_state_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    seconds = {torch.float32: iter([9.0, 3.0, 4.0]), torch.bfloat16: iter([1.0, 1.0, 2.0])}

    def take(tensors: list[torch.Tensor]) -> float:
        seen.append(tensors[0].dtype)
        return next(seconds[tensors[0].dtype])

    state = torch.random.get_rng_state()
    monkeypatch.setattr(module, "_seconds", take)
    monkeypatch.setattr(module, "_ROUNDS", 3)
    monkeypatch.setattr(module, "perf_counter", lambda: 0.0)
    assert measure_bfloat16(CPU) == 2.5  # 3 / 1 and 4 / 2; the first round warms up
    assert seen == [torch.float32, torch.bfloat16] * 3
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_device_without_bfloat16_is_no_times_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(tensors: list[torch.Tensor]) -> float:
        raise RuntimeError("addmm not implemented for 'BFloat16'")

    monkeypatch.setattr(module, "_seconds", refuse)
    assert measure_bfloat16(CPU) == 0.0


def test_it_can_be_measured_here() -> None:
    assert measure_bfloat16(CPU) > 0


@pytest.fixture(name="model", scope="module")
def make_model() -> Iterator[torch.nn.Module]:
    return build(FAMILIES["llama"])


def test_short_attention_is_plain_and_as_it_was_afterwards(model: torch.nn.Module) -> None:
    config = model.config
    assert config._attn_implementation == "sdpa"
    for queries, keys, expected in ((128, 128, "eager"), (6, 2000, "eager"), (129, 128, "sdpa")):
        with short_attention(model, queries=queries, keys=keys):  # type: ignore[arg-type]
            assert config._attn_implementation == expected
        assert config._attn_implementation == "sdpa"
    with pytest.raises(ZeroDivisionError), short_attention(model, queries=1, keys=1):  # type: ignore[arg-type]
        raise ZeroDivisionError
    assert config._attn_implementation == "sdpa"


def test_other_attention_is_left_as_it_is() -> None:
    """Of decoders that have no fused attention, and on a GPU."""
    for name, place in (("eager", "cpu"), ("sdpa", "cuda")):
        config = SimpleNamespace(_attn_implementation=name)
        model = SimpleNamespace(
            config=SimpleNamespace(get_text_config=lambda config=config: config),
            parameters=lambda place=place: iter([SimpleNamespace(device=torch.device(place))]),
        )
        with short_attention(model, queries=1, keys=1):  # type: ignore[arg-type]
            assert config._attn_implementation == name
