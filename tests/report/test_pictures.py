"""What all pictures share."""

from transferkit.report.pictures import shorten


def test_what_is_shortened_keeps_its_end() -> None:
    assert shorten("a" * 30, 30) == "a" * 30
    assert shorten("frozen backbone [pooling mean, template plain]", 30) == "frozen bac…an, template plain]"
    assert len(shorten("a" * 200, 130)) == 130
