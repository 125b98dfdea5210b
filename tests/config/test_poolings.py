"""Where soft tokens must stand, and which poolings a template allows."""

import pytest

from transferkit.config.poolings import available_poolings, check_soft_place, reads_instruction, reads_soft


@pytest.mark.parametrize("needs_soft", [True, False])
@pytest.mark.parametrize(
    "template", ["{text}{soft}", '"{text}" means:{soft}.', "{soft}{text}", "{instruction}{soft}{text}"]
)
def test_what_a_template_allows_is_let_through(template: str, needs_soft: bool) -> None:
    for pooling in available_poolings(template):
        check_soft_place(template, pooling, needs_soft=needs_soft)


def test_soft_tokens_need_a_place_where_the_method_has_some() -> None:
    check_soft_place("{text}", "mean", needs_soft=False)
    with pytest.raises(ValueError, match=r"^template: '\{text\}' has no \{soft\}, .* have no place; write for example"):
        check_soft_place("{text}", "mean", needs_soft=True)


@pytest.mark.parametrize("pooling", ["soft", "soft+static", "before+soft", "before+soft+static"])
def test_soft_positions_must_be_there_and_see_the_text(pooling: str) -> None:
    assert reads_soft(pooling)
    for needs_soft in (True, False):
        with pytest.raises(ValueError, match=r"^pooling: '.*' reads positions that stand before the text .* never see"):
            check_soft_place("{soft}{text}", pooling, needs_soft=needs_soft)
    with pytest.raises(
        ValueError, match=r"^pooling: '.*' reads soft tokens, and template '\{text\}' has none; use last"
    ):
        check_soft_place("{text}", pooling, needs_soft=False)


@pytest.mark.parametrize(
    ("template", "pooling", "prompting", "expected"),
    [
        ("{text}", "mean", False, False),
        ("{instruction} {text}", "mean", False, True),
        ("{instruction} {text}", "static", False, False),  # no state is read
        ("{instruction} {text}", "max+static", False, True),
        ("{text}{soft}", "soft", True, True),
        ("{text}{soft}", "soft+static", True, True),
        ("{instruction} {text}{soft}", "before+soft+static", False, True),
        ("{instruction} {text}{soft}", "static", True, False),
    ],
)
def test_who_reads_an_instruction(template: str, pooling: str, prompting: bool, expected: bool) -> None:
    assert reads_instruction(template, pooling, prompting=prompting) == expected
