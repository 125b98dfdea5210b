"""Source files -> the docstrings in them, with dotted names. Nothing is imported or run."""

import ast
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Tests, bundled copies of other packages, programs and generated tables; underscores around a name do not count.
_NOT_READ = frozenset(
    {"conftest", "dist-packages", "ensurepip", "externals", "idlelib", "lib2to3", "pycache", "pydoc_data"}
    | {"site-packages", "test", "testing", "tests", "turtledemo"}
)

# A header, or a statement that ends the scope of the functions and classes before it.
_HEADER = re.compile(r"\n([ \t]*+)(?:(?:async )?+(?:def|class) +(\w+)|(?:if|for|try|while|with)\b)")
_QUOTES = '"""'
_SUMMARY = re.compile(r"\s*\S[^\n]*\n(?:[ \t]*\S[^\n]*\n)?[ \t]*\n")  # one or two lines, then a blank one


@dataclass(frozen=True)
class Root:
    """Where a package lies, a folder or a module, and the folder that the dotted names in it start from."""

    package: str
    path: Path
    names_from: Path


def documented_below(root: Root) -> Iterator[tuple[str, str]]:
    """Dotted name and docstring of all that is documented below ``root`` in several paragraphs, by file and line."""
    for file in modules_below(root.path):
        module = ".".join(file.relative_to(root.names_from).with_suffix("").parts).removesuffix(".__init__")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of odd escapes in what it parses
            documented = list(_documented(file))
        for name, docstring in documented:
            yield f"{module}.{name}" if name else module, docstring


def modules_below(path: Path) -> list[Path]:
    """Python files at or below ``path`` in the order of their names, but for tests and bundled packages."""
    files = [path] if path.suffix == ".py" else []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if _is_read(name)]
        files += [Path(folder, name) for name in names if name.endswith(".py") and _is_read(name[:-3])]
    return sorted(files, key=lambda file: file.parts)


def _is_read(name: str) -> bool:
    return name.strip("_") not in _NOT_READ and not name.startswith("test_") and "vendor" not in name


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
