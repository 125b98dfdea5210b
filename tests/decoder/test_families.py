"""Every decoder family, as a tiny random model: exact vectors, exact gradients, and nothing else touched."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from zoo import FAMILIES, ROW_TEXTS, Family, save

from transferkit.decoder.decoder import Decoder
from transferkit.decoder.passes import per_layer_inputs
from transferkit.decoder.probe import probe
from transferkit.decoder.reader import Reader
from transferkit.errors import ConfigError
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.methods.transfer import PromptEmbedder
from transferkit.prompting.alignment import Alignment, random_start
from transferkit.prompting.llm import PromptingLLM
from transferkit.prompting.writer import Writer
from transferkit.training.losses import contrastive_loss

FEWEST = 60  # a family that silently disappears fails here; raise it when the zoo grows
USABLE = {name: family for name, family in FAMILIES.items() if family.expected != "refused"}
REFUSED = {name: family for name, family in FAMILIES.items() if family.expected == "refused"}
TEXTS = [*ROW_TEXTS, "water", "he is by the car", "no"]  # seven lengths


def test_no_family_disappeared() -> None:
    assert len(FAMILIES) >= FEWEST
    assert len({family.model_type for family in USABLE.values()}) >= 50


@pytest.fixture(scope="module")
def prompting(tmp_path_factory: pytest.TempPathFactory) -> PromptingLLM:
    folder = save(FAMILIES["qwen3"], tmp_path_factory.mktemp("prompting"))
    return PromptingLLM.load(str(folder), tokens=2)


def load(family: Family, folder: Path) -> Reader:
    save(family, folder)
    return Reader(Decoder.load(probe(str(folder))), soft_tokens=2, max_length=40)


@pytest.mark.parametrize("name", sorted(USABLE))
def test_backbone(name: str, tmp_path: Path, prompting: PromptingLLM) -> None:
    reader = load(USABLE[name], tmp_path)
    assert ("cached" if reader.decoder.exactness.cached else "full") == USABLE[name].expected
    equals_unpadded_rows(reader)
    start = random_start(prompting.token_table().detach(), reader.decoder.token_table(), seed=0)
    writer = Writer(prompting)
    embedder = PromptEmbedder(writer, Alignment(start, tokens=2, offset=True), reader)
    same_vector_in_any_batch(embedder)
    static_is_the_texts_mean_token_embedding(reader)
    adapt_step_changes_the_alignment_alone(embedder)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"this decoder cannot embed batches: .* choose another decoder"):
        load(REFUSED[name], tmp_path)


def static_is_the_texts_mean_token_embedding(reader: Reader) -> None:
    """Against the embedding module called on each text alone, whose length does not matter to a cosine."""
    embedder = FrozenEmbedder(reader, pooling="mean+static")
    assert embedder.pooled_width("mean+static") == reader.decoder.output_width + reader.decoder.embedding_width
    table, tokenizer = reader.decoder.trunk.get_input_embeddings(), reader.decoder.encoder.tokenizer
    assert table is not None
    for text, vector in zip(TEXTS, FrozenEmbedder(reader, pooling="static").encode(TEXTS), strict=True):
        with torch.no_grad():
            expected = table(torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])).double().mean(0)
        np.testing.assert_allclose(vector, expected / expected.norm(), atol=1e-5)


def equals_unpadded_rows(reader: Reader) -> None:
    """Hidden states and soft-token gradients against the trunk called on each row alone: no padding, no cache."""
    generator = torch.Generator().manual_seed(5)
    rows = reader.rows(ROW_TEXTS, [""] * len(ROW_TEXTS))
    soft = (
        torch.randn(len(ROW_TEXTS), 2, reader.decoder.embedding_width, generator=generator)
        * reader.decoder.token_table().std()
    )
    together = soft.clone().requires_grad_()
    hidden = reader(rows, together)
    loss = torch.zeros(())
    for i, ids in enumerate(rows.before):
        alone = soft[i : i + 1].clone().requires_grad_()
        truth = unpadded(reader, ids, alone)
        assert truth.shape[1] == len(ids) + 2
        weights = torch.randn(truth.shape, generator=generator)
        (gradient,) = torch.autograd.grad((truth * weights).sum(), alone)
        states = hidden.states[i, -truth.shape[1] :]
        assert relative(states, truth[0]) <= 1e-5
        loss = loss + (states * weights[0]).sum()
        soft[i] = gradient[0]
    (gradients,) = torch.autograd.grad(loss, together)
    for i in range(len(ROW_TEXTS)):
        assert relative(gradients[i], soft[i]) <= 1e-5


def unpadded(reader: Reader, ids: list[int], soft: Tensor) -> Tensor:
    """The trunk's own forward pass over ids and soft tokens (1, L, d), told nothing of masks, positions or caches."""
    row = torch.tensor([ids])
    embeds = torch.cat([reader.decoder.passes.embed_ids(row), soft], dim=1)
    options = per_layer_inputs(reader.decoder.trunk, torch.cat([row, row.new_zeros(1, soft.shape[1])], dim=1))
    out: Tensor = reader.decoder.trunk(inputs_embeds=embeds, use_cache=False, **options).last_hidden_state
    text = reader.decoder.trunk(input_ids=row, use_cache=False).last_hidden_state
    assert relative(out[:, : len(ids)], text) <= 1e-5  # embed_ids is in the scale that the layers receive
    return out


