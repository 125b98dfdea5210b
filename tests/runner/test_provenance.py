"""Lineages: what counts, what does not, and why a default of the schema stays what it is."""

from collections.abc import Iterator
from typing import Any

import pytest
from helpers.tiny import Tiny
from pydantic import Field

from transferkit.config.recipe import Recipe
from transferkit.config.resolve import ResolvedRecipe
from transferkit.config.schema import Strict
from transferkit.runner.prepare import resolved
from transferkit.runner.provenance import lineage_of

# What a recipe gets that says nothing. A lineage leaves these out, so if one of them changed, runs of before and of now
# would be taken for seeds of one experiment: change recipes instead. A new key may be added here.
DEFAULTS: dict[str, Any] = {
    "method": None,
    "precision": "auto",
    "prompting.backbone": None,
    "prompting.tokens": None,
    "prompting.tau": None,
    "prompting.relaxation": None,
    "prompting.reads": None,
    "prompting.tuning": "full",
    "prompting.lora.r": 8,
    "prompting.lora.alpha": 16.0,
    "prompting.lora.dropout": 0.0,
    "prompting.alone_steps": 0,
    "prompting.max_length": None,
    "alignment.init": None,
    "alignment.offset": "position",
    "embedding.backbone": None,
    "embedding.more_backbones": [],
    "embedding.quantization": "none",
    "embedding.template": None,
    "embedding.pooling": None,
    "embedding.layers": None,
    "embedding.max_length": 128,
    "lora.r": 8,
    "lora.alpha": 16.0,
    "lora.dropout": 0.0,
    "frozen.templates": ["{text}"],
    "frozen.poolings": ["mean"],
    "readout.kind": "auto",
    "readout.sample": 2000,
    "readout.ridge": None,
    "readout.alpha": None,
    "loss.temperature": 0.05,
    "loss.symmetric": True,
    "readout.in_loss": False,
    "prompting.contrast": None,
    "teacher": None,
    "optim.seconds": None,
    "optim.batch_size": 48,
    "optim.micro_batch_size": None,
    "optim.lr": 0.001,
    "optim.lr_alignment": 0.003,
    "optim.lr_offset": 0.01,
    "optim.warmup_steps": 0,
    "optim.cooldown_steps": 0,
    "optim.weight_decay": 0.0,
    "optim.clip_norm": 1.0,
    "eval.every": 50,
    "eval.keep": "best",
    "eval.batch_size": 64,
    "eval.keep_states_gib": 0.0,
}


def defaults(model: type[Strict], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        inside = field.annotation
        if prefix + name in ("data", "seed", "save_every", "tracking"):
            continue  # no part of a lineage
        if isinstance(inside, type) and issubclass(inside, Strict):
            yield from defaults(inside, f"{prefix}{name}.")
        elif not field.is_required():
            yield prefix + name, field.default


def test_no_default_has_changed() -> None:
    assert dict(defaults(Recipe)) == DEFAULTS


class Later(ResolvedRecipe):
    """The schema of a later version, with a key that this one does not know."""

    new_key: float = Field(0.5)


@pytest.mark.parametrize("method", ["lora", "frozen"])
def test_a_key_that_comes_later_leaves_a_lineage_alone_until_it_is_used(tiny: Tiny, method: str) -> None:
    recipe = resolved(tiny.recipe("baseline", method=method), source=None)
    sections = {name: getattr(recipe, name) for name in ResolvedRecipe.model_fields}
    now, later, used = recipe, Later(**sections), Later(**sections, new_key=0.7)
    of = [lineage_of(one, ["weights"], [["", ""]], "data") for one in (now, later, used)]
    assert of[0] == of[1] != of[2]


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"eval": {"batch_size": 8}}, False),
        ({"eval": {"keep_states_gib": 1.0}}, False),
        ({"save_every": 3}, False),
        ({"seed": 18}, False),
        ({"precision": "auto"}, False),  # which is float32 here
        ({"precision": "bfloat16"}, True),
        ({"frozen": {"poolings": ["last"]}}, False),  # a section of another method
        ({"lora": {"r": 4}}, True),
        ({"eval": {"keep": "last"}}, True),
        ({"optim": {"lr": 0.5, "steps": 2}}, True),
    ],
)
def test_a_lineage_holds_what_counts(tiny: Tiny, change: dict[str, Any], counts: bool) -> None:
    plain, changed = (
        lineage_of(
            resolved(tiny.recipe("baseline", method="lora", **more), source=None), ["weights"], [["", ""]], "data"
        )
        for more in ({}, change)
    )
    assert (plain != changed) == counts
