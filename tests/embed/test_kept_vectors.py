"""Files of vectors say what made them, and are searched with that alone."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from helpers.parts import flip_bit, prompt_embedder
from helpers.run_parts import QUIET
from helpers.tiny import Tiny
from rich.console import Console
from typer.testing import CliRunner
from zoo import WORDS

from transferkit.checkpoints.checkpoint import load, save
from transferkit.cli.app import app
from transferkit.embed.files import embed_file
from transferkit.embed.kept_vectors import KeptIndex, read_kept
from transferkit.embed.search import Entry, Index
from transferkit.errors import ConfigError
from transferkit.files.manifest import NAME, sha256_file
from transferkit.files.vectors.origin import Origin, has_note, note_file, read_origin
from transferkit.files.vectors.precision import Precision, Stored, calibrated, quantize
from transferkit.files.vectors.reading import read_vectors

TEXTS = [" ".join(WORDS[i : i + 4]) for i in range(12)]
SUFFIXES = (".npy", ".jsonl", ".parquet")


@pytest.fixture(scope="module", name="checkpoint")
def make_checkpoint(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of questions with an instruction, and of passages with none."""
    folder = tmp_path_factory.mktemp("sided") / "checkpoint"
    save(prompt_embedder(tiny), folder, instructions={"pairs": "see"}, document_instructions={"pairs": ""})
    return folder


