"""What is known of the methods before one is imported."""

from collections import Counter

import pytest

from transferkit.config.methods import all_methods, heeded, take_a_source, what_counts


def test_no_two_methods_share_a_place_and_train_and_adapt_have_one_each() -> None:
    facts = all_methods().values()
    assert max(Counter(one.place for one in facts).values()) == 1
    tasks = Counter(one.task for one in facts)
    assert (tasks["train"], tasks["adapt"]) == (1, 1)


def test_who_takes_a_source() -> None:
    assert take_a_source() == "adapt and prompting-llm-alone"


@pytest.mark.parametrize("method", ["lora", "frozen"])
def test_what_counts_is_what_is_heeded_and_changes_something(method: str) -> None:
    recipe = {
        "task": "baseline",
        "method": method,
        "seed": 17,
        "lora": {"r": 8},
        "frozen": {},
        "alignment": {},
        "eval": {"batch_size": 4, "keep": "best"},
    }
    assert heeded(recipe).keys() == {"task", "method", "seed", method, "eval"}
    assert what_counts(recipe) == {
        "task": "baseline",
        "method": method,
        method: recipe[method],
        "eval": {"keep": "best"},
    }
    assert recipe["eval"] == {"batch_size": 4, "keep": "best"}  # stays as it was
    del recipe["eval"]
    assert what_counts(recipe) == {"task": "baseline", "method": method, method: recipe[method]}
