"""Pretraining on generated text: equal weights twice and after a kill, a folder that loads."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from helpers.small_pretraining import RECIPES, ROOT, WORDS, recipe_mapping
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

sys.path.insert(0, str(ROOT / "benchmarks"))

import pretrain
from muon import orthogonalise
from pretrain_export import LICENCES, bits_per_byte, export, write_folder
from pretrain_ngram import ngram_bits_per_byte
from pretrain_recipe import PretrainRecipe, training_windows
from pretrain_text import Windows, heldout_windows, prepare

from transferkit.config.schema import parse, read_yaml
from transferkit.decoder.decoder import Decoder
from transferkit.decoder.probe import probe
from transferkit.errors import ConfigError


def make_recipe(**train: Any) -> PretrainRecipe:
    return parse(PretrainRecipe, recipe_mapping(**train), where="test")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    source = random.Random(3)
    for stem in ("one", "two", "three"):
        texts = [" ".join(source.choices(WORDS, k=60)) + " </s>." for _ in range(12)]
        pq.write_table(pa.table({"text": texts}), folder / f"{stem}.parquet")
    return folder


def run(corpus: Path, work: Path, recipe: PretrainRecipe, *, stop_after: int | None = None) -> dict[str, Any]:
    """Trained parameters by name."""
    prepare(corpus, work, config=recipe.text, seed=recipe.seed)
    return dict(pretrain.train(recipe, work, stop_after=stop_after).state_dict())


def assert_identical(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_two_runs_and_a_stopped_one_are_identical(corpus: Path, tmp_path: Path, optimizer: str) -> None:
    recipe = make_recipe(optimizer=optimizer)
    straight = run(corpus, tmp_path / "a", recipe)
    again = run(corpus, tmp_path / "b", recipe)
    assert_identical(straight, again)
    run(corpus, tmp_path / "c", recipe, stop_after=8)  # three steps and two log rows past the checkpoint of step 5
    resumed = run(corpus, tmp_path / "c", recipe)
    assert_identical(straight, resumed)
    losses = [
        [
            (row["step"], row["loss"])
            for row in map(json.loads, (tmp_path / name / "log.jsonl").read_text().splitlines())
        ]
        for name in "ab"
    ]
    assert losses[0] == losses[1]
    resumed_rows = [json.loads(row) for row in (tmp_path / "c" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in resumed_rows] == [2, 4, 6, 8, 10, 12]
    assert resumed_rows[-1]["tokens"] == 12 * 4 * 16


def test_learning_rate_rises_stands_and_falls() -> None:
    config = make_recipe(steps=8).train
    assert [config.lr_factor(step) for step in range(8)] == [0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25]


@pytest.mark.slow  # imports everything once more in a process of its own
def test_killed_process_resumes_to_the_same_weights(corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe_mapping(steps=80, cooldown_steps=30, checkpoint_every=4, heldout_every=80)))
    command = [
        sys.executable,
        str(ROOT / "benchmarks" / "pretrain.py"),
        str(path),
        "--corpus",
        str(corpus),
        "--work",
    ]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    killed = subprocess.Popen([*command, str(tmp_path / "k")], env=environment, stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / "k" / "checkpoint.safetensors"
    for _ in range(6000):
        if checkpoint.is_file() or killed.poll() is not None:
            break
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert checkpoint.is_file()
    assert not (tmp_path / "k" / "model").exists()
    recipe = parse(PretrainRecipe, read_yaml(path), where="test")
    assert_identical(run(corpus, tmp_path / "straight", recipe), run(corpus, tmp_path / "k", recipe))


def train_and_export(corpus: Path, work: Path) -> tuple[PreTrainedModel, PretrainRecipe, Path]:
    """The trained model, its recipe (``work/tiny.yaml``) and the folder it was exported to."""
    recipe_file = work / "tiny.yaml"
    recipe_file.write_text("# A comment.\n" + yaml.safe_dump(recipe_mapping() | {"prompts": ["the cat", "a"]}))
    recipe = parse(PretrainRecipe, read_yaml(recipe_file), where="test")
    prepare(corpus, work, config=recipe.text, seed=recipe.seed)
    model = pretrain.train(recipe, work)
    training = training_windows(recipe, work)
    out = export(model, work, recipe_file=recipe_file, text=recipe.text, prompts=recipe.prompts, training=training)
    return model, recipe, out


def test_exported_folder_loads_and_measures_the_same(corpus: Path, tmp_path: Path) -> None:
    model, recipe, out = train_and_export(corpus, tmp_path)
    loaded, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert loaded.dtype == torch.bfloat16
    assert loaded.config.pad_token_id == tokenizer.pad_token_id == tokenizer.eos_token_id == loaded.config.eos_token_id
    assert tokenizer.decode(tokenizer("a red cat", add_special_tokens=False)["input_ids"]) == "a red cat"
    for name, value in load_file(out / "model.safetensors").items():
        assert torch.equal(value, model.state_dict()[name].to(torch.bfloat16)), name
    card = (out / "card.md").read_text()
    windows, byte_count = heldout_windows(tmp_path, text=recipe.text, everything=True)
    bits = bits_per_byte(loaded.float(), windows, byte_count=byte_count)
    assert f"| {bits:.3f} |" in card
    assert bits < 8
    training = training_windows(recipe, tmp_path)
    ngram_bits = ngram_bits_per_byte(training, windows, vocab_size=300, byte_count=byte_count)
    assert f"| 5-gram model (modified Kneser-Ney) trained on the same tokens | {ngram_bits:.3f} bits per byte |" in card


def test_card_has_licences_and_the_same_samples_each_time(corpus: Path, tmp_path: Path) -> None:
    model, recipe, out = train_and_export(corpus, tmp_path)
    card = (out / "card.md").read_text()
    assert card.startswith("# tiny\n")
    assert "| one | 75.0% | not stated |\n| two | 25.0% | not stated |\n" in card
    greedy, sampled = (part.split("````text\n")[1:] for part in card.split("\n## ")[-2:])
    for samples in (greedy, sampled):
        assert samples[0].startswith("the cat")
        assert samples[1].startswith("a")
    assert greedy[0] != sampled[0]
    training = training_windows(recipe, tmp_path)
    file = tmp_path / "tiny.yaml"
    export(model, tmp_path, recipe_file=file, text=recipe.text, prompts=recipe.prompts, training=training)
    assert (out / "card.md").read_text() == card


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_licence_of_every_text_is_known(path: Path) -> None:
    text = parse(PretrainRecipe, read_yaml(path), where=path.name).text
    assert {*text.weights, text.heldout} <= LICENCES.keys()


def test_exported_folder_with_log_and_recipe_is_a_backbone(corpus: Path, tmp_path: Path) -> None:
    _, _, out = train_and_export(corpus, tmp_path)
    assert (out / "pretrain.yaml").read_bytes() == (tmp_path / "tiny.yaml").read_bytes()
    assert (out / "pretrain.jsonl").read_bytes() == (tmp_path / "log.jsonl").read_bytes()
    whole = Decoder.load(probe(str(out)))
    for name in ("pretrain.yaml", "pretrain.jsonl", "card.md"):
        (out / name).unlink()
    assert Decoder.load(probe(str(out))).identity == whole.identity


def test_bits_per_byte_of_a_uniform_model(corpus: Path, tmp_path: Path) -> None:
    recipe = make_recipe()
    prepare(corpus, tmp_path, config=recipe.text, seed=recipe.seed)
    model = pretrain.build_model(recipe)
    torch.nn.init.zeros_(model.get_input_embeddings().weight)  # tied: every logit is 0
    windows, byte_count = heldout_windows(tmp_path, text=recipe.text, everything=False)
    tokens = windows[1].size
    expected = tokens * torch.tensor(300.0).log2().item() / byte_count
    assert bits_per_byte(model, windows, byte_count=byte_count) == pytest.approx(expected, rel=1e-5)


def test_windows_follow_the_weights_and_never_hold_heldout_text(corpus: Path, tmp_path: Path) -> None:
    recipe = make_recipe()
    prepare(corpus, tmp_path, config=recipe.text, seed=recipe.seed)
    windows = Windows(tmp_path, config=recipe.text, steps=500, batch_size=4, seed=1)
    spans = json.loads((tmp_path / "index.json").read_text())["spans"]
    first = (windows.starts < spans["one"][1]).mean()
    assert first == pytest.approx(0.75, abs=0.03)
    assert windows.starts.max() + recipe.text.context < spans["three"][0]
    inputs, targets = windows.batch(7)
    assert inputs.shape == targets.shape == (4, 16)
    assert (inputs[:, 0] == windows.bos_id).all()
    assert (inputs[:, 1:] == targets[:, :-1]).all()
    in_one = windows.starts[windows.starts < spans["one"][1]]
    per_pass = (spans["one"][1] - spans["one"][0] - 1) // 16
    assert len(set(in_one[:per_pass])) == per_pass  # every window once before any is seen twice


@pytest.mark.parametrize("stem", ["three", "heldout_other"])
def test_heldout_text_is_refused_as_training_text(stem: str) -> None:
    mapping = recipe_mapping()
    mapping["text"]["weights"][stem] = 1
    with pytest.raises(ConfigError, match=f"{stem}.*never trained on"):
        parse(PretrainRecipe, mapping, where="test")


def test_another_recipe_does_not_resume(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path, make_recipe(), stop_after=6)
    with pytest.raises(ConfigError, match="another recipe"):
        run(corpus, tmp_path, make_recipe(lr=1.0e-3))


def test_unknown_model_type_names_the_closest() -> None:
    mapping = recipe_mapping()
    mapping["model"]["model_type"] = "lama"
    with pytest.raises(ConfigError, match="did you mean 'llama'"):
        pretrain.build_model(parse(PretrainRecipe, mapping, where="test"))


@pytest.mark.parametrize("shape", [(2, 12, 30), (3, 30, 12)])
def test_orthogonalised_matrices_keep_their_singular_vectors(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    core = left.mT @ orthogonalise(matrices) @ right.mT
    sizes = core.diagonal(dim1=1, dim2=2)
    assert ((sizes > 0.5) & (sizes < 1.4)).all()
    assert (core - torch.diag_embed(sizes)).abs().max() < 1e-4


def test_our_muon_step_matches_torch() -> None:
    from muon import Muon

    start = torch.randn(16, 24, generator=torch.Generator().manual_seed(1))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    mine = Muon([ours], lr=0.1, weight_decay=0.05)
    reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    for step in range(3):
        gradient = torch.randn(16, 24, generator=torch.Generator().manual_seed(step + 2))
        ours.grad, theirs.grad = gradient, gradient.clone()
        mine.step()
        reference.step()
    moved = (theirs - start).norm()
    assert (ours - theirs).norm() / moved < 0.02  # torch iterates in bfloat16


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_builds(path: Path) -> None:
    recipe = parse(PretrainRecipe, read_yaml(path), where=path.name)
    model = pretrain.build_model(recipe)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert path.stem.rsplit("-", 1)[1] == f"{model.num_parameters() / 1e6:.0f}m"
    assert recipe.train.warmup_steps + recipe.train.cooldown_steps < recipe.train.steps


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_vocabulary_of_every_recipe_survives_the_tokenizer_class_of_its_family(
    corpus: Path, tmp_path: Path, path: Path
) -> None:
    mapping = read_yaml(path)
    mapping["text"] |= {"weights": {"one": 3, "two": 1}, "heldout": "three", "vocab_size": 300}
    recipe = parse(PretrainRecipe, mapping, where=path.name)
    prepare(corpus, tmp_path, config=recipe.text, seed=recipe.seed)
    write_folder(pretrain.build_model(recipe), tmp_path, tmp_path / "model", text=recipe.text)
    assert (tmp_path / "model" / "model.safetensors").is_file()
