"""A part file: what counts, going on, refusals, and parts that an earlier version began."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from transferkit.errors import ConfigError, RunError
from transferkit.files.parts import PartFile
from transferkit.files.vectors.origin import Origin, read_origin
from transferkit.files.vectors.writing import VectorFile


def part_file(folder: Path, **identity: str) -> PartFile:
    return PartFile(folder / "new" / "out.txt", identity=identity or {"input": "a"}, unit="lines")


def begun(folder: Path) -> PartFile:
    file = part_file(folder)
    file.write(b"one\n", rows=1)
    file.write(b"two\nthree\n", rows=2, width=3)
    return file


def test_blocks_become_the_output_and_nothing_is_left(tmp_path: Path) -> None:
    file = begun(tmp_path)
    assert (file.rows, file.bytes, file.facts) == (3, 14, {"width": 3})
    assert sorted(path.name for path in file.out.parent.iterdir()) == [".out.txt.part", ".out.txt.part.json"]
    file.complete(lambda part: part)
    assert [(path.name, path.read_text()) for path in file.out.parent.iterdir()] == [("out.txt", "one\ntwo\nthree\n")]


def test_what_is_made_of_the_part_may_be_another_file(tmp_path: Path) -> None:
    def upper(part: Path) -> Path:
        whole = part.with_name("whole")
        whole.write_text(part.read_text().upper())
        return whole

    file = begun(tmp_path)
    file.complete(upper)
    assert [(path.name, path.read_text()) for path in file.out.parent.iterdir()] == [("out.txt", "ONE\nTWO\nTHREE\n")]


def test_resuming_takes_what_counts_and_drops_the_rest(tmp_path: Path) -> None:
    with begun(tmp_path).part.open("ab") as file:
        file.write(b"half of a bl")
    again = part_file(tmp_path)
    again.resume()
    assert (again.rows, again.bytes, again.facts) == (3, 14, {"width": 3})
    assert again.part.read_text() == "one\ntwo\nthree\n"
    again.write(b"four\n", rows=1)
    again.complete(lambda part: part)
    assert again.out.read_text() == "one\ntwo\nthree\nfour\n"


def test_without_a_part_or_its_progress_it_starts_afresh(tmp_path: Path) -> None:
    fresh = part_file(tmp_path)
    fresh.resume()
    assert (fresh.rows, fresh.bytes) == (0, 0)
    begun(tmp_path).progress.unlink()
    fresh.resume()
    fresh.write(b"new\n", rows=1)
    assert fresh.part.read_text() == "new\n"


def test_a_block_that_is_not_counted_yet_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = part_file(tmp_path)
    for target in ("flush", "write_json"):

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(f"transferkit.files.parts.{target}", full)
            message = r"cannot be written \(No space left on device\); the 0 lines before are kept, make room and go on"
            with pytest.raises(RunError, match=message):
                file.write(b"one\n", rows=1)
        assert (file.rows, file.bytes) == (0, 0)
    file.write(b"one\n", rows=1)
    assert file.part.read_text() == "one\n"


def test_a_refusal_changes_nothing(tmp_path: Path) -> None:
    with begun(tmp_path).part.open("ab") as file:
        file.write(b"half")
    before = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    message = (
        r"\.out\.txt\.part: was begun with other settings \(input: a, now b, seed: none, now 1\); give the same "
        "command to go on, or remove it to start again"
    )
    with pytest.raises(ConfigError, match=message):
        part_file(tmp_path, input="b", seed="1").resume()
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == before


@pytest.mark.parametrize("what", ["too short", "another format", "no bytes", "a folder"])
def test_a_damaged_part_is_refused(what: str, tmp_path: Path) -> None:
    file = begun(tmp_path)
    saved = json.loads(file.progress.read_text())
    match what:
        case "too short":
            file.part.write_bytes(b"one\n")
        case "another format":
            file.progress.write_text(json.dumps(saved | {"format": 2}))
        case "no bytes":
            del saved["bytes"]
            file.progress.write_text(json.dumps(saved))
        case _:
            file.part.unlink()
            file.part.mkdir()
    with pytest.raises(
        ConfigError, match=r"part: damaged, or of another version of transferkit; remove it to start again"
    ):
        part_file(tmp_path).resume()


def test_vectors_that_an_earlier_version_began_go_on(tmp_path: Path) -> None:
    """The keys stand at the top level, as they always did."""
    identity = {"input": "sha256 abc text"}
    whole = VectorFile(tmp_path / "whole.npy", identity=identity)
    whole.append(["a", "b"], np.ones((2, 3), np.float32))
    out = tmp_path / "out.npy"
    out.with_name(".out.npy.part").write_bytes(whole.part.read_bytes())
    progress = {"format": 1, "rows": 2, "bytes": 152, "width": 3, "identity": identity}
    out.with_name(".out.npy.part.json").write_text(json.dumps(progress))
    assert whole.bytes == progress["bytes"]
    file = VectorFile(out, identity=identity)
    file.resume()
    file.append(["c"], np.zeros((1, 3), np.float32))
    origin = Origin(embedder="a", side="query", instruction="", readout="none", input="texts")
    file.finish(origin)
    assert read_origin(out, where="") == replace(origin, rows=3, width=3)
    assert np.load(out).tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]
