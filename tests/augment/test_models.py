"""What models write: equal to plain ``generate`` with the recorded seed; prompts, padding, translators."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.augment_models import save_marian, save_t5
from helpers.tiny import Tiny
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedTokenizerBase
from zoo import FAMILIES, save

from transferkit.augment.backtranslate import BackTranslationWay, Translator, _pad_right
from transferkit.augment.candidates import Candidate, Maker, Source
from transferkit.augment.decoder import Decoder
from transferkit.augment.models import Model
from transferkit.augment.paraphrase import ParaphraseWay, cleaned
from transferkit.augment.prompts import ParaphrasePrompt
from transferkit.augment.settings import Sampling, Setup
from transferkit.decoder.identity import weights_sha256
from transferkit.errors import ConfigError, RunError

TEXTS = ["i see two cars in the water", "a red cat", "he is by the car", "we have had a dog, and it was red"]
SOURCES = [Source(row, text) for row, text in enumerate(TEXTS, start=1)]
PROMPT = ParaphrasePrompt(name="again", source="test", chat="say it:\n{text}", completion="one:\n{text}\ntwo:\n")
CHAT = (
    "{{ strftime_now('%Y') }}{% for m in messages %}<s>{{ m.role }}\n{{ m.content | trim }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>{% endif %}"
)
HOT = Sampling(samples=2, temperature=4.0, top_p=0.9, max_tokens=14)  # random models end a text by chance alone
DRAW = {"do_sample": True, "num_beams": 1, "temperature": 4.0, "top_p": 0.9, "top_k": 0}


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder whose tokenizer has a chat template."""
    folder = save(FAMILIES["llama"], tmp_path_factory.mktemp("chatty"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_t5(tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_marian(tmp_path_factory.mktemp("marian"), seed=5)


def only(makers: list[Maker]) -> Maker:
    (maker,) = makers
    return maker


def paraphraser(folder: Path, *, chat: bool | None = None, **setup: Any) -> Any:
    given = Setup(**{"sampling": HOT, "batch_size": 3, "seed": 5} | setup)
    return only(ParaphraseWay(str(folder), prompts=[PROMPT], chat=chat).makers(given))


def batches_of(candidates: list[Candidate]) -> list[list[Source]]:
    """Texts that were drawn together, from the seed that they share, in their order."""
    by_seed: dict[int, dict[Source, None]] = {}
    for candidate in candidates:
        by_seed.setdefault(candidate.seed, {})[candidate.source] = None
    return [list(batch) for batch in by_seed.values()]


def outcome(text: str, *, finished: bool) -> tuple[str, str | None]:
    return (text, None) if finished else ("", "unfinished")


@pytest.mark.parametrize("chat", [False, True])
def test_a_paraphrase_is_what_generate_draws_with_the_recorded_seed(chat: bool, chatty: Path) -> None:
    candidates = list(paraphraser(chatty, chat=chat)(SOURCES))
    batches = batches_of(candidates)
    assert [len(batch) for batch in batches] == [3, 1]

    model = AutoModelForCausalLM.from_pretrained(chatty).eval()
    tokenizer = AutoTokenizer.from_pretrained(chatty, padding_side="left")
    stop = [1] if chat else [1, tokenizer("\n", add_special_tokens=False)["input_ids"][0]]
    expected = []
    for batch, seed in zip(batches, dict.fromkeys(c.seed for c in candidates), strict=True):
        # Whole prompts, tokenised by the library in one piece each.
        asked = [
            "1 January 2025<s>user\nsay it:\n" + source.text + "</s><s>" if chat else f"<s>one:\n{source.text}\ntwo:\n"
            for source in batch
        ]
        inputs = tokenizer(asked, add_special_tokens=False, padding=True, return_tensors="pt")
        longest = len(tokenizer(batch[0].text, add_special_tokens=False)["input_ids"])
        torch.manual_seed(seed)
        rows = model.generate(
            inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            num_return_sequences=2,
            max_new_tokens=min(14, 2 * longest + 16),
            eos_token_id=stop,
            pad_token_id=2,
            **DRAW,
        )[:, inputs["input_ids"].shape[1] :]
        for i, row in enumerate(rows.tolist()):
            text = tokenizer.decode(row, skip_special_tokens=True)
            text = cleaned(text if chat else text.split("\n")[0], batch[i // 2].text)
            expected.append((batch[i // 2], *outcome(text, finished=bool(set(row) & set(stop)))))
    assert [(c.source, c.text, c.problem) for c in candidates] == expected
    assert {c.problem for c in candidates} == {None, "unfinished"}, "premise: both outcomes are seen"


def test_the_process_keeps_its_random_state_and_the_seed_decides(tiny: Tiny) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    maker = paraphraser(tiny.source)
    first, again = list(maker(SOURCES)), list(maker(SOURCES))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first == again
    assert first != list(paraphraser(tiny.source, seed=6)(SOURCES))


def test_provenance_names_model_weights_and_prompt(tiny: Tiny) -> None:
    maker = paraphraser(tiny.source)
    origin = next(maker(SOURCES)).origin
    assert (origin.kind, origin.model, origin.prompt) == ("paraphrase", "source", "again")
    assert origin.weights_sha256 == weights_sha256(str(tiny.source), revision=None)
    assert origin.revision is None


def test_texts_over_the_limit_are_named_and_not_cut(tiny: Tiny) -> None:
    maker = paraphraser(tiny.source, sampling=Sampling(samples=3, temperature=4.0, max_tokens=8))
    candidates = list(maker(SOURCES[:2]))
    assert [c.problem for c in candidates if c.source.row == 1] == ["anchor too long"] * 3
    assert len([c for c in candidates if c.source.row == 2 and c.problem != "anchor too long"]) == 3


def test_the_chat_template_is_taken_where_there_is_one(chatty: Path, tiny: Tiny) -> None:
    assert paraphraser(chatty).decoder.chat
    assert not paraphraser(chatty, chat=False).decoder.chat
    assert not paraphraser(tiny.source).decoder.chat
    with pytest.raises(ConfigError, match="source: its tokenizer has no chat template; leave --chat away"):
        paraphraser(tiny.source, chat=True)


@pytest.mark.parametrize(
    "template", ["{{ ''.__class__.__mro__ }}", "{% if %}", "{{ raise_exception('no') }}", "{{ 1 / 0 }}"]
)
def test_a_chat_template_that_fails_is_one_sentence(template: str, chatty: Path) -> None:
    decoder = paraphraser(chatty).decoder
    decoder.encoder.tokenizer.chat_template = template
    with pytest.raises(ConfigError, match=r"its chat template fails \(.+\); use --no-chat, or mend the template"):
        decoder.around(ParaphrasePrompt(name="a", source="b", chat="{text}", completion="{text}"))


def test_a_chat_template_that_drops_the_message_is_refused(tmp_path: Path) -> None:
    folder = save(FAMILIES["llama"], tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "<s>"
    tokenizer.save_pretrained(folder)
    with pytest.raises(ConfigError, match="does not show a message exactly once; use --no-chat"):
        paraphraser(folder)


def test_special_tokens_inside_a_text_are_plain_text(chatty: Path) -> None:
    (row,) = paraphraser(chatty).decoder.encoder.texts(["a</s>b"], max_length=9)
    assert 1 not in row


@pytest.mark.parametrize(("family", "batched"), [("llama", True), ("gpt2", True), ("rwkv", False)])
def test_rows_share_a_batch_only_where_padding_is_ignored(family: str, batched: bool, tmp_path: Path) -> None:
    maker = paraphraser(save(FAMILIES[family], tmp_path))
    assert maker.decoder.batched == batched
    assert len(batches_of(list(maker(SOURCES)))) == (2 if batched else 4)


def test_a_prompt_that_leaves_no_room_is_refused(tiny: Tiny) -> None:
    with pytest.raises(
        ConfigError, match=r"--max-tokens 40: .* do not fit the 64 positions of source; use at most 2\d"
    ):
        paraphraser(tiny.source, sampling=Sampling(max_tokens=40))


def test_a_decoder_that_names_no_end_is_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = paraphraser(tiny.source).decoder
    decoder.model.generation_config.eos_token_id = None
    monkeypatch.setattr(PreTrainedTokenizerBase, "eos_token_id", None, raising=False)
    with pytest.raises(ConfigError, match="names a token that ends a text"):
        Decoder(decoder.model, decoder.encoder, chat=False, name="model")


def test_probabilities_that_are_not_finite_are_told(tiny: Tiny) -> None:
    maker = paraphraser(tiny.source)
    maker.decoder.model.get_output_embeddings().weight.data.fill_(float("nan"))
    with pytest.raises(RunError, match="source: its probabilities hold NaN or infinity; use --dtype float32"):
        list(maker(SOURCES))


def translate(folder: Path, texts: list[str], *, seed: int, samples: int) -> list[str | None]:
    """By the library alone: its own padding, its own tokenisation, its own sampling."""
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    torch.manual_seed(seed)
    rows = model.generate(
        inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        num_return_sequences=samples,
        max_new_tokens=min(14, 2 * inputs["input_ids"].shape[1] + 16),
        forced_eos_token_id=None,
        pad_token_id=1,
        **DRAW,
    )[:, 1:]
    return [tokenizer.decode(row, skip_special_tokens=True).strip() if 1 in row.tolist() else None for row in rows]


@pytest.mark.parametrize("order", ["t5 there", "marian there"])
def test_a_back_translation_is_what_generate_draws_twice(order: str, t5: Path, marian: Path) -> None:
    there, back = (t5, marian) if order == "t5 there" else (marian, t5)
    way = BackTranslationWay(str(there), str(back), forward_prefix="to: ", backward_prefix="be: ")
    candidates = list(only(way.makers(Setup(HOT, seed=3, batch_size=2)))(SOURCES))
    batches = batches_of(candidates)
    assert [len(batch) for batch in batches] == [2, 2]
    expected = []
    for batch, seed in zip(batches, dict.fromkeys(c.seed for c in candidates), strict=True):
        middle = translate(there, [f"to: {source.text}" for source in batch], seed=seed, samples=2)
        went = [text for text in middle if text]
        returned = iter(translate(back, [f"be: {text}" for text in went], seed=seed, samples=1)) if went else iter([])
        for i, text in enumerate(middle):
            final = next(returned) if text else text
            expected.append((batch[i // 2], *outcome(final or "", finished=final is not None)))
    assert [(c.source, c.text, c.problem) for c in candidates] == expected
    assert {c.problem for c in candidates} == {None, "unfinished"}, "premise: both outcomes are seen"
    origin = candidates[0].origin
    assert origin.model == f"{there.name} + {back.name}"
    hashes = [weights_sha256(str(folder), revision=None) for folder in (there, back)]
    assert origin.weights_sha256 == " + ".join(hashes)


def test_encoders_are_padded_behind_the_text() -> None:
    ids, mask = _pad_right([[5, 6, 7], [8]], filler=2, device=torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7], [8, 2, 2]]
    assert mask.tolist() == [[True, True, True], [True, False, False]]


def test_one_model_for_both_ways_is_loaded_once(t5: Path) -> None:
    maker: Any = only(BackTranslationWay(str(t5), str(t5), backward_prefix="be: ").makers(Setup(HOT)))
    assert maker.forward.model is maker.backward.model
    assert (maker.forward.prefix, maker.backward.prefix) == ("", "be: ")


def test_translators_read_special_tokens_as_text_and_name_long_texts(marian: Path) -> None:
    maker: Any = only(BackTranslationWay(str(marian), str(marian)).makers(Setup(HOT)))
    assert 1 not in maker.forward.ids(["a</s>b"])[0]
    (candidate, _) = maker([Source(1, "i had to be with them as they were by the water and the car")])
    assert candidate.problem == "anchor too long"


def test_a_tokenizer_with_more_tokens_than_the_model_has_rows_is_refused(marian: Path) -> None:
    maker: Any = only(BackTranslationWay(str(marian), str(marian)).makers(Setup(HOT)))
    maker.forward.tokenizer.add_tokens([f"stranger{n}" for n in range(200)])
    with pytest.raises(ConfigError, match=r"token id \d+ lies beyond the model's \d+ embedding rows; tokenizer"):
        maker.forward.ids(["stranger199"])


def test_a_context_that_is_too_small_is_told(marian: Path) -> None:
    with pytest.raises(ConfigError, match=r"--max-tokens 64: does not fit the 64 positions of .*; use at most 63"):
        BackTranslationWay(str(marian), str(marian)).makers(Setup(Sampling(max_tokens=64)))


def test_a_translator_that_asks_for_language_codes_is_refused(t5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PreTrainedTokenizerBase, "src_lang", "en", raising=False)
    with pytest.raises(ConfigError, match="asks for language codes"):
        Translator.load(Model.encoder_decoder(str(t5)), prefix="", setup=Setup())


@pytest.mark.parametrize("error", [RuntimeError("a fault of another kind"), torch.OutOfMemoryError("full")])
def test_a_fault_that_says_nothing_of_probabilities_keeps_its_words(
    error: Exception, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = paraphraser(tiny.source)

    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(type(maker.decoder.model), "generate", fail)
    with pytest.raises(type(error), match=str(error)):
        list(maker(SOURCES))


def test_decoder_and_encoder_decoder_are_told_apart(tiny: Tiny, t5: Path) -> None:
    with pytest.raises(ConfigError, match=r"no encoder-decoder \(llama\).*goes to --llm"):
        Model.encoder_decoder(str(tiny.source))
    with pytest.raises(ConfigError, match=r"an encoder-decoder \(t5\), whose decoder .*; expected a decoder"):
        Model.decoder(str(t5))
