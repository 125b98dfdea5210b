"""The contract of docs/adding-a-method.md, for every method that the folder holds, built as a run builds it."""

from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.parts import TEXTS, digests, source_checkpoint
from helpers.run_parts import Trial, build, learned, trial
from helpers.tiny import Tiny
from pydantic import ValidationError
from sentence_transformers.util import cos_sim
from sentence_transformers.util.quantization import quantize_embeddings

from transferkit.checkpoints.checkpoint import load, save
from transferkit.config.methods import MethodFacts, all_methods, heeded
from transferkit.config.recipe import Recipe
from transferkit.decoder.decoder import Decoder
from transferkit.errors import ConfigError
from transferkit.evaluation.meta import revision
from transferkit.methods.base import Embedder, Given
from transferkit.methods.described import Example
from transferkit.methods.registry import method_class
from transferkit.readout.fit import Fitter
from transferkit.readout.readout import Readout, Settings
from transferkit.runner.prepare import resolved

METHODS = all_methods().values()
CONTEXT = 64  # positions of the tiny decoders
LONG = "a cat that was in the water is now on the red car but they do not see it " * 8
READ = [*TEXTS, LONG, f"{LONG} two dogs"]
TASKS = ["see", "find the cat", "", *["see"] * (len(READ) - 3)]
# Each may change a vector; what a method refuses or does not read is left out.
SETTINGS: list[dict[str, Any]] = [
    {"seed": 4},
    {"embedding": {"template": "{text}: {soft}"}},
    {"embedding": {"template": "{instruction} {text}{soft}"}},
    {"embedding": {"pooling": "last"}},
    {"embedding": {"pooling": "mean+static"}},
    {"embedding": {"layers": 2}},
    {"embedding": {"max_length": 5}},
    {"precision": "bfloat16"},
    {"embedding": {"quantization": "nf4"}},
    {"prompting": {"tokens": 2}},
    {"prompting": {"tau": 1.0}},
    {"prompting": {"relaxation": "straight_through"}},
    {"prompting": {"reads": "instruction"}},
    {"prompting": {"max_length": 8}},
    {"alignment": {"offset": "none"}},
    {"lora": {"r": 2, "alpha": 64.0}},
    {"frozen": {"templates": ["see: {text}"]}},
    {"frozen": {"poolings": ["last"]}},
]


@dataclass
class Built:
    """A method after two steps, or after it was measured where nothing learns."""

    facts: MethodFacts
    trial: Trial
    before: dict[str, str]  # digests of all its weights at the start
    start: dict[str, torch.Tensor]  # what learns, at the start

    @property
    def ways(self) -> list[Embedder]:
        """What may become its checkpoint."""
        return ways_of(self.trial.embedder, self.trial.recipe)


def ways_of(embedder: Embedder, recipe: Any) -> list[Embedder]:
    return [way.embedder.eval() for _, ways in embedder.variants(recipe) for way in ways]


def recipe_of(tiny: Tiny, facts: MethodFacts, **changes: Any) -> Recipe:
    """Its recipe, in which a text may be longer than a decoder's context."""
    target = {"backbone": str(tiny.encoder)} if facts.has_encoder else {}
    changes["embedding"] = {"max_length": 2 * CONTEXT} | target | changes.get("embedding", {})
    named = {"method": facts.name} if facts.task == "baseline" else {}
    return tiny.recipe(facts.task, **named, **changes)


def source_of(facts: MethodFacts, source: Path) -> Path | None:
    return source if facts.needs_source else None


