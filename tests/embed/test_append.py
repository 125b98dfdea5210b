"""Texts put behind those of a finished file: as if all had been embedded at once, or a refusal that changes nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.checkpoints import random_readout
from helpers.parts import TEXTS, counted_texts, prompt_embedder
from helpers.tiny import Tiny
from rich.console import Console

from transferkit.checkpoints.checkpoint import save
from transferkit.embed.append import read_before
from transferkit.embed.files import BATCHES_PER_BLOCK, embed_file
from transferkit.errors import ConfigError
from transferkit.files.text_files import TextFile
from transferkit.files.vectors.origin import read_origin
from transferkit.files.vectors.precision import Precision
from transferkit.files.vectors.reading import read_stored, read_vectors
from transferkit.files.vectors.writing import VectorFile

FIRST, FURTHER = TEXTS[:3], [f"{text} {number}" for number in range(12) for text in TEXTS]
BLOCK = 2 * BATCHES_PER_BLOCK


@pytest.fixture(scope="module")
def checkpoint(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "checkpoint"
    save(prompt_embedder(tiny), folder, instructions={})
    return folder


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A file of the first texts, one of further ones, one of all."""
    named = {"first": FIRST, "further": FURTHER, "all": FIRST + FURTHER}
    for name, texts in named.items():
        (tmp_path / f"{name}.txt").write_text("".join(f"{text}\n" for text in texts))
    first, further, both = (tmp_path / f"{name}.txt" for name in named)
    return first, further, both


def embed(checkpoint: Path, source: Path, out: Path, **options: Any) -> int:
    defaults: dict[str, Any] = {"instruction": "see", "batch_size": 2, "device": "cpu", "console": Console(quiet=True)}
    return embed_file(checkpoint, str(source), out, **(defaults | options))


