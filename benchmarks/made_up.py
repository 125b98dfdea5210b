"""What benchmarks/fuzz.py makes up: valid recipes, specs, studies, rows and command lines, and damage to each."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml
from hypothesis import strategies as st
from typer.main import get_command

from transferkit.cli.app import app
from transferkit.config.recipes import list_recipes
from transferkit.config.schema import flat
from transferkit.config.specs import list_backbones

Files = dict[str, bytes]


@dataclass(frozen=True)
class Case:
    """One area.

    Attributes:
        share: of all examples.
        examples: what is made up.
        files: an example -> the files that it needs in the current folder.
        command: an example -> arguments; None: its rows are read by the interface of Python.
        sections: of rows, where they are read from.
    """

    share: float
    examples: st.SearchStrategy[Any]
    files: Callable[[Any], Files]
    command: Callable[[Any], list[str] | None]
    sections: Callable[[Any], dict[str, Any]] = lambda example: {}


# Values

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NUMBERS = st.one_of(
    st.integers(-3, 20),
    st.integers(),
    st.sampled_from([2**31, 2**63, 10**30, 10**400, -(10**400)]),
    st.floats(),
)
WORDS = st.sampled_from(
    [
        "",
        " ",
        "-",
        "..",
        "../..",
        "/",
        "/dev/null",
        ".",
        "~",
        "null",
        "none",
        "auto",
        "1e-3",
        "x" * 300,
        "é" * 200,
        "a\x00b",
        "{text}",
        "{soft}",
        "{text}{soft}",
        "{",
        "{text",
        "[red]",
        "=1+1",
        "bundled",
        "bundled-toy",
        "bundled-qwen3-2m",
        "a/b",
        "train",
        "x.yaml",
        "x.gguf",
        "find",
        "\n",
        "true",
        "nf4",
        "mean",
        "soft",
        "position",
    ]
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT, WORDS, st.dates()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | WORDS, inner, max_size=3),
    max_leaves=6,
)
SNIPPETS = st.sampled_from(
    [
        ":",
        "\n",
        "\t",
        "  ",
        "- ",
        "&a ",
        "*a",
        "<<: *a",
        "!!python/object:os.system x",
        "!!binary x",
        "!!set {a}",
        "[",
        "]",
        "{",
        "}",
        "'",
        '"',
        "#",
        "|",
        ">",
        "%",
        "@",
        "---\n",
        "...\n",
        "? ",
        "\x00",
        "\ufeff",
        "\u2028",
        "1_000",
        "0o17",
        "2001-99-99",
        ".inf",
        ".nan",
        "12:30:45",
        "1e999",
        "? [a]\n: b\n",
        "!!timestamp 2001-13-45",
        "!!float x",
        "!!int _",
        "=",
        "- - - - -",
        "0x",
        "!!merge x",
        "!<x> y",
        "\\ud800",
        '"\\ud800"',
        "9" * 5000,
    ]
)


def _edited(base: dict[str, Any]) -> st.SearchStrategy[Any]:
    """``base`` with some values replaced, dropped or added."""
    paths = sorted({path for key in flat(base) for path in _prefixes(key)})
    change = st.tuples(st.sampled_from(paths), st.sampled_from(["set", "drop", "add"]), TEXT | WORDS, VALUES)
    return st.lists(change, max_size=4).map(lambda changes: _applied(base, changes))


def _prefixes(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _applied(base: dict[str, Any], changes: list[tuple[str, str, str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = json.loads(json.dumps(base))
    for path, what, name, value in changes:
        place: Any = mapping
        *above, last = path.split(".")
        for key in above:
            place = _of(place, key)
        if isinstance(place, list):
            if last.isdecimal() and int(last) < len(place):
                place[int(last)] = value
        elif isinstance(place, dict):
            if what == "drop":
                place.pop(last, None)
            else:
                place[last if what == "set" else name] = value
    return mapping


def _of(place: Any, key: str) -> Any:
    if isinstance(place, list):
        return place[int(key)] if key.isdecimal() and int(key) < len(place) else None
    return place.get(key) if isinstance(place, dict) else None


def _yaml(base: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """YAML of an edited mapping, torn text of it, aliases that multiply, or bytes."""
    good = yaml.safe_dump(base, sort_keys=False, allow_unicode=True)
    edited = _edited(base).map(lambda one: yaml.safe_dump(one, sort_keys=False, allow_unicode=True, width=200))
    return st.one_of(
        edited.map(_bytes),
        edited.map(_bytes),
        _torn(good),
        st.builds(
            _bomb,
            st.integers(1, 60),
            st.integers(1, 12),
            st.sampled_from(["list", "map", "merge", "deep", "self"]),
            st.just(good),
        ),
        TEXT.map(_bytes),
        st.binary(max_size=60),
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _torn(text: str) -> st.SearchStrategy[bytes]:
    change = st.tuples(st.integers(0, len(text)), st.integers(0, 6), SNIPPETS | TEXT)

    def tear(changes: list[tuple[int, int, str]]) -> bytes:
        torn = text
        for place, gone, new in changes:
            torn = torn[:place] + new + torn[place + gone :]
        return _bytes(torn)

    return st.lists(change, min_size=1, max_size=4).map(tear)


def _bomb(levels: int, wide: int, kind: str, good: str) -> bytes:
    """A few lines that stand for very many values."""
    lines = ["b0: &b0 {a: 1}"]
    for level in range(1, levels + 1):
        below = ", ".join([f"*b{level - 1}"] * wide)
        match kind:
            case "list":
                lines.append(f"b{level}: &b{level} [{below}]")
            case "map":
                inner = ", ".join(f"k{i}: *b{level - 1}" for i in range(wide))
                lines.append(f"b{level}: &b{level} {{{inner}}}")
            case "merge":
                lines.append(f"b{level}: &b{level} {{<<: [{below}], k{level}: 1}}")
            case "self":
                lines.append(f"b{level}: &b{level} [*b{level}]")
            case _:
                lines.append("b" + str(level) + ": " + "[" * level * 40 + "]" * level * 40)
    return _bytes("\n".join([*lines, good]))


# Recipes, specs, studies

RECIPE: dict[str, Any] = {
    "task": "adapt",
    "seed": 3,
    "precision": "float32",
    "prompting": {"tokens": 5, "tau": 3.0, "reads": "text"},
    "alignment": {"init": "source", "offset": "position"},
    "embedding": {"backbone": "bundled-qwen3-2m", "max_length": 24, "template": "{text}{soft}", "pooling": "soft"},
    "lora": {"r": 8, "alpha": 16.0},
    "frozen": {"templates": ["{text}"], "poolings": ["mean"]},
    "readout": {"kind": "whiten", "sample": 8},
    "data": {
        "train": [{"name": "pairs", "kind": "pairs", "path": "pairs.jsonl", "instruction": "find", "weight": 1.0}],
        "dev": [{"name": "dev", "kind": "knn", "path": "dev.csv", "train_path": "train.csv", "limit": 10}],
    },
    "loss": {"temperature": 0.05},
    "teacher": {"model": "bundled"},
    "optim": {"steps": 4, "batch_size": 4, "lr": 0.001},
    "eval": {"every": 2, "batch_size": 16},
    "save_every": 2,
}
SPEC: dict[str, Any] = {
    "name": "spec",
    "family": "qwen3",
    "hub_id": "org/model",
    "revision": "0" * 40,
    "license": "apache-2.0",
    "model_type": "qwen3",
    "hidden_size": 64,
    "num_layers": 2,
    "max_length": 512,
    "tokenizer": {"add_bos": True, "has_pad": True, "vocab_size": 100},
    "pooling": "soft",
    "template": "{text}{soft}",
    "quantizations": ["none"],
    "sources": ["a page"],
}
STUDY: dict[str, Any] = {
    "seeds": [3, 4],
    "set": {"optim.batch_size": 8},
    "runs": [
        {"name": "source", "recipe": "bundled/train"},
        {"name": "transfer", "recipe": "bundled/adapt", "source": "source", "targets": ["bundled-gptneox-5m"]},
        {"name": "lora", "recipe": "bundled/baseline", "set": {"method": "lora"}, "seeds": [3]},
    ],
    "records": [],
}
OVERRIDE = st.builds(
    lambda key, value: f"{key}={value}", st.sampled_from(sorted(flat(RECIPE))) | WORDS | TEXT, WORDS | TEXT
)


def _recipe_command(example: Any) -> list[str]:
    _, verb, overrides = example
    sets = [part for one in overrides for part in ("--set", one)] if verb == "check" else []
    return ["recipes", verb, "recipe.yaml", *sets]


_RECIPES = Case(
    0.24,
    st.tuples(
        _yaml(RECIPE) | _yaml({"base": "bundled/adapt", "optim": {"steps": 3}}),
        st.sampled_from(["check", "show"]),
        st.lists(OVERRIDE, max_size=2),
    ),
    lambda example: {"recipe.yaml": example[0]},
    _recipe_command,
)
_SPECS = Case(
    0.16,
    _yaml(SPEC),
    lambda example: {"spec.yaml": example},
    lambda example: ["backbones", "show", "spec.yaml"],
)
_STUDIES = Case(
    0.16,
    st.tuples(_yaml(STUDY), st.lists(st.sampled_from(["--only", "lora", "--seed", "3", "4", "x"]), max_size=3)),
    lambda example: {"study/study.yaml": example[0]},
    lambda example: ["study", "study/study.yaml", "--list", *example[1]],
)

# Rows

COLUMNS = (
    "anchor",
    "positive",
    "negative",
    "text",
    "label",
    "sentence1",
    "sentence2",
    "score",
    "_id",
    "title",
    "query-id",
    "corpus-id",
)
CELLS = st.one_of(st.sampled_from(["a cat", "a dog", "1", "2.5", "cat", "dog"]), VALUES)
GOOD = st.sampled_from([{name: f"{name} {number}" for name in COLUMNS} | {"score": number} for number in range(12)])


@st.composite
def _table(draw: Any) -> tuple[str, bytes]:
    """Suffix and content."""
    suffix = draw(st.sampled_from(["jsonl", "json", "csv", "tsv", "txt", "parquet"]))
    rows = draw(st.lists(GOOD, min_size=0, max_size=14))
    for number, name, value in draw(
        st.lists(st.tuples(st.integers(0, 13), st.sampled_from(COLUMNS) | TEXT, CELLS), max_size=3)
    ):
        if number < len(rows):
            rows[number] = {**rows[number], name: value}
    content = _content(suffix, rows)
    for place, gone, new in draw(
        st.lists(
            st.tuples(st.integers(0, 4000), st.integers(0, 9), st.binary(max_size=4) | SNIPPETS.map(_bytes)), max_size=2
        )
    ):
        content = content[:place] + new + content[place + gone :]
    return suffix, content


def _content(suffix: str, rows: list[dict[str, Any]]) -> bytes:
    plain = [
        {
            name: value if isinstance(value, (int, float, str, list, dict)) or value is None else str(value)
            for name, value in row.items()
        }
        for row in rows
    ]
    match suffix:
        case "jsonl":
            return _bytes("".join(json.dumps(row, default=str) + "\n" for row in plain))
        case "json":
            return _bytes(json.dumps(plain, default=str))
        case "txt":
            return _bytes("".join(f"{row.get('text')}\n" for row in plain))
        case "parquet":
            return _parquet(plain)
    file = io.StringIO()
    writer = csv.DictWriter(
        file, COLUMNS, extrasaction="ignore", delimiter="\t" if suffix == "tsv" else ",", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(plain)
    return _bytes(file.getvalue())


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    names = list(dict.fromkeys(name for row in rows for name in row)) or ["text"]
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pyarrow.array(values)
            pyarrow.parquet.write_table(pyarrow.table({name: columns[name]}), io.BytesIO())
        except (pyarrow.ArrowException, OverflowError, UnicodeError):  # such as a mapping without keys
            columns[name] = pyarrow.array([repr(value)[:100] for value in values])
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue()


def _sections(example: Any) -> dict[str, Any]:
    (suffix, _), train, dev, bad = example
    file = f"rows.{suffix}"
    sets: dict[str, dict[str, Any]] = {
        "knn": {"train_path": file},
        "retrieval": {"corpus_path": file, "qrels_path": file},
    }
    data = {
        "train": [{"name": "a", "kind": train, "path": file}],
        "dev": [{"name": "b", "kind": dev, "path": file, **sets.get(dev, {})}],
        "on_bad_row": bad,
    }
    return {"data": data, "file": file, "column": "text"}


_ROWS = Case(
    0.24,
    st.tuples(
        _table(),
        st.sampled_from(["pairs", "triplets", "labelled", "texts"]),
        st.sampled_from(["knn", "sts", "retrieval", "clustering", "texts"]),
        st.sampled_from(["stop", "skip"]),
    ),
    lambda example: {f"rows.{example[0][0]}": example[0][1]},
    lambda example: None,
    _sections,
)

# Command lines: whatever would work for minutes is asked for a plan, for help, or for what is not there

FLAGS = (
    "--allow-unfinished",
    "--backbone",
    "--batch-size",
    "--checkpoint",
    "--column",
    "--data-dir",
    "--decoder",
    "--device",
    "--dtype",
    "--family",
    "--force-resume",
    "--index",
    "--instruction",
    "--json",
    "--layers",
    "--limit",
    "--list",
    "--max-length",
    "--method",
    "--only",
    "--out",
    "--package",
    "--pooling",
    "--poolings",
    "--precision",
    "--quantize",
    "--quiet",
    "--resume",
    "--revision",
    "--runs",
    "--samples",
    "--seed",
    "--set",
    "--side",
    "--source",
    "--target",
    "--tasks",
    "--tasks-from",
    "--teacher",
    "--template",
    "--templates",
    "--text",
    "--texts",
    "--to",
    "--top",
    "--train",
    "--unlabelled",
    "--write",
    "-q",
    "--nonsense",
)
VERBS: dict[str, list[str]] = {
    "train": ["--resume", "nowhere"],
    "adapt": ["--resume", "nowhere"],
    "baseline": ["--method", "nothing"],
    "compare": [],
    "study": ["--list"],
    "augment": ["nowhere.txt"],
    "embed": ["nowhere"],
    "evaluate": ["nowhere", "--dry-run"],
    "search": ["--checkpoint", "nowhere"],
    "attention": ["nowhere"],
    "demo": ["--nonsense"],
    "templates": [],
    "backbones": [],
    "recipes": [],
    "nonsense": [],
}
ARGUMENT = st.one_of(
    st.sampled_from(FLAGS),
    WORDS,
    TEXT,
    NUMBERS.map(str),
    st.sampled_from(
        [*list_recipes(), *list_backbones(), "list", "show", "copy", "check", "new", "probe", "texts.txt", "--help"]
    ),
    st.sampled_from(["\udcff", "a\udc80b", "runs\udcfe"]),  # bytes that are no UTF-8, as Python hands them over
).filter(lambda word: "\x00" not in word)  # no system hands one over


VALUE = st.one_of(
    ARGUMENT, st.sampled_from(["texts.txt", "out.npy", "1", "2", "cpu", "float32", "mean", "query", "none"])
)


def _joined(example: tuple[str, list[str]]) -> list[str]:
    verb, words = example
    return [verb, *words, *VERBS[verb]]


@st.composite
def _line(draw: Any) -> list[str]:
    """Options that a verb has, with values, among others that it has not."""
    verb = draw(st.sampled_from(sorted(VERBS)))
    command: Any = vars(get_command(app))["commands"].get(verb)
    words = [verb]
    if hasattr(command, "commands"):
        inner = draw(st.sampled_from(sorted(command.commands)))
        words, command = [*words, inner], command.commands[inner]
    for parameter in command.params if command is not None else ():
        if parameter.param_type_name == "option":
            if draw(st.integers(0, 4)) == 0:
                words += [parameter.opts[0], *([] if parameter.is_flag else [draw(VALUE)])]
        elif draw(st.integers(0, 2)):
            words.append(draw(VALUE))
    return [*words, *VERBS[verb], *draw(st.lists(ARGUMENT, max_size=1))]


_LINES = Case(
    0.2,
    st.one_of(_line(), st.tuples(st.sampled_from(sorted(VERBS)), st.lists(ARGUMENT, max_size=4)).map(_joined)),
    lambda example: {"texts.txt": b"a cat\na dog\n"},
    lambda example: example,
)

CASES = {"recipes": _RECIPES, "specs": _SPECS, "studies": _STUDIES, "rows": _ROWS, "lines": _LINES}
