"""One file to learn from and to be scored by: which of its rows are held out, by their texts alone.

Equal texts stand on one side, whatever their case and blanks, and so does all that hangs together in pairs. A text
stays where it is when others are added behind it in its label, or when the order of the rows changes.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from itertools import compress

from transferkit.data.dev_set import FEWEST, DevSetData, chooses
from transferkit.data.tables import Columns, Source
from transferkit.errors import ConfigError

SHARE, MOST = 0.3, 2_000  # rows with labels or partners that are held out
LEFT = 2  # texts of a label that stay, the fewest that make a pair
TEXTS_SHARE, FEWEST_TEXTS_OUT, MOST_TEXTS_OUT = 0.1, 50, 500  # texts alone


def held_out(source: Source, values: Columns) -> list[bool]:
    """Of each row whether it is held out: by its label, by its pair, or by its text alone, whichever it has.

    Args:
        source: named in messages.
        values: role -> one checked value a row, of all rows of the file.

    Raises:
        ConfigError: too few rows.
    """
    try:
        if "label" in values:
            return _of_labels(values["text"], values["label"])
        if "positive" in values:
            return _of_pairs(values["anchor"], values["positive"])
        return _of_texts(values["text"])
    except ValueError as problem:
        raise ConfigError(f"{source}: {problem}") from None


def picked(values: Columns, rows: Sequence[bool]) -> Columns:
    """The rows of ``values`` for which ``rows`` says so."""
    return {role: list(compress(column, rows)) for role, column in values.items()}


def overlaps(learned: Iterable[tuple[str, str]], dev_sets: Sequence[DevSetData]) -> list[str]:
    """A sentence for each dev set of which scored texts are trained on, with how many and in which training set.

    Args:
        learned: texts, each with the name of its training set.
        dev_sets: those that are scored.
    """
    places = {same(text): name for text, name in learned}
    found = []
    for dev in dev_sets:
        scored = dev.texts[: dev.parts["all"].rows]
        sets = [places[key] for text in scored if (key := same(text)) in places]
        if sets:
            names = ", ".join(repr(name) for name in dict.fromkeys(sets))
            found.append(
                f"data.dev {dev.name!r}: {len(sets):,} of {len(scored):,} scored texts are trained on too, in {names}, "
                "which flatters its score; take them out of one of the two"
            )
    return found


def same(text: str) -> str:
    """What two texts share that count as one: case and blanks tell nothing apart."""
    return " ".join(text.casefold().split())


def _of_texts(texts: Sequence[str]) -> list[bool]:
    """Of texts alone: a tenth of the different ones, at least 50 and at most 500.

    Raises:
        ValueError: they are too few.
    """
    keys = [same(text) for text in texts]
    different = set(keys)
    if len(different) < 2 * FEWEST_TEXTS_OUT:
        raise ValueError(
            f"expected at least {2 * FEWEST_TEXTS_OUT} different texts, {FEWEST_TEXTS_OUT} of them to be held out, got "
            f"{len(different)}; give more texts"
        )
    count = min(max(int(len(different) * TEXTS_SHARE), FEWEST_TEXTS_OUT), MOST_TEXTS_OUT)
    out = set(sorted(different, key=_order)[:count])
    return [key in out for key in keys]


def _of_labels(texts: Sequence[str], labels: Sequence[str]) -> list[bool]:
    """Three in ten of each label's different texts, as many of those that choose as of those that report.

    Two texts of a label stay at least; so one with fewer than three is not scored.

    Raises:
        ValueError: too few would be scored.
    """
    keys = [same(text) for text in texts]
    label_of: dict[str, str] = {}
    first: dict[str, str] = {}
    for key, text, label in zip(keys, texts, labels, strict=True):
        label_of.setdefault(key, label)
        first.setdefault(key, text)
    of_label: dict[str, list[str]] = {}
    for key, label in label_of.items():
        of_label.setdefault(label, []).append(key)
    if (labels_there := len(set(labels))) > len(label_of):
        raise ValueError(
            f"expected several texts a label, got {len(label_of):,} different texts with {labels_there:,} labels; are "
            "the two columns the other way round?"
        )
    share = min(SHARE, MOST / len(label_of))
    out: set[str] = set()
    for members in of_label.values():
        count = min(max(round(share * len(members)), 1), len(members) - LEFT)
        out.update(_by_turns(members, first)[: max(count, 0)])
    _refuse_few(len(out), len(label_of), "labels with three different texts or more")
    return [key in out for key in keys]


def _of_pairs(anchors: Sequence[str], positives: Sequence[str]) -> list[bool]:
    """Three in ten of the pairs; pairs that share a text, over others too, stay together.

    Raises:
        ValueError: too few would be scored, as where most pairs hang together.
    """
    groups = _groups([same(text) for text in anchors], [same(text) for text in positives])
    members: dict[str, int] = {}
    for group in groups:
        members[group] = members.get(group, 0) + 1
    wanted = min(SHARE * len(groups), MOST)
    out: set[str] = set()
    count = 0
    for group in sorted(members, key=_order):
        if count + members[group] <= wanted:
            out.add(group)
            count += members[group]
    _refuse_few(count, len(groups), "pairs that share no text with others")
    return [group in out for group in groups]


def _by_turns(members: Iterable[str], first: dict[str, str]) -> list[str]:
    """In the order of their hashes, one that chooses and one that reports in turn."""
    ordered = sorted(members, key=_order)
    sides = [[key for key in ordered if chooses(first[key]) is side] for side in (False, True)]
    turns = max(map(len, sides))
    return [side[turn] for turn in range(turns) for side in sides if turn < len(side)]


def _groups(left: Sequence[str], right: Sequence[str]) -> list[str]:
    """One name for each row: the least text of all that hangs together with it."""
    above: dict[str, str] = {}

    def top(key: str) -> str:
        above.setdefault(key, key)
        path = []
        while above[key] != key:
            path.append(key)
            key = above[key]
        above.update(dict.fromkeys(path, key))
        return key

    for a, b in zip(left, right, strict=True):
        low, high = sorted((top(a), top(b)))
        above[high] = low
    return [top(key) for key in left]


def _order(key: str) -> bytes:
    """A hash of its own: one that also orders something else would tie the two together."""
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16, person=b"held out").digest()


def _refuse_few(count: int, rows: int, needed: str) -> None:
    if count < 2 * FEWEST:
        raise ValueError(
            f"only {count} of {rows} rows could be held out to choose and to report, expected at least {2 * FEWEST}; "
            f"give more {needed}"
        )
