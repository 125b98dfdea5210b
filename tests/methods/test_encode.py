"""``encode`` as users call it: whatever holds texts in an order, from several threads, and what it says or refuses."""

import io
import multiprocessing
import pickle
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from helpers.parts import TEXTS, load_prompting, load_reader, prompt_embedder
from helpers.tiny import Tiny
from rich.console import Console
from sentence_transformers.util import normalize_embeddings, truncate_embeddings
from sentence_transformers.util.quantization import quantize_embeddings
from torch import nn

from transferkit.checkpoints.checkpoint import load, save
from transferkit.errors import ConfigError, CutTextWarning, RunError
from transferkit.files.vectors.precision import Precision
from transferkit.methods.frozen import FrozenEmbedder
from transferkit.methods.transfer import PromptEmbedder
from transferkit.prompting.writer import Writer

COLUMN = pd.Series(TEXTS, name="text")
SHUFFLED = COLUMN.iloc[[2, 0, 3, 1, 6, 5, 4]]  # as sample, sort_values or a split leave it: the index is no place
LONG = "i had to be with them as they were by the water " * 9
ASK, ANSWER = "find the cat", "a text"


@pytest.fixture(scope="module")
def embedder(tiny: Tiny) -> PromptEmbedder:
    return prompt_embedder(tiny)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SHUFFLED,
        lambda: SHUFFLED[SHUFFLED.str.contains("a")].iloc[1:],
        lambda: SHUFFLED.to_numpy(),
        lambda: np.array(list(SHUFFLED)),
        lambda: pd.Series(SHUFFLED, dtype="string"),
        lambda: Dataset.from_dict({"text": list(SHUFFLED)})["text"],
        lambda: (text for text in SHUFFLED),
        lambda: tuple(SHUFFLED),
        lambda: dict.fromkeys(SHUFFLED),
    ],
    ids=["shuffled", "filtered", "objects", "array", "strings", "datasets", "generator", "tuple", "dict"],
)
def test_a_vector_a_text_in_the_order_given_or_a_refusal(embedder: PromptEmbedder, make: Callable[[], Any]) -> None:
    if isinstance(make(), dict):
        with pytest.raises(ConfigError, match="expected texts in an order, got a dict; pass a list, or one column"):
            embedder.encode(make())
        return
    np.testing.assert_array_equal(embedder.encode(make()), embedder.encode(list(make())))


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (b"a cat", "expected texts in an order, got a bytes"),
        (set(TEXTS), "expected texts in an order, got a set"),
        (
            pd.DataFrame({"text": TEXTS}),
            "expected texts in an order, got a DataFrame; pass a list, or one column of a table",
        ),
        (None, "expected a list of texts, got None"),
        (["a cat", float("nan")], "text 1: expected text, got nan"),
        (np.array([["a"], ["b"]]), "text 0: expected text, got array"),
    ],
    ids=["bytes", "set", "table", "none", "nan", "matrix"],
)
def test_what_is_refused(embedder: PromptEmbedder, texts: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=f"^encode: {says}"):
        embedder.encode(texts)


@pytest.mark.parametrize("option", [{"side": "passage"}, {"side": None}, {"batch_size": -1}, {"batch_size": 0.5}])
def test_options_that_there_are_not_are_refused(embedder: PromptEmbedder, option: dict[str, Any]) -> None:
    """A passage was read as a document, and a batch of less than one text gave no vector."""
    with pytest.raises(ConfigError, match=r"side: expected one of query, document, got|batch_size: expected a whole"):
        embedder.encode(["the cat"], **option)


# The names of sentence-transformers


def test_one_string_gives_one_vector(embedder: PromptEmbedder) -> None:
    one = embedder.encode(TEXTS[1], instruction="see")
    assert one.shape == (48,)
    np.testing.assert_array_equal(one, embedder.encode([TEXTS[1]], instruction="see")[0])
    np.testing.assert_array_equal(embedder.encode(np.str_(TEXTS[1]), instruction="see"), one)