def same_vector_in_any_batch(embedder: PromptEmbedder) -> None:
    vectors = embedder.encode(TEXTS, batch_size=7)
    for batch_size in (1, 2):
        assert np.abs(embedder.encode(TEXTS, batch_size=batch_size) - vectors).max() <= 1e-5
    shortest, longest = min(TEXTS, key=len), max(TEXTS, key=len)
    for text, neighbour in ((TEXTS[1], shortest), (TEXTS[1], longest), (shortest, longest), (longest, shortest)):
        alone = vectors[TEXTS.index(text)]
        assert np.abs(embedder.encode([text, neighbour])[0] - alone).max() <= 1e-5
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3  # different texts have different vectors


def adapt_step_changes_the_alignment_alone(embedder: PromptEmbedder) -> None:
    embedder.writer.freeze()
    before = {name: value.detach().clone() for name, value in embedder.state_dict().items()}
    groups = embedder.trainable()
    assert set(groups) == {"alignment", "offset"}
    optimizer = torch.optim.SGD([p for group in groups.values() for p in group], lr=1.0)
    vectors = embedder.embed(TEXTS[:6], [""] * 6)
    ids = torch.arange(6)
    loss = contrastive_loss(
        vectors[:3], vectors[3:], anchor_ids=ids[:3], positive_ids=ids[3:], temperature=0.05, symmetric=True
    )
    loss.backward()
    optimizer.step()
    embedder.writer.requires_grad_(True)  # shared by all families of this module
    changed = {name for name, value in embedder.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"alignment.weight", "alignment.offset"}


@pytest.mark.parametrize("name", sorted(USABLE))
def test_prompting_gradients(name: str, tmp_path: Path) -> None:
    """Every weight that the forward pass uses learns; experts that no token was sent to are named and excepted."""
    family = USABLE[name]
    save(family, tmp_path)
    try:
        prompting = PromptingLLM.load(str(tmp_path), tokens=2)
    except ConfigError as error:
        assert name in NO_PROMPTING_LLM, error  # noqa: PT017 - which families may fail is the point
        return
    assert name not in NO_PROMPTING_LLM
    soft = prompting(TEXTS)
    (soft * torch.randn(soft.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    without = {n for n, p in prompting.named_parameters() if p.grad is None or not p.grad.any()}
    assert not {n for n in without if not any(part in n for part in (*UNROUTED, *NOT_DIFFERENTIABLE.get(name, ())))}


UNROUTED = (".experts.", "e_score_correction_bias")  # experts that no token was sent to, and the bias of that choice
# Weights that only decide which experts or positions are read: a choice has no gradient.
NOT_DIFFERENTIABLE: dict[str, tuple[str, ...]] = {
    "afmoe-window": ("expert_bias",),
    "axk2": (".indexer.",),
    "deepseek_v32": (".indexer.",),
    "glm_moe_dsa": (".indexer.",),
    "hrm_text": ("z_L_init",),
    "phimoe": ("router.weight",),
    "qwen4_exp": (".indexer.",),
}
# Decoders whose generation from embeddings is exact on no path, so they are refused as Prompting LLM.
NO_PROMPTING_LLM: set[str] = set()


def relative(value: Tensor, truth: Tensor) -> float:
    return float((value.detach() - truth.detach()).norm() / truth.detach().norm())
