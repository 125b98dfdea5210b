"""An embedder behind mteb's interface: every text task of its mocks, the same vectors as elsewhere, revisions."""

import copy
import warnings
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
import torch
from datasets import Dataset
from helpers.parts import TEXTS, load_reader, prompt_embedder
from helpers.tiny import Tiny
from mteb._create_dataloaders import create_dataloader
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.mocks import ALL_MOCK_TASK_TEST_GRID
from mteb.models.models_protocols import EncoderProtocol
from mteb.results import TaskResult
from mteb.types import PromptType
from rich.console import Console
from torch import nn

from transferkit.checkpoints.checkpoint import load, save
from transferkit.config.sections import LoraSection
from transferkit.config.specs import BackboneSpec, TokenizerFacts
from transferkit.decoder.decoder import Decoder
from transferkit.decoder.probe import probe
from transferkit.decoder.reader import Reader
from transferkit.embed.files import embed_file
from transferkit.errors import ConfigError, RunError
from transferkit.evaluation.encoder import MtebEncoder
from transferkit.evaluation.instructions import Instructions
from transferkit.evaluation.meta import revision
from transferkit.methods.base import Embedder
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.methods.lora import LoraEmbedder
from transferkit.methods.prompt_tuning import PromptTuningEmbedder
from transferkit.methods.prompting_alone import PromptingAlone
from transferkit.methods.transfer import PromptEmbedder
from transferkit.prompting.adapters import add_lora
from transferkit.readout.fit import Fitter
from transferkit.readout.readout import Readout, Settings

FILLED = [text for text in TEXTS if text]


@pytest.fixture(scope="module", name="embedder")
def make_embedder(tiny: Tiny) -> PromptEmbedder:
    return prompt_embedder(tiny)


def task_metadata(name: str = "a set", type_: str = "Retrieval", **changes: Any) -> TaskMetadata:
    facts = {"eval_langs": ["eng-Latn"], "main_score": "ndcg_at_10", "description": "", "category": "t2t"}
    dataset = {"path": "local", "revision": "1"}
    return TaskMetadata.model_validate({"name": name, "type": type_, "dataset": dataset, **facts, **changes})


def through_mteb(
    encoder: MtebEncoder, texts: list[str], *, prompt_type: PromptType | None = None, batch_size: int = 3
) -> np.ndarray:
    """Vectors as a task gets them: texts through mteb's own data loader."""
    task = task_metadata()
    rows = {"id": [str(i) for i in range(len(texts))], "text": texts}
    loader = create_dataloader(
        Dataset.from_dict(rows), task_metadata=task, prompt_type=prompt_type, batch_size=batch_size
    )
    return encoder.encode(
        loader, task_metadata=task, hf_split="test", hf_subset="default", prompt_type=prompt_type, batch_size=batch_size
    )


@pytest.mark.slow
def test_every_text_task_among_mtebs_mocks_passes(embedder: PromptEmbedder) -> None:
    encoder = MtebEncoder(embedder, name="tiny")
    assert isinstance(encoder, EncoderProtocol)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = mteb.mock_run(encoder).task_results
    wanted = {task.metadata.name for task in ALL_MOCK_TASK_TEST_GRID if task.metadata.modalities == ["text"]}
    assert len(wanted) >= 28
    problems = {name: results[name] for name in wanted if not isinstance(results[name], TaskResult)}
    assert problems == {}
    assert encoder.texts > len(wanted)


def test_same_vectors_in_training_embed_and_mteb(tiny: Tiny, tmp_path: Path) -> None:
    embedder = prompt_embedder(tiny)
    pooled = embedder.pooled(FILLED, ["see"] * len(FILLED), batch_size=4)
    embedder.readout = Fitter(pooled).fit(Settings("whiten", ridge=0.1))
    save(embedder, tmp_path / "checkpoint", instructions={"a set": "see"})
    (tmp_path / "texts.txt").write_text("\n".join(FILLED) + "\n")
    embed_file(tmp_path / "checkpoint", str(tmp_path / "texts.txt"), tmp_path / "out.npy", console=Console(quiet=True))
    embedded = np.load(tmp_path / "out.npy")

    encoder = MtebEncoder(load(tmp_path / "checkpoint"), name="tiny")
    for prompt_type in (None, PromptType.query):
        np.testing.assert_allclose(through_mteb(encoder, FILLED, prompt_type=prompt_type), embedded, atol=1e-5)

    trained = embedder.train().embed(FILLED, ["see"] * len(FILLED))
    assert trained.requires_grad
    np.testing.assert_allclose(embedder.readout(trained.detach()).numpy(), embedded, atol=1e-5)
    distances = np.linalg.norm(embedded[:, None] - embedded[None], axis=-1) + 9 * np.eye(len(FILLED))
    assert distances.min() > 1e-2  # the premise: different texts have different vectors


