"""Numbers as a reader sees them: one function a kind of number, an empty string for what is unknown."""


def score(value: float | None) -> str:
    """A score in percent, one digit after the point."""
    return "" if value is None else f"{value:.1f}"


def percent(value: float | None) -> str:
    """A share given in percent."""
    return "" if value is None else f"{value:.1f} %"


def level(fraction: float) -> str:
    """A target's share: ``95 %``."""
    return f"{100 * fraction:g} %"


def points(value: float) -> str:
    """A difference of two scores in words; ``beats X by`` is the caller's."""
    return f"{value:.1f} points"


def signed(value: float) -> str:
    """A difference of two scores with its sign; what rounds to nothing is ``+0.0``."""
    return f"{round(value, 1) + 0.0:+.1f}"


def count(value: float | None) -> str:
    """A whole number with thousands separators; the half that a median of two can have is kept."""
    return "" if value is None else f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def short_count(value: float | None) -> str:
    """Three significant digits and k, M or G; in full below 10,000."""
    if value is None or value < 1e4:
        return count(value)
    rounded = float(f"{value:.3g}")  # before the unit is chosen: 999,600 is 1 M, not 1000 k
    unit, size = next((unit, size) for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if rounded >= size)
    return f"{rounded / size:g} {unit}"


def seconds(value: float | None) -> str:
    """Seconds; one digit after the point below 100."""
    return "" if value is None else f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def memory(value: float | None) -> str:
    """Bytes as MiB or GiB."""
    if value is None:
        return ""
    return f"{value / 2**30:.1f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"


def times(value: float | None, *, below: str = "slower") -> str:
    """A speed-up: ``4.0x``; ``2.0x slower`` where it is a half, or what else ``below`` calls it."""
    if value is None:
        return ""
    forth, back = f"{value:.1f}x", f"{1 / value:.1f}x" if value > 0 else ""
    return forth if value >= 1 or back == "1.0x" else f"{back} {below}"
