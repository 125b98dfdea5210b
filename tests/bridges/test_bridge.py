"""``bridge``: an old embedder's index is searched with a new one, which says how much of the ranking it keeps."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import command_line
from helpers.parts import flip_bit, prompt_embedder
from helpers.run_parts import QUIET
from helpers.tiny import Tiny
from zoo import WORDS

from transferkit.bridges.build import bridge
from transferkit.checkpoints.checkpoint import load, save
from transferkit.checkpoints.opening import what_differs
from transferkit.checkpoints.spaces import Map, Space, bridge_folder, read_space, save_space
from transferkit.embed.files import embed_file
from transferkit.embed.kept_vectors import KeptIndex, read_kept
from transferkit.errors import ConfigError
from transferkit.files.manifest import NAME, sha256_file
from transferkit.files.vectors.origin import note_file, read_origin
from transferkit.files.vectors.reading import read_vectors
from transferkit.readout.fit import Fitter
from transferkit.readout.readout import Settings

TEXTS = [f"{first} {second} {third}" for first in WORDS[:6] for second in WORDS[6:12] for third in WORDS[12:16]]


@pytest.fixture(scope="module", name="old")
def make_old(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that reads documents as it reads questions."""
    folder = tmp_path_factory.mktemp("bridge") / "old"
    save(prompt_embedder(tiny, pooling="mean"), folder, instructions={"pairs": "see"})
    return folder


@pytest.fixture(scope="module", name="new")
def make_new(tiny: Tiny, old: Path) -> Path:
    """A run folder, of an embedder whose vectors have the same numbers and mean another thing."""
    run = old.with_name("new")
    run.mkdir()
    (run / "record.json").write_text("{}")
    save(prompt_embedder(tiny), run / "checkpoint", instructions={"pairs": "see"})
    return run


