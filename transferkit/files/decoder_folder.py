"""Whether the model in a local folder is a decoder, by its config.json alone: found before any library is loaded."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from transferkit.errors import ConfigError
from transferkit.files.encoder_folder import is_encoder

# Model types of transformers whose texts see what comes after a token too, unless their config says is_decoder.
_BOTH_WAYS = (
    "albert align altclip bert big_bird bros camembert canine chinese_clip clip clip_text_model convbert data2vec-text "
    "deberta deberta-v2 distilbert dpr electra ernie esm esmc eurobert flaubert fnet funnel gte ibert "
    "jina_embeddings_v3 layoutlm layoutlmv2 layoutlmv3 lilt longformer luke markuplm megatron-bert metaclip_2 "
    "mobilebert modernbert modernvbert mpnet mra neomme nomic_bert nystromformer perceiver reformer rembert roberta "
    "roberta-prelayernorm roc_bert roformer siglip siglip2 siglip_text_model splinter squeezebert t5gemma2_encoder "
    "tapas tipsv2 tipsv2_text_model ultrabert ultravbert visual_bert xlm xlm-roberta xlm-roberta-xl xmod yoso"
)
BOTH_WAYS = frozenset(_BOTH_WAYS.split())
_OF_PICTURES_AND_SOUND = ("image_size", "patch_size", "num_mel_bins", "num_channels")
_EXPECTED = "expected a decoder, such as those of `transferkit backbones list`"


def check_is_decoder(location: str) -> None:
    """Refuse what the config.json of a local folder says is no decoder; of all else only loading tells.

    Raises:
        ConfigError: an encoder, an encoder-decoder, or a model that reads no text; says what to do with it instead.
    """
    folder = Path(location)
    config: Any = None
    with suppress(OSError, ValueError, RecursionError):  # a damaged one is told when it is loaded
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        if is_encoder(location) and not (folder / "config.json").is_file():
            raise _is_encoder(location, "a folder of sentence-transformers")
        return
    kind = config.get("model_type")
    if config.get("is_encoder_decoder"):
        raise is_encoder_decoder(location, kind)
    if isinstance(kind, str) and kind in BOTH_WAYS and not config.get("is_decoder"):
        raise _is_encoder(location, str(kind))
    # A composite keeps what it says of its text part in a section of its own.
    reads_text = any("vocab_size" in one for one in (config, *(part for part in config.values() if _section(part))))
    if not reads_text and any(key in config for key in _OF_PICTURES_AND_SOUND):
        raise reads_no_text(location, kind)


def is_encoder_decoder(location: str, kind: object) -> ConfigError:
    """The error for a model of both parts."""
    return ConfigError(
        f"{location}: an encoder-decoder ({kind}), whose decoder reads what its encoder made of a text; {_EXPECTED}"
    )


def reads_no_text(location: str, kind: object) -> ConfigError:
    """The error for a model of pictures or sound."""
    return ConfigError(f"{location}: a model that reads no text ({kind}, without a vocabulary); {_EXPECTED}")


def _is_encoder(location: str, kind: str) -> ConfigError:
    if is_encoder(location):
        instead = f"`transferkit baseline RECIPE --method encoder --target {location}`"
    else:
        instead = (
            f"save it as one of sentence-transformers, `SentenceTransformer({location!r}).save(FOLDER)`, and give that "
            "to `transferkit baseline RECIPE --method encoder --target FOLDER`"
        )
    return ConfigError(
        f"{location}: an encoder ({kind}) and no decoder: its tokens see what comes after them, so soft tokens have no "
        f"place of their own in it; {_EXPECTED}; to be compared with it: {instead}"
    )


def _section(part: object) -> bool:
    return isinstance(part, dict)