@pytest.fixture(scope="module", name="made")
def make_files(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the texts and their vectors as passages, a file of each kind."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    for suffix in SUFFIXES:
        embed(checkpoint, folder / f"vectors{suffix}", folder)
    return folder


def embed(checkpoint: Path, out: Path, folder: Path, **options: Any) -> Path:
    defaults: dict[str, Any] = {"side": "document", "device": "cpu", "console": QUIET}
    embed_file(checkpoint, str(folder / "texts.txt"), out, **(defaults | options))
    return out


def searched(checkpoint: Path, path: Path, **options: Any) -> KeptIndex:
    """Of a file beside its texts."""
    texts = str(path.parent / "texts.txt") if path.suffix == ".npy" else None
    return KeptIndex(checkpoint, read_kept(path, texts=texts), **({"console": QUIET} | options))


def copied(made: Path, suffix: str, folder: Path) -> Path:
    """The file with its note and the texts, in a folder of its own."""
    for file in made.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder / f"vectors{suffix}"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_says_what_made_it(suffix: str, made: Path, checkpoint: Path) -> None:
    path = made / f"vectors{suffix}"
    origin = read_origin(path, where="")
    assert origin == Origin(
        embedder=sha256_file(checkpoint / NAME),
        side="document",
        instruction="",
        readout="none",
        input=f"sha256 {sha256_file(made / 'texts.txt')}",
        rows=len(TEXTS),
        width=48,
    )
    assert has_note(path) == note_file(path).is_file() == (suffix != ".parquet")
    texts, vectors = read_vectors(path, where="")
    assert texts == (None if suffix == ".npy" else TEXTS)
    np.testing.assert_allclose(vectors, load(checkpoint).encode(TEXTS, side="document"), atol=1e-6)


def test_other_readers_read_the_files_as_before(made: Path, tmp_path: Path) -> None:
    for frame in (pd.read_parquet(made / "vectors.parquet"), pd.read_json(made / "vectors.jsonl", lines=True)):
        assert list(frame.columns) == ["text", "vector"]
        assert list(frame["text"]) == TEXTS
    for kind, suffix in (("parquet", ".parquet"), ("json", ".jsonl")):
        table = datasets.load_dataset(
            kind, data_files=str(made / f"vectors{suffix}"), split="train", cache_dir=str(tmp_path)
        )
        assert table.column_names == ["text", "vector"]
        assert table["text"][:] == TEXTS
    said = json.loads(pyarrow.parquet.read_schema(made / "vectors.parquet").metadata[b"transferkit"])
    beside = json.loads((made / "vectors.npy.json").read_text())
    assert said | {"sha256": beside["sha256"]} == beside


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_search_finds_what_a_search_over_the_texts_finds(
    suffix: str, made: Path, checkpoint: Path, tmp_path: Path
) -> None:
    kept = searched(checkpoint, made / f"vectors{suffix}")
    whole = Index(checkpoint, kept.entries, folder=tmp_path, console=QUIET)
    for question in TEXTS[:3]:
        mine, other = kept.search(question, top=4), whole.search(question, top=4)
        assert [hit.entry for hit in mine] == [hit.entry for hit in other]
        np.testing.assert_allclose([hit.score for hit in mine], [hit.score for hit in other], atol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_vectors_of_another_embedder_are_refused(
    suffix: str, made: Path, checkpoint: Path, tiny: Tiny, tmp_path: Path
) -> None:
    save(prompt_embedder(tiny, pooling="mean"), tmp_path / "other", instructions={"pairs": "see"})
    path = made / f"vectors{suffix}"
    digests = rf"\({sha256_file(checkpoint / NAME)[:12]}\) than .*other \({sha256_file(tmp_path / 'other' / NAME)[:12]}"
    with pytest.raises(
        ConfigError, match=rf"--vectors .*{path.name}: made by another embedder {digests}.*--checkpoint"
    ):
        searched(tmp_path / "other", path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_vectors_of_questions_are_refused_where_the_sides_differ(
    suffix: str, made: Path, checkpoint: Path, tmp_path: Path
) -> None:
    path = embed(checkpoint, copied(made, suffix, tmp_path).with_name(f"asked{suffix}"), made, side="query")
    says = (
        r"was embedded as questions with the instruction 'see', and what is to be found is read with '' beside this "
        r"question; ask with the --instruction that goes with it, or embed the texts again with --side document "
        r"--instruction ''$"
    )
    with pytest.raises(ConfigError, match=says):
        searched(checkpoint, path)
    # Told to be read as passages are, they are passages, whatever they are called.
    alike = embed(checkpoint, path.with_name(f"alike{suffix}"), made, side="query", instruction="")
    assert searched(checkpoint, alike).search(TEXTS[5], top=1)[0].entry.text in TEXTS


def test_vectors_with_another_instruction_are_refused(made: Path, checkpoint: Path, tmp_path: Path) -> None:
    path = embed(checkpoint, tmp_path / "vectors.parquet", made, instruction="find the cat")
    with pytest.raises(ConfigError, match="was embedded as texts with the instruction 'find the cat', and what is to"):
        searched(checkpoint, path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_without_a_note_are_read_and_that_is_said_once(
    suffix: str, made: Path, checkpoint: Path, tmp_path: Path
) -> None:
    path = copied(made, suffix, tmp_path)
    if suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        pyarrow.parquet.write_table(table.replace_schema_metadata(None), path)
    else:
        note_file(path).unlink()
    said = Console(file=StringIO(), width=400)
    kept = searched(checkpoint, path, console=said)
    assert kept.search(TEXTS[5], top=1)[0].entry.text in TEXTS
    assert isinstance(said.file, StringIO)
    assert said.file.getvalue().count("does not say what made it (of an earlier version, or without") == 1


def test_without_a_note_another_length_is_still_refused(made: Path, checkpoint: Path, tmp_path: Path) -> None:
    path = copied(made, ".npy", tmp_path)
    note_file(path).unlink()
    np.save(path, np.load(path)[:, :40])
    with pytest.raises(ConfigError, match=r"holds vectors of 40 numbers, and those of .* have 48; give the checkpoint"):
        searched(checkpoint, path)
    np.save(path, np.full((len(TEXTS), 48), np.nan, np.float32))
    with pytest.raises(ConfigError, match="holds NaN or infinity; embed the texts again"):
        searched(checkpoint, path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_flipped_bit_is_seen_wherever_it_is(suffix: str, made: Path, tmp_path: Path) -> None:
    """It is refused by name, or it changes no text and no number."""
    path = copied(made, suffix, tmp_path)
    texts = str(tmp_path / "texts.txt") if suffix == ".npy" else None
    whole, right = path.read_bytes(), np.array(read_vectors(path, where="")[1])
    refused = 0
    for place in range(5, len(whole), 97):
        flip_bit(path, at=place)
        try:
            kept = read_kept(path, texts=texts)
        except ConfigError as error:
            assert str(error).startswith(f"--vectors {path}")  # noqa: PT017
            refused += 1
        else:
            assert [entry.text for entry in kept.entries] == TEXTS
            np.testing.assert_array_equal(kept.stored.whole(), right)
        path.write_bytes(whole)
    assert refused > 0.7 * len(range(5, len(whole), 97))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"format": 2},
            "what it says of the vectors is damaged, or of another version of transferkit; embed the texts",
        ),
        ({"side": None}, "what it says of the vectors is damaged"),
        ({"rows": "12"}, "what it says of the vectors is damaged"),
        ({"rows": 11}, r"holds vectors of shape \(12, 48\), and says that it holds \(11, 48\)"),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_damaged_note_is_refused(
    suffix: str, change: dict[str, Any], says: str, made: Path, checkpoint: Path, tmp_path: Path
) -> None:
    path = copied(made, suffix, tmp_path)
    if suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        said = json.loads(table.schema.metadata[b"transferkit"]) | change
        pyarrow.parquet.write_table(table.replace_schema_metadata({"transferkit": json.dumps(said)}), path)
    else:
        note_file(path).write_text(json.dumps(json.loads(note_file(path).read_text()) | change))
    with pytest.raises(ConfigError, match=says):
        searched(checkpoint, path)


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "[" * 100_000])
def test_a_note_that_is_none_is_refused_by_name(content: str, made: Path, checkpoint: Path, tmp_path: Path) -> None:
    path = copied(made, ".npy", tmp_path)
    note_file(path).write_text(content)
    with pytest.raises(ConfigError, match=r"vectors\.npy\.json: "):
        searched(checkpoint, path)


def test_texts_of_npy_are_those_that_were_embedded(made: Path, tmp_path: Path) -> None:
    path = copied(made, ".npy", tmp_path)
    with pytest.raises(ConfigError, match="carries no texts; name the file that was embedded with --texts"):
        read_kept(path)
    other = tmp_path / "other.txt"
    other.write_text("\n".join(reversed(TEXTS)) + "\n")
    with pytest.raises(ConfigError, match=r"was made of other texts than --texts .*other\.txt"):
        read_kept(path, texts=str(other))
    note_file(path).unlink()
    other.write_text("one\n")
    with pytest.raises(ConfigError, match=r"holds 12 vectors, and --texts .*other\.txt 1 texts"):
        read_kept(path, texts=str(other))
    with pytest.raises(ConfigError, match=r"carries its texts; leave --texts .*other\.txt away"):
        read_kept(made / "vectors.jsonl", texts=str(other))


def test_the_note_of_vectors_that_are_gone_is_replaced_and_a_file_of_the_users_is_not(
    made: Path, checkpoint: Path, tmp_path: Path
) -> None:
    path = copied(made, ".npy", tmp_path)
    path.unlink()
    embed(checkpoint, path, made, side="query")
    origin = read_origin(path, where="")
    assert origin is not None
    assert origin.side == "query"
    path.unlink()
    note_file(path).write_text('{"mine": 1}')
    with pytest.raises(
        ConfigError, match=r"vectors\.npy\.json is there already, where the file would say what made it"
    ):
        embed(checkpoint, path, made)
    assert note_file(path).read_text() == '{"mine": 1}'
    assert not path.exists()


def test_an_index_of_another_checkpoint_under_this_ones_name_is_made_again(checkpoint: Path, tmp_path: Path) -> None:
    entries = [Entry(f"row {i}", text, text) for i, text in enumerate(TEXTS)]
    index = Index(checkpoint, entries, folder=tmp_path, console=QUIET)
    (file,) = tmp_path.glob("*.npy")
    right = np.array(index.stored.whole())
    said = json.loads(note_file(file).read_text())
    np.save(file, -right)
    note_file(file).write_text(json.dumps(said | {"embedder": "0" * 64, "sha256": sha256_file(file)}))
    again = Index(checkpoint, entries, folder=tmp_path, console=QUIET)
    np.testing.assert_allclose(again.stored.whole(), right, atol=1e-6)


def test_the_command_searches_vectors(made: Path, checkpoint: Path) -> None:
    arguments = ["search", TEXTS[2], "--checkpoint", str(checkpoint), "--top", "2", "--json"]
    answers = [
        CliRunner().invoke(app, [*arguments, "--vectors", str(made / f"vectors{suffix}"), *texts])
        for suffix, texts in ((".npy", ["--texts", str(made / "texts.txt")]), (".parquet", []), (".jsonl", []))
    ]
    assert [answer.exit_code for answer in answers] == [0, 0, 0], answers[0].output
    assert len({answer.stdout for answer in answers}) == 1
    assert len(answers[0].stdout.splitlines()) == 2


def test_vectors_of_another_length_are_refused(made: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Files that do not say what made them: their products with a question are no cosines."""
    path = copied(made, ".npy", tmp_path)
    note_file(path).unlink()
    vectors = np.load(path)
    np.save(path, vectors.astype(np.float16))
    assert searched(checkpoint, path).search(TEXTS[3], top=1)
    np.save(path, vectors * np.linspace(1, 3, len(vectors))[:, None])
    with pytest.raises(ConfigError, match=r"vectors\.npy, row 2: expected a vector of length 1, .* of length 1\.18; "):
        searched(checkpoint, path)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "uint8", "binary", "ubinary"])
def test_a_search_in_fewer_bits_asks_with_a_whole_question(
    precision: Precision, made: Path, checkpoint: Path, tmp_path: Path
) -> None:
    """Cut as the texts are; a score is the cosine with what the file holds of a text."""
    path = embed(checkpoint, tmp_path / "vectors.parquet", made, truncate_dim=24, precision=precision)
    embedder = load(checkpoint)
    texts = embedder.encode(TEXTS, side="document", truncate_dim=24)
    ranges = calibrated(texts) if "int8" in precision else None
    held = Stored(quantize(texts, precision, ranges), precision, 24, ranges).whole().astype(np.float64)
    for question in TEXTS[:3]:
        scores = held @ embedder.encode(question, truncate_dim=24)
        hits = searched(checkpoint, path).search(question, top=len(TEXTS))
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(scores)[::-1], atol=1e-5)
        assert hits[0].entry.text == TEXTS[int(scores.argmax())]


def test_a_cut_file_of_an_unknown_maker_is_refused(made: Path, checkpoint: Path, tmp_path: Path) -> None:
    path = embed(checkpoint, tmp_path / "vectors.npy", made, truncate_dim=24)
    note_file(path).unlink()
    (tmp_path / "texts.txt").write_bytes((made / "texts.txt").read_bytes())
    with pytest.raises(ConfigError, match=r"holds vectors of 24 numbers, and those of .* have 48"):
        searched(checkpoint, path)


def test_the_commands_cut_and_pack(made: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "vectors.parquet"
    options = ["--side", "document", "--truncate-dim", "40", "--precision", "ubinary", "--quiet"]
    answer = CliRunner().invoke(app, ["embed", str(checkpoint), str(made / "texts.txt"), "--out", str(out), *options])
    assert answer.exit_code == 0, answer.output
    assert len(pd.read_parquet(out)["vector"][0]) == 5
    asked = ["search", TEXTS[2], "--checkpoint", str(checkpoint), "--vectors", str(out), "--json"]
    asked += ["--index", str(made / "texts.txt")]  # where nothing could be kept, and nothing is
    found = CliRunner().invoke(app, asked)
    assert found.exit_code == 0, found.output
    assert len(found.stdout.splitlines()) == 5
