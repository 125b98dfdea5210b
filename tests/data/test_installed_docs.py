"""Docstrings as data: a made-up installation, this machine's own, whole files parsed as the reference, recipes."""

import ast
import os
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.tiny import Tiny

from transferkit.config.datasets import DataSection
from transferkit.data import installed_docs as module
from transferkit.data.dev_set import DevSetData
from transferkit.data.dev_sets import load_dev_sets
from transferkit.data.docstrings import Root
from transferkit.data.installed_docs import SPLITS, UNSEEN, Docstring, installed_docs, kept_docs, read_docstrings
from transferkit.data.paragraphs import summary_and_paragraph
from transferkit.data.training_sets import TrainingData, load_training_data
from transferkit.errors import ConfigError
from transferkit.runner.dry_run import describe
from transferkit.runner.prepare import Inputs

PARAGRAPH = "It says in many plain words what the thing does and why."
STDLIB = Path(sysconfig.get_paths()["stdlib"])


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def documented(number: int, *, header: str = "def f():", paragraph: str = PARAGRAPH) -> str:
    """A definition whose summary and paragraph hold ``number``, so that no two are the same."""
    summary = f"Give back the thing that has the number {number}."
    return f'{header}\n    """{summary}\n\n    {paragraph} It is one of {number} things.\n    """\n'


def read(folder: Path, *packages: str) -> list[Docstring]:
    return read_docstrings(Root(name, folder / name, folder) for name in packages)


# What is read


EVERYTHING = f'''#!/usr/bin/env python
# A comment in front.
r"""Describe the whole module.

{PARAGRAPH} But this one holds a backslash, \\d, and is passed over.

{PARAGRAPH}
"""
from raises import nothing

TEXT = """
def not_code():
    'Neither is this'

    It is text.
"""

@decorated("with a string")
class Outer(Base, metaclass=Meta):  # a comment
    """Hold the outer things
    on two lines.

    {PARAGRAPH} Outer.
    """

    plain: int = 3

    async def method(
        self,
        text: str = "a: b",
        *,
        more: dict[str, int],
    ) -> None:
        """Do what methods do.

        {PARAGRAPH} Method.
        """
        def inner():
            """Stay inside the method.

            {PARAGRAPH} Inner.
            """
        if inner:
            sql = """Not a docstring at all.

            {PARAGRAPH} No docstring.
            """

    def one_line(self): return """Also no docstring.

    {PARAGRAPH} Also none.
    """

def short():
    """Only a summary, nothing else."""

if condition:
    def conditional():
        """Be there on a condition.

        {PARAGRAPH} Conditional.
        """
else:
    class Other:
        def method(self):
            """Belong to the other class.

            {PARAGRAPH} Other.
            """
'''


def test_every_kind_of_definition_is_named_and_nothing_else_is_read(tmp_path: Path) -> None:
    write(tmp_path, {"alpha/__init__.py": documented(0), "alpha/core/parts.py": EVERYTHING})
    found = {doc.name: doc for doc in read(tmp_path, "alpha")}
    assert list(found) == [
        "alpha.f",
        "alpha.core.parts",
        "alpha.core.parts.Outer",
        "alpha.core.parts.Outer.method",
        "alpha.core.parts.Outer.method.inner",
        "alpha.core.parts.conditional",
        "alpha.core.parts.Other.method",
    ]
    outer = found["alpha.core.parts.Outer"]
    assert outer.summary == "Hold the outer things on two lines."
    assert outer.paragraph == f"{PARAGRAPH} Outer."
    assert found["alpha.core.parts"].paragraph == PARAGRAPH  # the first without code
    assert {doc.package for doc in found.values()} == {"alpha"}


