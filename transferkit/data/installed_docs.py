"""Docstrings of the packages on this machine -> summary and paragraph: real text for pairs that nobody has to ship."""

import json
import re
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, distribution, requires
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

from transferkit.data import docstrings, paragraphs
from transferkit.data.docstrings import Root, documented_below, modules_below
from transferkit.data.paragraphs import summary_and_paragraph
from transferkit.errors import ConfigError, did_you_mean
from transferkit.files.json import write_text

Split = Literal["train", "dev", "test", "unseen"]
SPLITS: tuple[Split, ...] = get_args(Split)
SUBSETS = ("queries", "corpus", "default")  # of a split as a retrieval set, named as on the Hub
UNSEEN = ("pandas", "sklearn")  # packages whose rows are in no other split: never trained on
STANDARD_LIBRARY = "python"  # what its package is called here
_DECIDED_BY = (__file__, docstrings.__file__, paragraphs.__file__)  # the code that decides the rows


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
    digest = blake2b(digest_size=8)
    for code in _DECIDED_BY:
        digest.update(Path(code).read_bytes())
    for root in _roots():
        for source in modules_below(root.path):
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
        for name, docstring in documented_below(root):
            pair = summary_and_paragraph(docstring)
            if pair is not None and seen.isdisjoint(pair):
                seen.update(pair)
                found.append(Docstring(name, root.package, *pair))
    return found


# Which packages


def check_packages(packages: Sequence[str]) -> None:
    """Refuse a package whose docstrings are not read; nothing is opened for it.

    Raises:
        ConfigError: names those that are.
    """
    known = sorted({root.package for root in _roots()}) if packages else []
    for package in packages:
        if package not in known:
            raise ConfigError(
                f"--package {package}: its docstrings are not read here{did_you_mean(package, known)} (those of "
                f"{', '.join(known)} are)"
            )


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