def test_a_tensor_a_list_or_an_array(embedder: PromptEmbedder) -> None:
    array = embedder.encode(TEXTS)
    tensor = embedder.encode(TEXTS, convert_to_tensor=True)
    assert tensor.device == embedder.device
    each = embedder.encode(TEXTS, convert_to_numpy=False)
    for found in (tensor, torch.stack(each), embedder.encode(TEXTS, convert_to_tensor=True, convert_to_numpy=False)):
        np.testing.assert_array_equal(found.numpy(), array)
    assert embedder.encode(TEXTS, convert_to_tensor=True, precision="int8").dtype == torch.int8
    assert embedder.encode(TEXTS[0], convert_to_tensor=True).shape == (48,)
    half = embedder.encode(TEXTS, precision="float16")
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, array, atol=1e-3)
    assert embedder.encode([], precision="binary").shape == (0, 6)


def test_precision_and_cut_are_those_of_sentence_transformers(embedder: PromptEmbedder) -> None:
    whole = embedder.encode(TEXTS)
    cut = embedder.encode(TEXTS, truncate_dim=20)
    expected = normalize_embeddings(truncate_embeddings(torch.from_numpy(whole), 20))
    torch.testing.assert_close(torch.from_numpy(cut), expected)
    precisions: tuple[Precision, ...] = ("int8", "uint8", "binary", "ubinary")
    for precision in precisions:
        found = embedder.encode(TEXTS, precision=precision, truncate_dim=20)
        np.testing.assert_array_equal(found, quantize_embeddings(cut, precision))
    ranges = np.stack([cut.min(0), cut.max(0)])
    again = embedder.encode(TEXTS[1], precision="int8", truncate_dim=20, ranges=ranges)
    np.testing.assert_array_equal(again, embedder.encode(TEXTS, precision="int8", truncate_dim=20)[1])


def test_without_unit_norm_they_are_as_the_readout_leaves_them(embedder: PromptEmbedder) -> None:
    raw = embedder.encode(TEXTS, normalize_embeddings=False)
    pooled = embedder.pooled(TEXTS, [""] * len(TEXTS), batch_size=64)
    np.testing.assert_allclose(raw, pooled.numpy(), rtol=1e-5, atol=1e-6)
    assert np.abs(np.linalg.norm(raw, axis=1) - 1).max() > 0.01  # the premise


def test_what_cannot_be_had_is_refused_before_a_text_is_read(
    embedder: PromptEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PromptEmbedder, "embed", None)
    for options, says in (
        ({"precision": "int4"}, "precision: expected one of float32"),
        ({"truncate_dim": 49}, "truncate_dim: expected a whole number from 1 to 48, the vectors' own width, got 49"),
        ({"precision": "int8", "ranges": np.zeros((2, 3))}, "ranges: expected the smallest"),
    ):
        with pytest.raises(ConfigError, match=f"^encode: {says}"):
            embedder.encode(TEXTS, **options)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="int8 takes its steps from the texts given, and one alone has none"):
        embedder.encode("a cat", precision="int8")


