"""Docstrings of the packages on this machine -> summary and paragraph: real text for pairs that nobody has to ship."""

import ast
import json
import os
import re
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, distribution, requires
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

from transferkit.errors import ConfigError
from transferkit.files.json import write_text

Split = Literal["train", "dev", "test", "unseen"]
SPLITS: tuple[Split, ...] = get_args(Split)
SUBSETS = ("queries", "corpus", "default")  # of a split as a retrieval set, named as on the Hub
UNSEEN = ("pandas", "sklearn")  # packages whose rows are in no other split: never trained on
STANDARD_LIBRARY = "python"  # what its package is called here
SUMMARY_WORDS = range(3, 41)
PARAGRAPH_WORDS = 8  # at least
PARAGRAPH_LENGTH = 400  # characters; a longer paragraph is cut at a word

# Tests, bundled copies of other packages, programs and generated tables; underscores around a name do not count.
_NOT_READ = frozenset(
    {"conftest", "dist-packages", "ensurepip", "externals", "idlelib", "lib2to3", "pycache", "pydoc_data"}
    | {"site-packages", "test", "testing", "tests", "turtledemo"}
)


@dataclass(frozen=True)
class Docstring:
    """What a documented module, class or function says of itself: a summary and the first paragraph of prose after it.

    ``package`` is the top-level one, ``python`` for the standard library.
    """

    name: str
    package: str
    summary: str
    paragraph: str

    @property
    def key(self) -> str:
        """Hash of the summary, 16 hexadecimal digits; no two docstrings of this machine share it."""
        return blake2b(self.summary.encode(), digest_size=8).hexdigest()

    @property
    def split(self) -> Split:
        """``unseen`` for the packages of UNSEEN, else by the key: 80 % ``train``, 10 % ``dev``, 10 % ``test``.

        So a row stays where it is when packages come, go or change.
        """
        if self.package in UNSEEN:
            return "unseen"
        place = int(self.key, 16) % 10
        return "train" if place < 8 else "dev" if place == 8 else "test"


@dataclass(frozen=True)
class Root:
    """Where a package lies, a folder or a module, and the folder that the dotted names in it start from."""

    package: str
    path: Path
    names_from: Path


@cache
def installed_docs() -> tuple[Docstring, ...]:
    """The docstrings of the standard library and of transferkit's installed dependencies, in all splits.

    Nothing is imported or run. They are read once a process, in seconds.

    Raises:
        ConfigError: transferkit is not installed, so its dependencies are not known.
    """
    return tuple(read_docstrings(_roots()))


def kept_docs(folder: Path) -> tuple[Docstring, ...]:
    """What :func:`installed_docs` gives, from a file in ``folder`` once there is one: less than a second.

    The file is named after path, size and time of every source file, and after the code that reads them: where one of
    these changes, another file is written; a damaged one is replaced.

    Raises:
        ConfigError: transferkit is not installed.
        OSError: the folder does not exist or cannot be written.
    """
    digest = blake2b(Path(__file__).read_bytes(), digest_size=8)
    for root in _roots():
        for source in _modules(root.path):
            with suppress(OSError):  # a link to nothing is not read either
                found = source.stat()
                digest.update(f"{root.package} {source} {found.st_size} {found.st_mtime_ns}\n".encode())
    file = folder / f"docstrings-{digest.hexdigest()}.json"
    with suppress(FileNotFoundError, ValueError, TypeError):  # a damaged one is written anew
        return tuple(Docstring(*row) for row in json.loads(file.read_text(encoding="utf-8")))
    docs = installed_docs()
    write_text(file, json.dumps([astuple(doc) for doc in docs]))
    return docs


def table(split: str, *, subset: str | None = None) -> dict[str, list[Any]]:
    """A split as columns, ordered by key, so that its first rows are a fair sample.

    Args:
        split: one of SPLITS.
        subset: None: ``name``, ``package``, ``summary`` and ``paragraph``. Or one of SUBSETS, where a summary asks for
            its paragraph: ``queries`` and ``corpus`` have ``_id`` and ``text``, ``default``, the judgements, has
            ``query-id``, ``corpus-id`` and ``score``.
    """
    rows = sorted((doc for doc in installed_docs() if doc.split == split), key=lambda doc: doc.key)
    keys = [doc.key for doc in rows]
    match subset:
        case "queries":
            return {"_id": keys, "text": [doc.summary for doc in rows]}
        case "corpus":
            return {"_id": keys, "text": [doc.paragraph for doc in rows]}
        case "default":
            return {"query-id": keys, "corpus-id": keys, "score": [1] * len(rows)}
    return {column: [getattr(doc, column) for doc in rows] for column in ("name", "package", "summary", "paragraph")}