def test_whole_files_parsed_give_the_same() -> None:
    """Reference: every definition of whole packages, by ``ast`` alone."""

    def walk(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            inside = name
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                inside = f"{name}.{child.name}"
                yield inside, ast.get_docstring(child) or ""
            yield from walk(child, inside)

    expected = set()
    packages = ("asyncio", "email", "logging")
    for file in [file for package in packages for file in (STDLIB / package).rglob("*.py")]:
        name = ".".join(file.relative_to(STDLIB).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for inside, docstring in [(name, ast.get_docstring(tree) or ""), *walk(tree, name)]:
            if (pair := summary_and_paragraph(docstring)) is not None:
                expected.add((inside, *pair))
    found = {(doc.name, doc.summary, doc.paragraph) for doc in read(STDLIB, *packages)}
    assert len(found) > 50
    assert found <= expected
    texts = {text for _, *pair in found for text in pair}
    neither_read_nor_repeated = [one for one in expected if texts.isdisjoint(one[1:])]
    assert len(neither_read_nor_repeated) <= 0.02 * len(expected)  # those between other quotes


def test_nothing_is_imported_and_bad_files_tests_and_bundled_packages_are_left_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "alpha/__init__.py": "raise SystemExit('imported')\n" + documented(0),
            "alpha/broken.py": "def f(:\n    pass\n" + documented(1, header="def f(a b):"),
            "alpha/latin.py": documented(2).encode() + "# caf\xe9\n".encode("latin-1"),
            "alpha/null.py": documented(3, header="def f(a=\0):"),
            "alpha/open.py": documented(4) + 'x = """never closed',
            "alpha/notes.txt": documented(5),
            "alpha/tests/a.py": documented(6),
            "alpha/_testing/a.py": documented(7),
            "alpha/conftest.py": documented(8),
            "alpha/test_a.py": documented(9),
            "alpha/_vendor/a.py": documented(10),
            "alpha/externals/a.py": documented(11),
            "alpha/site-packages/a.py": documented(12),
            "alpha/latest.py": documented(13),
        },
    )
    assert [doc.name for doc in read(tmp_path, "alpha")] == ["alpha.f", "alpha.latest.f", "alpha.open.f"]
    assert "alpha" not in sys.modules


def test_of_equal_texts_the_first_stays_by_package_file_and_line(tmp_path: Path) -> None:
    same_summary = documented(1).replace("many plain", "other")
    same_paragraph = documented(1).replace("Give back", "Take away")
    write(
        tmp_path,
        {
            "beta/a.py": same_summary,
            "alpha/b.py": same_paragraph + documented(2, header="def g():"),
            "alpha/a.py": documented(1) + documented(1, header="def twice():"),
            "beta/b.py": documented(3),
        },
    )
    found = read(tmp_path, "beta", "alpha")
    assert [doc.name for doc in found] == ["alpha.a.f", "alpha.b.g", "beta.b.f"]
    assert found[0].summary == "Give back the thing that has the number 1."


# Cleaning


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("the ``plain`` and `single` quotes", "the plain and single quotes"),
        ("a :func:`merge` and :py:meth:`~pandas.DataFrame.join` too", "a merge and join too"),
        ("see `the guide <https://example.org/a>`_ and :ref:`text <label>` there", "see the guide and text there"),
        ("a [link](https://example.org), [`A`] and [`~a.B`](b) in Markdown", "a link, A and B in Markdown"),
        ("as in the paper [1]_ and [#note]_ above", "as in the paper and above"),
        ("**bold** and *all of it*, but *args and **kwargs", "bold and all of it, but *args and **kwargs"),
        ("white  space\tthat is\ncollapsed", "white space that is collapsed"),
    ],
)
def test_markup_is_taken_off(written: str, read: str) -> None:
    docstring = f"Add *two* ``numbers``.\n\nIt is {written}, to the very end of it."
    assert summary_and_paragraph(docstring) == ("Add two numbers.", f"It is {read}, to the very end of it.")


@pytest.mark.parametrize(
    "between",
    [
        ".. note:: Deprecated.\n   With a second line of it.",
        ".. versionadded:: 1.4",
        ">>> add(1, 2)\n3",
        "    indented = code(that, runs)",
        "- a list of things, with quite many words in it\n- and more",
        "1. a numbered list of things, with quite many words in it",
        "| a | table | of | many | words | in | a | row |",
        "```python\ncode = that.runs(in, markdown, with, many, words)\n```",
        "Example::\n\n    indented = code(that, runs)",
        "A paragraph that introduces what stands below it in code::",
        "A paragraph that only introduces the list that stands below:",
        "Too short for anything.",
        r"With a formula such as \frac{a}{b} it is not like English at all.",
        "x = 1; y = 2; z = f(x, y)[0]; 17 + 4 * 23 / (5 - 6) ** 78 % 9 == 10",
        "这个函数返回合并后的表格 并且 保持 左边 的 顺序 不变",
    ],
)
def test_what_is_no_prose_is_passed_over(between: str) -> None:
    assert summary_and_paragraph(f"Add two numbers.\n\n{between}\n\n{PARAGRAPH}\n") == ("Add two numbers.", PARAGRAPH)


