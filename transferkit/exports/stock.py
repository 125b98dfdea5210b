"""A checkpoint as an ordinary decoder folder behind stock modules of sentence-transformers; transferkit is not needed.

Soft tokens become rows of the vocabulary, and what a template puts around a text is put there by the tokenizer. That
the vectors are the checkpoint's is measured, before anything is left on the disk.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from transferkit.config.poolings import STATIC, of_states, parts_of
from transferkit.decoder.loading import input_embeddings, quiet_transformers
from transferkit.decoder.reader import Reader
from transferkit.errors import ConfigError, CutTextWarning, RunError, first_line
from transferkit.exports.folder import write_model_config
from transferkit.exports.requirements import STOCK
from transferkit.files.json import read_json, write_json
from transferkit.methods.on_backbone import BackboneEmbedder
from transferkit.readout.readout import Readout

SAME = 0.9999  # cosine of each measured text's vectors
_HARDLY = 1e-7  # more than what a mean is divided by at least
_ST = "sentence_transformers.models"  # where every version of sentence-transformers finds its stock modules
_PAD_SIDES = ("left", "right")  # right for windows and recurrent layers; right for positions that are counted by slot
_STOCK_POOLINGS = {"last": "lasttoken", "soft": "mean", "mean": "mean", "weighted_mean": "weightedmean", "max": "max"}
_MODES = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
_WORDS = "The card that I ordered last week has not arrived; 2 of 3 others did, in Zürich and 東京"


@dataclass(frozen=True)
class Around:
    """Token ids before and after every text; -1, -2, ... stand for the soft tokens."""

    before: list[int]
    after: list[int]

    def with_soft(self, ids: Sequence[int]) -> "Around":
        """The same with ids for the soft tokens."""
        before, after = ([ids[-one - 1] if one < 0 else one for one in part] for part in (self.before, self.after))
        return Around(before, after)


def write_stock(folder: Path, embedder: BackboneEmbedder, *, instruction: str, merge: bool) -> None:
    """Fill ``folder`` with the decoder, the tokenizer, the modules and what they are told.

    Args:
        folder: exists.
        embedder: its weights may be changed by this.
        instruction: that every text is read with.
        merge: whether adapters are to be merged; else soft tokens are baked.

    Raises:
        ConfigError: a reading that stock modules do not have.
        RunError: other vectors than the checkpoint's.
    """
    check_reading(embedder)
    reader = embedder.reader
    tokenizer = reader.decoder.encoder.tokenizer
    around = ids_around(reader, instruction)
    texts = measured_texts(tokenizer, reader.text_tokens) + ([""] if around.before else [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CutTextWarning)  # one of them is meant to be cut
        expected = embedder.encode(texts, instruction=instruction)
    way_out = "leave --merge and --baked away"
    if reader.decoder.dtype is not torch.float32:  # a readout makes what that rounds larger
        way_out = f"{way_out}, or train with precision=float32: its decoder rounds, and the folder's does not"
    whole = embedder.whole_decoder(instruction)  # from here on its weights may be others
    if whole.merged != merge:
        flag, other = ("--merge", "--baked") if merge else ("--baked", "--merge")
        has = "adapters in its weights" if whole.merged else "no adapters"
        raise ConfigError(f"{embedder.facts.title}: {flag}: it has {has}; give {other} instead")
    soft = torch.zeros(0, reader.decoder.embedding_width) if whole.soft is None else whole.soft
    backend, ids = with_soft_tokens(tokenizer, len(soft))
    around = around.with_soft(ids)
    trunk = with_rows(whole.trunk.float(), soft, ids, scale=reader.decoder.identity.embedding_scale)
    put_around(backend, around, tokenizer)
    length = reader.text_tokens + len(around.before) + len(around.after)
    with quiet_transformers():
        trunk.save_pretrained(folder)
        tokenizer_of(backend, tokenizer, length).save_pretrained(folder)
    rows = input_embeddings(trunk).weight.shape[0]
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": length, "do_lower_case": False})
    write_modules(folder, embedder, rows=rows, soft=ids, bos=reader.decoder.encoder.bos)
    write_model_config(folder, prompts={"query": "", "document": ""}, needs=STOCK)
    _measure(folder, texts, expected, name=embedder.facts.title, way_out=way_out)


def check_reading(embedder: BackboneEmbedder) -> None:
    """Refuse what stock modules cannot say.

    Raises:
        ConfigError: says what, and what to do.
    """
    decoder, title = embedder.backbone, embedder.facts.title
    way_out = "leave --merge and --baked away"
    if STATIC in parts_of(embedder.pooling):
        raise ConfigError(f"{title}: pooling {embedder.pooling!r} reads token embeddings beside states; {way_out}")
    if len(of_states(embedder.pooling)) > 1:
        raise ConfigError(f"{title}: pooling {embedder.pooling!r} reads states of two kinds; {way_out}")
    if embedder.reader.layers > 1:
        raise ConfigError(f"{title}: reads the mean of {embedder.reader.layers} layers; {way_out}")
    if decoder.quantization != "none":
        raise ConfigError(f"{title}: its decoder is computed in 4 bits ({decoder.quantization}); {way_out}")
    if getattr(decoder.trunk.config.get_text_config(), "hidden_size_per_layer_input", 0):
        raise ConfigError(f"{title}: {decoder.spec.name} reads a second embedding in every layer; {way_out}")
    if not isinstance(getattr(decoder.encoder.tokenizer, "backend_tokenizer", None), Tokenizer):
        raise ConfigError(f"{title}: {decoder.spec.name} has no tokenizer.json, which stock modules need; {way_out}")


def measured_texts(tokenizer: PreTrainedTokenizerBase, longest: int) -> list[str]:
    """Short and long texts, one that has to be cut, and one with special tokens in it."""
    words = _WORDS.split()
    special = " ".join(map(str, tokenizer.all_special_tokens[:3]))
    cut = " ".join(words * (1 + longest // len(words)) * 2)
    return ["card", *(" ".join(words[:n]) for n in (2, 5, 11)), _WORDS, f"a {special} card", cut]


def ids_around(reader: Reader, instruction: str) -> Around:
    """What stands around every text, found by comparing the rows of two."""
    pair = ["card", "the weather of last week"]
    rows, soft = reader.rows(pair, [instruction] * 2), [-1 - i for i in range(reader.soft_tokens)]
    marks = soft if reader.template.has_soft else []
    one, other = ([*rows.before[i], *marks, *rows.after[i]] for i in range(2))
    text, text_of_other = rows.texts
    for start in range(len(one) - len(text) + 1):
        before, after = one[:start], one[start + len(text) :]
        if one == [*before, *text, *after] and other == [*before, *text_of_other, *after]:
            return Around(before, after)
    raise ConfigError(
        f"template {reader.template.source!r}: is other tokens beside other texts; leave --merge and --baked away"
    )


def with_soft_tokens(tokenizer: PreTrainedTokenizerBase, count: int) -> tuple[Tokenizer, list[int]]:
    """A copy of the tokenizer with ``count`` further tokens, and their ids."""
    backend = Tokenizer.from_str(getattr(tokenizer, "backend_tokenizer").to_str())  # noqa: B009 - untyped upstream
    backend.no_truncation()
    backend.no_padding()
    names = [f"<transferkit_soft_{i}>" for i in range(1, count + 1)]
    backend.add_special_tokens([AddedToken(name, special=True) for name in names])
    return backend, [int(backend.token_to_id(name) or 0) for name in names]


def with_rows(trunk: PreTrainedModel, soft: Tensor, ids: Sequence[int], *, scale: float) -> PreTrainedModel:
    """The trunk with soft tokens (k, d_e) as rows of its embedding, which are read times ``scale``."""
    if ids:
        with quiet_transformers():
            if max(ids) >= input_embeddings(trunk).weight.shape[0]:
                trunk.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
        with torch.no_grad():
            input_embeddings(trunk).weight[list(ids)] = soft.float() / scale
    return trunk


def put_around(backend: Tokenizer, around: Around, tokenizer: PreTrainedTokenizerBase) -> None:
    """Let the tokenizer put these ids around every text."""

    def piece(name: str, ids: list[int]) -> dict[str, Any]:
        tokens = [str(backend.id_to_token(one)) for one in ids]
        return {"id": name, "ids": ids, "tokens": tokens}

    pieces = [piece(name, ids) for name, ids in (("before", around.before), ("after", around.after)) if ids]
    order = [*(["before"] if around.before else []), "$A", *(["after"] if around.after else [])]
    backend.post_processor = TemplateProcessing(single=" ".join(order), special_tokens=pieces)


def tokenizer_of(backend: Tokenizer, like: PreTrainedTokenizerBase, length: int) -> PreTrainedTokenizerFast:
    """What is saved: special tokens in a user's text are text, and something pads."""
    named = {f"{name}_token": getattr(like, f"{name}_token", None) for name in ("bos", "eos", "unk", "pad")}
    named["pad_token"] = named["pad_token"] or named["eos_token"] or named["unk_token"] or backend.id_to_token(0)
    options = {name: token for name, token in named.items() if token is not None}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        split_special_tokens=True,
        padding_side=_PAD_SIDES[0],
        truncation_side="right",
        model_max_length=length,
        **options,
    )


