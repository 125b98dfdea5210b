"""Embedding files: vectors and their order in every format, resuming, standard input, and what is refused."""

import csv
import io
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.parts import TEXTS, counted_texts, prompt_embedder
from helpers.tiny import Tiny
from rich.console import Console
from zoo import WORDS

from transferkit.checkpoints.checkpoint import load, save
from transferkit.embed import files as embed_files
from transferkit.embed.files import BATCHES_PER_BLOCK, embed_blocks, embed_file
from transferkit.errors import ConfigError, RunError
from transferkit.files.lock import sole_use
from transferkit.files.vectors.origin import Origin, note_file
from transferkit.files.vectors.precision import Precision
from transferkit.files.vectors.reading import read_vectors
from transferkit.files.vectors.writing import VectorFile
from transferkit.methods.base import Embedder
from transferkit.readout.fit import Fitter
from transferkit.readout.readout import Readout, Settings

BLOCK = 2 * BATCHES_PER_BLOCK  # texts, at the batch size used here
NPY = ["vectors.npy", "vectors.npy.json"]  # what an output leaves
ORIGIN = Origin(embedder="a", side="query", instruction="", readout="none", input="texts")


@pytest.fixture(scope="module")
def checkpoint(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    embedder = prompt_embedder(tiny)
    vectors = embedder.pooled(TEXTS, [""] * len(TEXTS), batch_size=4)
    embedder.readout = Fitter(vectors).fit(Settings("whiten", ridge=0.1))
    folder = tmp_path_factory.mktemp("saved") / "checkpoint"
    save(embedder, folder, instructions={})
    return folder


@pytest.fixture(autouse=True)
def load_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading is tested elsewhere and takes longer than all that is tested here."""
    monkeypatch.setattr(embed_files, "load", _load_once)


@cache
def _load_once(folder: Path, *, backbone: str | None = None, **opening: Any) -> Embedder:
    return load(folder, backbone=backbone, **opening)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Two and a half blocks, all different, of 2 to 9 words; one holds what files must quote."""
    rng = np.random.default_rng(0)
    rows = [f"{' '.join(rng.choice(WORDS, size=rng.integers(1, 8)))} {i}" for i in range(BLOCK * 5 // 2)]
    rows[3] = 'a "red, cat"\tsaw \u2028 übers 雨'
    return rows


@pytest.fixture(scope="module")
def expected(checkpoint: Path, texts: list[str]) -> np.ndarray:
    return _load_once(checkpoint, backbone=None, device="cpu").encode(texts, instruction="see", batch_size=3)


def embed(checkpoint: Path, source: Path | str, out: Path, **options: Any) -> int:
    defaults: dict[str, Any] = {
        "instruction": "see",
        "batch_size": 2,
        "device": "cpu",
        "console": Console(quiet=True),
    }
    return embed_file(checkpoint, str(source), out, **(defaults | options))


def write(folder: Path, suffix: str, texts: list[str]) -> Path:
    """``texts`` as a file of every kind that is read; columns are called ``id`` and ``body``."""
    path = folder / f"texts{suffix}"
    match suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps({"id": i, "body": text}) + "\n" for i, text in enumerate(texts)))
        case ".parquet":
            pd.DataFrame({"id": range(len(texts)), "body": texts}).to_parquet(path)
        case ".csv" | ".tsv":
            with path.open("w", encoding="utf-8-sig", newline="") as file:
                writer = csv.writer(file, delimiter="\t" if suffix == ".tsv" else ",")
                writer.writerows([["id", "body"], *([i, text] for i, text in enumerate(texts))])
        case _:
            path.write_bytes("".join(f"{text}\r\n" for text in texts).encode())
    return path


def read(out: Path) -> tuple[list[str] | None, np.ndarray]:
    """Texts and vectors of an output, read by other libraries."""
    if out.suffix == ".npy":
        return None, np.load(out)
    frame = pd.read_parquet(out) if out.suffix == ".parquet" else pd.read_json(out, lines=True)
    assert list(frame.columns) == ["text", "vector"]
    return list(frame["text"]), np.stack([np.asarray(v, dtype=np.float32) for v in frame["vector"]])


@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".csv", ".tsv", ".parquet"])
def test_every_input_gives_the_vectors_of_encode_in_order(
    suffix: str, checkpoint: Path, texts: list[str], expected: np.ndarray, tmp_path: Path
) -> None:
    out = tmp_path / "vectors.npy"
    assert embed(checkpoint, write(tmp_path, suffix, texts), out, column="body") == len(texts)
    vectors = np.load(out)
    assert vectors.dtype == np.float32
    assert vectors.shape == expected.shape
    assert np.abs(vectors - expected).max() <= 1e-6
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"texts{suffix}", *NPY])


