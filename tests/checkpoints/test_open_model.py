"""What a user may call a model: which names are checkpoints, which decoders, and how a plain decoder is read."""

import hashlib
import inspect
import shutil
from pathlib import Path

import pytest
from helpers.parts import source_checkpoint
from helpers.tiny import Tiny
from typer.testing import CliRunner

from transferkit.augment.models import Model
from transferkit.augment.similarity import embedder_sha256
from transferkit.checkpoints.open import find_decoder, open_model
from transferkit.cli.app import app
from transferkit.config.poolings import without_soft_tokens
from transferkit.decoder.reader import Reader
from transferkit.errors import ConfigError
from transferkit.methods.encoder import EncoderEmbedder
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.methods.transfer import PromptEmbedder


@pytest.fixture(scope="module", name="source")
def make_source(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_checkpoint(tiny, tmp_path_factory.mktemp("open") / "source")


def test_an_embedder_is_told_by_its_manifest_or_its_weights(tiny: Tiny, source: Path, tmp_path: Path) -> None:
    expected = hashlib.sha256((source / "manifest.json").read_bytes()).hexdigest()
    shutil.copytree(source, tmp_path / "run" / "checkpoint")
    assert embedder_sha256(str(source)) == embedder_sha256(str(tmp_path / "run")) == expected
    assert embedder_sha256(str(tiny.target)) == Model.decoder(str(tiny.target)).weights_sha256
    with pytest.raises(ConfigError, match="not a complete checkpoint"):
        embedder_sha256(str(tmp_path))
    (tmp_path / "run" / "checkpoint" / "embedder.json").unlink()
    with pytest.raises(ConfigError, match=r"embedder\.json"):
        embedder_sha256(str(tmp_path / "run"))


def test_a_checkpoint_or_a_decoder(tiny: Tiny, source: Path) -> None:
    assert isinstance(open_model(str(source)), PromptEmbedder)
    with pytest.raises(ConfigError, match="--template and --pooling are for a decoder alone"):
        open_model(str(source), pooling="mean")
    with pytest.raises(ConfigError, match="is a model itself"):
        open_model(str(tiny.target), backbone="x")
    found = find_decoder(str(tiny.target), template="summary", pooling="last").load(max_length=16)
    assert isinstance(found, FrozenEmbedder)
    assert found.pooling == "last"
    assert found.reader.max_length == 16
    assert found.template.startswith("This sentence")


def test_a_folder_of_sentence_transformers_is_a_decoder_only_behind_a_template(tiny: Tiny, tmp_path: Path) -> None:
    ready = open_model(str(tiny.encoder))
    assert isinstance(ready, EncoderEmbedder)
    assert embedder_sha256(str(tiny.encoder)) == ready.sha256
    both = shutil.copytree(tiny.target, tmp_path / "both")  # a decoder that such a folder holds
    shutil.copy(tiny.encoder / "modules.json", both)
    assert isinstance(open_model(str(both), template="plain"), FrozenEmbedder)
    assert isinstance(open_model(str(both), pooling="last"), FrozenEmbedder)


@pytest.mark.parametrize("command", ["attention", "augment"])
def test_help_says_how_much_of_a_text_a_decoder_alone_reads(command: str) -> None:
    tokens = inspect.signature(Reader).parameters["max_length"].default
    shown = CliRunner().invoke(app, [command, "--help"]).output.replace("│", " ")
    assert f"first {tokens} tokens" in " ".join(shown.split())


def test_a_method_without_soft_tokens_reads_the_rest_of_the_template() -> None:
    assert without_soft_tokens("{text}{soft}", "soft") == ("{text}", "mean")
    assert without_soft_tokens('"{text}" is{soft} so', "last") == ('"{text}" is so', "last")
    assert without_soft_tokens("{text}{soft}", "before+soft+static") == ("{text}", "mean+static")
    assert without_soft_tokens('"{text}" is{soft}', "before+soft+static") == ('"{text}" is', "last+static")
    assert without_soft_tokens("{text}", "max") == ("{text}", "max")
