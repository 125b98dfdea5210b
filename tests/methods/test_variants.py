"""Methods without training: the ways that share one pass give the vectors and scores that each gives alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.parts import source_checkpoint
from helpers.run_parts import trial
from helpers.tiny import Tiny

TEXTS = ["a red bird", "what is the weather like", "x", "a longer text that says rather more than all the others do"]


@pytest.mark.parametrize(
    ("method", "changes", "names"),
    [
        (
            "frozen",
            {
                "frozen": {
                    "templates": ["{text}", 'Text: "{text}" means'],
                    "poolings": ["mean", "static", "last+static"],
                }
            },
            5,
        ),
        ("prompting-llm-alone", {}, 4),
    ],
)
def test_ways_that_share_a_pass_equal_each_way_alone(
    tiny: Tiny, tmp_path: Path, method: str, changes: dict[str, Any], names: int
) -> None:
    source = source_checkpoint(tiny, tmp_path / "source") if method == "prompting-llm-alone" else None
    recipe = tiny.recipe("baseline", method=method, **changes)
    one = trial(tiny, recipe, source=source)
    seen = []
    for reader, ways in one.embedder.variants(one.recipe):
        shared = reader.pooled(TEXTS, [""] * len(TEXTS), batch_size=3)
        read = one.scorer.read(reader)
        for way in ways:
            seen.append(way.name)
            alone = way.embedder.pooled(TEXTS, [""] * len(TEXTS), batch_size=3)
            torch.testing.assert_close(way.part(shared), alone, rtol=0, atol=1e-6)
            together, by_itself = one.scorer.score(read.part(way.part)), one.scorer(way.embedder)
            assert together.score == pytest.approx(by_itself.score)
            assert together.readout is not None
            assert by_itself.readout is not None
            torch.testing.assert_close(together.readout.mean, by_itself.readout.mean, rtol=0, atol=1e-5)
    assert len(set(seen)) == len(seen) == names


def test_a_pooling_that_no_template_changes_is_read_once(tiny: Tiny) -> None:
    frozen = {"templates": ["{text}", "so: {text}"], "poolings": ["static"]}
    one = trial(tiny, tiny.recipe("baseline", method="frozen", frozen=frozen))
    names = [way.name for _, ways in one.embedder.variants(one.recipe) for way in ways]
    assert names == one.embedder.variant_names(one.recipe)
    assert len(names) == 1