def test_a_text_is_embedded_once_and_stands_in_its_place(embedder: PromptEmbedder) -> None:
    encoder = MtebEncoder(embedder, name="tiny")
    done: list[tuple[int, int]] = []
    encoder.on_progress = lambda *seen: done.append(seen)
    order = [4, 0, 4, 1, 0, 3]
    vectors = through_mteb(encoder, [TEXTS[i] for i in order], batch_size=1)
    np.testing.assert_allclose(vectors, embedder.encode([TEXTS[i] for i in order], instruction=RETRIEVE), atol=1e-5)
    assert encoder.texts == 4
    assert encoder.seconds > 0
    assert done[0] == (0, 4)
    assert done[-1] == (4, 4)
    assert through_mteb(encoder, ["no"] * 2).shape == (2, embedder.backbone.output_width)


RETRIEVE = "Retrieve text based on user query."  # what mteb says of retrieval tasks without a prompt of their own


class _Local(AbsTaskRetrieval):
    """So that mteb finds the class of the task above by its name."""

    metadata = task_metadata()


@pytest.mark.parametrize(
    ("task", "given", "trained", "query", "document"),
    [
        ({}, {}, {}, RETRIEVE, ""),
        ({"prompt": "own"}, {}, {}, "own", ""),
        ({"prompt": {"query": "own"}}, {}, {}, "own", ""),
        ({"prompt": {"query": "own", "document": "doc"}}, {}, {}, "own", "doc"),
        ({"prompt": "own"}, {}, {"a set": ("trained", "other side"), "other": ("x", "y")}, "trained", "other side"),
        ({"prompt": {"document": "doc"}}, {}, {"a set": ("trained", "")}, "trained", ""),
        ({"prompt": "own"}, {"Retrieval": "type"}, {"a set": ("trained", "other side")}, "type", "other side"),
        ({"prompt": "own"}, {"Retrieval": "type", "a set": "given"}, {}, "given", ""),
        ({"prompt": "own"}, {"a set": ""}, {"a set": ("trained", "trained")}, "", "trained"),
        ({"prompt": {"document": "doc"}}, {"a set-document": "given"}, {}, RETRIEVE, "given"),
        ({}, {"Retrieval-document": "type"}, {"a set": ("trained", "other side")}, "trained", "type"),
        ({}, {"STS": "no", "another set": "no"}, {}, RETRIEVE, ""),
    ],
)
def test_instruction_of_a_task(
    task: dict[str, Any], given: dict[str, str], trained: dict[str, tuple[str, str]], query: str, document: str
) -> None:
    anchors, documents = ({name: pair[i] for name, pair in trained.items()} for i in (0, 1))
    found = Instructions(given, anchors, documents)
    metadata = task_metadata(**task)
    for prompt_type, expected in ((PromptType.query, query), (None, query), (PromptType.document, document)):
        assert found.of(metadata, prompt_type) == expected


def test_instructions_reach_the_prompting_llm(embedder: PromptEmbedder) -> None:
    encoder = MtebEncoder(embedder, name="tiny", instructions={"a set": "find the cat", "a set-document": "see"})
    for prompt_type, instruction in ((PromptType.query, "find the cat"), (PromptType.document, "see")):
        expected = embedder.encode(FILLED, instruction=instruction)
        np.testing.assert_allclose(through_mteb(encoder, FILLED, prompt_type=prompt_type), expected, atol=1e-5)
    plain = MtebEncoder(embedder, name="tiny")
    documents = through_mteb(plain, FILLED, prompt_type=PromptType.document)
    np.testing.assert_allclose(documents, embedder.encode(FILLED, instruction=""), atol=1e-5)
    assert np.linalg.norm(documents - through_mteb(plain, FILLED), axis=1).min() > 1e-3
    assert plain.mteb_model_meta.use_instructions


