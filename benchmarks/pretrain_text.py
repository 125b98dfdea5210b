"""Text of the pretraining: parquet documents -> byte-level BPE -> token memmap -> training windows."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pydantic import model_validator
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from transferkit.config.schema import Strict
from transferkit.errors import ConfigError
from transferkit.files.json import read_json, write_json, write_text

_PIECE_CHARACTERS = 20_000  # long documents enter the vocabulary sample in pieces, so that none fills it alone


class TextConfig(Strict):
    """What is read, how it is cut, and how often.

    Attributes:
        weights: Share of the training windows by file stem; normalised to sum to 1.
        heldout: File stem of the text that is only ever measured on.
        vocab_size: Rows of the vocabulary, special tokens included.
        sample_bytes: UTF-8 bytes of training text that the vocabulary is learned from.
        bos: Token that opens every window, or None.
        eos: Token that closes every document.
        pad: Padding token; may be the same as ``eos``.
        context: Tokens of a window.
        heldout_bytes: Bytes of held-out text for the measurements during training; the last one reads all.
    """

    weights: dict[str, float]
    heldout: str
    vocab_size: int
    sample_bytes: int
    bos: str | None
    eos: str
    pad: str
    context: int
    heldout_bytes: int

    @model_validator(mode="after")
    def _check(self) -> "TextConfig":
        if not self.weights or min(self.weights.values()) <= 0:
            raise ValueError(f"weights: got {self.weights!r}; name one file at least, with a weight above 0")
        for stem in self.weights:
            if stem == self.heldout or stem.startswith("heldout"):
                raise ValueError(f"weights: {stem!r} is held-out text and is never trained on; remove it")
        if not 256 < self.vocab_size <= 2**16:
            raise ValueError(f"vocab_size: got {self.vocab_size}; allowed are 257 to 65536 (tokens are uint16)")
        return self

    @property
    def special_tokens(self) -> list[str]:
        """Special tokens in the order of their ids, each once."""
        return list(dict.fromkeys(token for token in (self.pad, self.bos, self.eos) if token is not None))


def read_documents(corpus: Path, stem: str) -> list[str]:
    """Texts of one parquet file, one document a row.

    Raises:
        ConfigError: The file or its ``text`` column is missing.
    """
    path = corpus / f"{stem}.parquet"
    if not path.is_file():
        known = sorted(file.stem for file in corpus.glob("*.parquet"))
        raise ConfigError(f"--corpus: {path} does not exist; the folder holds {known}")
    if "text" not in pq.read_schema(path).names:
        raise ConfigError(f"--corpus: {path} has no column 'text'")
    texts: list[str] = pq.read_table(path, columns=["text"])["text"].to_pylist()
    return texts


def _sample(corpus: Path, config: TextConfig, seed: int) -> Iterator[str]:
    """Pieces of training text in the proportions of the weights, in a fixed random order."""
    total = sum(config.weights.values())
    for number, (stem, weight) in enumerate(config.weights.items()):
        texts = read_documents(corpus, stem)
        budget = config.sample_bytes * weight / total
        for row in np.random.default_rng([seed, number]).permutation(len(texts)):
            if budget <= 0:
                break
            piece = texts[row][:_PIECE_CHARACTERS]
            budget -= len(piece.encode())
            yield piece


def train_tokenizer(corpus: Path, config: TextConfig, *, seed: int) -> Tokenizer:
    """A byte-level BPE vocabulary learned from a weighted sample of the training text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=config.special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sample(corpus, config, seed), trainer=trainer)
    return tokenizer


