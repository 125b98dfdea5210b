"""Files of vectors and parts of them: a bit that flipped is another vector, and looks like one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from transferkit.errors import ConfigError, RunError
from transferkit.files.manifest import sha256_rows
from transferkit.files.vectors.origin import Origin, note_file, read_origin
from transferkit.files.vectors.precision import Precision, Stored, calibrated, quantize
from transferkit.files.vectors.reading import read_stored, read_vectors
from transferkit.files.vectors.writing import VectorFile

TEXTS = ["a", "b", "c"]
VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4) / 7
IDENTITY = {"checkpoint": "1", "input": "2"}
ORIGIN = Origin(embedder="1", side="document", instruction="", readout="none", input="2")


def written(file: Path) -> Path:
    vectors = VectorFile(file, identity=IDENTITY)
    vectors.append(TEXTS, VECTORS)
    vectors.finish(ORIGIN)
    return file


def stored(file: Path, precision: Precision, *, vectors: np.ndarray = VECTORS) -> Path:
    """Written in two blocks."""
    made = VectorFile(file, identity=IDENTITY, precision=precision)
    for block in (slice(0, 2), slice(2, None)):
        made.append([str(i) for i in range(len(vectors))][block], vectors[block])
    made.finish(ORIGIN)
    return file


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("suffix", [".npy", ".jsonl"])
def test_a_file_with_a_flipped_bit_is_refused_wherever_it_is(suffix: str, tmp_path: Path) -> None:
    file = written(tmp_path / f"vectors{suffix}")
    texts, vectors = read_vectors(file, where=str(file))
    assert np.array_equal(vectors, VECTORS)
    assert texts == (None if suffix == ".npy" else TEXTS)
    whole = file.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        flip(file, place)
        with pytest.raises(ConfigError, match=rf"vectors\{suffix}: differs from what vectors\{suffix}\.json says"):
            read_vectors(file, where=str(file))
        file.write_bytes(whole)


def test_rows_that_were_edited_under_the_metadata_are_refused(tmp_path: Path) -> None:
    """pyarrow keeps the metadata of a table whose columns are exchanged, sorted or cut."""
    file = written(tmp_path / "vectors.parquet")
    table = pyarrow.parquet.read_table(file)
    pyarrow.parquet.write_table(table, tmp_path / "again.parquet", row_group_size=1)
    assert np.array_equal(read_vectors(tmp_path / "again.parquet", where="")[1], VECTORS)
    for name, column in (
        ("vector", table["vector"].take([1, 0, 2])),
        ("text", table["text"].take([2, 1, 0])),
        ("text", pyarrow.array(["ab", "b", "c"])),
    ):
        changed = table.set_column(table.column_names.index(name), name, column)
        pyarrow.parquet.write_table(changed, file)
        with pytest.raises(ConfigError, match="its rows differ from what its metadata say"):
            read_vectors(file, where="vectors.parquet")
    pyarrow.parquet.write_table(table.take([1, 0, 2]), file)
    with pytest.raises(ConfigError, match=r"^vectors\.parquet: its rows differ from what its metadata say"):
        read_vectors(file, where="vectors.parquet")


def test_without_the_file_beside_them_vectors_are_taken_as_they_are(tmp_path: Path) -> None:
    file = written(tmp_path / "vectors.npy")
    note_file(file).unlink()
    flip(file, file.stat().st_size - 2)
    assert read_vectors(file, where="vectors")[1].shape == (3, 4)


def test_an_output_that_was_removed_leaves_no_note_for_the_next_one(tmp_path: Path) -> None:
    file = written(tmp_path / "vectors.npy")
    file.unlink()
    again = VectorFile(file, identity=IDENTITY)
    again.append(TEXTS[:2], VECTORS[:2])
    again.finish(ORIGIN)
    assert len(read_vectors(file, where="vectors")[1]) == 2


@pytest.mark.parametrize("content", ["null", "[]", '"x"', "{", '{"sha256": 5}', "\ud800"])
def test_a_note_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    file = written(tmp_path / "vectors.npy")
    note_file(file).write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError, match=r"vectors\.npy"):
        read_vectors(file, where=str(file))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400])
def test_a_vector_of_no_number_is_refused(value: str, tmp_path: Path) -> None:
    file = tmp_path / "vectors.jsonl"
    file.write_text(f'{{"text": "a", "vector": [1.0, 2.0]}}\n{{"text": "b", "vector": [1.0, {value}]}}\n')
    with pytest.raises(ConfigError, match="row 2, column 'vector': expected 2 numbers"):
        read_vectors(file, where=str(file))
    np.save(tmp_path / "vectors.npy", np.array([[1.0, np.nan]]))
    with pytest.raises(ConfigError, match="holds NaN or infinity"):
        read_vectors(tmp_path / "vectors.npy", where="vectors")


def half(file: Path) -> VectorFile:
    vectors = VectorFile(file, identity=IDENTITY)
    vectors.append(TEXTS[:2], VECTORS[:2])
    return vectors


def test_a_part_with_a_flipped_bit_is_not_continued(tmp_path: Path) -> None:
    part = half(tmp_path / "out.npy").part
    for place in (3, 90, part.stat().st_size - 1):
        flip(part, place)
        with pytest.raises(ConfigError, match=r"\.out\.npy\.part: damaged"):
            VectorFile(tmp_path / "out.npy", identity=IDENTITY).resume()
        flip(part, place)
    goes_on = VectorFile(tmp_path / "out.npy", identity=IDENTITY)
    goes_on.resume()
    goes_on.append(TEXTS[2:], VECTORS[2:])
    goes_on.finish(ORIGIN)
    assert np.array_equal(read_vectors(tmp_path / "out.npy", where="out")[1], VECTORS)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("rows", value) for value in (1, "2", -1, 10**400)),
        *(("bytes", value) for value in (5, None, 10**9)),
        *(("width", value) for value in (3, [])),
        *(("identity", value) for value in (3, None)),
        *(("sha256", value) for value in ("0", None)),
    ],
)
def test_progress_that_was_edited_is_not_believed(key: str, value: object, tmp_path: Path) -> None:
    progress = half(tmp_path / "out.npy").progress
    progress.write_text(json.dumps(json.loads(progress.read_text()) | {key: value}))
    with pytest.raises(ConfigError, match=r"\.out\.npy\.part: damaged"):
        VectorFile(tmp_path / "out.npy", identity=IDENTITY).resume()


@pytest.mark.parametrize("suffix", [".npy", ".jsonl", ".parquet"])
@pytest.mark.parametrize("at", ["flush", "flush_folder"], ids=["before the rename", "after it"])
def test_an_output_that_was_nearly_finished_is_finished(
    suffix: str, at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header of an .npy says how many rows there are, and is the last thing that is written."""
    out = tmp_path / f"out{suffix}"
    vectors = VectorFile(out, identity=IDENTITY)
    vectors.append(TEXTS, VECTORS)

    def refuse(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"transferkit.files.parts.{at}", refuse)
        with pytest.raises(RunError, match="all 3 vectors are kept"):
            vectors.finish(ORIGIN)
    if not out.exists():
        again = VectorFile(out, identity=IDENTITY)
        again.resume()
        again.finish(ORIGIN)
    assert np.array_equal(read_vectors(out, where="out")[1], VECTORS)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "a: holds no vectors, expected at least one"),
        ('{"text": 5, "vector": [1.0]}\n', r"a, row 1, column 'text': expected text, got int 5; embed the texts again"),
        (
            '{"text": "x", "vector": [1.0]}\n{"text": "y", "vector": [1.0, 2.0]}\n',
            "a, row 2, column 'vector': expected 1 n",
        ),
    ],
    ids=["empty", "no text", "two widths"],
)
def test_rows_that_are_no_vectors_are_refused(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "vectors.jsonl").write_text(content)
    with pytest.raises(ConfigError, match=says):
        read_vectors(tmp_path / "vectors.jsonl", where="a")