def test_who_reads_instructions(tiny: Tiny, embedder: PromptEmbedder) -> None:
    frozen = {template: load_reader(tiny.target, template=template) for template in ("{text}", "{instruction} {text}")}
    assert PromptingAlone(embedder.writer, join="mean").reads_instruction
    for template, backbone in frozen.items():
        encoder = MtebEncoder(FrozenEmbedder(backbone, pooling="mean"), name="tiny")
        assert encoder.mteb_model_meta.use_instructions == ("{instruction}" in template)
        assert bool(encoder.instruction(task_metadata(), None)) == ("{instruction}" in template)
    static = embedder.reread(template=embedder.template, pooling="static")
    np.testing.assert_array_equal(static.encode(FILLED, instruction="see"), static.encode(FILLED))  # the premise
    assert not MtebEncoder(static, name="tiny").mteb_model_meta.use_instructions


def methods(tiny: Tiny) -> dict[str, Embedder]:
    """One embedder of every method, with backbones of their own."""
    lora = LoraEmbedder.on(load_reader(tiny.target, template="{text}"), pooling="mean", lora=LoraSection(), seed=0)
    whole = prompt_embedder(tiny)
    whole.readout = Readout(Settings("center"), whole.backbone.output_width)
    return {
        "transfer": whole,
        "lora": lora,
        "prompt tuning": PromptTuningEmbedder.on(load_reader(tiny.target), pooling="soft", tokens=3, seed=0),
        "frozen": FrozenEmbedder(load_reader(tiny.target, template="{text}"), pooling="mean"),
        "prompting LLM alone": PromptingAlone(prompt_embedder(tiny).writer, join="mean"),
    }


def test_metadata_is_that_of_the_model(tiny: Tiny) -> None:
    for name, embedder in methods(tiny).items():
        meta = MtebEncoder(embedder, name=f"my {name}", licence="Apache-2.0").mteb_model_meta
        assert meta.name == f"transferkit/my-{name.replace(' ', '-')}"
        assert meta.n_parameters == sum(p.numel() for p in embedder.parameters())
        assert meta.n_embedding_parameters is not None
        assert 0 < meta.n_embedding_parameters < meta.n_parameters
        assert meta.memory_usage_mb == pytest.approx(4 * meta.n_parameters / 2**20, abs=1e-3)
        assert meta.embed_dim == embedder.encode(["no"]).shape[1]
        assert meta.max_tokens is not None
        assert 8 <= meta.max_tokens <= 128
        assert meta.license == "apache-2.0"
        assert meta.languages is None
        assert meta.to_dict()["revision"] == revision(embedder)
    assert MtebEncoder(embedder, name="x", licence="a licence of my own").mteb_model_meta.license is None


def test_one_changed_weight_anywhere_is_another_revision(tiny: Tiny) -> None:
    for name, embedder in methods(tiny).items():
        before = revision(embedder)
        assert before == revision(embedder), name
        seen = {before}
        for parameter, tensor in {**dict(embedder.named_parameters()), **dict(embedder.named_buffers())}.items():
            if tensor.numel() == 0 or not tensor.is_floating_point():
                continue
            last = tensor.data.view(-1)[-1]
            kept = last.clone()
            last += 1e-3
            changed = revision(embedder)
            last.copy_(kept)
            state = parameter in embedder.state_dict()
            assert (changed not in seen) == state, f"{name}: {parameter}"
            seen.add(changed)
        assert revision(embedder) == before, name
        assert len(seen) > 3


@pytest.mark.parametrize(
    "change",
    [
        lambda e: setattr(e, "pooling", "max"),
        lambda e: setattr(e, "readout", Readout(Settings("center"), e.backbone.output_width)),
        lambda e: add_lora(e.backbone.trunk, LoraSection(), seed=0),
    ],
    ids=["pooling", "readout", "adapter"],
)
def test_every_setting_of_a_method_is_in_the_revision(tiny: Tiny, change: Callable[[Any], Any]) -> None:
    embedder = FrozenEmbedder(load_reader(tiny.target, template="{text}"), pooling="mean")
    before = revision(embedder)
    change(embedder)
    assert revision(embedder) != before