@pytest.mark.parametrize(
    "header",
    [
        "Parameters\n----------\nx : int",
        "Returns\n=======",
        "Args:\n    x: a number",
        "Keyword Args:\n    x: a number",
        "**Returns**:\n",
        ":param x: a number\n:returns: another",
        "# Arguments",
        "@param x a number",
    ],
)
def test_nothing_below_the_first_section_is_read(header: str) -> None:
    assert summary_and_paragraph(f"Add two numbers.\n\n{header}\n\n{PARAGRAPH}") is None


@pytest.mark.parametrize(
    "summary",
    [
        "Too short.",
        "word " * 41 + "is too long.",
        "Three\nlines of\nsummary text.",
        "add(x, y) -> number, the sum of both",
        "Parameters\n----------",
        "Initialise it with the following:",
        ">>> add one and two",
        "[CFWS] 1*ttext = 24/7 ** 38",
        "    ",
    ],
)
def test_a_summary_is_a_sentence_on_one_line_or_two(summary: str) -> None:
    assert summary_and_paragraph(f"{summary}\n\n{PARAGRAPH}") is None


def test_a_summary_alone_is_no_pair_and_a_long_paragraph_is_cut_at_a_word() -> None:
    assert summary_and_paragraph("Add two numbers.") is None
    pair = summary_and_paragraph(f"Add two numbers.\n\n{'words ' * 66}fives and more")
    assert pair == ("Add two numbers.", ("words " * 66).strip())  # 395 characters; one word more would be 401
    exact = "words " * 66 + "four"
    assert summary_and_paragraph(f"Add two numbers.\n\n{exact}") == ("Add two numbers.", exact)
    assert summary_and_paragraph(f"Add two numbers.\n\n{exact} and more") == ("Add two numbers.", exact)


# Splits


def test_a_row_stays_in_its_split_when_packages_are_added(tmp_path: Path) -> None:
    many = "".join(documented(i, header=f"def f{i}():") for i in range(300))
    write(tmp_path, {"beta/a.py": many, "alpha/a.py": documented(1000), "pandas/a.py": documented(2000)})
    alone = {doc.name: doc.split for doc in read(tmp_path, "beta")}
    assert alone.items() <= {doc.name: doc.split for doc in read(tmp_path, "pandas", "beta", "alpha")}.items()
    shares = Counter(alone.values())
    assert 200 <= shares["train"] <= 270
    assert min(shares["dev"], shares["test"]) >= 12
    assert {doc.split for doc in read(tmp_path, "pandas")} == {"unseen"}


def test_the_split_is_a_hash_of_the_summary_alone() -> None:
    for number in range(50):
        doc = Docstring("name", "package", f"Summary {number}.", "text")
        digest = int.from_bytes(blake2b(doc.summary.encode(), digest_size=8).digest(), "big")
        assert doc.split == [*["train"] * 8, "dev", "test"][digest % 10]
        assert doc.split == Docstring("other", "another", doc.summary, "more").split


# Which packages