@pytest.mark.parametrize("suffix", [".npy", ".jsonl", ".parquet"])
def test_every_output_holds_the_vectors_and_texts_in_order(
    suffix: str, checkpoint: Path, texts: list[str], expected: np.ndarray, tmp_path: Path
) -> None:
    out = tmp_path / f"vectors{suffix}"
    embed(checkpoint, write(tmp_path, ".txt", texts), out)
    found, vectors = read(out)
    assert found in (None, texts)
    assert np.abs(vectors - expected).max() <= 1e-6


def test_the_outputs_folder_is_made_with_the_first_block(checkpoint: Path, texts: list[str], tmp_path: Path) -> None:
    source, out = write(tmp_path, ".txt", texts), tmp_path / "new" / "folder" / "vectors.npy"
    with failing_block(1, SystemError("killed")), pytest.raises(SystemError):
        embed(checkpoint, source, out)
    assert not (tmp_path / "new").exists()
    assert embed(checkpoint, source, out) == len(texts)
    assert sorted(path.name for path in out.parent.iterdir()) == NPY


def test_npy_is_what_numpy_itself_would_save(checkpoint: Path, texts: list[str], tmp_path: Path) -> None:
    out = tmp_path / "vectors.npy"
    embed(checkpoint, write(tmp_path, ".txt", texts), out)
    buffer = io.BytesIO()
    np.save(buffer, np.load(out))
    assert buffer.getvalue() == out.read_bytes()


@contextmanager
def failing_block(number: int, error: BaseException) -> Iterator[None]:
    """The ``number``-th call of encode raises, as a kill or a full device would stop it."""
    calls = iter(range(1, 1000))
    encode = Embedder.encode

    def failing(self: Embedder, *args: Any, **options: Any) -> np.ndarray:
        if next(calls) == number:
            raise error
        return encode(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Embedder, "encode", failing)
        yield


@pytest.mark.parametrize("suffix", [".npy", ".jsonl", ".parquet"])
def test_resumed_file_equals_the_uninterrupted_one_byte_for_byte(
    suffix: str, checkpoint: Path, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path, ".txt", texts)
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"resumed{suffix}"
    embed(checkpoint, source, whole)
    with failing_block(2, SystemError("killed")), pytest.raises(SystemError):
        embed(checkpoint, source, out)
    part = tmp_path / f".resumed{suffix}.part"
    assert not out.exists()
    with part.open("ab") as file:
        file.write(b"half of a block that the kill left")
    blocks = counted_texts(monkeypatch)
    assert embed(checkpoint, source, out, resume=True) == len(texts)
    assert blocks == [BLOCK, len(texts) - 2 * BLOCK]  # the first block is not embedded again
    assert out.read_bytes() == whole.read_bytes()
    notes = [] if suffix == ".parquet" else [note_file(whole), note_file(out)]
    assert sorted(tmp_path.iterdir()) == sorted([source, whole, out, *notes])
    assert len({note.read_bytes() for note in notes}) <= 1


@pytest.mark.parametrize(("suffix", "precision"), [(".npy", "ubinary"), (".parquet", "int8")])
def test_cut_vectors_in_fewer_bits_survive_a_kill_byte_for_byte(
    suffix: str, precision: Precision, checkpoint: Path, texts: list[str], expected: np.ndarray, tmp_path: Path
) -> None:
    source, options = write(tmp_path, ".txt", texts), {"truncate_dim": 20, "precision": precision}
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"resumed{suffix}"
    embed(checkpoint, source, whole, **options)
    with failing_block(2, SystemError("killed")), pytest.raises(SystemError):
        embed(checkpoint, source, out, **options)
    for other, says in (
        ({"precision": "float32"}, rf"\(precision: {precision}, now float32\)"),
        ({"truncate_dim": None}, r"\(truncate_dim: 20, now none\)"),
    ):
        with pytest.raises(ConfigError, match=f"was begun with other settings {says}"):
            embed(checkpoint, source, out, resume=True, **(options | other))
    embed(checkpoint, source, out, resume=True, **options)
    assert out.read_bytes() == whole.read_bytes()
    found = read_vectors(out, where="")[1]
    cut = expected[:, :20] / np.linalg.norm(expected[:, :20], axis=1, keepdims=True)
    cosines = (found * cut).sum(1) / np.linalg.norm(found, axis=1)
    assert cosines.min() > (0.6 if precision == "ubinary" else 0.999)
    assert suffix == ".parquet" or note_file(out).read_bytes() == note_file(whole).read_bytes()