@pytest.fixture(scope="module", name="source")
def make_source(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_checkpoint(tiny, tmp_path_factory.mktemp("contract") / "source", offsets=0.1)


@pytest.fixture(scope="module", name="built", params=METHODS, ids=lambda facts: facts.name)
def make_built(
    request: pytest.FixtureRequest, tiny: Tiny, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> Built:
    facts: MethodFacts = request.param
    recipe = recipe_of(tiny, facts, optim={"steps": 2}, eval={"every": 99, "keep": "last"})
    one = trial(tiny, recipe, source=source_of(facts, source))
    built = Built(facts, one, digests(one.embedder), learned(one.embedder))
    if one.embedder.trainable():
        one.fit(tmp_path_factory.mktemp("contract") / facts.name)
    else:
        for way in built.ways:
            one.scorer(way)
    one.embedder.eval()
    return built


def test_facts_say_whether_it_learns_and_what_embeds(built: Built) -> None:
    facts, embedder = built.facts, built.trial.embedder
    assert method_class(facts) is type(embedder)
    assert type(embedder).facts == facts
    assert facts.learns == bool(embedder.trainable())
    assert facts.has_backbone == (embedder.backbone_facts() is not None)
    assert embedder.describe()["kind"] == facts.kind


def test_a_texts_vector_does_not_depend_on_its_batch(built: Built) -> None:
    for way in built.ways:
        whole = way.encode(READ, instruction=TASKS)
        for batch_size in (1, 3):
            vectors = way.encode(READ, instruction=TASKS, batch_size=batch_size)
            np.testing.assert_allclose(vectors, whole, atol=1e-5)
        order = [8, 4, 0, 4, 6]
        beside = way.encode([READ[i] for i in order], instruction=[TASKS[i] for i in order])
        np.testing.assert_allclose(beside, whole[order], atol=1e-5)


def test_every_method_has_the_names_of_sentence_transformers(built: Built) -> None:
    for way in built.ways:
        whole = way.encode(TEXTS, instruction="see")
        width = way.get_sentence_embedding_dimension()
        assert whole.shape == (len(TEXTS), width)
        cut = way.encode_query(TEXTS, instruction="see", truncate_dim=width // 2)
        np.testing.assert_allclose(way.similarity(cut, cut), cos_sim(cut, whole[:, : width // 2]), atol=1e-5)
        signs = way.encode_document(TEXTS, instruction="see", precision="ubinary")
        np.testing.assert_array_equal(signs, quantize_embeddings(whole, "ubinary"))
        assert way.encode(TEXTS[0], instruction="see", normalize_embeddings=False).shape == (width,)


def test_what_learns_moves_and_nothing_else_does(built: Built) -> None:
    embedder, now = built.trial.embedder, learned(built.trial.embedder)
    after, own = digests(embedder), learning(embedder)
    # One tensor may have two names, of which `learned` gives one.
    learns = {name for name, tensor in embedder.state_dict(keep_vars=True).items() if id(tensor) in own}
    assert after.keys() == built.before.keys()
    assert {name for name in after if after[name] != built.before[name]} <= learns
    assert not now or any(not torch.equal(now[name], built.start[name]) for name in now)  # the premise: it learned


def test_what_learns_and_what_comes_out_is_in_fp32(built: Built, tiny: Tiny, source: Path) -> None:
    """On a decoder in half precision too."""
    embedder = built.trial.embedder
    if built.facts.has_backbone:
        (embedder, *_) = read_as(tiny, source, built.facts, {"precision": "bfloat16"})
    assert {p.dtype for group in embedder.trainable().values() for p in group} <= {torch.float32}
    assert embedder.encode(TEXTS).dtype == np.float32
    if built.facts.kind is not None:
        assert embedder.embed(TEXTS, [""] * len(TEXTS)).dtype == torch.float32


def test_the_decoders_own_weights_stay_as_they_are(built: Built) -> None:
    """By their content: a method may put parts of its own beside them, and the names move."""
    if not built.facts.has_backbone:
        assert built.trial.recipe.spec is None
        return
    reading, embedder = built.trial.recipe.reading, built.trial.embedder
    fresh = Decoder.load(reading.spec, quantization=reading.quantization, dtype=reading.dtype)
    trunk = embedder.get_submodule("backbone.trunk")
    own = learning(embedder)
    kept = {id(p) for p in trunk.parameters()} - own
    assert len(kept) == len(list(fresh.trunk.parameters()))
    assert set(digests(fresh.trunk).values()) <= set(digests(trunk).values())


def test_saving_and_opening_gives_the_same_vectors(built: Built, tmp_path: Path) -> None:
    if built.facts.kind is None:
        assert not built.trial.embedder.tensors()  # no checkpoint, and nothing that it would have to hold
        return
    for number, way in enumerate(built.ways):
        pooled = way.pooled(READ, TASKS, batch_size=4)
        way.use_readout(Fitter(pooled).fit(Settings("whiten", ridge=0.1)))
        save(way, tmp_path / str(number), instructions={"intents": "see"})
        again, once_more = (load(tmp_path / str(number)) for _ in range(2))
        way.use_readout(again.readout)
        assert type(again).facts.kind == built.facts.kind
        assert again.describe() == way.describe()
        assert revision(again) == revision(once_more)
        expected, found = (one.encode(READ, instruction=TASKS) for one in (way, again))
        np.testing.assert_allclose(found[: len(TEXTS)], expected[: len(TEXTS)], atol=1e-5)
        np.testing.assert_allclose(found, expected, atol=1e-5, err_msg="of a text that is longer than the context")


@pytest.mark.parametrize("facts", [facts for facts in METHODS if facts.kind is not None], ids=lambda facts: facts.name)
def test_what_differs_in_description_or_vectors_differs_in_revision(
    tiny: Tiny, source: Path, facts: MethodFacts
) -> None:
    def heeded_by_it(settings: dict[str, Any]) -> dict[str, Any]:
        return heeded(with_settings(tiny, facts, settings))

    usual = heeded_by_it({})
    read = [("", one) for one in read_as(tiny, source, facts, {})]
    for settings in SETTINGS:
        with suppress(ConfigError, ValidationError):
            if heeded_by_it(settings) != usual:
                read += [(str(settings), one) for one in read_as(tiny, source, facts, settings)]
    found = [(name, one.describe(), one.pooled(READ, TASKS, batch_size=4), revision(one)) for name, one in read]
    others = 0
    for (name, description, vectors, mark), (name_2, description_2, vectors_2, mark_2) in combinations(found, 2):
        same = vectors.shape == vectors_2.shape and torch.equal(vectors, vectors_2)
        if description != description_2 or not same:
            others += 1
            assert mark != mark_2, (name, name_2)
    assert others
    again = read_as(tiny, source, facts, {})
    assert [revision(one) for one in again] == [mark for *_, mark in found[: len(again)]]


def read_as(tiny: Tiny, source: Path, facts: MethodFacts, settings: dict[str, Any]) -> list[Embedder]:
    """What the method may become under a recipe with these settings, before its first step."""
    recipe = Recipe.model_validate(with_settings(tiny, facts, settings))
    given = source_of(facts, source)
    complete = resolved(recipe, source=given)
    torch.manual_seed(complete.seed)
    return ways_of(build(complete, source=given), complete)


def with_settings(tiny: Tiny, facts: MethodFacts, settings: dict[str, Any]) -> dict[str, Any]:
    mapping = recipe_of(tiny, facts).model_dump()
    return mapping | {
        section: mapping[section] | value if isinstance(value, dict) else value for section, value in settings.items()
    }


def learning(embedder: Embedder) -> set[int]:
    """Ids of what learns."""
    return {id(p) for group in embedder.trainable().values() for p in group}


class Least(Embedder):
    """A method that says nothing of itself but what it must."""

    facts = MethodFacts(name="least", task="baseline", place=99, title="least", kind=None)


def test_what_a_method_need_not_say(tiny: Tiny) -> None:
    least, recipe = Least(Readout.plain(4)), resolved(tiny.recipe("baseline", method="frozen"), source=None)
    assert least.examples_title() == "examples"
    assert least.example("a text", "see") == Example("a text", "see")
    assert (least.token_tables(), least.max_tokens, least.variant_names(recipe)) == ([], None, [])
    assert least.without_backbone() is None
    with pytest.raises(ConfigError, match="least: is read in one way alone; leave --templates and --poolings away"):
        least.reread(template="{text}", pooling="mean")
    with pytest.raises(ConfigError, match="this method starts from a checkpoint of `train`; pass one with --source"):
        _ = Given(None, torch.device("cpu"), None).source_folder  # type: ignore[arg-type]