def read_docstrings(roots: Iterable[Root]) -> list[Docstring]:
    """The docstrings below ``roots``, ordered by package, file and line.

    Of those with the same summary or the same paragraph the first stays. A file that is not UTF-8 is left out.
    """
    found: list[Docstring] = []
    seen: set[str] = set()
    for root in sorted(roots, key=lambda root: (root.package, root.path)):
        for name, docstring in _documented_below(root):
            pair = summary_and_paragraph(docstring)
            if pair is not None and seen.isdisjoint(pair):
                seen.update(pair)
                found.append(Docstring(name, root.package, *pair))
    return found


# Which packages


def _roots() -> list[Root]:
    return [*_dependencies(), _standard_library()]


def _dependencies() -> Iterator[Root]:
    """The importable packages of every distribution that transferkit needs; one that is not installed is left out."""
    try:
        requirements = requires("transferkit") or []
    except PackageNotFoundError:
        raise ConfigError(
            "installed-docs: transferkit is not installed, so it is not known which packages it needs; "
            "install it with `pip install -e .` in its folder"
        ) from None
    for requirement in requirements:
        distribution_name, _, marker = requirement.partition(";")
        if "extra" not in marker:
            yield from _packages_of(re.split(r"[^\w.-]", distribution_name, maxsplit=1)[0])


def _packages_of(distribution_name: str) -> Iterator[Root]:
    try:
        found = distribution(distribution_name)
    except PackageNotFoundError:
        return
    declared = (found.read_text("top_level.txt") or "").split()
    installed = {file.parts[0].removesuffix(".py") for file in found.files or () if file.suffix == ".py"}
    for package in sorted(declared or installed - {".."}):
        spec = find_spec(package)
        if spec is None or package.startswith("_"):
            continue
        for place in spec.submodule_search_locations or [spec.origin or ""]:
            yield Root(package, Path(place), Path(place).parent)


def _standard_library() -> Root:
    folder = Path(sysconfig.get_paths()["stdlib"])
    return Root(STANDARD_LIBRARY, folder, folder)


def _modules(path: Path) -> list[Path]:
    """Python files at or below ``path`` in the order of their names, but for tests and bundled packages."""
    files = [path] if path.suffix == ".py" else []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if _is_read(name)]
        files += [Path(folder, name) for name in names if name.endswith(".py") and _is_read(name[:-3])]
    return sorted(files, key=lambda file: file.parts)


def _is_read(name: str) -> bool:
    return name.strip("_") not in _NOT_READ and not name.startswith("test_") and "vendor" not in name


# Which docstrings

# A header, or a statement that ends the scope of the functions and classes before it.
_HEADER = re.compile(r"\n([ \t]*+)(?:(?:async )?+(?:def|class) +(\w+)|(?:if|for|try|while|with)\b)")
_QUOTES = '"""'
_SUMMARY = re.compile(r"\s*\S[^\n]*\n(?:[ \t]*\S[^\n]*\n)?[ \t]*\n")  # one or two lines, then a blank one


def _documented_below(root: Root) -> Iterator[tuple[str, str]]:
    """Dotted name and docstring."""
    for file in _modules(root.path):
        module = ".".join(file.relative_to(root.names_from).with_suffix("").parts).removesuffix(".__init__")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of odd escapes in what it parses
            documented = list(_documented(file))
        for name, docstring in documented:
            yield f"{module}.{name}" if name else module, docstring


