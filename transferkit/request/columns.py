"""Which column of a user's file is what: as they say, else by its name, else by what it holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from transferkit.errors import ConfigError, did_you_mean
from transferkit.files.tables import PLAIN, SUFFIXES, other_delimiter, read_table

Kind = Literal["labelled", "pairs", "texts"]
ROLES: dict[Kind, tuple[str, ...]] = {
    "labelled": ("text", "label"),
    "pairs": ("anchor", "positive"),
    "texts": ("text",),
}
OPTION = {"text": "--text", "label": "--label", "anchor": "--query", "positive": "--passage"}
# Usual names, the likeliest first; whatever else a file calls its columns is told by what they hold.
NAMES: dict[str, tuple[str, ...]] = {
    "anchor": ("anchor", "query", "question", "title", "heading", "summary"),
    "positive": ("positive", "passage", "answer", "document", "context", "reply", "response", "abstract"),
    "label": ("label", "intent", "category", "class", "topic", "target", "tag", "queue"),
    "text": (
        "text",
        "sentence",
        "utterance",
        "body",
        "message",
        "content",
        "description",
        "ticket",
        "comment",
        "review",
    ),
}
_LONGEST_LABEL = 40  # characters in the mean
_REPEATED = 5  # rows that a label has in the mean, at least


@dataclass(frozen=True)
class Found:
    """A file and what its columns are.

    Attributes:
        path: the file.
        kind: of training set that it makes.
        columns: role -> column.
        guessed: roles that nobody named.
    """

    path: Path
    kind: Kind
    columns: dict[str, str]
    guessed: tuple[str, ...]

    def in_words(self) -> str:
        """What was found, and how to say otherwise."""
        named = ", ".join(f"{OPTION[role].removeprefix('--')} {column!r}" for role, column in self.columns.items())
        alone = " and no labels or pairs" if self.kind == "texts" else ""
        others = f" (guessed; {', '.join(OPTION.values())} say otherwise)" if self.guessed else ""
        return f"{self.path.name}: {named}{alone}{others}"


def named_columns(given: Mapping[str, Any]) -> dict[str, str]:
    """Role -> column, of options by their names in Python."""
    named = {role: given.get(option.removeprefix("--")) for role, option in OPTION.items()}
    return {role: column for role, column in named.items() if column is not None}


def find_columns(path: Path, named: Mapping[str, str]) -> Found:
    """What the columns of ``path`` are.

    Args:
        path: parquet, jsonl, json, csv or tsv file, or txt with a text a line.
        named: role -> column, as the user says.

    Raises:
        ConfigError: no such file or column, roles that do not go together, or columns that could be several things.
    """
    if path.suffix.lower() not in (*SUFFIXES, PLAIN):
        endings = ", ".join((*SUFFIXES, PLAIN))
        raise ConfigError(f"--data {path}: expected a file ending in {endings}, got {path.suffix or path.name!r}")
    if not path.is_file():
        raise ConfigError(f"--data {path}: {'is a folder, expected a file' if path.is_dir() else 'no such file'}")
    _refuse_mixed(named)
    there, _ = read_table(path, (), where=str(path))
    for role, column in named.items():
        if column not in there:
            raise ConfigError(
                f"{path}: no column {column!r}{did_you_mean(column, there)} for {OPTION[role]} (columns there: "
                f"{', '.join(there)})"
            )
    if len(there) == 1 and not named and (hint := other_delimiter(there)):
        raise ConfigError(f"{path}: its only column is named {there[0]!r}{hint}, or name it with --text")
    columns = _by_name(there, named) or _by_content(path, there, named)
    kind = next(kind for kind, roles in ROLES.items() if set(roles) == set(columns))
    ordered = {role: columns[role] for role in ROLES[kind]}
    return Found(path, kind, ordered, tuple(role for role in ordered if role not in named))


def _refuse_mixed(named: Mapping[str, str]) -> None:
    if set(named) & set(ROLES["labelled"]) and set(named) & set(ROLES["pairs"]):
        raise ConfigError(
            "--text and --label are for texts, --query and --passage for pairs; give the one or the other"
        )
    if len(set(named.values())) < len(named):
        raise ConfigError(f"{' and '.join(OPTION[role] for role in named)}: one column cannot be both; name two")


def _by_name(there: Sequence[str], named: Mapping[str, str]) -> dict[str, str] | None:
    """Roles of pairs or of labelled texts where both have a column with a usual name, or one that was named."""
    for kind in ("pairs", "labelled"):
        roles = ROLES[kind]
        if named and not set(named) <= set(roles):
            continue
        found = {role: named.get(role) or _usual(role, there, taken=named.values()) for role in roles}
        if all(found.values()):
            return {role: column for role, column in found.items() if column}
    if len(there) == 1 and not set(named) - {"text"}:
        return {"text": there[0]}
    return None


def _usual(role: str, there: Sequence[str], *, taken: Any) -> str | None:
    """The column with the likeliest of the role's usual names, in one or in the plural."""
    plain = {column.strip().lower().removesuffix("s"): column for column in there if column not in taken}
    return next((plain[name.removesuffix("s")] for name in NAMES[role] if name.removesuffix("s") in plain), None)


def _by_content(path: Path, there: Sequence[str], named: Mapping[str, str]) -> dict[str, str]:
    """One column of texts beside one of labels, or a column of texts alone."""
    _, values = read_table(path, there, where=str(path))
    free = [column for column in there if column not in named.values()]
    texts = [column for column in free if _holds_texts(values[column])]
    labels = [column for column in free if _holds_labels(values[column])]
    if set(named) <= {"text", "label"}:
        text = [named["text"]] if "text" in named else texts
        label = [named["label"]] if "label" in named else labels
        if len(text) == 1 and len(label) <= 1:
            return {"text": text[0], **({"label": label[0]} if label else {})}
    elif len(texts) == 1 and len(named) == 1:
        (missing,) = set(ROLES["pairs"]) - set(named)
        return {**named, missing: texts[0]}
    shown = ", ".join(f"{column!r} (such as {_such_as(values[column])})" for column in there)
    raise ConfigError(
        f"{path}: cannot tell which column is what: {shown}; say it with --text COLUMN and --label COLUMN, or with "
        "--query COLUMN and --passage COLUMN"
    )


def _holds_texts(values: Sequence[Any]) -> bool:
    return _are_words(values) and not _repeat(values)


def _holds_labels(values: Sequence[Any]) -> bool:
    whole = all(isinstance(value, int) for value in values)
    short = _are_words(values) and fmean(map(len, values)) <= _LONGEST_LABEL
    return (whole or short) and _repeat(values) and len(set(values)) > 1


def _are_words(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(value, str) for value in values)


def _repeat(values: Sequence[Any]) -> bool:
    return len(set(values)) * _REPEATED <= len(values)


def _such_as(values: Sequence[Any]) -> str:
    first = repr(values[0]) if values else "nothing"
    return first if len(first) <= _LONGEST_LABEL else f"{first[: _LONGEST_LABEL - 3]}..."
