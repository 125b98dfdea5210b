"""``--readout none``: the vectors of the checkpoint without its readout, and nothing that takes them for its own."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from helpers.parts import TEXTS as ALL_TEXTS
from helpers.parts import prompt_embedder
from helpers.run_parts import QUIET
from helpers.tiny import Tiny
from typer.testing import CliRunner

from transferkit.checkpoints.checkpoint import load, save
from transferkit.checkpoints.open import open_model
from transferkit.cli.app import app
from transferkit.embed.files import embed_file
from transferkit.embed.kept_vectors import KeptIndex, read_kept
from transferkit.embed.search import Entry, Index
from transferkit.errors import ConfigError
from transferkit.files.vectors.origin import read_origin
from transferkit.readout.fit import Fitter
from transferkit.readout.readout import Settings

TEXTS = [text for text in ALL_TEXTS if text]
ENTRIES = [Entry(text, text, text) for text in TEXTS]


@pytest.fixture(scope="module", name="checkpoint")
def make_checkpoint(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    embedder = prompt_embedder(tiny)
    vectors = embedder.pooled(TEXTS, [""] * len(TEXTS), batch_size=4)
    embedder.readout = Fitter(vectors).fit(Settings("whiten", ridge=0.1))
    folder = tmp_path_factory.mktemp("readout") / "checkpoint"
    save(embedder, folder, instructions={})
    return folder


@pytest.fixture(name="texts")
def write_texts(tmp_path: Path) -> Path:
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(TEXTS))
    return file


def test_a_loaded_checkpoint_has_its_own_readout_or_none(checkpoint: Path) -> None:
    own = load(checkpoint)
    plain = load(checkpoint, readout="none")
    assert (own.readout.kind, plain.readout.kind) == ("whiten", "none")
    np.testing.assert_allclose(plain.encode(TEXTS), own.encode(TEXTS, readout=False), atol=1e-6)
    assert np.abs(plain.encode(TEXTS) - own.encode(TEXTS)).max() > 0.01
    np.testing.assert_array_equal(load(checkpoint, readout="whiten").encode(TEXTS), own.encode(TEXTS))
    assert open_model(str(checkpoint), readout="none").readout.kind == "none"


def test_what_a_checkpoint_does_not_hold_is_refused(checkpoint: Path, tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"checkpoint: readout: the checkpoint holds a readout of kind whiten and none of kind pairs"
    ):
        load(checkpoint, readout="pairs")
    with pytest.raises(ConfigError, match=r"readout: expected 'none', .* got 'whitten'; did you mean 'whiten'"):
        load(checkpoint, readout="whitten")
    save(prompt_embedder(tiny), tmp_path / "plain", instructions={})
    assert load(tmp_path / "plain", readout="none").readout.kind == "none"
    with pytest.raises(ConfigError, match="holds no readout and none of kind whiten; leave it away"):
        load(tmp_path / "plain", readout="whiten")
    with pytest.raises(ConfigError, match="readout whiten: a model without a checkpoint holds none"):
        open_model(str(tiny.target), readout="whiten")


def test_a_file_of_vectors_says_that_none_finished_them(checkpoint: Path, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "plain.npy"
    arguments = ["embed", str(checkpoint), str(texts), "--out", str(out), "--readout", "none", "--quiet", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    np.testing.assert_allclose(np.load(out), load(checkpoint).encode(TEXTS, readout=False), atol=1e-6)
    origin = read_origin(out, where="")
    assert origin is not None
    assert origin.readout == "none"
    assert json.loads(result.stdout) == {"out": str(out), **asdict(origin)}
    kept = read_kept(out, texts=str(texts))
    with pytest.raises(
        ConfigError, match=r"made with the readout none, and a question is read with whiten; .*--readout none"
    ):
        KeptIndex(checkpoint, kept, console=QUIET)
    found = KeptIndex(checkpoint, kept, readout="none", console=QUIET).search(TEXTS[0], top=1)[0]
    assert found.entry.text == TEXTS[0]
    assert found.score == pytest.approx(1, abs=1e-5)


def test_an_interrupted_output_goes_on_with_the_readout_it_began_with(
    checkpoint: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "vectors.npy"
    with monkeypatch.context() as patch:
        patch.setattr("transferkit.files.vectors.writing.VectorFile.finish", _stop)
        with pytest.raises(KeyboardInterrupt):
            embed_file(checkpoint, str(texts), out, readout="none", console=QUIET)
    with pytest.raises(ConfigError, match="begun with"):
        embed_file(checkpoint, str(texts), out, resume=True, console=QUIET)
    assert embed_file(checkpoint, str(texts), out, resume=True, readout="none", console=QUIET) == len(TEXTS)


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


def test_an_index_without_readout_is_another_file(
    checkpoint: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Index(checkpoint, ENTRIES, folder=tmp_path / "index", console=QUIET)
    plain = Index(checkpoint, ENTRIES, folder=tmp_path / "index", readout="none", console=QUIET)
    assert len(list((tmp_path / "index").glob("*.npy"))) == 2
    Index(checkpoint, ENTRIES, folder=tmp_path / "index", readout="whiten", console=QUIET)
    assert len(list((tmp_path / "index").glob("*.npy"))) == 2
    assert np.abs(own.stored.whole() - plain.stored.whole()).max() > 0.01
    asked = ["search", TEXTS[1], "--checkpoint", checkpoint, "--texts", texts, "--index", tmp_path / "index"]
    result = CliRunner().invoke(app, [*map(str, asked), "--readout", "none", "--top", "2", "--json"])
    assert result.exit_code == 0, result.output
    second = [json.loads(line) for line in result.stdout.splitlines()][1]
    assert second["score"] == pytest.approx(plain.search(TEXTS[1], top=2)[1].score, abs=1e-4)
