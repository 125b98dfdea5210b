"""Derive a backbone spec from config and tokenizer alone; no weights are read."""

import re
from pathlib import Path

from transferkit.config.schema import dump_yaml, parse
from transferkit.config.specs import BackboneSpec, TokenizerFacts, all_specs, declared_spec
from transferkit.decoder.loading import load_config, load_tokenizer
from transferkit.decoder.tokens import opens_with_bos
from transferkit.errors import ConfigError
from transferkit.files.decoder_folder import check_is_decoder, is_encoder_decoder, reads_no_text
from transferkit.files.locations import check_location, is_gguf


def resolve(name: str) -> BackboneSpec:
    """The spec for whatever a user may call a backbone: the declared one, or what the model itself tells.

    Raises:
        ConfigError: no spec, folder, .gguf file or hub id has that name, or see :func:`probe`.
    """
    return declared_spec(name) or probe(name)


def probe(location: str, *, revision: str | None = None) -> BackboneSpec:
    """Spec of the decoder at ``location`` (folder, .gguf file or hub id).

    Raises:
        ConfigError: no config or tokenizer there, or a config without the facts that a decoder has.
    """
    check_location(location)
    check_is_decoder(location)
    config = load_config(location, revision=revision)
    text = config.get_text_config()
    hidden = getattr(text, "hidden_size", None)
    if not isinstance(hidden, int):
        raise ConfigError(f"{location}: its config names no hidden_size, so it is no decoder transferkit can read")
    if getattr(config, "is_encoder_decoder", False):
        raise is_encoder_decoder(location, config.model_type)
    if getattr(text, "vocab_size", None) is None:
        raise reads_no_text(location, config.model_type)
    tokenizer = load_tokenizer(location, revision=revision)
    here = Path(location).resolve() if Path(location).is_dir() else None
    if is_gguf(location):
        here = (
            Path(location).parent.resolve() / Path(location).name
        )  # a link keeps its name: the hub's cache has others
    embedding = getattr(text, "word_embed_proj_dim", None) or getattr(text, "embedding_size", None)
    facts = {
        "name": _name((here.stem if is_gguf(location) else here.name) if here else location.split("/")[-1]),
        "family": _family(text.model_type, hidden, getattr(text, "num_hidden_layers", None)),
        "hub_id": None if here else location,
        "path": str(here) if here else None,
        "revision": revision,
        "model_type": text.model_type,
        "hidden_size": hidden,
        "embedding_size": embedding if isinstance(embedding, int) and embedding != hidden else None,
        "num_layers": getattr(text, "num_hidden_layers", None),
        "max_length": _max_length(text, tokenizer.model_max_length),
        "tokenizer": TokenizerFacts(
            add_bos=opens_with_bos(tokenizer),
            has_pad=tokenizer.pad_token is not None,
            vocab_size=len(tokenizer),
        ),
    }
    return parse(BackboneSpec, facts, where=location)


def spec_yaml(spec: BackboneSpec) -> str:
    """The spec as a YAML file for ``backbones/``; facts that are unknown or at their default are left out."""
    mapping = spec.model_dump(exclude_none=True, exclude_defaults=True)
    return f"# {spec.name}: derived from config and tokenizer; add license and sources.\n{dump_yaml(mapping)}"


def _max_length(config: object, tokenizer_limit: int) -> int | None:
    limits = [getattr(config, key, None) for key in ("max_position_embeddings", "n_positions", "max_seq_len")]
    found = [limit for limit in [*limits, tokenizer_limit] if isinstance(limit, int) and 8 <= limit < 10**7]
    return min(found) if found else None


def _family(model_type: str, hidden_size: int, num_layers: int | None) -> str:
    """The family of a built-in spec of the same shape or architecture, so that its recipes apply; else the latter."""
    known = [spec for spec in all_specs() if not spec.bundled and spec.model_type == model_type]
    alike = {spec.family for spec in known if (spec.hidden_size, spec.num_layers) == (hidden_size, num_layers)}
    families = alike or {spec.family for spec in known}
    return model_type if model_type in families or not families else min(families)


def _name(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-") or "backbone"