@pytest.mark.parametrize("show", [True, False, None])
def test_a_bar_is_shown_in_a_terminal_where_one_is_asked_for(
    embedder: PromptEmbedder, show: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr("transferkit.methods.encoding.Console", lambda **_: terminal)
    expected = embedder.encode(TEXTS, batch_size=2)
    found = embedder.encode(TEXTS, batch_size=2, show_progress_bar=show)
    np.testing.assert_array_equal(found, expected)
    assert isinstance(terminal.file, io.StringIO)
    assert (f"{len(TEXTS)}/{len(TEXTS)}" in terminal.file.getvalue()) == bool(show)


def test_instructions_of_a_column_too(embedder: PromptEmbedder) -> None:
    tasks = pd.Series(["see", "find", ""], index=[2, 0, 1])
    expected = embedder.encode(TEXTS[:3], instruction=list(tasks))
    np.testing.assert_array_equal(embedder.encode(TEXTS[:3], instruction=tasks), expected)
    with pytest.raises(ConfigError, match="instruction 1: expected text, got 3"):
        embedder.encode(TEXTS[:2], instruction=["see", 3])  # type: ignore[list-item]


def test_vectors_without_meaning_are_refused(tiny: Tiny) -> None:
    embedder = FrozenEmbedder(load_reader(tiny.target, template="{text}"), pooling="mean")
    nn.init.constant_(next(embedder.backbone.trunk.parameters()), float("nan"))
    with pytest.raises(RunError, match=r"^encode: text 0: its vector holds NaN or infinity; use float32"):
        embedder.encode(TEXTS)


# Sides


@pytest.fixture(scope="module", params=[ANSWER, ""], ids=["another", "none"])
def sided(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A checkpoint that was trained with one instruction for questions, and another or none for documents."""
    folder = tmp_path_factory.mktemp("sided") / "checkpoint"
    save(prompt_embedder(tiny), folder, instructions={"pairs": ASK}, document_instructions={"pairs": request.param})
    return folder


def test_a_side_is_read_as_it_was_trained(sided: Path) -> None:
    embedder = load(sided)
    document = embedder.document_instructions["pairs"]
    asked, found = (embedder.encode(TEXTS, instruction=one) for one in (ASK, document))
    assert np.abs(asked - found).max() > 1e-3  # the premise
    np.testing.assert_array_equal(embedder.encode(TEXTS), asked)
    np.testing.assert_array_equal(embedder.encode(TEXTS, side="query"), asked)
    np.testing.assert_array_equal(embedder.encode(TEXTS, side="document"), found)
    np.testing.assert_array_equal(embedder.encode_query(TEXTS), asked)
    np.testing.assert_array_equal(embedder.encode_document(TEXTS, convert_to_tensor=True).numpy(), found)
    assert embedder.has_sides


def test_documents_are_read_as_beside_the_questions_of_that_instruction(embedder: PromptEmbedder) -> None:
    def beside(asked: str, instructions: dict[str, str], documents: dict[str, str]) -> str:
        embedder.remember(instructions, documents)
        return embedder.document_instruction(asked)

    assert beside(ASK, {}, {}) == ASK  # trained without any: the same on both sides
    assert beside(ASK, {"a": ASK}, {"a": ASK}) == ASK
    assert beside(ASK, {"a": ASK, "b": "see"}, {"a": ANSWER, "b": "see"}) == ANSWER
    assert beside("new", {"a": ASK}, {"a": ""}) == ""  # as all documents were read
    assert beside("new", {"a": ASK, "b": "see"}, {"a": "", "b": "see"}) == "new"
    assert beside(ASK, {"a": ASK, "b": ASK}, {"a": ANSWER, "b": ASK}) == ASK  # both were seen
    embedder.remember({}, {})


# Texts that are too long


@pytest.fixture
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_cut_texts_are_said_once_with_numbers(tiny: Tiny) -> None:
    embedder = prompt_embedder(tiny)
    (length,) = {len(embedder.backbone.encoder.texts([LONG], max_length=9_999)[0])}
    with pytest.warns(CutTextWarning) as caught:
        embedder.encode(["a cat", LONG, LONG + "cat"])
    (said,) = {str(one.message) for one in caught}
    decoder, prompting = said.split("; 2 of 3 ")
    assert decoder.startswith("2 of 3 texts are longer than the 24 tokens that the decoder reads of each and were cut")
    assert f"(their median: {length + 0.5:,.0f} tokens); raise embedding.max_length in the recipe" in decoder
    assert prompting.startswith("texts with their instructions are longer than the 60 tokens that the Prompting LLM")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        embedder.encode([LONG])


@pytest.mark.parametrize("verb", ["encode", "encode_query", "encode_document"])
def test_cut_texts_are_said_of_the_line_that_asked(tiny: Tiny, verb: str) -> None:
    with pytest.warns(CutTextWarning) as caught:
        getattr(prompt_embedder(tiny), verb)([LONG])
    assert [one.filename for one in caught] == [__file__]


@pytest.mark.usefixtures("no_warnings")
def test_nothing_is_said_where_nothing_is_cut(tiny: Tiny) -> None:
    prompt_embedder(tiny).encode([text for text in TEXTS if len(text) < 40])


def test_an_instruction_leaves_the_text_its_room(tiny: Tiny) -> None:
    """Half of the prompt at least."""
    embedder = prompt_embedder(tiny)
    embedder.writer = Writer(load_prompting(tiny.prompting, max_length=32))
    prompts = embedder.writer.prompts(["a red cat", "see the water"], [LONG, LONG])
    rows = embedder.writer.rows(["a red cat", "see the water"], [LONG, LONG])
    assert all(text in prompt for text, prompt in zip(["a red cat", "see the water"], prompts, strict=True))
    assert rows[0] != rows[1]
    with pytest.warns(CutTextWarning, match="1 of 1 instructions are longer than the 16 tokens that the Prompting LLM"):
        vectors = embedder.encode(["a red cat", "see the water"], instruction=LONG)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


# Threads and processes


def test_threads_that_share_an_embedder_get_what_a_lone_call_gives(tiny: Tiny) -> None:
    embedder = prompt_embedder(tiny)
    batches = [[f"{text} {word}" for text in TEXTS] for word in ("cat", "car", "water", LONG)] * 6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CutTextWarning)
        expected = [embedder.encode(batch) for batch in batches]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(embedder.encode, batches))
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, two)


def test_threads_that_share_a_tokenizer_read_the_same_tokens(tiny: Tiny) -> None:
    """A template's own text and a user's switch the tokenizer's settings back and forth."""
    reader = load_reader(tiny.target, template="</s>a {text} cat")
    expected = reader.rows([LONG] * 8, [""] * 8)
    with ThreadPoolExecutor(8) as pool:
        seen = Counter(pool.map(lambda _: reader.rows([LONG] * 8, [""] * 8) == expected, range(200)))
    assert seen == {True: 200}


def test_an_embedder_goes_to_another_process(embedder: PromptEmbedder) -> None:
    again = pickle.loads(pickle.dumps(embedder))
    np.testing.assert_array_equal(again.encode(TEXTS), embedder.encode(TEXTS))


def _in_worker(embedder: PromptEmbedder, threads: int, answers: Any) -> None:
    torch.set_num_threads(threads)
    try:
        answers.put(embedder.encode(TEXTS))
    except RunError as error:
        answers.put(str(error))


@pytest.mark.parametrize(
    ("how", "threads", "works"),
    [("fork", 2, False), ("fork", 1, True), pytest.param("spawn", 2, True, marks=pytest.mark.slow)],
)
def test_workers(embedder: PromptEmbedder, how: str, threads: int, works: bool) -> None:
    """A forked one would wait for ever for threads that torch started before."""
    context = multiprocessing.get_context(how)
    answers = context.Queue()
    worker = context.Process(target=_in_worker, args=(embedder, threads, answers), daemon=True)
    worker.start()
    answer = answers.get(timeout=60)
    worker.join()
    if works:
        np.testing.assert_allclose(answer, embedder.encode(TEXTS), atol=1e-5)
    else:
        assert "came to this process by fork" in answer
        assert "start workers with spawn" in answer


def test_the_tokenizers_own_settings_cut_nothing(tiny: Tiny) -> None:
    embedder = prompt_embedder(tiny)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CutTextWarning)
        expected = embedder.encode([LONG, *TEXTS])
        for encoder in (embedder.backbone.encoder, embedder.writer.prompting.encoder):
            encoder.tokenizer.truncation_side = "left"
            encoder.tokenizer.model_max_length = 3
        np.testing.assert_array_equal(embedder.encode([LONG, *TEXTS]), expected)


def test_half_a_surrogate_pair_is_read_as_a_character_that_is_missing(embedder: PromptEmbedder) -> None:
    pair = "\ud83d\ude00"  # two halves, as a JSON reader leaves them
    found = embedder.encode(["a cat \ud83d", f"a {pair} cat"])
    np.testing.assert_array_equal(found, embedder.encode(["a cat \ufffd", "a \U0001f600 cat"]))


def test_bos_and_eos_that_a_template_writes_are_not_added_again(tiny: Tiny) -> None:
    reader = load_reader(tiny.target, template="{text}")
    bos = reader.decoder.encoder.bos
    assert bos  # the premise
    written = reader.behind("<s>{text}")
    assert written.rows(["a cat"], [""]).before == reader.rows(["a cat"], [""]).before
    spec = reader.decoder.spec
    closing = replace_tokenizer(spec, append_eos=True)
    closed = load_reader(tiny.target, spec=closing, template="{text}")
    assert closed.behind("{text}</s>").rows(["a cat"], [""]).before == closed.rows(["a cat"], [""]).before


def replace_tokenizer(spec: Any, **changes: Any) -> Any:
    return spec.model_copy(update={"tokenizer": spec.tokenizer.model_copy(update=changes)})