@pytest.fixture(scope="module", name="index")
def make_index(old: Path) -> Path:
    """The old embedder's vectors of all texts, in a file of each kind, beside the texts."""
    folder = old.with_name("index")
    folder.mkdir()
    (folder / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    for suffix in (".npy", ".parquet"):
        embed_file(
            old, str(folder / "texts.txt"), folder / f"old{suffix}", side="document", device="cpu", console=QUIET
        )
    return folder


@pytest.fixture(scope="module", name="space")
def make_space(old: Path, new: Path, index: Path) -> Space:
    """Of the map in the run folder."""
    made = bridge(old, new, texts=str(index / "texts.txt"), index=old.with_name("kept"), device="cpu", console=QUIET)
    assert made.folder.parent == new / "spaces"
    return made.space


def test_it_says_what_it_is_of(space: Space, old: Path, new: Path) -> None:
    assert (space.old, space.new) == (sha256_file(old / NAME), sha256_file(new / "checkpoint" / NAME))
    assert space.instructions == {"document": "see"}
    assert (space.texts, space.kept.texts) == (len(TEXTS) - 2 * 14, 14)
    assert 0 < space.kept.nearest <= 100
    assert read_space(new, old) == (new / "spaces" / f"{space.old[:16]}-none", space)


def test_the_new_embedder_comes_near_to_the_old_one_in_its_space(space: Space, old: Path, new: Path) -> None:
    of_old, of_new, plain = (one.encode(TEXTS) for one in (load(old), load(new, space=old), load(new)))
    np.testing.assert_allclose(np.linalg.norm(of_new, axis=1), 1, atol=1e-5)
    carried, not_carried = (float((one * of_old).sum(1).mean()) for one in (of_new, plain))
    assert carried > max(0.9, not_carried)
    assert load(new, space=old).encode([]).shape == (0, 48)


def test_an_old_index_is_searched_and_added_to(space: Space, old: Path, new: Path, index: Path, tmp_path: Path) -> None:
    found = KeptIndex(new, read_kept(index / "old.parquet"), space=old, console=QUIET).search(TEXTS[7], top=3)
    by_hand = load(old).encode(TEXTS) @ load(new, space=old).encode([TEXTS[7]])[0]
    assert [hit.entry.text for hit in found] == [TEXTS[i] for i in np.argsort(-by_hand)[:3]]
    out = tmp_path / "more.parquet"
    embed_file(new, str(index / "texts.txt"), out, side="document", space=old, device="cpu", console=QUIET)
    origin = read_origin(out, where="")
    assert origin is not None
    assert (origin.embedder, origin.space) == (space.new, space.old)
    np.testing.assert_allclose(
        read_vectors(out, where="")[1], load(new, space=old).encode(TEXTS, side="document"), atol=1e-5
    )
    # Both embedders search it, the old one as its own.
    for checkpoint, options in ((new, {"space": old}), (old, {})):
        assert KeptIndex(checkpoint, read_kept(out), console=QUIET, **options).search(TEXTS[3], top=1)
    with pytest.raises(ConfigError, match="made by another embedder"):
        KeptIndex(new, read_kept(out), console=QUIET)


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_a_file_of_vectors_does_where_the_old_embedder_is_gone(
    suffix: str, space: Space, old: Path, new: Path, index: Path, tmp_path: Path
) -> None:
    texts = str(index / "texts.txt") if suffix == ".npy" else None
    made = bridge(
        index / f"old{suffix}",
        new,
        texts=texts,
        to=tmp_path / "map",
        index=old.with_name("kept"),
        device="cpu",
        console=QUIET,
    )
    assert made.space.model_dump(exclude={"kept"}) == space.model_dump(exclude={"kept"})
    assert made.space.kept.nearest == pytest.approx(space.kept.nearest, abs=1.0)
    one, other = (load(new, space=place).encode(TEXTS[:5]) for place in (old, tmp_path / "map"))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_sides_that_are_read_differently_are_both_mapped(tiny: Tiny, old: Path, index: Path, tmp_path: Path) -> None:
    sided = tmp_path / "sided"
    save(prompt_embedder(tiny), sided, instructions={"pairs": "see"}, document_instructions={"pairs": ""})
    made = bridge(
        old, sided, texts=str(index / "texts.txt"), to=tmp_path / "map", index=tmp_path, device="cpu", console=QUIET
    )
    assert made.space.instructions == {"document": "see", "query": "see"}
    there, reader = load(old), load(sided, space=tmp_path / "map")
    for side in ("query", "document"):
        cosines = (there.encode(TEXTS, side=side) * reader.encode(TEXTS, side=side)).sum(1)
        assert float(cosines.mean()) > 0.9, side


def test_vectors_with_the_readout_and_without_it_are_two_spaces(
    tiny: Tiny, new: Path, index: Path, tmp_path: Path
) -> None:
    embedder, texts = prompt_embedder(tiny, pooling="mean"), str(index / "texts.txt")
    pooled = embedder.pooled(TEXTS, [""] * len(TEXTS), batch_size=64)
    embedder.use_readout(Fitter(pooled).fit(Settings("whiten", ridge=0.1)))
    read, own, plain = (tmp_path / name for name in ("read", "own.npy", "plain.npy"))
    save(embedder, read, instructions={"pairs": "see"})
    embed_file(read, texts, own, side="document", device="cpu", console=QUIET)
    embed_file(read, texts, plain, side="document", readout="none", device="cpu", console=QUIET)
    options = {"texts": texts, "index": tmp_path / "kept", "device": "cpu", "console": QUIET}
    folders = [bridge(old, new, to=tmp_path / old.stem, **options).folder for old in (own, plain)]  # type: ignore[arg-type]
    assert [read_space(new, folder)[1].readout for folder in folders] == ["whiten", "none"]
    assert bridge_folder(new, own) == bridge_folder(new, read) != bridge_folder(new, plain)
    for folder, right, wrong in ((folders[0], own, plain), (folders[1], plain, own)):
        assert KeptIndex(new, read_kept(right, texts=texts), space=folder, console=QUIET).search(TEXTS[3], top=1)
        with pytest.raises(ConfigError, match=r"with the readout .*; make a map from this file"):
            KeptIndex(new, read_kept(wrong, texts=texts), space=folder, console=QUIET)
    more = tmp_path / "more.parquet"
    embed_file(new, texts, more, space=folders[0], device="cpu", console=QUIET)
    assert KeptIndex(read, read_kept(more), console=QUIET).search(TEXTS[3], top=1)
    with pytest.raises(ConfigError, match="search it with --readout whiten"):
        KeptIndex(read, read_kept(more), readout="none", console=QUIET)


def test_no_option_of_encode_leaves_the_space(space: Space, old: Path, new: Path) -> None:
    there = load(new, space=old)
    raw = there.encode(TEXTS[:5], normalize_embeddings=False)
    np.testing.assert_allclose(raw / np.linalg.norm(raw, axis=1, keepdims=True), there.encode(TEXTS[:5]), atol=1e-6)
    with pytest.raises(ConfigError, match="readout=False: a map into another space starts from the readout"):
        there.encode(TEXTS[:5], readout=False)


def test_two_maps_into_one_space_are_told_apart(space: Space, old: Path, new: Path, tmp_path: Path) -> None:
    """So that a file which was begun with one is not gone on with by the other."""
    other = tmp_path / "other"
    save_space(other, Map(torch.zeros(48), torch.eye(48), torch.zeros(48)), space)
    one, two = (what_differs(new, {"space": place}) for place in (old, other))
    assert one["space"] == two["space"] == space.old
    assert one != two


def test_it_goes_on_where_it_was_interrupted(
    old: Path, new: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def once() -> None:
        bridge(old, new, texts=str(index / "texts.txt"), to=tmp_path / "map", index=tmp_path / "kept", console=QUIET)

    def gone(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("transferkit.bridges.build.save_space", gone)
        with pytest.raises(KeyboardInterrupt):
            once()
    assert not (tmp_path / "map").exists()
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "kept").glob("*.npy")}
    assert len(kept) == 2
    once()
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "kept").glob("*.npy")} == kept