def test_a_cut_that_there_is_not_and_a_precision_that_there_is_not(
    checkpoint: Path, sided: Path, texts: list[str], tmp_path: Path
) -> None:
    said = Console(record=True, file=io.StringIO())
    source, out = write(tmp_path, ".txt", texts), tmp_path / "vectors.npy"
    with pytest.raises(ConfigError, match="--truncate-dim: expected a whole number from 1 to 48, the vectors'"):
        embed(sided, source, out, instruction=None, truncate_dim=49, console=said)
    assert not said.export_text()  # nor which side the texts are taken for
    with pytest.raises(ConfigError, match=r"^--precision: expected one of float32, .*, got 'int4'"):
        embed(checkpoint, source, out, precision="int4")
    assert list(tmp_path.iterdir()) == [source]


def test_texts_that_the_first_ones_did_not_foresee_are_said(checkpoint: Path, texts: list[str], tmp_path: Path) -> None:
    """The first block holds one text alone, over and over."""
    source = write(tmp_path, ".txt", ["a red cat"] * BLOCK + texts[:BLOCK])
    said = Console(record=True, file=io.StringIO(), width=400)
    embed(checkpoint, source, tmp_path / "vectors.npy", precision="int8", console=said)
    assert re.search(
        r"warning: \d\d\.\d% of the numbers lie outside of the ranges that the first texts gave, and int8 cuts them "
        r"there; embed texts in random order, or with --precision float16",
        said.export_text(),
    )
    said = Console(record=True, file=io.StringIO(), width=400)
    embed(checkpoint, write(tmp_path, ".txt", texts[:BLOCK]), tmp_path / "other.npy", precision="int8", console=said)
    assert "outside of the ranges" not in said.export_text()


def test_resume_without_a_part_starts_afresh(checkpoint: Path, texts: list[str], tmp_path: Path) -> None:
    out = tmp_path / "vectors.npy"
    assert embed(checkpoint, write(tmp_path, ".txt", texts), out, resume=True) == len(texts)