def test_a_table_without_rows_holds_no_vectors(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    columns = {
        "text": pyarrow.array([], pyarrow.string()),
        "vector": pyarrow.array([], pyarrow.list_(pyarrow.float32())),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "vectors.parquet")
    with pytest.raises(ConfigError, match="a: holds no vectors, expected at least one"):
        read_vectors(tmp_path / "vectors.parquet", where="a")


@pytest.mark.parametrize("array", [np.zeros(3, np.float32), np.zeros((2, 2), int), np.zeros((0, 4), np.float32)])
def test_an_array_of_another_shape_or_kind_is_refused(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", array)
    with pytest.raises(ConfigError, match=r"a: expected numbers of shape \(texts, width\), got \w+ of shape"):
        read_vectors(tmp_path / "vectors.npy", where="a")


def test_a_part_is_not_continued_with_vectors_of_another_width(tmp_path: Path) -> None:
    vectors = VectorFile(tmp_path / "vectors.npy", identity=IDENTITY)
    vectors.append(TEXTS, VECTORS)
    with pytest.raises(ConfigError, match="holds vectors of 4 numbers, and these have 2; give the checkpoint that"):
        vectors.append(TEXTS, VECTORS[:, :2])
    assert vectors.rows == 3


# Fewer bits


@pytest.mark.parametrize("suffix", [".npy", ".jsonl", ".parquet"])
@pytest.mark.parametrize("precision", ["float16", "int8", "uint8", "binary", "ubinary"])
def test_every_kind_holds_every_precision_and_what_undoes_it(suffix: str, precision: Precision, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 12)).astype(np.float32)
    file = stored(tmp_path / f"vectors{suffix}", precision, vectors=x)
    origin = read_origin(file, where="")
    assert origin is not None
    assert (origin.precision, origin.rows, origin.width) == (precision, 40, 12)
    ranges = calibrated(x[:2]) if "int8" in precision else None
    assert (origin.ranges is None) == (ranges is None)
    expected = quantize(x, precision, ranges)
    texts, found = read_stored(file, where="")
    assert texts == (None if suffix == ".npy" else [str(i) for i in range(40)])
    assert found.numbers.dtype == expected.dtype
    np.testing.assert_array_equal(found.numbers, expected)
    np.testing.assert_array_equal(read_vectors(file, where="")[1], Stored(expected, precision, 12, ranges).whole())


def test_parquet_has_lists_of_one_size_as_data_bases_want_them(tmp_path: Path) -> None:
    types = {
        "float32": pyarrow.float32(),
        "float16": pyarrow.float16(),
        "int8": pyarrow.int8(),
        "ubinary": pyarrow.uint8(),
    }
    for precision, kind in types.items():
        file = stored(tmp_path / f"{precision}.parquet", precision)  # type: ignore[arg-type]
        found = pyarrow.parquet.read_schema(file).field("vector").type
        assert found == pyarrow.list_(kind, 1 if precision == "ubinary" else 4)


def test_parquet_of_earlier_versions_is_read(tmp_path: Path) -> None:
    """With lists of any size, and nothing on precision in its metadata."""
    said = {"format": 1, "embedder": "1", "side": "document", "instruction": "", "readout": "none", "input": "2"}
    said |= {"rows": 3, "width": 4, "sha256": sha256_rows([(TEXTS, VECTORS.tobytes())])}
    vectors = pyarrow.array(VECTORS.tolist(), pyarrow.list_(pyarrow.float32()))
    table = pyarrow.table({"text": TEXTS, "vector": vectors}).replace_schema_metadata({"transferkit": json.dumps(said)})
    pyarrow.parquet.write_table(table, tmp_path / "old.parquet")
    texts, found = read_vectors(tmp_path / "old.parquet", where="")
    assert texts == TEXTS
    np.testing.assert_array_equal(found, VECTORS)
    assert read_origin(tmp_path / "old.parquet", where="") == replace(ORIGIN, rows=3, width=4)


def test_a_flipped_bit_of_a_calibration_is_seen(tmp_path: Path) -> None:
    file = stored(tmp_path / "vectors.npy", "int8")
    whole = note_file(file).read_bytes()
    start = whole.index(b'"ranges": ')
    for at in range(start, start + 90, 3):
        flip(note_file(file), at)
        with pytest.raises(ConfigError, match=r"vectors\.npy\.json: "):
            read_vectors(file, where="vectors")
    other = stored(tmp_path / "vectors.parquet", "int8")
    table = pyarrow.parquet.read_table(other)
    said = json.loads(table.schema.metadata[b"transferkit"])
    said["ranges"][0][0] += 1
    pyarrow.parquet.write_table(table.replace_schema_metadata({"transferkit": json.dumps(said)}), other)
    with pytest.raises(ConfigError, match="what it says of the vectors is damaged"):
        read_vectors(other, where="vectors")


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "int4"},
        {"precision": "float32"},
        {"ranges": None},
        {"ranges": [[0], ["a"]]},
        {"ranges": [[0, 0, 0, 0]]},
        {"ranges_sha256": "0"},
    ],
)
def test_a_calibration_that_is_none_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    file = stored(tmp_path / "vectors.npy", "int8")
    note_file(file).write_text(json.dumps(json.loads(note_file(file).read_text()) | change))
    with pytest.raises(ConfigError, match=r"vectors\.npy\.json: what it says of the vectors is damaged"):
        read_vectors(file, where="vectors")


