"""Where the alignment starts: what the source learned, carried over; a regression between vocabularies; or a draw."""

from typing import Any

from torch import Tensor

from transferkit.config.resolve import ResolvedAlignment
from transferkit.decoder.decoder import Decoder
from transferkit.errors import ConfigError
from transferkit.prompting.alignment import Alignment, anchor_start, fit_quality, random_start
from transferkit.prompting.mixtures import FEWEST_TOKENS, TOKENS, mix, shared_ids
from transferkit.prompting.saved import LearnedAlignment, SourceCheckpoint
from transferkit.prompting.writer import Writer


def start_alignment(
    writer: Writer, backbone: Decoder, section: ResolvedAlignment, *, seed: int, source: SourceCheckpoint | None = None
) -> tuple[Alignment, dict[str, Any]]:
    """W0 and the offsets' start by ``alignment.init``, and what the record says of it.

    Args:
        writer: whose soft tokens are aligned.
        backbone: that reads them.
        section: of a resolved recipe.
        seed: of a random draw.
        source: for ``init: source``.

    Raises:
        ConfigError: too few shared tokens, soft tokens without token embeddings (``anchors``), or a source without
            an alignment that this backbone can take up (``source``).
    """
    facts: dict[str, Any] = section.model_dump()
    offset: Tensor | None = None
    match section.init:
        case "random":
            weight = _random(writer, backbone, seed=seed)
        case "source":
            assert source is not None  # the recipe saw to it
            weight, offset, fit = _carried_over(source.alignment(), writer, backbone)
            facts |= fit
        case _:
            weight, fit = _anchors(writer, backbone)
            facts |= fit
    alignment = Alignment(weight, tokens=writer.prompting.tokens, offset=section.offset == "position")
    if offset is not None and alignment.offset is not None:
        common = min(len(offset), len(alignment.offset))  # a position that the source never wrote starts at zero
        alignment.offset.data[:common] = offset[:common]
    return alignment, facts


def _random(writer: Writer, backbone: Decoder, *, seed: int) -> Tensor:
    prompting = writer.prompting
    table = prompting.token_table().detach().float()
    if prompting.width != table.shape[1]:  # hidden states are about as large as ones
        table = table.new_ones(1, prompting.width)
    return random_start(table, backbone.token_table().float(), seed=seed)


def _anchors(writer: Writer, backbone: Decoder) -> tuple[Tensor, dict[str, Any]]:
    """The regression from the Prompting LLM's token embeddings to the backbone's."""
    prompting = writer.prompting
    table = prompting.token_table().detach().float()
    ids_p, ids_e = shared_ids(prompting, backbone)
    if len(ids_p) < FEWEST_TOKENS or prompting.width != table.shape[1]:
        raise ConfigError(
            f"alignment.init: 'anchors' needs tokens that both vocabularies share (found {len(ids_p)}) and soft "
            "tokens made of token embeddings; use 'random'"
        )
    x, y = table[ids_p], backbone.token_table(ids_e).float()
    weight = anchor_start(x.to(y.device), y)
    return weight, {"anchors": len(x), "anchor_r2": round(fit_quality(weight, x, y), 4)}


def _carried_over(
    learned: LearnedAlignment, writer: Writer, backbone: Decoder
) -> tuple[Tensor, Tensor | None, dict[str, Any]]:
    """The source's own W and offsets: mixtures of token embeddings there, the same mixtures of them here.

    On the source's own backbone, in whatever precision, they are what they were.
    """
    if learned.weight.shape[0] != writer.prompting.width:
        raise ConfigError(
            f"alignment.init: 'source' needs soft tokens as the source wrote them (width {learned.weight.shape[0]}), "
            f"these have {writer.prompting.width}; use 'random'"
        )
    facts: dict[str, Any] = {"through": learned.spec.name}
    if not learned.identity.differences(backbone.identity):
        return learned.weight, learned.offset, facts
    if not learned.mixtures:
        raise ConfigError(
            "alignment.init: 'source' needs a source that tells its alignment in tokens, this one is older or shares "
            f"too few with {learned.spec.name}; use --set alignment.init=anchors"
        )
    vectors, found = mix(learned.mixtures, writer.prompting, backbone)
    if found < FEWEST_TOKENS:
        raise ConfigError(
            f"alignment.init: 'source' needs tokens that its Prompting LLM and {backbone.spec.name} share (found "
            f"{found}); use 'random'"
        )
    return vectors["weight"], vectors.get("offset"), facts | {"tokens": found, "of": len(learned.mixtures[TOKENS])}
