"""The check of exactness in bfloat16: every family keeps its path, and what is wrong in float32 is found there too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from zoo import FAMILIES, save

from transferkit.decoder import passes as passes_module
from transferkit.decoder.decoder import Decoder
from transferkit.decoder.passes import Passes
from transferkit.decoder.probe import probe
from transferkit.errors import ConfigError

DENSE = ["llama", "gpt2", "gemma3", "qwen3", "mistral-window", "olmo2"]


def path(folder: Path, *, dtype: str = "bfloat16") -> str:
    try:
        exactness = Decoder.load(probe(str(folder)), dtype=dtype).exactness
    except ConfigError as error:
        assert "this decoder cannot embed batches" in str(error)  # noqa: PT017 - the path of some families
        return "refused"
    return "cached" if exactness.cached else "full"


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_family_keeps_its_path(name: str, tmp_path: Path) -> None:
    save(FAMILIES[name], tmp_path)
    assert path(tmp_path) == FAMILIES[name].expected


@pytest.mark.parametrize("name", DENSE)
def test_what_rounding_explains_is_measured(name: str, tmp_path: Path) -> None:
    """Against the single rows in float32: at least half of what bfloat16 is really off by, and not many times it."""
    save(FAMILIES[name], tmp_path)
    found, exact = (Decoder.load(probe(str(tmp_path)), dtype=dtype) for dtype in ("bfloat16", "float32"))
    ids = torch.arange(3, 15).unsqueeze(0)
    with torch.no_grad():
        states, truth = (
            one.passes.run(input_ids=ids, mask=ids > 0).last_hidden_state.float() for one in (found, exact)
        )
    off = float((states - truth).norm() / truth.norm())
    assert off > 1e-3  # the premise
    assert off / 2 < found.exactness.allowed[0] < 12 * off
    assert exact.exactness.allowed == (1e-4, 1e-4)


def attends_to_padding(run: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *, mask, **options: run(self, mask=torch.ones_like(mask), **options)


def forgets_the_window(run: Callable[..., Any]) -> Callable[..., Any]:
    """Columns of padding count as text does: what stands behind them is read one place too early."""
    return lambda self, *, mask, **options: run(self, mask=mask.roll(-1, dims=1), **options)


@pytest.mark.parametrize("wrong", [attends_to_padding, forgets_the_window])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", DENSE)
def test_a_wrong_mask_is_found(
    name: str, dtype: str, wrong: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(FAMILIES[name], tmp_path)
    monkeypatch.setattr(Passes, "run", wrong(Passes.run))
    assert path(tmp_path, dtype=dtype) == "refused"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_positions_that_count_padding_are_found(dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a decoder with learned positions; rotary ones see distances alone."""
    save(FAMILIES["gpt2"], tmp_path)

    def by_column(mask: torch.Tensor, new: int) -> torch.Tensor:
        return torch.arange(mask.shape[1]).expand(len(mask), -1)[:, -new:]

    monkeypatch.setattr(passes_module, "positions", by_column)
    assert path(tmp_path, dtype=dtype) == "refused"


def test_padding_on_the_wrong_side_is_found_where_it_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window counts columns, so padding between text and soft tokens pushes the text out of it."""
    save(FAMILIES["mistral-window"], tmp_path)

    def pad_right(rows: list[list[int]], *, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows]).long().view(len(rows), width)
        real = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows])
        return ids, real.bool().view_as(ids)  # of no columns it would be a tensor of floats

    monkeypatch.setattr(passes_module, "pad_left", pad_right)
    assert path(tmp_path) == "full"  # which moves padding to the left once more


def test_a_refusal_in_bfloat16_names_the_other_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(FAMILIES["rwkv"], tmp_path)
    for dtype, ending in (("float32", "choose another decoder"), ("bfloat16", ", or precision: float32")):
        with pytest.raises(ConfigError, match=rf"{ending}$"):
            Decoder.load(probe(str(tmp_path)), dtype=dtype)
