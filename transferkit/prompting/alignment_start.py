"""Where the alignment starts: what the source learned, carried over; a regression between vocabularies; or a draw."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from transferkit.config.resolve import ResolvedAlignment
from transferkit.decoder.decoder import Decoder
from transferkit.decoder.identity import identify
from transferkit.decoder.loading import input_embeddings, load_config, load_tokenizer, load_trunk
from transferkit.errors import ConfigError
from transferkit.prompting.alignment import Alignment, anchor_start, fit_quality, random_start
from transferkit.prompting.anchors import shared_tokens
from transferkit.prompting.saved import LearnedAlignment, SourceCheckpoint
from transferkit.prompting.writer import Writer

FEWEST_ANCHORS = 32  # below this many shared tokens a regression to them says nothing


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
        ConfigError: too few shared tokens, soft tokens without token embeddings (``anchors``), or a source whose
            alignment or backbone cannot be had (``source``).
    """
    facts: dict[str, Any] = section.model_dump()
    offset: Tensor | None = None
    match section.init:
        case "random":
            weight = _random(writer, backbone, seed=seed)
        case "source":
            if source is None:
                raise ConfigError("alignment.init: 'source' is for adapt, only there is a source to start from")
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
    ids_p, ids_e = shared_tokens(
        prompting.encoder.tokenizer,
        backbone.encoder.tokenizer,
        rows=(prompting.encoder.num_rows, backbone.encoder.num_rows),
    )
    if len(ids_p) < FEWEST_ANCHORS or prompting.width != table.shape[1]:
        raise ConfigError(
            f"alignment.init: 'anchors' needs tokens that both vocabularies share (found {len(ids_p)}) and soft "
            "tokens made of token embeddings; use 'random'"
        )
    return _regression(table[ids_p], backbone.token_table(ids_e).float())


def _carried_over(
    learned: LearnedAlignment, writer: Writer, backbone: Decoder
) -> tuple[Tensor, Tensor | None, dict[str, Any]]:
    """``W A`` and ``b A``: the source's own, and A the regression from its backbone's token embeddings to this one's.

    On the source's own backbone, in whatever precision, A is the identity.
    """
    if learned.weight.shape[0] != writer.prompting.width:
        raise ConfigError(
            f"alignment.init: 'source' needs soft tokens as the source wrote them (width {learned.weight.shape[0]}), "
            f"these have {writer.prompting.width}; use 'random'"
        )
    facts: dict[str, Any] = {"through": learned.spec.name}
    place = backbone.device
    weight = learned.weight.to(place)
    offset = None if learned.offset is None else learned.offset.to(place)
    if not learned.identity.differences(backbone.identity):
        return weight, offset, facts
    table, tokenizer = _source_tokens(learned)
    ids_s, ids_e = shared_tokens(tokenizer, backbone.encoder.tokenizer, rows=(len(table), backbone.encoder.num_rows))
    if len(ids_s) < FEWEST_ANCHORS:
        raise ConfigError(
            f"alignment.init: 'source' needs tokens that {learned.spec.name} and {backbone.spec.name} share "
            f"(found {len(ids_s)}); use 'random'"
        )
    across, fit = _regression(
        table[ids_s].float() * learned.identity.embedding_scale, backbone.token_table(ids_e).float()
    )
    return weight @ across, None if offset is None else offset @ across, facts | fit


def _regression(x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Any]]:
    x = x.to(y.device)
    weight = anchor_start(x, y)
    return weight, {"anchors": len(x), "anchor_r2": round(fit_quality(weight, x, y), 4)}


def _source_tokens(learned: LearnedAlignment) -> tuple[Tensor, PreTrainedTokenizerBase]:
    """Rows (V, d) of the source backbone's embedding as its files hold them, and its tokenizer.

    Raises:
        ConfigError: it cannot be had any more, or is another one now.
    """
    spec = learned.spec
    try:
        stored = load_config(spec.location, revision=spec.revision).get_text_config().dtype
        tokenizer = load_tokenizer(spec.location, revision=spec.revision)
        found = identify(
            spec.location,
            revision=spec.revision,
            tokenizer=tokenizer,
            embedding_scale=learned.identity.embedding_scale,
        )
        different = learned.identity.differences(found)
        if different:
            raise ConfigError(f"it differs from what the source was trained on in {', '.join(different)}")
        # In the files' own precision: no number is rounded, and no more memory is taken than they have bytes.
        trunk = load_trunk(
            spec.location,
            revision=spec.revision,
            dtype=stored if isinstance(stored, torch.dtype) else torch.float32,
            quantization="none",
            device=torch.device("cpu"),
        )
    except ConfigError as error:
        raise ConfigError(
            f"alignment.init: 'source' needs the token embeddings of the source's backbone {spec.name}: {error}; "
            "start without it: --set alignment.init=anchors"
        ) from None
    return input_embeddings(trunk).weight.detach(), tokenizer
