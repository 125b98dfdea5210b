"""Every family whose rotary factors change with a batch's longest row: no text is read otherwise beside a long one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.parts import load_reader
from huggingface_hub.errors import StrictDataclassClassValidationError
from transformers import AutoConfig
from zoo import FAMILIES, WORDS, Family, save

from transferkit.errors import ConfigError
from transferkit.methods.frozen import FrozenEmbedder

pytestmark = pytest.mark.slow  # a decoder is built for every family and kind
SWITCH, CONTEXT = 24, 64
REFUSED = {("phimoe", "dynamic")}  # it scales by longrope's keys whatever its kind, so it does not run at all
USABLE = {name: family for name, family in FAMILIES.items() if family.expected != "refused"}


def rotary(family: Family, kind: str) -> dict[str, Any] | None:
    """The family's own rotary parameters with another kind; None where it has none, or one set a kind of layer."""
    config = AutoConfig.for_model(family.model_type, **family.config).get_text_config()
    found = getattr(config, "rope_parameters", None)
    if not found or not isinstance(found.get("rope_theta"), int | float):
        return None
    head = getattr(config, "qk_rope_head_dim", None) or getattr(config, "head_dim", None)
    head = head or config.hidden_size // config.num_attention_heads
    half = int(head * found.get("partial_rotary_factor", 1.0)) // 2
    changed = {**found, "rope_type": kind, "factor": 4.0}
    if kind == "longrope":
        changed |= {"short_factor": [1.0] * half, "long_factor": [4.0] * half}
        changed["original_max_position_embeddings"] = SWITCH
    if family.model_type == "phimoe":
        changed |= {"short_mscale": 1.0, "long_mscale": 1.2}  # which its configuration asks for
    return changed


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
@pytest.mark.parametrize("name", sorted(USABLE))
def test_alone_and_beside_texts_around_the_switch(tmp_path: Path, name: str, kind: str) -> None:
    family = USABLE[name]
    changed = rotary(family, kind)
    if changed is None:
        pytest.skip("no rotary positions, or several kinds of them")
    own = {"rope_parameters": changed, "max_position_embeddings": CONTEXT}
    if family.model_type == "phi3":
        own["original_max_position_embeddings"] = SWITCH  # where this family's files have it
    try:
        AutoConfig.for_model(family.model_type, **family.config | own)
    except StrictDataclassClassValidationError:
        pytest.skip(f"its configuration allows no {kind}")
    save(replace(family, config=family.config | own), tmp_path, vocabulary=WORDS)
    try:
        reader = load_reader(tmp_path, template="{text}", max_length=500, soft_tokens=0)
    except ConfigError as error:
        assert (name, kind) in REFUSED, error  # noqa: PT017 - which may be refused is the point
        return
    embedder = FrozenEmbedder(reader, pooling="mean")
    texts = ["a red cat", *(" ".join((WORDS * 3)[:n]) for n in (SWITCH - 1, SWITCH, SWITCH + 1, CONTEXT, 3 * CONTEXT))]
    alone = np.concatenate([embedder.encode([text], instruction="") for text in texts])
    np.testing.assert_allclose(embedder.encode(texts, instruction=""), alone, atol=2e-5)