def _documented(file: Path) -> Iterator[tuple[str, str]]:
    """Name inside the module and docstring of what ``file`` documents in several paragraphs.

    Found by their triple double quotes, and of the code only the header in front of them is parsed: to parse whole
    files takes five times as long.
    """
    try:
        parts = ("\n" + file.read_text(encoding="utf-8")).split(_QUOTES)
    except (OSError, UnicodeDecodeError):
        return
    scope: list[tuple[int, str]] = []  # (indentation, name) of the header and of those around it
    for number, (code, text) in enumerate(zip(parts[::2], parts[1::2], strict=False)):
        start = 0 if number == 0 else None
        for header in _HEADER.finditer(code):
            while scope and scope[-1][0] >= len(header[1]):
                scope.pop()
            if header[2] is not None:
                scope.append((len(header[1]), header[2]))
                start = header.end(1)
        if start is None or not _SUMMARY.match(text):
            continue
        docstring = _docstring_of(code[start:] + _QUOTES + text + _QUOTES, is_module=start == 0)
        if docstring is not None:
            yield ".".join(name for _, name in scope), docstring


def _docstring_of(source: str, *, is_module: bool) -> str | None:
    """The docstring of a module, or of the one class or function in ``source``; None where it has none."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    documented = tree if is_module else tree.body[0]
    assert isinstance(documented, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    return ast.get_docstring(documented)


# What of a docstring

_SECTION = re.compile(
    r"[*#]*(?:[\w*]+ ){0,2}[\w*()]+[*]*:[*]*[ \t]*(?:\n|$)"  # Args:
    r"|[^\n]+\n[-=~^*#]{3}"  # Parameters, underlined
    r"|:\w[^:\n`]*:(?!`)|@\w|#"  # :param x:, @param, # Arguments
)
_NOT_PROSE = re.compile(r"^(?:\s|>>>|\.\. |```|[-*+] |[|<+]|\d+[.)] )|^:\w[^:\n`]*:(?!`)|::$", re.MULTILINE)
_QUOTED = re.compile(r"``([^`]+)``|\[`([^`]+)`\](?:\([^)]*\))?|(?::[\w:.+-]+:)?`([^`]+)`_{0,2}")
_FOOTNOTE = re.compile(r" ?\[[\w#*]+\]_\b")
_LINK = re.compile(r"\[([^][]+)\]\([^)]*\)")
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,2})(\w(?:[^*]*[\w.])?)\1(?![\w*])")
_NO_LETTER = re.compile(r"[^A-Za-z ]")
_CODE = re.compile(r"[\\{}`|$]|->|>>>|==|__|\w\(\w*, ")


def summary_and_paragraph(docstring: str) -> tuple[str, str] | None:
    """The first paragraph of one or two lines, and the next one of prose in front of any section.

    None where either is missing or does not look like English.
    """
    first, *blocks = re.split(r"\n\s*\n", docstring.strip())
    if first.count("\n") > 1 or _SECTION.match(first) or _NOT_PROSE.search(first):
        return None
    summary = _plain(first)
    if len(summary.split()) not in SUMMARY_WORDS or not _is_english(summary):
        return None
    for block in blocks:
        if _SECTION.match(block):
            return None
        paragraph = _plain(block)
        if not _NOT_PROSE.search(block) and len(paragraph.split()) >= PARAGRAPH_WORDS and _is_english(paragraph):
            return summary, _shortened(paragraph)
    return None


def _plain(text: str) -> str:
    """One line without markup: quotes around code, roles, links, footnotes, emphasis."""
    text = _QUOTED.sub(lambda quoted: quoted[1] or _shown(quoted[2] or quoted[3]), text)
    text = _LINK.sub(r"\1", _FOOTNOTE.sub("", text))
    return " ".join(_EMPHASIS.sub(r"\2", text).split())


def _shown(target: str) -> str:
    """What a reader sees of `target`: of `text <address>` the text, of `~a.b.c` the last name."""
    text, address, _ = target.partition("<")
    if address and text.strip():
        return text.strip()
    return target.rpartition(".")[2] if target.startswith("~") else target.removeprefix("!")


def _is_english(text: str) -> bool:
    """Mostly ASCII letters, begins with one, introduces nothing, and holds neither formulas nor code."""
    few_others = len(_NO_LETTER.findall(text)) <= 0.15 * len(text)
    return few_others and text[0].isalpha() and text[-1] not in ":," and not _CODE.search(text)


def _shortened(text: str) -> str:
    return text if len(text) <= PARAGRAPH_LENGTH else text[: PARAGRAPH_LENGTH + 1].rpartition(" ")[0]