def write_modules(folder: Path, embedder: BackboneEmbedder, *, rows: int, soft: Sequence[int], bos: list[int]) -> None:
    """``modules.json``, and a folder for each module that is told something."""
    width, (states,) = embedder.backbone.output_width, of_states(embedder.pooling)  # the reading was checked
    modules: list[tuple[str, dict[str, Any]]] = []
    weights = _weights(states, soft=soft, bos=bos)
    if weights is not None:
        listed, others = weights
        own = {str(one): weight for one, weight in listed.items()}
        modules.append(
            ("WordWeights", {"vocab": [*map(str, range(rows))], "word_weights": own, "unknown_word_weight": others})
        )
    mode = _STOCK_POOLINGS[states]
    chosen = next(one for one in _MODES if one.removesuffix("_tokens") == mode)
    modes = {f"pooling_mode_{one}": one == chosen for one in _MODES}
    modules.append(("Pooling", {"word_embedding_dimension": width, **modes, "include_prompt": True}))
    readout = embedder.readout
    if readout.kind != "none":
        modules += [("Normalize", {}), ("Dense", _dense(readout))]
    modules.append(("Normalize", {}))
    listing = [{"idx": 0, "name": "0", "path": "", "type": f"{_ST}.Transformer"}]
    for number, (kind, config) in enumerate(modules, start=1):
        path = f"{number}_{kind}"
        listing.append({"idx": number, "name": str(number), "path": path, "type": f"{_ST}.{kind}"})
        if config:
            (folder / path).mkdir()
            write_json(folder / path / "config.json", config)
        if kind == "Dense":
            save_file(_dense_weights(readout), folder / path / "model.safetensors")
    write_json(folder / "modules.json", listing)