def test_the_commands(
    old: Path,
    new: Path,
    index: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def call(*words: object) -> int:
        return command_line.call(monkeypatch, *map(str, words))

    kept = old.with_name("kept")
    assert call("bridge", old, new, "--texts", index / "texts.txt", "--to", tmp_path / "a", "--index", kept) == 0
    said = capsys.readouterr().err
    assert "of 14 other texts' ten nearest" in said
    assert f"--space {tmp_path / 'a'} --side document" in said
    assert call("bridge", index / "old.parquet", new, "--to", tmp_path / "b", "--index", kept, "--json", "-q") == 0
    assert json.loads(capsys.readouterr().out)["kept"]["texts"] == 14
    out = tmp_path / "more.npy"
    assert call("embed", new, index / "texts.txt", "--space", tmp_path / "b", "--side", "document", "--out", out) == 0
    assert note_file(out).is_file()
    asked = ("search", TEXTS[0], "--checkpoint", new, "--vectors", index / "old.parquet", "--json")
    assert call(*asked, "--space", tmp_path / "b") == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("bridge OLD OLD --texts TEXTS --to HERE/m", "are the same embedder, whose vectors need no map"),
        ("bridge OLD NEW --to HERE/m", "is an embedder; give texts that it and .* shall read, with --texts FILE"),
        ("bridge OLD NEW --texts FEW --to HERE/m", "few.txt: expected at least 100 different texts .*, got 3"),
        ("bridge OLD NEW --texts TEXTS --to INDEX", "--to .*index: exists already; remove it or choose another name"),
        ("bridge NEW OLD --texts TEXTS", "old: is no run folder of yours; say with --to where the map belongs"),
        ("bridge BARE NEW --to HERE/m", "bare.npy: does not say what made it; give a file that `transferkit embed`"),
        ("bridge none.npy NEW --to HERE/m", "none.npy: no such file; give a file that `transferkit embed` made"),
        ("embed NEW TEXTS --space NEW --out HERE/x.npy", "has no map into that space; `transferkit bridge"),
        (
            "embed OLD TEXTS --space NEW --out HERE/x.npy",
            "old is no run folder of yours, so no map .* --to FOLDER` makes",
        ),
        ("embed NEW TEXTS --space OTHER --out HERE/x.npy", r"bridge \S+other.parquet \S+new` makes one"),
        ("embed OLD TEXTS --space MAP --out HERE/x.npy", "the map in .* is of another embedder"),
        ("embed NEW TEXTS --space BROKEN --out HERE/x.npy", "differs from what was saved"),
        ("search cat --checkpoint NEW --space OLD", "--space .*: searches vectors of an older embedder; name them"),
        ("search cat --checkpoint NEW --space MAP --vectors OTHER", "made by another embedder .* than the one that"),
        ("search cat --checkpoint NEW --space MAP --vectors ASKED", "was embedded as query with the instruction 'no'"),
    ],
)
def test_wrong_inputs(
    words: str,
    says: str,
    inputs: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = inputs | {"HERE": str(tmp_path)}
    given = [here.get(word, word.replace("HERE", here["HERE"])) for word in words.split()]
    assert command_line.call(monkeypatch, *given) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error

    assert re.search(f"error: .*{says}", error), error
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module", name="inputs")
def make_inputs(
    space: Space, old: Path, new: Path, index: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Name -> what it stands for in a command line."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "few.txt").write_text("a\nb\na\nc\n")
    (folder / "bare.npy").write_bytes((index / "old.npy").read_bytes())
    its, _ = read_space(new, old)
    broken = folder / "broken"
    broken.mkdir()
    for file in its.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    flip_bit(broken / "map.safetensors")
    embed_file(new, str(index / "texts.txt"), folder / "other.parquet", side="document", device="cpu", console=QUIET)
    embed_file(old, str(index / "texts.txt"), folder / "asked.parquet", instruction="no", device="cpu", console=QUIET)
    places = {
        "FEW": "few.txt",
        "BARE": "bare.npy",
        "BROKEN": "broken",
        "OTHER": "other.parquet",
        "ASKED": "asked.parquet",
    }
    named = {name: str(folder / place) for name, place in places.items()}
    texts = str(index / "texts.txt")
    return named | {"OLD": str(old), "NEW": str(new), "TEXTS": texts, "INDEX": str(index), "MAP": str(its)}