def test_packages_are_those_that_the_installed_metadata_requires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def metadata(name: str, *lines: str) -> str:
        return "\n".join(["Metadata-Version: 2.1", f"Name: {name}", "Version: 9", *lines]) + "\n"

    needs = [
        "declares>=2",
        "infers-things (<3)",
        "moved @ https://example.org/moved",
        "absent",
        "marked; python_version > '3'",
        "optional; extra == 'dev'",
    ]
    site = write(
        tmp_path / "site",
        {
            "transferkit-9.dist-info/METADATA": metadata("transferkit", *(f"Requires-Dist: {need}" for need in needs)),
            "declares-9.dist-info/METADATA": metadata("declares"),
            "declares-9.dist-info/top_level.txt": "declared_one\n_private\ngone\n",
            "infers_things-9.dist-info/METADATA": metadata("infers-things"),
            "infers_things-9.dist-info/RECORD": "".join(
                f"{file},,\n" for file in ("inferred/__init__.py", "inferred/b.py", "single.py", "../bin/x.py", "a.pth")
            ),
            "moved-9.dist-info/METADATA": metadata("moved"),
            "moved-9.dist-info/top_level.txt": "moved_one\n",
            "marked-9.dist-info/METADATA": metadata("marked"),
            "marked-9.dist-info/top_level.txt": "marked_one\n",
            "optional-9.dist-info/METADATA": metadata("optional"),
            "optional-9.dist-info/top_level.txt": "optional_one\n",
            "declared_one/__init__.py": documented(0),
            "_private/__init__.py": documented(1),
            "inferred/__init__.py": documented(2),
            "single.py": documented(3),
            "marked_one/part.py": documented(4),  # a namespace package
            "optional_one/__init__.py": documented(5),
        },
    )
    elsewhere = write(tmp_path / "elsewhere", {"moved_one/__init__.py": documented(6)})  # as an editable install
    library = write(tmp_path / "library", {"json/tool.py": documented(7), "site-packages/x.py": documented(8)})
    monkeypatch.syspath_prepend(str(elsewhere))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(library)})
    found = {(doc.name, doc.package) for doc in installed_docs.__wrapped__()}
    assert found == {
        ("declared_one.f", "declared_one"),
        ("inferred.f", "inferred"),
        ("single.f", "single"),
        ("moved_one.f", "moved_one"),
        ("marked_one.part.f", "marked_one"),
        ("json.tool.f", "python"),
    }
    assert not {"declared_one", "inferred", "single", "moved_one", "marked_one"} & set(sys.modules)


def test_without_metadata_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(module, "requires", requires)
    with pytest.raises(ConfigError, match=r"transferkit is not installed, .*`pip install -e \.`") as caught:
        installed_docs.__wrapped__()
    assert "\n" not in str(caught.value)


# This machine


@pytest.fixture(scope="module")
def docs() -> tuple[Docstring, ...]:
    return installed_docs()


def test_this_machine_has_thousands_of_texts_and_none_twice(docs: tuple[Docstring, ...]) -> None:
    assert len(docs) > 5000
    assert max(Counter(text for doc in docs for text in (doc.summary, doc.paragraph)).values()) == 1
    assert len({doc.key for doc in docs}) == len(docs)
    assert {"python", "torch", "numpy", *UNSEEN} <= {doc.package for doc in docs}
    assert not any("_vendor" in doc.name or ".tests." in doc.name for doc in docs)


def test_unseen_packages_are_in_no_other_split(docs: tuple[Docstring, ...]) -> None:
    packages = {split: {doc.package for doc in docs if doc.split == split} for split in SPLITS}
    assert packages["unseen"] == set(UNSEEN)
    assert all(packages[split].isdisjoint(UNSEEN) for split in ("train", "dev", "test"))
    shares = Counter(doc.split for doc in docs if doc.split != "unseen")
    assert shares["train"] / shares.total() == pytest.approx(0.8, abs=0.02)
    assert shares["dev"] / shares.total() == pytest.approx(0.1, abs=0.02)


def test_both_sides_are_clean(docs: tuple[Docstring, ...]) -> None:
    for doc in docs:
        assert 3 <= len(doc.summary.split()) <= 40, doc
        assert len(doc.paragraph.split()) >= 8, doc
        assert len(doc.paragraph) <= 400, doc
        for text in (doc.summary, doc.paragraph):
            assert text == " ".join(text.split()), doc
            assert not any(mark in text for mark in ("`", ">>>", "\\", "->")), doc


def test_another_process_reads_the_same_and_imports_no_package() -> None:
    """On part of the standard library: the order of sets and of folders must not matter."""
    code = f"""
import hashlib, sys
from pathlib import Path
from transferkit.data.docstrings import Root
from transferkit.data.installed_docs import read_docstrings
folder = Path({str(STDLIB)!r})
docs = read_docstrings(Root(package, folder / package, folder) for package in ("email", "turtle.py"))
print(hashlib.sha256(repr(docs).encode()).hexdigest(), len(docs), "turtle" in sys.modules, "torch" in sys.modules)
"""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    (output,) = outputs
    assert output.split()[2:] == ["False", "False"]
    assert int(output.split()[1]) > 20