def prepare(corpus: Path, work: Path, *, config: TextConfig, seed: int) -> None:
    """Write ``tokens.bin``, ``tokenizer.json`` and last ``index.json``, unless that is there."""
    if (work / "index.json").is_file():
        return
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(corpus, config, seed=seed)
    tokenizer.encode_special_tokens = True  # a document that spells "</s>" does not end there
    spans: dict[str, list[int]] = {}
    heldout_bytes = 0
    heldout_sample: tuple[int, int] | None = None
    with (work / "tokens.bin").open("wb") as out:
        for stem in [*config.weights, config.heldout]:
            start = out.tell() // 2
            for text in read_documents(corpus, stem):
                ids = [
                    *tokenizer.encode(text, add_special_tokens=False).ids,
                    tokenizer.token_to_id(config.eos),
                ]
                np.asarray(ids, dtype=np.uint16).tofile(out)
                if stem == config.heldout:
                    heldout_bytes += len(text.encode())
                    if heldout_sample is None and heldout_bytes >= config.heldout_bytes:
                        heldout_sample = (out.tell() // 2 - start, heldout_bytes)
            spans[stem] = [start, out.tell() // 2]
    tokenizer.encode_special_tokens = False
    write_text(work / "tokenizer.json", tokenizer.to_str(pretty=True))
    all_heldout = (spans[config.heldout][1] - spans[config.heldout][0], heldout_bytes)
    index = {"spans": spans, "heldout_sample": heldout_sample or all_heldout, "heldout_all": all_heldout}
    write_json(work / "index.json", index)


class Windows:
    """Training batches, each a pure function of its step: what a killed run needs to go on is one number.

    A file's windows are drawn without repetition until all have been seen, then in a new order.

    Args:
        work: Folder that ``prepare`` wrote.
        config: The same as ``prepare`` had.
        steps: Batches in all.
        batch_size: Windows a batch.
        seed: Of the order.

    Raises:
        ConfigError: A file is shorter than one window.
    """

    def __init__(self, work: Path, *, config: TextConfig, steps: int, batch_size: int, seed: int) -> None:
        spans = read_json(work / "index.json")["spans"]
        self.tokens = np.memmap(work / "tokens.bin", dtype=np.uint16, mode="r")
        self.context, self.batch_size = config.context, batch_size
        tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
        self.bos_id = None if config.bos is None else tokenizer.token_to_id(config.bos)
        weights = np.array(list(config.weights.values()))
        drawn = np.random.default_rng(seed).choice(len(weights), size=steps * batch_size, p=weights / weights.sum())
        self.starts = np.empty(len(drawn), dtype=np.int64)
        for number, stem in enumerate(config.weights):
            start, end = spans[stem]
            windows = (end - start - 1) // config.context
            if windows < 1:
                raise ConfigError(f"text.weights: {stem!r} has {end - start} tokens, less than one window; remove it")
            places = np.flatnonzero(drawn == number)
            passes = range(-(-len(places) // windows))
            orders = [np.random.default_rng([seed, number, turn]).permutation(windows) for turn in passes]
            order = np.concatenate(orders) if orders else np.empty(0, dtype=np.int64)
            self.starts[places] = start + order[: len(places)] * config.context

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and next-token targets of a step, both (batch_size, context) int64."""
        starts = self.starts[step * self.batch_size : (step + 1) * self.batch_size]
        rows = np.stack([self.tokens[start : start + self.context + 1] for start in starts]).astype(np.int64)
        return inputs_and_targets(rows, self.bos_id)


def inputs_and_targets(rows: np.ndarray, bos_id: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Windows (n, context + 1) as inputs and next tokens; a BOS token comes first, the last token goes."""
    if bos_id is None:
        return rows[:, :-1], rows[:, 1:]
    opened = np.concatenate([np.full((len(rows), 1), bos_id, dtype=np.int64), rows[:, :-1]], axis=1)
    return opened[:, :-1], opened[:, 1:]


def heldout_windows(work: Path, *, text: TextConfig, everything: bool) -> tuple[np.ndarray, int]:
    """Inputs and targets (2, n, context) of the held-out text, and the UTF-8 bytes of that text.

    Every token is a target once. A last window that is not full is left out, and the byte count shrinks in
    proportion.
    """
    index = read_json(work / "index.json")
    start, _ = index["spans"][text.heldout]
    token_count, byte_count = index["heldout_all" if everything else "heldout_sample"]
    tokens = np.memmap(work / "tokens.bin", dtype=np.uint16, mode="r")[start : start + token_count]
    count = (token_count - 1) // text.context
    places = np.arange(count)[:, None] * text.context + np.arange(text.context + 1)[None]
    rows = tokens[places].astype(np.int64)
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    bos_id = None if text.bos is None else tokenizer.token_to_id(text.bos)
    return np.stack(inputs_and_targets(rows, bos_id)), round(byte_count * count * text.context / token_count)