def test_resume_with_anything_else_is_refused(
    checkpoint: Path, tiny: Tiny, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write(tmp_path, ".txt", texts), tmp_path / "vectors.npy"
    with failing_block(2, SystemError("killed")), pytest.raises(SystemError):
        embed(checkpoint, source, out)
    other = tmp_path / "other"
    save(prompt_embedder(tiny, pooling="mean"), other, instructions={})
    before = (tmp_path / ".vectors.npy.part").read_bytes()
    way_out = "give the same command and --resume to go on, or remove it to start again$"
    with pytest.raises(ConfigError, match=rf"begun with other settings \(checkpoint\); {way_out}"):
        embed(other, source, out, resume=True)
    with pytest.raises(ConfigError, match=r"begun with other settings \(instruction: 'see', now '', input\);"):
        embed(checkpoint, write(tmp_path, ".jsonl", texts), out, resume=True, instruction="", column="body")
    source.write_text("\n".join(texts[::-1]))
    with pytest.raises(ConfigError, match=r"begun with other settings \(input\);"):
        embed(checkpoint, source, out, resume=True)
    assert (tmp_path / ".vectors.npy.part").read_bytes() == before


def test_existing_output_or_part_is_refused_and_kept(
    checkpoint: Path, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write(tmp_path, ".txt", texts), tmp_path / "vectors.npy"
    with failing_block(2, SystemError("killed")), pytest.raises(SystemError):
        embed(checkpoint, source, out)
    with pytest.raises(ConfigError, match=r"\(\.vectors\.npy\.part\); go on with --resume, or remove it"):
        embed(checkpoint, source, out)
    out.write_text("mine")
    for resume in (False, True):
        with pytest.raises(ConfigError, match="exists already; remove it or choose another name"):
            embed(checkpoint, source, out, resume=resume)
    assert out.read_text() == "mine"


def standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_standard_input_and_resuming_it(
    checkpoint: Path, texts: list[str], expected: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, content = tmp_path / "vectors.npy", "\n".join(texts).encode()
    standard_input(monkeypatch, content)
    with failing_block(3, SystemError("killed")), pytest.raises(SystemError):
        embed(checkpoint, "-", out)
    standard_input(monkeypatch, b"fewer\ntexts\n")
    with pytest.raises(ConfigError, match=f"holds {2 * BLOCK} vectors, the input 2 texts"):
        embed(checkpoint, "-", out, resume=True)
    standard_input(monkeypatch, content)
    assert embed(checkpoint, "-", out, resume=True) == len(texts)
    assert np.abs(np.load(out) - expected).max() <= 1e-6
    standard_input(monkeypatch, b"")
    with pytest.raises(ConfigError, match="standard input: holds no texts"):
        embed(checkpoint, "-", tmp_path / "none.npy")
    assert sorted(path.name for path in tmp_path.iterdir()) == NPY


def test_no_more_than_one_block_is_read_ahead(tmp_path: Path) -> None:
    class Lengths(Embedder):
        def encode(self, texts: Any, **_: Any) -> np.ndarray:
            return np.array([[len(text)] for text in texts], dtype=np.float32)

    read_so_far = 0

    def rows() -> Iterator[str]:
        nonlocal read_so_far
        for i in range(5000):
            read_so_far += 1
            yield "x" * (i % 7)

    file = VectorFile(tmp_path / "lengths.npy", identity={})
    ahead = 0
    for done in embed_blocks(Lengths(Readout.plain(1)), rows(), file, instruction="", batch_size=8):
        ahead = max(ahead, read_so_far - done)
        assert read_so_far - (done - 8 * BATCHES_PER_BLOCK) <= 8 * BATCHES_PER_BLOCK or done == 5000
    file.finish(ORIGIN)
    assert ahead == 0  # a block is read when the one before is on disk
    assert np.load(tmp_path / "lengths.npy")[:, 0].tolist() == [i % 7 for i in range(5000)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"a cat\n\nno\n", r"a\.txt, line 2: expected a text, got a blank line"),
        ("a.txt", b"a cat\n\xff\n", r"a\.txt: cannot be read as UTF-8 \(line 2: .*; save the file as UTF-8$"),
        ("a.txt", b"", r"a\.txt: holds no texts"),
        ("a.json", b"[]", r"\.json cannot be read row by row"),
        ("a.ndjson", b'{"text": "no"}\n', r"\.ndjson cannot be read row by row; expected \.jsonl"),
        ("a.tab", b"id\ttext\n1\tno\n", r"\.tab cannot be read row by row"),
        ("a.txt", "a cat\nno\n".encode("utf-16-le"), r"a\.txt, line 1: expected text, got a NUL character"),
        ("a.jsonl", b'{"text": "no"}\n{"text"\n', r"a\.jsonl: cannot be read as jsonl \(row 2: "),
        ("a.jsonl", b"[1]\n", r"a\.jsonl, row 1: expected a JSON object, got a list"),
        ("a.jsonl", b'{"text": "no"}\n{"Text": "no"}\n', r"row 2: no column 'text'; did you mean 'Text'\?"),
        ("a.jsonl", b'{"text": null}\n', r"row 1, column 'text': expected text, got null"),
        ("a.jsonl", b'{"text": 3}\n', r"row 1, column 'text': expected text, got int 3"),
        (
            "a.jsonl",
            b'{"text": " "}\n',
            r"row 1, column 'text': expected text, got only blanks \(' '\); correct or remove",
        ),
        ("a.jsonl", b'{"text": "\\ud800"}\n', r"got half of a surrogate pair"),
        (
            "a.csv",
            b"id,txt\n1,no\n",
            r"a\.csv: no column 'text'; did you mean 'txt'\? \(columns there: id, txt;",
        ),
        ("a.csv", b"", r"a\.csv: the file is empty, expected a header with a column 'text'$"),
        ("a.csv", b'id,text\n1,no\n2,"no\n3,no\n', r"a\.csv, row 2: a quote opens there and is not closed; close it"),
        ("a.csv", b'id,"text\n1,no\n', r"a\.csv, header: a quote opens there and is not closed; close it"),
        ("a.tsv", b'id\ttext\n1\t"n"o\n', r"a\.tsv, row 1: not valid tsv \("),
        ("a.csv", b"text\n\xff\n", r"a\.csv: cannot be read as UTF-8 \(.*; save the file as UTF-8$"),
        ("a.csv", b"id,text\n1,no\n2\n", r"row 2: expected 2 fields as in the header, got 1"),
        (
            "a.csv",
            b"text\nno\n\nno\n",
            r"row 2, column 'text': expected text, got an empty value; correct or remove the row",
        ),
        ("a.tsv", b"id\ttext\n1\t\n", r"row 1, column 'text': expected text, got an empty value"),
        ("a.parquet", b"PAR1", r"a\.parquet: cannot be read as parquet"),
    ],
)
def test_bad_rows_are_named_before_the_model_is_loaded(
    name: str, content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = tmp_path / name, tmp_path / "checkpoint"
    path.write_bytes(content)
    folder.mkdir()
    monkeypatch.delattr(embed_files, "load")
    with pytest.raises(ConfigError, match=message):
        embed(folder, path, tmp_path / "vectors.npy")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "checkpoint"])