OPTIONS: dict[str, Any] = {  # of Decoder.load and Reader -> another value than in the test below
    "quantization": "nf4",
    "dtype": "bfloat16",
    "template": "{text} in one:",
    "max_length": 8,
    "soft_tokens": 12,
    "layers": 2,
}
SPEC: dict[str, Any] = {  # field -> another value
    "name": "other",
    "family": "other",
    "revision": "0" * 40,
    "license": "mit",
    "gated": True,
    "model_type": "other",
    "hidden_size": 7,
    "embedding_size": 7,
    "num_layers": 7,
    "max_length": 12,
    "pooling": "max",
    "template": "the {text}",
    "quantizations": ["nf4"],
    "sources": ["a page"],
}
TOKENIZER: dict[str, Any] = {"add_bos": False, "has_pad": False, "append_eos": True, "vocab_size": 7}
MOVING = {*OPTIONS, "add_bos", "append_eos"}  # what changes vectors; "max_length" and "template" in the spec too
REFUSED = {"model_type", "hidden_size", "embedding_size", "num_layers"}  # where they are not the model's


def test_no_setting_of_a_backbone_is_forgotten_below() -> None:
    names = signature(Decoder.load).parameters.keys() | signature(Reader).parameters.keys()
    # closed: of a view that pictures are drawn from; nothing saves or scores it.
    assert OPTIONS.keys() == names - {"spec", "device", "decoder", "closed"}
    assert SPEC.keys() == BackboneSpec.model_fields.keys() - {"tokenizer", "hub_id", "path", "bundled"}
    assert TOKENIZER.keys() == TokenizerFacts.model_fields.keys()


@pytest.mark.parametrize(
    ("options", "spec", "tokenizer"),
    [
        *[({key: value}, {}, {}) for key, value in OPTIONS.items()],
        *[({}, {key: value}, {}) for key, value in SPEC.items()],
        *[({}, {}, {key: value}) for key, value in TOKENIZER.items()],
    ],
    ids=[*OPTIONS, *(f"spec {key}" for key in SPEC), *(f"tokenizer {key}" for key in TOKENIZER)],
)
def test_what_changes_a_vector_of_a_backbone_changes_its_revision(
    tiny: Tiny, options: dict[str, Any], spec: dict[str, Any], tokenizer: dict[str, Any]
) -> None:
    own = probe(str(tiny.target)).model_copy(update={"max_length": 24, "template": "{text}"})

    def seen(options: dict[str, Any], spec: dict[str, Any], tokenizer: dict[str, Any]) -> tuple[np.ndarray, str]:
        facts = own.tokenizer.model_copy(update=tokenizer)
        other = own.model_copy(update={"tokenizer": facts, **spec})
        reader = load_reader(tiny.target, spec=other, **({"max_length": 24, "soft_tokens": 0} | options))
        embedder = FrozenEmbedder(reader, pooling="mean")
        return embedder.encode(FILLED), revision(embedder)

    (name,) = [*options, *spec, *tokenizer]
    if name in REFUSED:
        with pytest.raises(ConfigError, match=f"{name}: the spec says"):
            seen(options, spec, tokenizer)
        return
    (vectors, changed), (before, first) = seen(options, spec, tokenizer), seen({}, {}, {})
    assert np.allclose(vectors, before, atol=1e-5) == (name not in MOVING)
    if name in MOVING:
        assert changed != first


def test_revision_is_that_of_the_saved_checkpoint_wherever_it_lies(tiny: Tiny, tmp_path: Path) -> None:
    embedder = prompt_embedder(tiny)
    save(embedder, tmp_path / "a", instructions={})
    save(embedder, tmp_path / "b" / "c", instructions={"other": "x"})
    first, second = (revision(load(tmp_path / name)) for name in ("a", "b/c"))
    assert first == second == revision(embedder)


def test_vectors_without_meaning_stop_with_a_sentence(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = copy.deepcopy(FrozenEmbedder(load_reader(tiny.target, template="{text}"), pooling="mean"))
    encoder = MtebEncoder(embedder, name="tiny")
    nn.init.constant_(next(embedder.backbone.trunk.parameters()), float("nan"))
    with pytest.raises(RunError, match=r"^a set: text '.*': its vector holds NaN or infinity; use float32"):
        through_mteb(encoder, FILLED)

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(FrozenEmbedder, "embed", full)
    with pytest.raises(RunError, match=r"^a set: out of memory at 8 texts .* go on with --batch-size 4$"):
        through_mteb(encoder, FILLED, batch_size=8)
