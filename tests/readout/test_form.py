"""The form of finished vectors and their cosines, against sentence-transformers on the same vectors."""

from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers.util import cos_sim, normalize_embeddings, truncate_embeddings
from torch import Tensor

from transferkit.errors import ConfigError
from transferkit.readout.fit import Fitter
from transferkit.readout.form import Form, cosines
from transferkit.readout.readout import Readout, Settings

X = torch.tensor(np.random.default_rng(0).normal(size=(40, 12)) + 0.5, dtype=torch.float32)
CPU = torch.device("cpu")


@pytest.mark.parametrize("readout", [Readout.plain(12), Fitter(X).fit(Settings("whiten", ridge=0.1))])
def test_a_cut_vector_is_the_first_columns_at_unit_length(readout: Readout) -> None:
    whole = readout(X)
    found = readout.finished(X, count=5, normalize=True)
    torch.testing.assert_close(found, normalize_embeddings(truncate_embeddings(whole, 5)))
    assert torch.equal(readout.finished(X, count=None, normalize=True), whole)
    raw = readout.finished(X, count=None, normalize=False)
    torch.testing.assert_close(normalize_embeddings(raw), whole)
    torch.testing.assert_close(raw, X if readout.kind == "none" else readout.linear(X))
    assert torch.equal(readout.finished(X, count=5, normalize=False), raw[:, :5])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (X[:3], X),
        (X[0], X[3:5]),
        (X[:3].numpy(), X.numpy().astype(np.float64)),
        (list(X[:3]), [row.numpy() for row in X[:2]]),
        (X[:3].half(), X[:2].half()),
        (torch.zeros(2, 12), X),
    ],
)
def test_cosines_are_those_of_sentence_transformers(first: Any, second: Any) -> None:
    found = cosines(first, second)
    assert isinstance(found, Tensor)
    torch.testing.assert_close(found, cos_sim(_same(first), _same(second)).to(found.dtype), atol=1e-5, rtol=1e-4)


def _same(given: Any) -> Any:
    """Theirs does not multiply single by double precision."""
    return given.astype(np.float32) if isinstance(given, np.ndarray) else given


@pytest.mark.parametrize(
    ("first", "says"),
    [
        (X[:, :5], "expected vectors of one width, got 5 and 12"),
        (
            np.zeros((2, 12), np.int8),
            r"expected vectors \(n, d\) of floating-point numbers, got int8 of shape",
        ),
        (X[None], r".* got float32 of shape \(1, 40, 12\); encode in float32 or float16$"),
    ],
)
def test_what_has_no_cosine_is_refused(first: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=f"^similarity: {says}"):
        cosines(first, X)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        (Form(precision="int4"), "precision: expected one of float32, float16, "),  # type: ignore[arg-type]
        (Form(truncate_dim=13), "truncate_dim: expected a whole number from 1 to 12, the vectors' own width, got 13"),
        (Form(truncate_dim=0), "truncate_dim: expected a whole number from 1 to 12"),
        (Form(precision="binary", ranges=np.zeros((2, 12))), "ranges: belong to int8 and uint8; leave them away"),
        (Form(precision="int8", ranges=np.zeros((2, 11))), r"ranges: expected .* of shape \(2, 12\), got \(2, 11\)"),
        (
            Form(precision="uint8"),
            "uint8 takes its steps from the texts given, and one alone has none; pass",
        ),
    ],
)
def test_what_cannot_be_given_is_refused(form: Form, says: str) -> None:
    with pytest.raises(ConfigError, match=f"^encode: {says}"):
        form.check(12, texts=1)


def test_ranges_of_one_call_serve_another() -> None:
    x = X.numpy()
    ranges = np.stack([x.min(0), x.max(0)])
    whole = Form(precision="int8")(x, device=CPU)
    np.testing.assert_array_equal(Form(precision="int8", ranges=ranges)(x[:1], device=CPU), whole[:1])
    assert Form(precision="int8")(x[:0], device=CPU).shape == (0, 12)
