"""Vectors in fewer bits: the bytes of sentence-transformers, and numbers that are whole again within half a step."""

import numpy as np
import pytest
from sentence_transformers.util.quantization import _dequantize_embeddings, quantize_embeddings

from transferkit.errors import ConfigError
from transferkit.files.vectors.precision import (
    Precision,
    Stored,
    calibrated,
    check_precision,
    check_truncation,
    count_clipped,
    quantize,
    ranges_of,
)


def unit(n: int, width: int, *, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)
    x[:, 1] = 0  # a dimension without a range
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("width", [16, 21])
@pytest.mark.parametrize("precision", ["float32", "int8", "uint8", "binary", "ubinary"])
def test_bytes_are_those_of_sentence_transformers(precision: Precision, width: int) -> None:
    """Of vectors outside of the ranges too."""
    x, others = unit(300, width), 1.2 * unit(50, width, seed=1)
    expected = quantize_embeddings(others, precision, ranges=np.vstack([x.min(0), x.max(0)]))
    found = quantize(others, precision, ranges_of(x))
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_steps_are_undone_to_their_middle(precision: Precision) -> None:
    x = unit(300, 16)
    ranges = ranges_of(x)
    numbers = quantize(x, precision, ranges)
    whole = Stored(numbers, precision, 16, ranges).whole()
    step = (ranges[1] - ranges[0]) / 255
    assert (np.abs(whole - x) <= 0.51 * step).all()
    lower = _dequantize_embeddings(numbers, precision, ranges)  # theirs is the lower edge
    np.testing.assert_allclose(whole, lower + step / 2, atol=1e-6)


def test_a_calibration_of_a_few_leaves_room_for_others() -> None:
    x = unit(5_000, 16)
    few = calibrated(x[:32])
    assert count_clipped(x, few) < 0.002 * x.size < 0.02 * x.size < count_clipped(x, ranges_of(x[:32]))
    assert (few[0] <= x[:32].min(0)).all()
    assert (few[1] >= x[:32].max(0)).all()


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "uint8", "binary", "ubinary"])
def test_cosines_are_those_of_whole_vectors_with_a_question(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transferkit.files.vectors.precision._ROWS", 64)
    x, question = unit(300, 21), unit(1, 21, seed=2)[0]
    ranges = ranges_of(x) if "int8" in precision else None
    stored = Stored(quantize(x, precision, ranges), precision, 21, ranges)
    exact = stored.whole().astype(np.float64)
    assert stored.whole().dtype == np.float32  # products of float16 would be rounded too
    np.testing.assert_array_equal(stored[[7, 3]], stored.whole()[[7, 3]])
    np.testing.assert_allclose(stored.cosines(question), exact @ question, atol=1e-5)
    assert np.corrcoef(stored.cosines(question), x @ question)[0, 1] > (0.7 if "binary" in precision else 0.999)
    assert len(Stored(stored.numbers[:0], precision, 21, ranges).whole()) == 0


def test_packed_signs_rank_as_their_rescoring_does() -> None:
    """They take the product of the question and 0 or 1; ours takes +-1: the same order."""
    x, question = unit(200, 24), unit(1, 24, seed=3)[0]
    packed = quantize_embeddings(x, "ubinary")
    theirs = np.unpackbits(packed, axis=-1).astype(int) @ question
    ours = Stored(packed, "ubinary", 24).cosines(question)
    np.testing.assert_allclose(ours, (2 * theirs - question.sum()) / np.sqrt(24), atol=1e-5)


def test_what_lies_outside_is_counted() -> None:
    x = np.array([[0.0, 1.0], [2.0, 0.5], [1.0, 3.0], [-1.0, 0.5]], dtype=np.float32)
    assert count_clipped(x, ranges_of(x[:2])) == 2
    assert count_clipped(x[:0], ranges_of(x)) == 0


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^here: expected one of float32, .*, got 'int4'; did you mean 'int8'"):
        check_precision("int4", where="here")
    check_truncation(8, 8, where="here")
    for dim in (0, 9, -1, 2.0, True, "4"):
        with pytest.raises(ConfigError, match="here: expected a whole number from 1 to 8, the vectors' own width, got"):
            check_truncation(dim, 8, where="here")  # type: ignore[arg-type]
