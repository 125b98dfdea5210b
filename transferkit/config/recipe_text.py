"""The whole text of a recipe that builds on a base: the base's lines with the recipe's own values, comments kept.

Both files are split into entries, a key with the comments above it and all lines below it; two sections are merged
entry by entry. The result is read again: where it does not say what the two files say (they have anchors, for example),
the plain keys are written instead, below the recipe's opening comment.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from transferkit.config.recipe import Recipe
from transferkit.config.recipes import BASE, base_path, read_mapping
from transferkit.config.schema import dump_yaml, keys_at, parse_yaml, read_yaml
from transferkit.errors import ConfigError

_INDENT = 2  # columns, of a section that was written on one line
_OTHER_LINE_BREAKS = "\x85\u2028\u2029"  # they end a line for YAML alone


@dataclass(frozen=True)
class _Entry:
    """A key of a YAML mapping with its lines.

    Attributes:
        key: its name.
        column: where it starts.
        lead: comment and blank lines above it.
        lines: its own, those of its value included.
        code: the first line without its comment; None where the value goes on from there.
        comment: that comment, or nothing.
        children: entries of a section; None for any other value.
    """

    key: str
    column: int
    lead: list[str]
    lines: list[str]
    code: str | None = None
    comment: str = ""
    children: "list[_Entry] | None" = None


def whole_text(path: Path) -> str:
    """Text of a recipe file with its base in it; that of a file without a base as it stands.

    Raises:
        ConfigError: as :func:`~transferkit.config.recipes.read_mapping`.
    """
    mapping = read_mapping(path)
    base = base_path(path, read_yaml(path))
    text = path.read_text(encoding="utf-8")
    if base is None:
        return text
    own, below = _split(text), _split(whole_text(base))
    header = own[0].lead if own and _has_comment(own[0].lead) else below[0].lead if below else []
    own, below = _without_header(own), _without_header(below)
    entries = _merge(below, [entry for entry in own if entry.key != BASE], ())
    lines = [line for entry in entries for line in (*entry.lead, *entry.lines)]
    whole = "\n".join([*header, *lines]).rstrip("\n") + "\n"
    try:
        faithful = parse_yaml(whole, where=str(path)) == mapping
    except ConfigError:
        faithful = False
    return whole if faithful else "\n".join([*header, dump_yaml(mapping)])


def _split(text: str) -> list[_Entry]:
    """Entries of YAML text; none where its root is no mapping of one key a line."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode) or root.flow_style or set(_OTHER_LINE_BREAKS) & set(text):
        return []
    lines = text.rstrip("\n").split("\n")
    return _block(root, lines, 0, len(lines))


def _block(node: yaml.MappingNode, lines: list[str], first: int, end: int) -> list[_Entry]:
    """Entries of a block mapping that takes the lines from ``first`` to before ``end``."""
    starts = [key.start_mark.line for key, _ in node.value]
    floors = [first, *(start + 1 for start in starts)]
    leads = []
    for (key, _), start, floor in zip(node.value, starts, floors, strict=False):
        above = start
        while above > floor and _is_lead(lines[above - 1], key.start_mark.column):
            above -= 1
        leads.append(above)
    return [
        _entry(key, value, lines, above, stop)
        for (key, value), above, stop in zip(node.value, leads, [*leads[1:], end], strict=True)
    ]


def _is_lead(line: str, column: int) -> bool:
    """Whether a line belongs to the key below it, which starts at ``column``: a deeper comment is of what is above."""
    comment = line.lstrip()
    return not comment or (comment.startswith("#") and len(line) - len(comment) <= column)


def _entry(key: yaml.Node, value: yaml.Node, lines: list[str], above: int, end: int) -> _Entry:
    at, column = key.start_mark.line, key.start_mark.column
    name = str(key.value)
    entry = _Entry(name, column, lines[above:at], lines[at:end])
    begin, stop = value.start_mark, value.end_mark
    children = None
    if at < begin.line < end and not getattr(value, "flow_style", True):  # a block below the key
        code_end = key.end_mark.column + 1
        children = _block(value, lines, at + 1, end) if isinstance(value, yaml.MappingNode) else None
    elif begin.line == stop.line == at and begin.column > column:
        code_end = stop.column
        if isinstance(value, yaml.MappingNode):
            children = _flow(value, lines[at], column + _INDENT)
    else:
        return entry
    comment = lines[at][code_end:].strip()
    if comment and not comment.startswith("#"):
        return entry
    return replace(entry, code=lines[at][:code_end], comment=comment, children=children)


def _flow(node: yaml.MappingNode, line: str, column: int) -> list[_Entry]:
    """Entries of a mapping that stands on one line in braces, each on a line of its own."""
    entries = []
    for key, value in node.value:
        code = f"{' ' * column}{line[key.start_mark.column : value.end_mark.column]}"
        entries.append(_Entry(str(key.value), column, [], [code], code))
    return entries


def _merge(below: list[_Entry], own: list[_Entry], path: tuple[str, ...]) -> list[_Entry]:
    """``own`` entries over those ``below``; a key that is new takes its place in the order of the schema."""
    merged, order = list(below), keys_at(Recipe, path)
    for entry in own:
        shift = merged[0].column - entry.column if merged else 0
        entry = _shifted(entry, shift)
        there = [one.key for one in merged]
        if entry.key in there:
            place = there.index(entry.key)
            merged[place] = _over(merged[place], entry, (*path, entry.key))
        else:
            later = order[order.index(entry.key) + 1 :] if entry.key in order else []
            place = next((number for number, key in enumerate(there) if key in later), len(merged))
            merged.insert(place, entry)
    return merged


def _over(old: _Entry, new: _Entry, path: tuple[str, ...]) -> _Entry:
    """An entry with the value of ``new``, and the comments of ``old`` where ``new`` has none."""
    lead = new.lead if _has_comment(new.lead) else old.lead
    if old.children is not None and new.children is not None:
        head = _with_comment(f"{' ' * old.column}{new.key}:", old, new)
        children = _merge(old.children, new.children, path)
        lines = [head, *(line for entry in children for line in (*entry.lead, *entry.lines))]
        return replace(new, lead=lead, lines=lines, children=children)
    if new.code is None:
        return replace(new, lead=lead)
    return replace(new, lead=lead, lines=[_with_comment(new.code, old, new), *new.lines[1:]])


def _with_comment(code: str, old: _Entry, new: _Entry) -> str:
    comment = new.comment or old.comment
    column = len(old.lines[0]) - len(old.comment) if old.comment else 0
    return f"{code.ljust(max(column, len(code) + 2))}{comment}" if comment else code


def _shifted(entry: _Entry, by: int) -> _Entry:
    """The entry ``by`` columns further right, or left for a negative number."""
    if by == 0:
        return entry

    def move(line: str) -> str:
        if by < 0:
            return line[min(-by, len(line) - len(line.lstrip())) :]
        return " " * by + line if line else line

    return replace(
        entry,
        column=entry.column + by,
        lead=[move(line) for line in entry.lead],
        lines=[move(line) for line in entry.lines],
        code=None if entry.code is None else move(entry.code),
        children=None if entry.children is None else [_shifted(child, by) for child in entry.children],
    )


def _without_header(entries: list[_Entry]) -> list[_Entry]:
    return [replace(entry, lead=[]) if number == 0 else entry for number, entry in enumerate(entries)]


def _has_comment(lines: list[str]) -> bool:
    return any(line.strip() for line in lines)
