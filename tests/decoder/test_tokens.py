"""Text -> ids: users' text is plain text, every id has an embedding row, the template survives truncation."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.parts import load_reader
from helpers.tiny import Tiny
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast
from zoo import FAMILIES, VOCABULARY_SIZE, save, tokenizer

from transferkit.config.template import Template
from transferkit.decoder.loading import load_tokenizer
from transferkit.decoder.probe import probe
from transferkit.decoder.tokens import TemplateEncoder, TextEncoder, pad_left
from transferkit.errors import ConfigError

BOS, EOS = 0, 1


@pytest.fixture(name="core")
def make_core() -> PreTrainedTokenizerFast:
    return tokenizer()


def encoder(core: PreTrainedTokenizerFast, *, num_rows: int = VOCABULARY_SIZE, **options: bool) -> TextEncoder:
    return TextEncoder(core, num_rows=num_rows, **options)


def test_special_tokens_in_a_text_are_plain_text(core: PreTrainedTokenizerFast) -> None:
    assert core("</s>", add_special_tokens=False)["input_ids"] == [EOS]  # the premise: the library reads it as EOS
    rows = encoder(core).texts(["a </s> cat", "<s>", "<pad>"], max_length=50)
    for row in rows:
        assert row
        assert not {BOS, EOS, core.pad_token_id} & set(row)
    assert core.decode(rows[0]) == "a s cat"  # the tiny alphabet has neither brackets nor a slash


def test_no_texts_are_no_rows(core: PreTrainedTokenizerFast) -> None:
    assert encoder(core).texts([], max_length=4) == []


def test_special_tokens_in_a_template_are_meant(core: PreTrainedTokenizerFast) -> None:
    assert encoder(core).literal("</s>") == [EOS]


def test_tokenizer_with_an_id_beyond_the_embedding(tmp_path: Path) -> None:
    """The loader adds ``<|endoftext|>`` to every tokenizer of this family, here one past the last row."""
    entries = len(tokenizer())
    family = FAMILIES["qwen2"]
    save(replace(family, config=family.config | {"vocab_size": entries}), tmp_path)
    loaded = load_tokenizer(str(tmp_path))
    assert loaded.convert_tokens_to_ids("<|endoftext|>") == entries
    assert loaded("a<|endoftext|>", add_special_tokens=False)["input_ids"][-1] == entries
    reader = load_reader(tmp_path, template="{text}")
    rows = reader.rows(["a cat <|endoftext|> is"], [""])
    assert max(rows.before[0]) < entries
    assert torch.isfinite(reader(rows, None).states).all()
    assert reader.decoder.encoder.vocabulary_rows == entries


def test_id_beyond_the_embedding_is_refused(core: PreTrainedTokenizerFast) -> None:
    short = encoder(core, num_rows=30)
    assert short.texts(["abc"], max_length=9) == encoder(core).texts(["abc"], max_length=9)
    with pytest.raises(ConfigError, match=r"token id \d+ lies beyond the model's 30 embedding rows"):
        short.texts(["abc", " the"], max_length=9)
    with pytest.raises(ConfigError, match=r"template text ' the': token id \d+ lies beyond"):
        short.literal(" the")
    core.add_special_tokens({"bos_token": AddedToken("<begin>")})
    with pytest.raises(ConfigError, match=f"the bos token has id {len(core) - 1}"):
        encoder(core, num_rows=len(core) - 1)


@pytest.mark.parametrize(
    ("add_bos", "append_eos", "expected"),
    [
        (None, False, [BOS, ...]),
        (True, False, [BOS, ...]),
        (False, False, [...]),
        (False, True, [..., EOS]),
        (True, True, [BOS, ..., EOS]),
    ],
)
def test_bos_and_eos_policy(
    core: PreTrainedTokenizerFast, add_bos: bool | None, append_eos: bool, expected: list[object]
) -> None:
    policy = TextEncoder(core, num_rows=VOCABULARY_SIZE, add_bos=add_bos, append_eos=append_eos)
    encode = TemplateEncoder(policy, Template.parse("{text}"), max_length=9)
    text = core("a cat", add_special_tokens=False)["input_ids"]
    row = encode(["a cat"], [""]).before[0]
    assert row == [token for part in expected for token in (text if part is ... else [part])]


def test_eos_closes_the_sequence_where_text_follows_the_soft_tokens(core: PreTrainedTokenizerFast) -> None:
    encode = TemplateEncoder(encoder(core, append_eos=True), Template.parse("{soft}{text}"), max_length=9)
    rows = encode(["a cat", ""], ["", ""])
    assert rows.before == [[BOS], [BOS]]
    assert [row[-1] for row in rows.after] == [EOS, EOS]


def test_wanted_special_token_that_does_not_exist_is_refused(core: PreTrainedTokenizerFast) -> None:
    core.bos_token = None
    assert encoder(core).bos == []
    with pytest.raises(ConfigError, match="has no bos_token, but its spec asks for one"):
        encoder(core, add_bos=True)


@pytest.mark.parametrize("template", ["{text}{soft}", "{soft}{text}", "{text}", "{instruction}{text}{soft}"])
@pytest.mark.parametrize("add_bos", [True, False])
def test_empty_text_keeps_one_position(core: PreTrainedTokenizerFast, template: str, add_bos: bool) -> None:
    encode = TemplateEncoder(encoder(core, add_bos=add_bos), Template.parse(template), max_length=9)
    rows = encode(["", "a"], ["", ""])
    for before, after in zip(rows.before, rows.after, strict=True):
        assert before or after
        if template.endswith("{soft}"):
            assert before  # what the soft tokens read


def test_truncation_cuts_text_and_instruction_but_not_the_template(core: PreTrainedTokenizerFast) -> None:
    template = Template.parse("see: {instruction} in {text}{soft} now.")
    encode = TemplateEncoder(encoder(core), template, max_length=4)
    long = " the cat" * 30
    text = encode.encoder.literal(long)[:4]
    rows = encode([long, "a"], [long, "no"])
    literals = [encode.encoder.literal(part) for part in ("see: ", " in ", " now.")]
    assert rows.before[0] == [BOS, *literals[0], *text, *literals[1], *text]
    assert rows.after == [literals[2], literals[2]]
    assert encode.overhead() == 1 + sum(map(len, literals))
    assert rows.num_tokens() == sum(map(len, rows.before + rows.after))
    encode([long], [long])  # an instruction is counted once, a text each time
    assert [(one.what, one.texts, len(one.lengths)) for one in encode.counts()] == [
        ("texts", 3, 2),
        ("instructions", 2, 1),
    ]


def test_context_bounds_the_text(tiny: Tiny) -> None:
    reader = load_reader(tiny.target, max_length=1000, soft_tokens=3, template="see: {text}{soft} now.")
    rows = reader.rows([" the cat" * 100], [""])
    assert rows.num_tokens() + 3 == reader.decoder.trunk.config.max_position_embeddings


def test_a_decoder_without_a_limit_reads_as_much_as_is_asked_for(tmp_path: Path) -> None:
    folder = save(FAMILIES["bloom"], tmp_path)
    config = json.loads((folder / "config.json").read_text())
    del config["max_position_embeddings"]
    (folder / "config.json").write_text(json.dumps(config))
    spec = probe(str(folder)).model_copy(update={"max_length": None})
    reader = load_reader(folder, spec=spec, max_length=200)
    assert reader.decoder.context is None
    assert reader.rows([" the cat" * 300], [""]).num_tokens() >= 200


def test_pad_left() -> None:
    ids, mask = pad_left([[5, 6, 7], [], [8]], device=torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7], [0, 0, 0], [0, 0, 8]]
    assert mask.tolist() == [[True] * 3, [False] * 3, [False, False, True]]
    assert pad_left([], device=torch.device("cpu"))[0].shape == (0, 0)