@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "ubinary"])
def test_grown_file_holds_what_one_of_all_texts_does(
    precision: Precision, checkpoint: Path, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    first, further, both = files
    out, whole = tmp_path / "grown.parquet", tmp_path / "whole.parquet"
    embed(checkpoint, first, out, precision=precision)
    _, before = read_stored(out, where="")
    assert embed(checkpoint, further, out, precision=precision, append=True) == len(FIRST + FURTHER)
    embed(checkpoint, both, whole, precision="float32")
    texts, grown = read_stored(out, where="")
    assert texts == FIRST + FURTHER
    np.testing.assert_array_equal(grown.numbers[: len(FIRST)], before.numbers)  # as they were, bit for bit
    expected = read_vectors(whole, where="")[1]
    if precision == "ubinary":
        np.testing.assert_array_equal(grown.whole() > 0, expected > 0)
    elif precision == "int8":
        assert grown.ranges is not None
        assert before.ranges is not None
        np.testing.assert_array_equal(grown.ranges, before.ranges)
        step = (before.ranges[1] - before.ranges[0]) / 255
        clipped = expected.clip(*before.ranges)
        assert (np.abs(grown.whole() - clipped) <= step / 2 + 1e-5).all()
    else:
        np.testing.assert_allclose(grown.whole(), expected, atol=1e-5 if precision == "float32" else 1e-3)
    origin = read_origin(out, where="")
    assert origin is not None
    assert (origin.rows, origin.precision) == (len(FIRST + FURTHER), precision)
    assert sorted(file.name for file in tmp_path.iterdir() if file.suffix != ".txt") == [out.name, whole.name]


def test_a_killed_append_goes_on_and_the_file_is_whole_until_then(
    checkpoint: Path, files: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, further, _ = files
    out, straight = tmp_path / "grown.parquet", tmp_path / "straight.parquet"
    for file in (out, straight):
        embed(checkpoint, first, file)
    embed(checkpoint, further, straight, append=True)
    before, append, calls = out.read_bytes(), VectorFile.append, iter(range(99))

    def killed(self: VectorFile, *args: Any) -> None:
        if next(calls) == 1:
            raise SystemError("killed")
        append(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(VectorFile, "append", killed)
        with pytest.raises(SystemError):
            embed(checkpoint, further, out, append=True)
    assert out.read_bytes() == before
    with pytest.raises(ConfigError, match=r"an interrupted output lies there .*; go on with --resume, or remove it"):
        embed(checkpoint, further, out, append=True)
    with pytest.raises(ConfigError, match=r"exists|is there"):
        embed(checkpoint, further, out, resume=True)
    embedded = counted_texts(monkeypatch)
    embed(checkpoint, further, out, append=True, resume=True)
    assert sum(embedded) == len(FURTHER) - BLOCK
    assert out.read_bytes() == straight.read_bytes()
    with pytest.raises(ConfigError, match=r"holds the vectors of .*further\.txt already; there is nothing to append"):
        embed(checkpoint, further, out, append=True)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"instruction": "find"}, r"made with another instruction \(instruction 'see', now 'find'\)"),
        ({"side": "document"}, r"made of another side \(side 'query', now 'document'\)"),
        ({"precision": "int8"}, r"made in another precision \(precision 'float32', now 'int8'\)"),
        ({"truncate_dim": 8}, r"made of another length \(width 48, now 8\)"),
    ],
)
def test_what_is_of_another_kind_is_refused_and_nothing_changed(
    options: dict[str, Any], says: str, checkpoint: Path, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    first, further, _ = files
    out = tmp_path / "grown.parquet"
    embed(checkpoint, first, out)
    before = out.read_bytes()
    with pytest.raises(ConfigError, match=says + "; give what made them, or embed into a new file"):
        embed(checkpoint, further, out, append=True, **options)
    assert out.read_bytes() == before
    assert not list(tmp_path.glob(".*.part*"))


def test_a_kill_after_the_file_had_grown_leaves_nothing_to_do(
    checkpoint: Path, files: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, further, _ = files
    out = tmp_path / "grown.parquet"
    embed(checkpoint, first, out)

    def killed(self: VectorFile) -> None:
        raise SystemError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(VectorFile, "discard", killed)
        with pytest.raises(SystemError):
            embed(checkpoint, further, out, append=True)
    grown = out.read_bytes()
    assert embed(checkpoint, further, out, append=True, resume=True) == len(FIRST + FURTHER)
    assert out.read_bytes() == grown
    assert not list(tmp_path.glob(".*.part*"))


def test_a_grown_file_stays_as_private_and_where_it_was(
    checkpoint: Path, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    first, further, _ = files
    (tmp_path / "there").mkdir()
    out, link = tmp_path / "there" / "grown.parquet", tmp_path / "link.parquet"
    embed(checkpoint, first, out)
    out.chmod(0o600)
    link.symlink_to(out)
    embed(checkpoint, further, link, append=True)
    assert link.is_symlink()
    assert out.stat().st_mode & 0o777 == 0o600
    assert len(read_stored(out, where="")[0] or ()) == len(FIRST + FURTHER)


def test_what_a_grown_file_would_lose_or_hold_twice(
    checkpoint: Path, files: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow
    import pyarrow.parquet

    first, further, both = files
    out = tmp_path / "grown.parquet"
    embed(checkpoint, first, out)
    table = pyarrow.parquet.read_table(out)
    more = table.append_column("id", pyarrow.array(range(len(table))))
    for changed, names in (
        (more, "id"),
        (table.replace_schema_metadata({**table.schema.metadata, "mine": "x"}), "mine"),
    ):
        pyarrow.parquet.write_table(changed, tmp_path / "more.parquet")
        with pytest.raises(ConfigError, match=rf"holds more than `embed` wrote \({names}\), which a grown file would"):
            embed(checkpoint, further, tmp_path / "more.parquet", append=True)
    with pytest.raises(ConfigError, match="is the file that is read, too"):
        embed(checkpoint, out, out, append=True)
    embed(checkpoint, both, out, append=True, console=Console(stderr=True, width=200))
    assert (
        f"{len(FIRST)} of the texts of {both} stand in {out} already, and are appended again" in capsys.readouterr().err
    )


def test_refused_texts_leave_no_part(checkpoint: Path, files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    first, _, _ = files
    out, empty, blank = tmp_path / "grown.parquet", tmp_path / "empty.txt", tmp_path / "blank.txt"
    embed(checkpoint, first, out)
    empty.write_text("")
    blank.write_text("a\n \nb\n")
    for source in (empty, blank):
        with pytest.raises(ConfigError):
            embed(checkpoint, source, out, append=True)
    assert not list(tmp_path.glob(".*.part*"))


def test_numbers_that_the_old_ranges_cut_are_said(
    checkpoint: Path, files: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _, _ = files
    (tmp_path / "alike.txt").write_text("a cat\n" * 400)
    out = tmp_path / "grown.parquet"
    embed(checkpoint, tmp_path / "alike.txt", out, precision="int8")
    embed(checkpoint, first, out, precision="int8", append=True, console=Console(stderr=True, width=300))
    assert "cuts them there; embed all texts in random order" in capsys.readouterr().err


def test_another_embedder_is_refused(
    tiny: Tiny, checkpoint: Path, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    first, further, _ = files
    out, other = tmp_path / "grown.parquet", prompt_embedder(tiny)
    other.readout = random_readout(48)
    save(other, tmp_path / "other", instructions={})
    embed(checkpoint, first, out)
    with pytest.raises(ConfigError, match="made by another embedder"):
        embed(tmp_path / "other", further, out, append=True)


def test_only_a_parquet_file_that_is_there_and_says_what_made_it_grows(
    checkpoint: Path, files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    import pandas as pd

    first, further, _ = files
    with pytest.raises(ConfigError, match=r"new\.parquet: no such file; `transferkit embed"):
        embed(checkpoint, first, tmp_path / "new.parquet", append=True)
    for name in ("v.npy", "v.jsonl"):
        embed(checkpoint, first, tmp_path / name)
        with pytest.raises(ConfigError, match=r"--append takes \.parquet alone"):
            embed(checkpoint, further, tmp_path / name, append=True)
    foreign = tmp_path / "foreign.parquet"
    pd.DataFrame({"text": ["a"], "vector": [[1.0, 0.0]]}).to_parquet(foreign)
    with pytest.raises(ConfigError, match="does not say what made its vectors"):
        read_before(foreign, TextFile.named(str(further), column="text"))