def test_kept_ones_are_read_again_where_a_source_file_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path, {"pkg/a.py": documented(1)}) / "pkg"
    monkeypatch.setattr(module, "_roots", lambda: [Root("pkg", source, tmp_path)])
    monkeypatch.setattr(module, "installed_docs", lambda: tuple(read(tmp_path, "pkg")))
    kept = tmp_path / "kept"
    kept.mkdir()
    first = kept_docs(kept)
    assert first == tuple(read(tmp_path, "pkg"))
    with monkeypatch.context() as patch:
        patch.setattr(module, "installed_docs", lambda: pytest.fail("read again"))
        assert kept_docs(kept) == first
    (file,) = kept.iterdir()
    whole = file.read_text()
    for damaged in (whole[: len(whole) // 2], "", '[["pkg.a.f"]]'):
        file.write_text(damaged)
        assert kept_docs(kept) == first
        assert file.read_text() == whole
    write(tmp_path, {"pkg/b.py": documented(2)})
    assert [doc.name for doc in kept_docs(kept)] == ["pkg.a.f", "pkg.b.f"]
    assert len(list(kept.iterdir())) == 2
    for code in module._DECIDED_BY:
        others = [file for file in module._DECIDED_BY if file != code]
        changed = tmp_path / "changed.py"
        changed.write_text(Path(code).read_text() + "# changed\n")
        with monkeypatch.context() as patch:
            patch.setattr(module, "_DECIDED_BY", [*others, str(changed)])
            kept_docs(kept)
    assert len(list(kept.iterdir())) == 2 + len(module._DECIDED_BY)


def test_all_code_that_decides_the_rows_names_the_kept_file() -> None:
    """Every module of the package that ``installed_docs`` imports, but for those that word errors and write files."""
    found: set[str] = set()
    waiting = [module.__name__]
    while waiting:
        name = waiting.pop()
        found.add(name)
        tree = ast.parse(Path(sys.modules[name].__file__ or "").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("transferkit"):
                inner = {f"{node.module}.{alias.name}" for alias in node.names} & set(sys.modules)
                waiting += (inner or {node.module}) - found
    decided = {name for name in found if sys.modules[name].__file__ in module._DECIDED_BY}
    assert found - decided == {"transferkit.errors", "transferkit.files.json"}
    assert len(decided) == len(module._DECIDED_BY)


# Recipes


def made_up(number: int) -> Docstring:
    package = ("alpha", "beta", "pandas")[number % 3]
    return Docstring(f"{package}.f{number}", package, f"See the dog {number}.", f"the cat {number} sat on a mat")


MADE_UP = tuple(made_up(number) for number in range(300))
PAIRS = {"name": "docs", "kind": "pairs", "columns": {"anchor": "summary", "positive": "paragraph"}}
RETRIEVAL = {"name": "dev", "kind": "retrieval"}


@pytest.fixture
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "installed_docs", lambda: MADE_UP)


def section(train: dict[str, Any] | None = None, dev: dict[str, Any] | None = None) -> DataSection:
    sets = {"train": [PAIRS | (train or {})], "dev": [RETRIEVAL | (dev or {})]}
    return DataSection.model_validate({name: [{"builtin": "installed-docs"} | one[0]] for name, one in sets.items()})


def training(**train: Any) -> TrainingData:
    return load_training_data(section(train=train), data_dir=None, batch_size=8, seed=1)


def dev_set(**dev: Any) -> DevSetData:
    (data,) = load_dev_sets(section(dev=dev), data_dir=None)
    return data


@pytest.mark.usefixtures("_made_up")
@pytest.mark.parametrize("split", SPLITS)
def test_pairs_are_the_rows_of_the_split(split: str) -> None:
    (one,) = training(split=split).sets
    rows = {(doc.summary, doc.paragraph) for doc in MADE_UP if doc.split == split}
    assert set(zip(one.anchors, one.positives, strict=True)) == rows
    assert len(one.anchors) == len(rows)
    assert training(split=split, limit=5).sets[0].anchors == one.anchors[:5]


@pytest.mark.usefixtures("_made_up")
def test_the_first_rows_are_of_all_packages_and_the_default_split_is_train() -> None:
    (one,) = training(limit=20).sets
    of = {doc.summary: doc for doc in MADE_UP}
    assert {of[anchor].package for anchor in one.anchors} == {"alpha", "beta"}
    assert {of[anchor].split for anchor in one.anchors} == {"train"}


def test_the_records_hash_follows_the_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    def hashes(*docs: Docstring) -> tuple[str, str]:
        monkeypatch.setattr(module, "installed_docs", lambda: docs)
        return training().facts()["sha256"], dev_set(split="train").sha256

    place = next(place for place, doc in enumerate(MADE_UP) if doc.split == "train")
    changed = Docstring(MADE_UP[place].name, MADE_UP[place].package, MADE_UP[place].summary, "another version of it")
    first, same = hashes(*MADE_UP), hashes(*reversed(MADE_UP))
    other = hashes(*MADE_UP[:place], changed, *MADE_UP[place + 1 :])
    assert first == same
    assert first[0] != other[0]
    assert first[1] != other[1]


@pytest.mark.usefixtures("_made_up")
def test_labelled_knn_and_clustering_take_the_package_as_label() -> None:
    columns = {"text": "paragraph", "label": "package"}
    labels = {doc.paragraph: doc.package for doc in MADE_UP}
    batch = training(kind="labelled", columns=columns).batch(0)
    assert all(labels[a] == labels[p] for a, p in zip(batch.anchors, batch.positives, strict=True))
    count = Counter(doc.split for doc in MADE_UP)
    data = dev_set(kind="knn", columns=columns, split="dev", train_split="train")
    assert len(data.texts) == count["dev"] + count["train"]
    one_hot = np.array([[labels[text] == name for name in ("alpha", "beta")] for text in data.texts], dtype=np.float32)
    assert data.score(one_hot) == 100.0
    assert len(dev_set(kind="knn", columns=columns, limit=4).texts) == 4 + 20
    assert len(dev_set(kind="clustering", columns=columns).texts) == count["test"]
    with pytest.raises(ConfigError, match="none of its labels occurs in"):
        dev_set(kind="knn", columns=columns, split="unseen")


@pytest.mark.usefixtures("_made_up")
@pytest.mark.parametrize("limit", [None, 4])
def test_in_retrieval_each_summary_asks_for_its_paragraph(limit: int | None) -> None:
    data = dev_set(split="unseen", instruction="find", document_instruction="", limit=limit)
    nothing = dict.fromkeys(("skipped_rows", "repeated_documents", "dropped_queries"), 0)
    assert data.counts == {"queries": limit or 100, "documents": 6 * (limit or 0) or 100, **nothing}
    queries = data.counts["queries"]
    assert data.instructions == ["find"] * queries + [""] * (len(data.texts) - queries)
    number = {text: int("".join(filter(str.isdigit, text))) for text in data.texts}
    assert {MADE_UP[number[text]].package for text in data.texts} == {"pandas"}
    vectors = np.zeros((len(data.texts), 300), dtype=np.float32)
    vectors[np.arange(len(data.texts)), [number[text] for text in data.texts]] = 1
    assert data.score(vectors) == 100.0
    vectors[queries:] = np.roll(vectors[queries:], 3, axis=0)
    assert data.score(vectors) < 50.0


@pytest.mark.usefixtures("_made_up")
def test_unknown_splits_subsets_and_columns_are_one_sentence() -> None:
    with pytest.raises(
        ConfigError,
        match=r"^data\.train 'docs': built-in data 'installed-docs' split 'trian': no split 'trian'; did you mean "
        r"'train'\? \(splits there: train, dev, test, unseen\)$",
    ):
        training(split="trian")
    with pytest.raises(ConfigError, match=r"^data\.dev 'dev': .*no split 'validation'"):
        dev_set(split="validation")
    with pytest.raises(ConfigError, match=r"no subset 'en' \(subsets there: queries, corpus, default\)"):
        training(subset="en")
    with pytest.raises(ConfigError, match=r"no column 'anchor' \(columns there: name, package, summary, paragraph;"):
        training(columns={})


@pytest.mark.usefixtures("_made_up")
def test_a_dry_run_counts_it_and_shows_it(tiny: Tiny) -> None:
    recipe = tiny.recipe("train", data=section(dev={"split": "unseen", "limit": 10}).model_dump())
    text = describe(recipe, Inputs(data_dir=None))
    count = Counter(doc.split for doc in MADE_UP)
    assert f"pairs, {count['train']} rows, 0 skipped" in text
    assert "retrieval, 60 texts, 0 skipped" not in text
    assert "retrieval, 70 texts, 0 skipped, selects" in text
    assert "'See the dog " in text