def test_null_in_parquet_is_named(tmp_path: Path) -> None:
    path, folder = tmp_path / "a.parquet", tmp_path / "checkpoint"
    pd.DataFrame({"text": ["no", None]}).to_parquet(path)
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"a\.parquet, row 2, column 'text': expected text, got null"):
        embed(folder, path, tmp_path / "vectors.npy")
    with pytest.raises(ConfigError, match=r"a\.parquet: no column 'body'"):
        embed(folder, path, tmp_path / "vectors.npy", column="body")


def test_trailing_blank_lines_of_a_csv_are_no_rows(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\nno\n\n\n")
    assert embed(checkpoint, tmp_path / "a.csv", tmp_path / "vectors.npy") == 1


def test_wrong_arguments_are_refused_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(embed_files, "load")
    source, folder = tmp_path / "a.txt", tmp_path / "checkpoint"
    source.write_text("no\n")
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"expected a file ending in \.npy, \.jsonl, \.parquet, got '\.txt'"):
        embed(folder, source, tmp_path / "vectors.txt")
    with pytest.raises(ConfigError, match=r"a\.txt: cannot write there \(.* is a file\); choose another with --out"):
        embed(folder, source, source / "vectors.npy")
    with pytest.raises(ConfigError, match=r"none\.txt: no such file"):
        embed(folder, tmp_path / "none.txt", tmp_path / "vectors.npy")
    with pytest.raises(ConfigError, match="no such checkpoint or run folder"):
        embed(tmp_path / "none", source, tmp_path / "vectors.npy")
    with pytest.raises(ConfigError, match="--device abacus: not to be had here"):
        embed(folder, source, tmp_path / "vectors.npy", device="abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--device cuda: not to be had here"):
        embed(tmp_path, "-", tmp_path / "vectors.npy", device="cuda")


