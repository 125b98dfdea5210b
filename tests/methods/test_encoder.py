"""The ready-made encoder: its own vectors, its own prompt, a row on any decoder's table, a checkpoint that knows it."""

import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.command_line import call
from helpers.parts import TEXTS
from helpers.run_parts import QUIET
from helpers.set_folders import write_sets
from helpers.tiny import Tiny

from transferkit.augment.similarity import embedder_sha256
from transferkit.checkpoints.checkpoint import load
from transferkit.checkpoints.open import open_model
from transferkit.config.schema import dump_yaml
from transferkit.errors import ConfigError
from transferkit.methods.encoder import EncoderEmbedder
from transferkit.runner.dry_run import describe
from transferkit.runner.prepare import Inputs
from transferkit.runner.run import start
from transferkit.runs.folder import read_run
from transferkit.study.plan import plan
from transferkit.study.run import run_all
from transferkit.study.schema import read_study
from transferkit.study.state import comparisons

Call = Callable[..., int]
CPU = torch.device("cpu")


@pytest.fixture(name="run")
def make_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Exit code of a command line, run in this process below an empty folder."""
    monkeypatch.chdir(tmp_path)
    return partial(call, monkeypatch)


def ready(tiny: Tiny, **changes: Any) -> Any:
    target = changes.pop("target", tiny.encoder)
    embedding = {"backbone": None if target is None else str(target)}
    return tiny.recipe("baseline", method="encoder", embedding=embedding, **changes)


def with_prompt(tiny: Tiny, folder: Path, *, text: str, default: bool) -> Path:
    """A copy whose own config has a prompt."""
    shutil.copytree(tiny.encoder, folder)
    file = folder / "config_sentence_transformers.json"
    config = json.loads(file.read_text()) | {
        "prompts": {"mine": text},
        "default_prompt_name": "mine" if default else None,
    }
    file.write_text(json.dumps(config))
    return folder


def sentence_transformers(folder: Path, texts: list[str], **options: Any) -> np.ndarray:
    from sentence_transformers import SentenceTransformer

    return np.asarray(SentenceTransformer(str(folder), device="cpu").encode(texts, **options))


def test_its_vectors_are_those_of_sentence_transformers(tiny: Tiny) -> None:
    found = open_model(str(tiny.encoder))
    assert isinstance(found, EncoderEmbedder)
    expected = sentence_transformers(tiny.encoder, TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(found.encode(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(found.encode(TEXTS, instruction="see"), expected, atol=1e-5)  # it reads none
    assert not found.reads_instruction
    assert found.max_tokens == 32


def test_the_prompt_of_its_own_config_is_read(tiny: Tiny, tmp_path: Path) -> None:
    prompted = with_prompt(tiny, tmp_path / "prompted", text="the cat: ", default=True)
    unused = with_prompt(tiny, tmp_path / "unused", text="the cat: ", default=False)
    plain, own, other = (open_model(str(one)).encode(TEXTS) for one in (tiny.encoder, prompted, unused))
    expected = sentence_transformers(tiny.encoder, [f"the cat: {text}" for text in TEXTS], normalize_embeddings=True)
    np.testing.assert_allclose(own, expected, atol=1e-5)
    assert np.abs(own - plain).max() > 1e-3
    np.testing.assert_array_equal(other, plain)


def test_its_run_is_a_row_and_a_checkpoint(
    tiny: Tiny, tmp_path: Path, run: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tiny.write(tmp_path, "baseline", readout={"kind": "auto"}, optim={"steps": 2})
    command = ["baseline", file, "--data-dir", tiny.data, "--quiet"]
    assert run(*command, "--method", "encoder", "--target", tiny.encoder) == 0
    assert run(*command, "--method", "lora") == 0
    encoder, lora = map(Path, capsys.readouterr().out.splitlines())
    found = read_run(encoder)
    record, (row,) = found.record, found.metrics
    assert (record["label"], record["backbone"]) == ("ready-made encoder tiny-encoder", None)
    assert record["encoder"]["name"] == "tiny-encoder"
    assert len(record["encoder"]["sha256"]) == 64
    assert record["parameters"]["trainable"] == 0 < record["parameters"]["total"]
    assert {"plain", "whiten", "pairs", "readout"} <= row["score"].keys()

    assert run("compare", lora, encoder, "--out", "report", "--json") == 0  # LoRA's decoder is another model
    table = json.loads(capsys.readouterr().out)
    assert [one["label"] for one in table["rows"]][-1] == "ready-made encoder tiny-encoder"
    page = Path("report/report.html").read_text(encoding="utf-8")
    assert f"tiny-encoder (sha256 {record['encoder']['sha256'][:12]})" in page

    opened = load(encoder)
    Path("texts.txt").write_text("\n".join(TEXTS[:-1]), encoding="utf-8")
    assert run("embed", encoder, "texts.txt", "--out", "texts.npy", "--quiet") == 0
    np.testing.assert_allclose(np.load("texts.npy"), opened.encode(TEXTS[:-1]), atol=1e-5)
    assert opened.readout.kind == (row["readout"] or {"kind": "none"})["kind"]


def test_evaluate_takes_the_folder_and_the_checkpoint(
    tiny: Tiny, tmp_path: Path, run: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = ready(tiny, readout={"kind": "none"})
    folder = start(recipe, Inputs(data_dir=tiny.data), runs=tmp_path / "runs", name="ready", console=QUIET)
    sets = write_sets(tmp_path / "sets")
    options = ["--tasks-from", sets, "--tasks", "likeness", "--out", "scores"]
    assert run("evaluate", tiny.encoder, folder, *options, "--json", "--quiet") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["model"], row["method"]) for row in rows] == [
        ("tiny-encoder", "ready-made encoder"),
        ("ready", "ready-made encoder tiny-encoder"),
    ]
    assert rows[0]["score"] == rows[1]["score"] is not None
    assert rows[0]["revision"] == rows[1]["revision"]  # without a readout they are the same vectors
    assert run("evaluate", tiny.encoder, "tfidf", *options, "--templates", "all") == 2
    assert f"needs a decoder or a checkpoint, got {tiny.encoder} and tfidf alone" in capsys.readouterr().err
    assert run("evaluate", tiny.encoder, *options, "--template", "plain") == 2
    assert "--template is for frozen backbones, got none" in capsys.readouterr().err


def test_the_plan_shows_what_it_reads(tiny: Tiny, tmp_path: Path) -> None:
    prompted = with_prompt(tiny, tmp_path / "prompted", text="the cat: ", default=True)
    plan_of = describe(ready(tiny, target=prompted), Inputs(data_dir=tiny.data))
    assert "method: ready-made encoder prompted\n  nothing learns; it is scored as it comes" in plan_of
    assert "encoder reads        <s> t h e Ġcat : Ġ" in plan_of
    assert "none: every dev set is scored once a variant" in plan_of


def test_a_checkpoint_knows_its_encoder(tiny: Tiny, tmp_path: Path) -> None:
    mine, moved = shutil.copytree(tiny.encoder, tmp_path / "mine"), tmp_path / "moved"
    folder = start(ready(tiny, target=mine), Inputs(data_dir=tiny.data), runs=tmp_path, name="run", console=QUIET)
    assert not [
        file for file in (folder / "checkpoint").iterdir() if file.stat().st_size > 100_000
    ]  # no weights of its
    before = load(folder).encode(TEXTS)
    mine.rename(moved)
    with pytest.raises(ConfigError, match=r"its encoder mine is not at .*mine; .* with --backbone FOLDER"):
        load(folder)
    np.testing.assert_array_equal(load(folder, backbone=str(moved)).encode(TEXTS), before)
    other = with_prompt(tiny, tmp_path / "other", text="a", default=True)
    with pytest.raises(ConfigError, match=r"its encoder is mine with the hash \w{12}, and .*other differs from it"):
        load(folder, backbone=str(other))


def test_a_study_has_it_in_every_table(tiny: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny.encoder, tmp_path / "ready")
    tiny.write(tmp_path, "baseline")
    runs = [{"name": "encoder", "recipe": "baseline.yaml", "targets": ["ready"], "set": {"method": "encoder"}}]
    (tmp_path / "study.yaml").write_text(dump_yaml({"seeds": [3], "runs": runs}))
    study = read_study(tmp_path / "study.yaml")
    (one,) = plan(study, runs=tmp_path / "runs", beside=tmp_path)
    assert one.target is None  # of no decoder's table alone
    assert (one.folder.name, one.recipe.embedding.backbone) == ("encoder-ready-s3", str(tmp_path / "ready"))
    (tmp_path / "ready" / "modules.json").write_text("[")
    with pytest.raises(ConfigError, match=r"study, run 'encoder': .*modules\.json: not valid JSON"):
        plan(study, runs=tmp_path / "runs", beside=tmp_path)


def test_a_study_that_is_done_needs_its_encoder_no_more(tiny: Tiny, tmp_path: Path) -> None:
    mine = shutil.copytree(tiny.encoder, tmp_path / "ready")
    tiny.write(tmp_path, "baseline")
    runs = [{"name": "encoder", "recipe": "baseline.yaml", "targets": [str(mine)], "set": {"method": "encoder"}}]
    runs += [{"name": "lora", "recipe": "baseline.yaml", "targets": [str(tiny.target)], "set": {"method": "lora"}}]
    (tmp_path / "study.yaml").write_text(dump_yaml({"seeds": [3], "runs": runs}))
    study = read_study(tmp_path / "study.yaml")
    planned = plan(study, runs=tmp_path / "runs", beside=tmp_path)
    run_all(planned, data_dir=tiny.data, console=QUIET)
    shutil.rmtree(mine)
    again = plan(study, runs=tmp_path / "runs", beside=tmp_path)
    run_all(again, data_dir=tiny.data, console=QUIET)
    (found,) = comparisons(again).values()
    assert [run.record["label"] for run in found] == ["ready-made encoder ready", found[1].record["label"]]
    with pytest.raises(ConfigError, match="ready: not a local folder of sentence-transformers"):
        plan(study, runs=tmp_path / "elsewhere", beside=tmp_path)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (None, "embedding.backbone: this key is missing, and encoder needs a folder of sentence-transformers"),
        ("nowhere", "nowhere: not a local folder of sentence-transformers (no such folder); name the folder that"),
        ("$DECODER", "not a local folder of sentence-transformers (no modules.json in it)"),
    ],
)
def test_what_is_no_encoder_is_one_sentence(
    tiny: Tiny, tmp_path: Path, run: Call, capsys: pytest.CaptureFixture[str], target: str | None, says: str
) -> None:
    file = tiny.write(tmp_path, "baseline", embedding={"backbone": None})
    named = [] if target is None else ["--target", target.replace("$DECODER", str(tiny.target))]
    assert run("baseline", file, "--method", "encoder", "--data-dir", tiny.data, *named) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("error: ")
    assert says in said
    assert not (tmp_path / "runs").exists()


def test_where_a_decoder_or_a_recipe_is_asked_for_it_says_so(
    tiny: Tiny, tmp_path: Path, run: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("texts.txt").write_text("a cat")
    for command, says in (
        (["baseline", "--method", "encoder", "--target", tiny.encoder], "is of no decoder's family; name the recipe"),
        (
            ["embed", tiny.encoder, "texts.txt", "--out", "x.npy"],
            "a ready-made encoder and no checkpoint; `transferkit base",
        ),
        (
            ["adapt", "--source", "bundled", "--target", tiny.encoder],
            f"{tiny.encoder}: an encoder (bert) and no decoder: its tokens see what comes after them",
        ),
        (
            ["baseline", "mixture/baseline", "--method", "lora", "--target", tiny.encoder],
            f"`transferkit baseline RECIPE --method encoder --target {tiny.encoder}`",
        ),
        (["attention", tiny.encoder, "--text", "cat"], "no decoder embeds in it, so there is none whose attention"),
    ):
        assert run(*command) == 2
        assert says in capsys.readouterr().err


def test_a_local_copy_goes_by_its_name(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither record nor checkpoint says where it lies, so the next machine may keep it elsewhere."""
    shutil.copytree(tiny.encoder, tmp_path / "copies" / "mini")
    with pytest.raises(ConfigError, match=r"mini: not a local folder of sentence-transformers \(no such folder\)"):
        EncoderEmbedder.load("mini", device=CPU)
    monkeypatch.setenv("TRANSFERKIT_DECODERS", str(tmp_path / "copies"))
    run = read_run(start(ready(tiny, target="mini"), Inputs(data_dir=tiny.data), runs=tmp_path, console=QUIET))
    assert run.record["label"] == "ready-made encoder mini"
    for file in ("record.json", "recipe.yaml", "checkpoint/embedder.json"):
        assert "copies" not in (run.folder / file).read_text()
    before = load(run.folder).encode(TEXTS)
    (tmp_path / "copies").rename(tmp_path / "moved")
    monkeypatch.setenv("TRANSFERKIT_DECODERS", str(tmp_path / "moved"))
    np.testing.assert_array_equal(load(run.folder).encode(TEXTS), before)


def test_a_local_copy_is_told_apart_by_its_files(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name too: what has no folder of that name here must not have the hash of nothing."""
    shutil.copytree(tiny.encoder, tmp_path / "mini")
    monkeypatch.setenv("TRANSFERKIT_DECODERS", str(tmp_path))
    assert embedder_sha256("mini") == embedder_sha256(str(tiny.encoder))


def test_an_encoder_of_words_without_a_tokenizer_of_transformers_shows_its_text(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from zoo import WORDS, tokenizer

    words = tokenizer(WORDS).backend_tokenizer
    SentenceTransformer(modules=[StaticEmbedding(words, embedding_dim=8)], device="cpu").save(str(tmp_path / "words"))
    opened = EncoderEmbedder.load(str(tmp_path / "words"), device=CPU, precision="float32")
    assert opened.encode(TEXTS).shape == (len(TEXTS), 8)
    shown = opened.example("a red cat", "")
    assert (shown.tokens, shown.pooled) == (["a red cat"], [False])


def test_without_sentence_transformers_it_says_what_to_install(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.encoder
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ConfigError, match="which is not installed; `pip install sentence-transformers`, or name anot"):
        EncoderEmbedder.load(str(folder), device=CPU, precision="float32")
