"""The model card of an export: what a checkpoint and its run know, as Markdown with the hub's metadata on top."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transferkit.config.methods import facts_of_kind
from transferkit.config.schema import dump_yaml
from transferkit.config.specs import BackboneSpec
from transferkit.exports.requirements import NEEDS, STOCK
from transferkit.report.formats import count, score, signed
from transferkit.report.markdown import escape_markdown
from transferkit.runs.checkpoint_folder import document_instructions
from transferkit.runs.folder import Run, delivered, read_run

_FLAG = (
    "The flag lets sentence-transformers 6 import a module of the installed package `transferkit`; this folder holds "
    "no code."
)


def run_of(model: Path) -> Run | None:
    """The run that a checkpoint belongs to: ``model`` itself, or the folder around it; None: it stands alone.

    Raises:
        ConfigError: a damaged record.
    """
    folder = model.parent if model.name == "checkpoint" else model
    return read_run(folder) if (folder / "record.json").is_file() else None


def card_of(model: Path, description: Mapping[str, Any], *, name: str, constant: str | None = None) -> str:
    """The whole card.

    Args:
        model: checkpoint or run folder that is exported.
        description: of its checkpoint.
        name: of the exported folder.
        constant: of an export that holds the decoder and stands without transferkit: the instruction that it reads
            every text with.

    Raises:
        ConfigError: a damaged record.
    """
    run = run_of(model)
    parts = [
        f"# {escape_markdown(name)}",
        _what_it_is(description, run),
        "## Load it",
        *(_loading(name) if constant is None else _loading_alone(name)),
        "## What it reads",
        _table(("", ""), _reading(description, constant=constant)),
        *_sides(description, constant=constant),
        "## Training",
        *_training(description, run),
        *([] if run is None else _scores(run)),
    ]
    metadata = _metadata(description, holds_decoder=constant is not None)
    return f"---\n{dump_yaml(metadata)}---\n\n" + "\n\n".join(parts) + "\n"


def _metadata(description: Mapping[str, Any], *, holds_decoder: bool) -> dict[str, Any]:
    """What the hub reads; weights of the decoder are under its licence."""
    spec = _spec(description)
    found: dict[str, Any] = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "feature-extraction", "transferkit"],
    }
    if spec is not None and spec.hub_id is not None:
        found["base_model"] = spec.hub_id
    if spec is not None and spec.license is not None and holds_decoder:
        found["license"] = spec.license
    return found


def _spec(description: Mapping[str, Any]) -> BackboneSpec | None:
    own = description.get("backbone")
    return None if own is None else BackboneSpec.model_validate(own["spec"])


def _what_it_is(description: Mapping[str, Any], run: Run | None) -> str:
    label = facts_of_kind(description["kind"]).title if run is None else run.record["label"]
    spec = _spec(description)
    decoder = "" if spec is None else f" on the frozen decoder {escape_markdown(spec.hub_id or spec.name)}"
    width = description["readout"]["width"]
    return f"Texts to unit vectors of {width:,} numbers, compared by cosine: {escape_markdown(label)}{decoder}."


def _loading(name: str) -> Iterator[str]:
    place = json.dumps(name, ensure_ascii=False)
    yield _installing(NEEDS)
    yield _code(f"model = SentenceTransformer({place}, trust_remote_code=True)")
    moved = 'Where the decoder lies elsewhere now, say so with `model_kwargs={"backbone": PLACE}`.'
    yield f"{_FLAG} {moved} Without sentence-transformers:"
    yield "\n".join(["```python", "import transferkit", "", f"embedder = transferkit.load({place})", "```"])


def _loading_alone(name: str) -> Iterator[str]:
    yield f"{_installing(STOCK)} It does not need transferkit."
    yield _code(f"model = SentenceTransformer({json.dumps(name, ensure_ascii=False)})")


def _installing(needs: Mapping[str, str]) -> str:
    packages = " ".join(f"'{package}{versions}'" for package, versions in needs.items())
    return f"It needs `pip install {packages}`."


def _code(opening: str) -> str:
    lines = [
        "from sentence_transformers import SentenceTransformer",
        "",
        opening,
        'questions = model.encode_query(["a question"])',
        'passages = model.encode_document(["a passage"])',
        "print(model.similarity(questions, passages))",
    ]
    return "\n".join(["```python", *lines, "```"])


def _reading(description: Mapping[str, Any], *, constant: str | None) -> list[tuple[str, str]]:
    """How a text becomes a vector, and what from."""
    own, spec = description.get("backbone"), _spec(description)
    rows: list[tuple[str, str]] = []
    if own is not None and spec is not None:
        where = spec.hub_id or spec.name
        quantized = "" if own["quantization"] == "none" else f", {own['quantization']}"
        inside = "which is not in this folder" if constant is None else "whose weights this folder holds"
        rows += [
            (f"decoder, {inside}", where if spec.revision is None else f"{where} at {spec.revision}"),
            ("licence of the decoder", spec.license or "not known; see where it comes from"),
            ("computed in", own["dtype"] + quantized),
            ("template", own["template"]),
            ("pooling", own["pooling"]),
            ("tokens of a text that are read, at most", count(own["max_length"])),
        ]
    if "encoder" in description:
        rows.append(("encoder, which is not in this folder", description["encoder"]["name"]))
    readout = description["readout"]
    options = [f"{key} {readout[key]:g}" for key in ("ridge", "alpha") if readout.get(key) is not None]
    return [*rows, ("readout", ", ".join([readout["kind"], *options]))]


def _sides(description: Mapping[str, Any], *, constant: str | None) -> Iterator[str]:
    """Instructions of questions and of documents, a row a training set; or the one that is in the folder."""
    questions, documents = description["instructions"], document_instructions(description)
    rows = [(name, questions[name], documents[name]) for name in questions if questions[name] or documents[name]]
    if constant:
        yield f"Every text is read with the instruction *{escape_markdown(constant)}*; it takes no prompt."
    elif constant is not None:
        yield "It reads no instruction and takes no prompt."
    elif rows:
        yield "Instructions that it was trained with. `prompt=` gives one; `prompt_name=` names one that is kept."
    if rows:
        yield _table(("training set", "instruction of questions", "instruction of documents"), rows)


def _training(description: Mapping[str, Any], run: Run | None) -> Iterator[str]:
    if run is None:
        yield "No record of its training came with this checkpoint."
    else:
        record = run.record
        sets = [(one["name"], count(one["rows"])) for one in record["data"]["train"]]
        yield _table(("training set", "rows"), sets) + "\n\nThe licences of these texts are their owners' matter."
        steps = record.get("steps")
        said = [] if steps is None else [f"{count(steps)} optimizer steps"]
        said += [] if record["source"] is None else [f"from the source {record['source']['run']}"]
        yield escape_markdown(", ".join([f"Seed {record['seed']}", *said])) + "."
    versions = description.get("versions") or {}
    if versions:
        told = ", ".join(f"{name} {version}" for name, version in versions.items())
        yield f"Made with {escape_markdown(told)}."


def _scores(run: Run) -> Iterator[str]:
    """Of the evaluation that became the checkpoint, and how far it is ahead of what needs no training."""
    best = run.record.get("best")
    if best is None:
        return
    key = (best["step"], best.get("variant"))
    row = next((one for one in run.metrics if (one["step"], one.get("variant")) == key), None)
    if row is None:
        return
    kinds = {one["name"]: one["kind"] for one in run.record["data"]["dev"]}
    scores = [(name, kinds.get(name, ""), score(delivered(found))) for name, found in row["scores"].items()]
    yield "## Scores"
    yield "In percent, of the evaluation that became this checkpoint, which the selecting sets chose."
    yield _table(("set", "kind", "score"), scores)
    verdict = run.record.get("verdict")
    if verdict is not None:
        against = [
            (one["name"], score(one["score"]), f"{signed(one['difference'])} ± {one['error']:.1f}")
            for one in verdict["against"]
        ]
        yield f"Beside what one has without it ({score(verdict['score'])} on the sets that select; standard errors):"
        yield _table(("rival", "its score", "this one is ahead by"), against)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([escape_markdown(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
