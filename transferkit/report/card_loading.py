"""How a model card says that its folder is loaded: text and code, one function a kind of folder."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping

_OPENED = "from sentence_transformers import SentenceTransformer"
_FLAG = (
    "The flag lets sentence-transformers 6 import a module of the installed package `transferkit`; this folder holds "
    "no code."
)


def of_run(name: str, *, has_decoder: bool, is_source: bool) -> Iterator[str]:
    """Of a run folder: with transferkit."""
    yield "From the folder around this one:"
    yield _code("import transferkit", f"embedder = transferkit.load({_quoted(name)})", "embedder")
    place = shlex.quote(name)
    yield "On the command line, of a file with a text a line:"
    yield _block("bash", f"transferkit embed {place} texts.txt --out vectors.npy")
    if has_decoder:
        yield "Where the decoder lies elsewhere now, say so with `backbone=PLACE`, or `--backbone PLACE` there."
    yield "As a folder for sentence-transformers:"
    yield _block("bash", f"transferkit export {place} --to FOLDER")
    if is_source:
        yield "It is a source. On another decoder, by fitting the alignment alone:"
        yield _block("bash", f"transferkit adapt --source {place} --target MODEL")


def of_export(name: str, needs: Mapping[str, str]) -> Iterator[str]:
    """Of an export without the decoder: with sentence-transformers and transferkit."""
    place = _quoted(name)
    yield _installing(needs)
    yield _code(_OPENED, f"model = SentenceTransformer({place}, trust_remote_code=True)", "model")
    moved = 'Where the decoder lies elsewhere now, say so with `model_kwargs={"backbone": PLACE}`.'
    yield f"{_FLAG} {moved} Without sentence-transformers:"
    yield _block("python", "import transferkit", "", f"embedder = transferkit.load({place})")


def of_stock(name: str, needs: Mapping[str, str]) -> Iterator[str]:
    """Of an export of stock modules: with sentence-transformers alone."""
    yield f"{_installing(needs)} It does not need transferkit."
    yield _code(_OPENED, f"model = SentenceTransformer({_quoted(name)})", "model")


def _installing(needs: Mapping[str, str]) -> str:
    packages = " ".join(f"'{package}{versions}'" for package, versions in needs.items())
    return f"It needs `pip install {packages}`."


def _code(imported: str, opening: str, model: str) -> str:
    """Open a model and compare two texts; both libraries have the same names for that."""
    return _block(
        "python",
        imported,
        "",
        opening,
        f'questions = {model}.encode_query(["a question"])',
        f'passages = {model}.encode_document(["a passage"])',
        f"print({model}.similarity(questions, passages))",
    )


def _block(language: str, *lines: str) -> str:
    """Lines of code, behind a fence that is longer than whatever in them looks like one."""
    code = "\n".join(lines)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    return f"{fence}{language}\n{code}\n{fence}"


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)
