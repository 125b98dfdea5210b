"""Templates: what is refused, what stands on either side of the soft tokens, and who sees the text."""

import pytest

from transferkit.config.template import Template


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{soft}", "needs {text} exactly once, got it 0 times"),
        ("", "needs {text} exactly once, got it 0 times"),
        ("{text}{text}{soft}", "needs {text} exactly once, got it 2 times"),
        ("{text}{soft}{soft}", "{soft} may stand only once, got it 2 times"),
        ("{instruction}{text}{instruction}", "{instruction} may stand only once, got it 2 times"),
        ("{text}{soft}{query}", "unknown placeholder {query}, allowed: {text}, {soft}, {instruction}"),
        ("{text}{}", "unknown placeholder {}, allowed"),
        ("{Text}{soft}", "unknown placeholder {Text}"),
    ],
)
def test_malformed_template_is_refused(source: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        Template.parse(source)
    assert message in str(caught.value)
    assert repr(source) in str(caught.value)


@pytest.mark.parametrize(
    ("source", "before", "after", "sees"),
    [
        ("{text}{soft}", ("{text}",), (), True),
        ("{soft}{text}", (), ("{text}",), False),
        ("{text}", ("{text}",), (), False),
        ('"{text}" means:{soft}.', ('"', "{text}", '" means:'), (".",), True),
        ("{instruction} {soft} {text}", ("{instruction}", " "), (" ", "{text}"), False),
        ("a single { brace {text}{soft}", ("a single { brace ", "{text}"), (), True),
    ],
)
def test_parts_on_either_side(source: str, before: tuple[str, ...], after: tuple[str, ...], sees: bool) -> None:
    template = Template.parse(source)
    assert template.before == before
    assert template.after == after
    assert template.soft_sees_text is sees
    assert template.has_soft == ("{soft}" in source)
    assert "".join(template.parts) == source


def test_without_soft_keeps_everything_else() -> None:
    assert Template.parse("say {text}{soft}.").without_soft() == Template.parse("say {text}.")
    assert Template.parse("{text}").without_soft().source == "{text}"
