"""The check of exactness in bfloat16: every family keeps its path, and what is wrong in float32 is found there too."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.parts import load_reader
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama import modeling_llama
from zoo import FAMILIES, WORDS, save

from transferkit.decoder import passes as passes_module
from transferkit.decoder.decoder import Decoder
from transferkit.decoder.exactness import Exactness
from transferkit.decoder.passes import Passes
from transferkit.decoder.probe import probe
from transferkit.decoder.tokens import Rows
from transferkit.errors import ConfigError
from transferkit.methods.frozen import FrozenEmbedder

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


def forgets_padding(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Break fused attention; returns queries and keys of its calls."""
    real, calls = ALL_ATTENTION_FUNCTIONS["sdpa"], list[tuple[int, int]]()

    def broken(module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Any, **options: Any) -> Any:
        calls.append((q.shape[2], k.shape[2]))
        later = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        return real(module, q, k, v, later[None, None], **{**options, "is_causal": False})

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "sdpa", broken)
    return calls


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["llama", "qwen3", "olmo2"])
def test_wrong_attention_over_long_texts_is_found(
    name: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bfloat16 short texts attend in another way, so that what is measured on a few tokens could miss it."""
    save(FAMILIES[name], tmp_path)
    calls = forgets_padding(monkeypatch)
    assert path(tmp_path, dtype=dtype) == "refused"
    assert calls


def test_attention_over_short_texts_that_is_not_exact_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(FAMILIES["llama"], tmp_path)
    assert Decoder.load(probe(str(tmp_path)), dtype="bfloat16").passes.short_attention
    plain, calls = modeling_llama.eager_attention_forward, []

    def coarse(*args: Any, **options: Any) -> Any:
        """As of scores so large that bfloat16 rounds them to the next number."""
        calls.append(1)
        out, weights = plain(*args, **options)
        return out + 0.5 * out.flip(1), weights

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", coarse)
    decoder = Decoder.load(probe(str(tmp_path)), dtype="bfloat16")
    assert calls  # it was measured
    assert decoder.exactness.cached
    assert not decoder.exactness.short
    calls.clear()
    ids = torch.arange(3, 15).unsqueeze(0)
    decoder.passes.run(input_ids=ids, mask=ids > 0)
    assert not calls


def test_a_text_is_the_same_beside_one_that_attends_in_another_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real pass over more positions than short attention takes, in bfloat16, against the text alone and float32."""
    save(FAMILIES["llama"], tmp_path)  # with rotary positions, which go on beyond its context
    fast, exact = (Decoder.load(probe(str(tmp_path)), dtype=dtype).passes for dtype in ("bfloat16", "float32"))
    used: list[str] = []

    def seen(way: str, attend: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **options: (used.append(way), attend(*args, **options))[1]  # type: ignore[func-returns-value]

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "sdpa", seen("sdpa", ALL_ATTENTION_FUNCTIONS["sdpa"]))
    monkeypatch.setattr(
        modeling_llama, "eager_attention_forward", seen("eager", modeling_llama.eager_attention_forward)
    )

    def states(passes: Passes, *texts: list[int]) -> torch.Tensor:
        used.clear()
        with torch.no_grad():
            return passes.full_pass(Rows(before=list(texts), after=[[] for _ in texts]), None).states[0, -20:].float()

    short, long = [3 + i % 20 for i in range(20)], [3 + i * 7 % 40 for i in range(200)]
    alone = states(fast, short)
    assert set(used) == {"eager"}
    beside = states(fast, short, long)
    assert set(used) == {"sdpa"}
    truth = states(exact, short)
    assert float((beside - alone).norm() / alone.norm()) < 0.03
    assert float((beside - truth).norm() / truth.norm()) < 0.03


@pytest.mark.parametrize(("name", "kind"), [("phi3", "longrope"), ("llama", "longrope"), ("llama", "dynamic")])
def test_no_row_is_so_long_that_others_are_read_otherwise(tmp_path: Path, name: str, kind: str) -> None:
    """Beyond a length all rows of a batch get other rotary factors; no text may be longer than that."""
    family = FAMILIES[name]
    changes: dict[str, Any] = {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, "factor": 4.0}}
    if kind == "longrope":
        changes["rope_parameters"] |= {"short_factor": [1.0] * 6, "long_factor": [4.0] * 6}
        where = changes if name == "phi3" else changes["rope_parameters"]  # as this family's files have it
        where["original_max_position_embeddings"] = 24
    save(replace(family, config=family.config | changes), tmp_path, vocabulary=WORDS)
    reader = load_reader(tmp_path, template="{text}", max_length=500, soft_tokens=0)
    embedder = FrozenEmbedder(reader, pooling="mean")
    long = " ".join(WORDS * 3)
    alone = [embedder.encode([text], instruction="") for text in ("a red cat", long)]
    beside = embedder.encode(["a red cat", long], instruction="")
    np.testing.assert_allclose(beside, np.concatenate(alone), atol=1e-5)
    assert reader.decoder.context == (24 if kind == "longrope" else 64)


def test_rounding_is_told_in_words() -> None:
    found = Exactness(cached_errors=(0.009, 0.0512), full_errors=(3e-6, 6e-6), allowed=(0.02, 0.1))
    assert found.in_words(cached=False) == "exact"
    says = "exact but for what bfloat16 rounds (states 0.9 %, gradients 5 %; precision: float32 rounds"
    assert found.in_words(cached=True).startswith(says)
    assert found.facts(cached=True) == {"states": 0.009, "gradients": 0.0512}  # for the record
