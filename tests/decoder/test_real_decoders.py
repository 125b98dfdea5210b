"""The decoders that results are measured on, as GGUF files and as the folders made of them.

    python benchmarks/real_decoders.py && python -m pytest -m real

``TRANSFERKIT_REAL_DECODERS`` says where they are; by default it is real-decoders/ in the checkout.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.command_line import call
from helpers.small_pretraining import ROOT
from helpers.tiny import Tiny
from helpers.ways import asked_in_every_way, embedded_in_another_process

from transferkit.checkpoints.checkpoint import load, save
from transferkit.checkpoints.open import find_decoder
from transferkit.config.specs import find_spec
from transferkit.decoder.loading import load_tokenizer
from transferkit.decoder.probe import probe
from transferkit.decoder.tokens import TextEncoder, opens_with_bos

sys.path.insert(0, str(ROOT / "benchmarks"))

from real_decoders import MODELS, TARGET

pytestmark = pytest.mark.real

FILES = {model.name: model.file for model in MODELS if model.file.endswith(".gguf")}
FAMILIES = {"smollm2-135m-instruct": "smollm2", "gemma-3-270m": "gemma3", "qwen2.5-coder-0.5b-instruct": "qwen2.5"}
TEXTS = [
    "block my bank account",
    "What is the weather in Zürich on 2024-05-17?",
    "",
    "  two  spaces, a\ttab and\n\na paragraph",
    "def add(a, b):\n    return a + b  # 12,345.67",
    "das Café im ersten Stock; cafe\u0301 in two characters",
    "日本語のテキスト, русский текст 🎉",
    "special tokens <|im_start|> <bos> </s> as plain text",
    " ".join(["a longer text of the kind that people have"] * 8),
]


@pytest.fixture(name="home", scope="module")
def find_home() -> Path:
    return Path(os.environ.get("TRANSFERKIT_REAL_DECODERS", ROOT / TARGET)).absolute()


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest, home: Path) -> str:
    """Of a decoder that is there."""
    for path in (home / request.param, home / FILES[request.param]):
        if not path.exists():
            pytest.skip(f"{path} is not there; `python benchmarks/real_decoders.py` brings it")
    return str(request.param)


def test_the_file_gives_the_vectors_of_its_folder(name: str, home: Path) -> None:
    """In bf16, in which the folder was written."""
    vectors: dict[str, list[np.ndarray]] = {"mean": [], "last": []}
    for place in (home / FILES[name], home / name):
        embedder = find_decoder(str(place), template="plain").load(dtype="bfloat16")
        for pooling, both in vectors.items():
            both.append(np.asarray(embedder.reread(template="{text}", pooling=pooling).encode(TEXTS)))
    for pooling, (file, folder) in vectors.items():
        assert (file * folder).sum(1).min() >= 0.999, pooling
        assert (folder @ folder.T)[0, 1:].min() < 0.99  # texts do differ


# Rounding decides whether the second or a later token of these becomes another attention sink of SmolLM2: in bfloat16
# such a text has a cosine of down to 0.986 with its vector in float32, whatever the batch.
SINKS = [
    "open the contact alex in phonebook",
    "Play the greatest 1966 album out there",
    "book me a taxi to leith in half an hour",
    "open td ameritrade",
]
LONG = " ".join(["a text of which a decoder reads more tokens than those that attend as short ones do"] * 9)
LEAST = 0.9995  # cosine in bfloat16, in which products are rounded by the shape of a batch: 0.9998 was seen


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_text_has_one_vector_whoever_asks(name: str, home: Path, tmp_path: Path, precision: str) -> None:
    texts = [TEXTS[0], TEXTS[3], TEXTS[6], *SINKS, LONG, LONG[20:]]
    frozen = find_decoder(str(home / name), template="plain").load(dtype=precision, max_length=200)
    for pooling in ("mean", "last"):
        embedder = frozen.reread(template="{text}", pooling=pooling)
        alone = np.concatenate([embedder.encode([text]) for text in texts])
        found = asked_in_every_way(embedder, texts)
        save(embedder, tmp_path / pooling, instructions={})
        (found["embed"],) = embedded_in_another_process([tmp_path / pooling], texts, tmp_path)
        (tmp_path / "0.npy").unlink()
        for way, vectors in found.items():
            if precision == "float32":
                np.testing.assert_allclose(vectors, alone, atol=1e-5, err_msg=f"{pooling}, {way}")
            cosines = (vectors * alone).sum(1)
            assert cosines.min() >= LEAST, f"{pooling}, {way}: {texts[int(cosines.argmin())]!r}"


def test_it_is_read_as_its_original_is(name: str, home: Path) -> None:
    """What the spec of the hub's original declares holds for the folder and for the file, so recipes fit either."""
    declared = find_spec(name)
    for place in (home / name, home / FILES[name]):
        found = probe(str(place))
        for fact in ("family", "model_type", "hidden_size", "num_layers", "max_length"):
            assert getattr(found, fact) == getattr(declared, fact), fact
        for fact in ("add_bos", "has_pad", "vocab_size"):
            wanted = getattr(declared.tokenizer, fact)
            assert wanted in (None, getattr(found.tokenizer, fact)), fact
        assert found.family == FAMILIES[name]


def test_tokens_of_the_file_are_those_of_its_folder(name: str, home: Path) -> None:
    """BOS opens a text of Gemma alone: SmolLM2's file and Qwen's name one that they never put in front."""
    rows = []
    for place in (home / FILES[name], home / name):
        tokenizer = load_tokenizer(str(place))
        assert opens_with_bos(tokenizer) is (name == "gemma-3-270m")
        rows.append(TextEncoder(tokenizer, num_rows=len(tokenizer)).texts(TEXTS, max_length=500))
    assert rows[0] == rows[1]


def test_adapt_on_the_file(
    name: str,
    home: Path,
    tiny: Tiny,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From the command line, with the source that ships with the package."""
    recipe = tiny.write(tmp_path, "adapt", optim={"steps": 2}, precision="bfloat16")
    options = ["--source", "bundled", "--data-dir", tiny.data, "--runs", tmp_path / "runs"]
    assert call(monkeypatch, "adapt", recipe, *options, "--target", home / FILES[name]) == 0
    said = capsys.readouterr()
    assert "unpacked from GGUF, which saves no memory" in said.err
    vectors = load(said.out.strip()).encode(TEXTS)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