def _weights(states: str, *, soft: Sequence[int], bos: list[int]) -> tuple[dict[int, float], float] | None:
    """Weights of some tokens and of all others in a mean; None: the pooling needs none.

    BOS counts where it stands alone, and hardly beside anything else.
    """
    if states == "soft":
        return dict.fromkeys(soft, 1.0), 0.0
    return ({bos[0]: _HARDLY}, 1.0) if states == "mean" and bos else None


def _dense(readout: Readout) -> dict[str, Any]:
    width = len(readout.mean)
    identity = "torch.nn.modules.linear.Identity"
    return {"in_features": width, "out_features": width, "bias": True, "activation_function": identity}


def _dense_weights(readout: Readout) -> dict[str, Tensor]:
    """(x - mean) M as x M - mean M."""
    mean = readout.mean.cpu()
    matrix = readout.matrix.cpu() if readout.matrix.numel() else torch.eye(len(mean))
    return {"linear.weight": matrix.T.contiguous(), "linear.bias": -(mean @ matrix).contiguous()}


def _measure(folder: Path, texts: list[str], expected: np.ndarray, *, name: str, way_out: str) -> None:
    """Keep the side of padding on which sentence-transformers gives the expected vectors.

    Raises:
        RunError: neither.
    """
    found = []
    for side in _PAD_SIDES:
        file = folder / "tokenizer_config.json"
        write_json(file, read_json(file) | {"padding_side": side})
        found.append(_lowest_cosine(folder, texts, expected))
        if found[-1] >= SAME:
            return
    raise RunError(
        f"{name}: stock modules give other vectors than the checkpoint (lowest cosine of {len(texts)} texts "
        f"{max(found):.5f}, expected {SAME}); {way_out}"
    )


def _lowest_cosine(folder: Path, texts: list[str], expected: np.ndarray) -> float:
    from sentence_transformers import SentenceTransformer  # seconds

    try:
        with quiet_transformers():
            model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
            vectors = model.encode(texts, show_progress_bar=False)
    except Exception as error:  # whatever the libraries do not take
        raise RunError(f"stock modules do not read it ({first_line(error)}); leave --merge and --baked away") from None
    return float((vectors * expected).sum(axis=1).min())
