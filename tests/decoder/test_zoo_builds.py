"""Every family of the zoo builds, saves and reads back as a backbone would be read."""

import re
from collections import Counter
from pathlib import Path

import pytest
import torch
import zoo
from transformers import AutoModel, AutoTokenizer

from transferkit.decoder.layers import check_complete
from transferkit.errors import ConfigError

torch.set_num_threads(1)

FEWEST_BY_EXPECTED = {"cached": 132, "full": 5, "refused": 3}


def test_the_list_has_not_shrunk() -> None:
    counts = Counter(family.expected for family in zoo.FAMILIES.values())
    assert all(counts[expected] >= fewest for expected, fewest in FEWEST_BY_EXPECTED.items()), counts


@pytest.mark.parametrize("name", zoo.FAMILIES)
def test_family_builds_saves_and_reloads(name: str, tmp_path: Path) -> None:
    folder = zoo.save(zoo.FAMILIES[name], tmp_path)
    loaded, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    check_complete(loaded, report, location="here")
    further = {re.sub(r"\.\d+\.", ".99.", key, count=1) for key in loaded.state_dict()}
    with pytest.raises(ConfigError, match=r"of its decoder .* have no place in the model"):
        check_complete(loaded, report | {"unexpected_keys": further}, location="here")

    read = AutoTokenizer.from_pretrained(folder, padding_side="left")
    batch = read(list(zoo.ROW_TEXTS), padding=True, return_tensors="pt")
    assert (
        batch["input_ids"].tolist()
        == zoo.tokenizer()(list(zoo.ROW_TEXTS), padding=True, padding_side="left")["input_ids"]
    )

    modules = zoo.build(zoo.FAMILIES[name]).modules()
    built = next(module for module in modules if type(module) is type(loaded)).get_decoder()
    ids = batch["input_ids"][-1:]
    with torch.no_grad():
        again = loaded.get_decoder().eval()(input_ids=ids).last_hidden_state
        torch.testing.assert_close(again, built(input_ids=ids).last_hidden_state, rtol=0, atol=1e-6)
    assert again.isfinite().all()
    assert again.std() > 1e-3
    assert sum(parameter.numel() for parameter in loaded.parameters()) < 400_000


def test_seed_decides_the_weights_and_leaves_the_random_state_alone() -> None:
    state = torch.get_rng_state()
    first, same, other = (zoo.build(zoo.FAMILIES["llama"], seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)


def test_rows_differ_in_length_and_some_exceed_a_window_of_8() -> None:
    lengths = [len(ids) for ids in zoo.tokenizer()(list(zoo.ROW_TEXTS))["input_ids"]]
    assert lengths == [3, 8, 12, 19]


def test_tokenizer_reads_back_what_it_wrote_and_shares_tokens_with_another_vocabulary() -> None:
    default, other = zoo.tokenizer(), zoo.tokenizer(["the", "water", "banana"])
    for text in (*zoo.ROW_TEXTS, 'a "zebra" in the water:\nyes'):
        assert default.decode(default(text)["input_ids"]) == text
        assert other.decode(other(text)["input_ids"]) == text
    assert other.tokenize(" banana") == ["Ġbanana"]
    assert default.tokenize(" banana") == ["Ġb", "a", "n", "a", "n", "a"]
    assert zoo.VOCABULARY_SIZE >= len(default) > len(other)
    assert {"Ġthe", "Ġwater", "a"} <= default.get_vocab().keys() & other.get_vocab().keys()
    assert default("A")["input_ids"] == []


def test_vocabulary_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="128 fit"):
        zoo.tokenizer([f"w{index}" for index in range(200)])