def test_full_memory_and_bad_vectors_keep_what_was_done(
    checkpoint: Path, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write(tmp_path, ".txt", texts), tmp_path / "vectors.npy"
    with (
        failing_block(2, torch.OutOfMemoryError("full")),
        pytest.raises(
            RunError,
            match=f"the {BLOCK} vectors before are kept, go on with the same command and --resume, at --batch-size 1",
        ),
    ):
        embed(checkpoint, source, out)
    with monkeypatch.context() as patch:
        patch.setattr(Embedder, "encode", lambda self, texts, **_: np.full((len(texts), 48), np.nan, np.float32))
        with pytest.raises(RunError, match=f"text {BLOCK + 1}: its vector holds NaN"):
            embed(checkpoint, source, out, resume=True)
    assert embed(checkpoint, source, out, resume=True, batch_size=1) == len(texts)


def test_full_disk_keeps_what_was_done(
    checkpoint: Path, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write(tmp_path, ".txt", texts), tmp_path / "vectors.npy"
    written = iter(range(100))

    def full(descriptor: int) -> None:
        if next(written) == 3:  # a block asks for itself, its progress file and their folder
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(
            RunError,
            match=rf"No space left.*the {BLOCK} vectors before are kept, make room and go on with the same.* --resume",
        ):
            embed(checkpoint, source, out)
    assert embed(checkpoint, source, out, resume=True) == len(texts)


def test_interruption_keeps_the_blocks_and_says_how_to_go_on(
    checkpoint: Path, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write(tmp_path, ".txt", texts), tmp_path / "vectors.npy"
    message = f"^interrupted; {2 * BLOCK} vectors are kept, go on with the same command and --resume$"
    with failing_block(3, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt, match=message):
        embed(checkpoint, source, out)
    assert embed(checkpoint, source, out, resume=True) == len(texts)


@pytest.mark.slow
def test_interrupted_command_exits_with_130(checkpoint: Path, tmp_path: Path) -> None:
    """The real command, reading a pipe that stays open, gets a SIGINT after its first block."""
    out = tmp_path / "vectors.npy"
    command = [sys.executable, "-m", "transferkit", "embed", str(checkpoint), "-", "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--batch-size", "1", "--device", "cpu"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write("a red cat\n" * BATCHES_PER_BLOCK)
    process.stdin.flush()
    deadline = time.monotonic() + 120
    while not (tmp_path / ".vectors.npy.part.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"{BATCHES_PER_BLOCK} vectors are kept, go on with the same command and --resume" in messages


# Who writes, which side, what was cut


def test_an_output_belongs_to_one_process(checkpoint: Path, texts: list[str], tmp_path: Path) -> None:
    """The other one is refused before it loads anything."""
    source, out = write(tmp_path, ".txt", texts), tmp_path / "vectors.npy"
    with (
        sole_use(out),
        pytest.raises(ConfigError, match="another process is writing to it; wait for it, or choose ano"),
    ):
        embed(checkpoint, source, out)
    assert not out.exists()
    assert embed(checkpoint, source, out) == len(texts)


@pytest.fixture(scope="module")
def sided(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sided") / "checkpoint"
    save(prompt_embedder(tiny), folder, instructions={"pairs": "see"}, document_instructions={"pairs": ""})
    return folder


@pytest.mark.parametrize(("side", "instruction"), [(None, "see"), ("query", "see"), ("document", "")])
def test_a_side_has_its_own_instruction(sided: Path, tmp_path: Path, side: Any, instruction: str) -> None:
    source, out = write(tmp_path, ".txt", ["a red cat", "no"]), tmp_path / "vectors.npy"
    said = Console(record=True, file=io.StringIO(), width=200)
    embed(sided, source, out, instruction=None, side=side, console=said)
    expected = _load_once(sided, backbone=None, device="cpu").encode(["a red cat", "no"], instruction=instruction)
    np.testing.assert_allclose(np.load(out), expected, atol=1e-6)
    assert ("the texts are taken for questions" in said.export_text()) == (side is None)


def test_a_part_of_the_other_side_is_not_continued(sided: Path, texts: list[str], tmp_path: Path) -> None:
    source, out = write(tmp_path, ".txt", texts), tmp_path / "vectors.npy"
    with failing_block(2, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        embed(sided, source, out, side="document")
    with pytest.raises(ConfigError, match=r"was begun with other settings \(side: document, now query\)"):
        embed(sided, source, out, side="query", resume=True)


def test_cut_texts_are_said_once_with_numbers(checkpoint: Path, texts: list[str], tmp_path: Path) -> None:
    source, out = write(tmp_path, ".txt", [*texts, "i had to be with them " * 20]), tmp_path / "vectors.npy"
    fresh = load(checkpoint)
    said = Console(record=True, file=io.StringIO(), width=400)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed_files, "load", lambda *_, **__: fresh)
        embed(checkpoint, source, out, console=said)
    lines = [line for line in said.export_text().splitlines() if "and were cut" in line]
    assert len(lines) == 2  # the decoder's and the Prompting LLM's
    assert f"of {len(texts) + 1} texts are longer than the 24 tokens that the decoder reads of each" in lines[0]