def test_whole_numbers_that_nothing_explains_are_refused(tmp_path: Path) -> None:
    file = stored(tmp_path / "vectors.npy", "int8")
    note_file(file).unlink()
    with pytest.raises(ConfigError, match=r"got int8 of shape .* or bring vectors\.npy\.json back, which says"):
        read_vectors(file, where="vectors")


def test_what_the_first_block_did_not_foresee_is_counted_over_a_kill(tmp_path: Path) -> None:
    out = tmp_path / "vectors.npy"
    one = VectorFile(out, identity=IDENTITY, precision="int8")
    one.append(TEXTS[:2], VECTORS[:2])
    assert one.share_clipped == 0
    one.append(["far"], VECTORS[:1] + 100)
    again = VectorFile(out, identity=IDENTITY, precision="int8")
    again.resume()
    again.append(["farther"], VECTORS[:1] - 100)
    assert again.share_clipped == 0.5
    again.finish(ORIGIN)
    origin = read_origin(out, where="")
    assert origin is not None
    assert origin.ranges is not None
    np.testing.assert_array_equal(np.float32(origin.ranges), calibrated(VECTORS[:2]))


@pytest.mark.parametrize("precision", [{}, [], 8, None])
def test_a_precision_of_another_type_is_refused(precision: object, tmp_path: Path) -> None:
    file = stored(tmp_path / "v.npy", "float32")
    beside = note_file(file)
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {"precision": precision}))
    with pytest.raises(ConfigError, match="what it says of the vectors is damaged"):
        read_vectors(file, where="here")
