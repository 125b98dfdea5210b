"""Model cards, of a run folder and of an export: what a checkpoint and its run know, as Markdown.

The hub's metadata stand on top. A card is a function of the checkpoint, the record and the metrics, and no time is in
it: a run that went on has that of one which never stopped.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transferkit.config.methods import facts_of_kind
from transferkit.config.schema import dump_yaml
from transferkit.config.specs import BackboneSpec
from transferkit.report.card_loading import of_export, of_run, of_stock
from transferkit.report.formats import count, score, signed
from transferkit.report.markdown import escape_markdown
from transferkit.runs.checkpoint_folder import document_instructions
from transferkit.runs.folder import RECORD, Run, delivered, read_run

CARD = "README.md"  # as the hub calls it
_OURS = f"*Written by transferkit of `{RECORD}`."  # no other file of this name is written over
_END = f"{_OURS} A run that goes on writes it anew; a {CARD} without this line stays.*"


def run_of(model: Path) -> Run | None:
    """The run that a checkpoint belongs to: ``model`` itself, or the folder around it; None: it stands alone.

    Raises:
        ConfigError: a damaged record.
    """
    folder = model.parent if model.name == "checkpoint" else model
    return read_run(folder) if (folder / "record.json").is_file() else None


def is_card(file: Path) -> bool:
    """Whether a file is what :func:`run_card` gave, of whatever run, and not the user's."""
    return _OURS.encode() in file.read_bytes()


def run_card(run: Run, description: Mapping[str, Any]) -> str:
    """The card of a run folder with a checkpoint, which is loaded with transferkit.

    Args:
        run: that is done.
        description: of its checkpoint.
    """
    name = run.folder.resolve().name
    prompts = "`instruction=` gives one, on the command line `--instruction`."
    metadata = {
        "library_name": "transferkit",
        "pipeline_tag": "sentence-similarity",
        "tags": ["feature-extraction", "transferkit"],
        **_base_model(description),
    }
    card = _card(
        description,
        run,
        metadata=metadata,
        name=name,
        loading=of_run(name, has_decoder="backbone" in description, is_source=run.record["task"] == "train"),
        inside="which is not in this folder",
        sides=_sides(description, prompts=prompts),
    )
    return f"{card}\n{_END}\n"


def export_card(
    model: Path, description: Mapping[str, Any], *, name: str, needs: Mapping[str, str], constant: str | None = None
) -> str:
    """The card of an export, which is loaded with sentence-transformers.

    Args:
        model: checkpoint or run folder that is exported.
        description: of its checkpoint.
        name: of the exported folder.
        needs: package -> versions that loading it takes.
        constant: of an export that holds the decoder and stands without transferkit: the instruction that it reads
            every text with.

    Raises:
        ConfigError: a damaged record.
    """
    spec = _spec(description)
    metadata = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "feature-extraction", "transferkit"],
        **_base_model(description),
    }
    if spec is not None and spec.license is not None and constant is not None:
        metadata["license"] = spec.license  # of the decoder's weights, which are in the folder
    always = None if constant is None else _one_instruction(constant)
    prompts = "`prompt=` gives one; `prompt_name=` names one that is kept."
    return _card(
        description,
        run_of(model),
        metadata=metadata,
        name=name,
        loading=of_export(name, needs) if constant is None else of_stock(name, needs),
        inside="which is not in this folder" if constant is None else "whose weights this folder holds",
        sides=_sides(description, prompts=prompts, always=always),
    )


def _card(
    description: Mapping[str, Any],
    run: Run | None,
    *,
    metadata: dict[str, Any],
    name: str,
    loading: Iterable[str],
    inside: str,
    sides: Iterable[str],
) -> str:
    """What all cards have in common; ``inside`` says whether the decoder is in the folder."""
    parts = [
        f"# {escape_markdown(name)}",
        _what_it_is(description, run),
        "## Load it",
        *loading,
        "## What it reads",
        _table(("", ""), _reading(description, inside=inside)),
        *sides,
        "## Training",
        *_training(description, run),
        *([] if run is None else _scores(run)),
    ]
    return f"---\n{dump_yaml(metadata)}---\n\n" + "\n\n".join(parts) + "\n"


def _base_model(description: Mapping[str, Any]) -> dict[str, str]:
    """The decoder as the hub knows it; one of this machine alone is none."""
    spec = _spec(description)
    return {} if spec is None or spec.hub_id is None else {"base_model": spec.hub_id}


def _spec(description: Mapping[str, Any]) -> BackboneSpec | None:
    own = description.get("backbone")
    return None if own is None else BackboneSpec.model_validate(own["spec"])


def _what_it_is(description: Mapping[str, Any], run: Run | None) -> str:
    label = facts_of_kind(description["kind"]).title if run is None else run.record["label"]
    spec = _spec(description)
    decoder = "" if spec is None else f" on the frozen decoder {escape_markdown(spec.hub_id or spec.name)}"
    width = description["readout"]["width"]
    return f"Texts to unit vectors of {width:,} numbers, compared by cosine: {escape_markdown(label)}{decoder}."


def _reading(description: Mapping[str, Any], *, inside: str) -> list[tuple[str, str]]:
    """How a text becomes a vector, and what from."""
    own, spec = description.get("backbone"), _spec(description)
    rows: list[tuple[str, str]] = []
    if own is not None and spec is not None:
        where = spec.hub_id or spec.name
        quantized = "" if own["quantization"] == "none" else f", {own['quantization']}"
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


def _sides(description: Mapping[str, Any], *, prompts: str, always: str | None = None) -> Iterator[str]:
    """Instructions of questions and of documents, a row a training set.

    Args:
        description: of the checkpoint.
        prompts: how another one is given.
        always: of a folder that takes none: what it reads.
    """
    questions, documents = description["instructions"], document_instructions(description)
    rows = [(name, questions[name], documents[name]) for name in questions if questions[name] or documents[name]]
    if always is not None:
        yield always
    elif rows:
        yield f"Instructions that it was trained with. {prompts}"
    if rows:
        yield _table(("training set", "instruction of questions", "instruction of documents"), rows)


def _one_instruction(constant: str) -> str:
    if not constant:
        return "It reads no instruction and takes no prompt."
    return f"Every text is read with the instruction *{escape_markdown(constant)}*; it takes no prompt."


def _training(description: Mapping[str, Any], run: Run | None) -> Iterator[str]:
    if run is None:
        yield "No record of its training came with this checkpoint."
    else:
        record = run.record
        sets = [(one["name"], count(one["rows"])) for one in record["data"]["train"]]
        yield _table(("training set", "rows"), sets) + "\n\nThe licences of these texts are their owners' matter."
        steps = record.get("steps")
        said = [] if steps is None else [f"{count(steps)} optimizer steps{_kept(record, steps)}"]
        said += [] if record["source"] is None else [f"from the source {record['source']['run']}"]
        yield escape_markdown(", ".join([f"Seed {record['seed']}", *said])) + "."
    versions = description.get("versions") or {}
    if versions:
        told = ", ".join(f"{name} {version}" for name, version in versions.items())
        yield f"Made with {escape_markdown(told)}."


def _kept(record: Mapping[str, Any], steps: int) -> str:
    """Which step's weights the checkpoint holds, where they are not the last one's."""
    kept = (record.get("best") or {}).get("step", steps)
    return "" if kept == steps else f" (the weights of step {count(kept)} were kept)"


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
