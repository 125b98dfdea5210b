"""Convergence table -> all its files in a folder, and what their HTML page says."""

from pathlib import Path
from typing import Any

from transferkit.convergence.comparable import run_id
from transferkit.convergence.comparison import Comparison
from transferkit.convergence.findings import findings
from transferkit.convergence.tables import row_name, title, to_csv, to_json, to_markdown, views
from transferkit.files.json import write_text
from transferkit.files.writable import writing
from transferkit.report.formats import count, memory, seconds
from transferkit.report.page import Figure, Page, RunFacts, inline_svg, to_html

DEFINITIONS = {
    "Readout": "plain: the pooled vector. whitened / centred: a closed-form map, fitted on a fixed sample of "
    "unlabelled training texts, comes after it; nothing is trained.",
    "Seeds": "Runs that differ in their seed only. Every number is the median over them; the range is lowest "
    "to highest.",
    "Trained": "Numbers that the optimizer changes.",
    "Step 0": "Score before the first optimizer step; for transfer, the skill attached without any training.",
    "Best": "The highest score of a run over all its evaluations, by the dev sets that select; under eval.keep: last "
    "the score of its last evaluation, whose weights such a run keeps. At step, range and other sets follow it. It is "
    "the highest of several on the very texts that it is reported on, which flatters what was evaluated often.",
    "At step ●": "This step, read in this way and with this readout, became the checkpoint of every run of the row: "
    "it is what `embed` and `search` load. A row without the mark shows what its runs measured beside that.",
    "Last": "The score of the last evaluation, which nothing chose.",
    "% of LoRA": "Best score over the reference's. The reference is the LoRA row with the highest best "
    "score, plain or with readout, so all other learning rates and poolings of LoRA stay rows.",
    "Other sets": "Mean over the dev sets that select nothing, at the evaluation of Best.",
    "Verdict": "decided: three seeds or more of both rows, and all scores of one above all of the other. A row that "
    "learns nothing, starts from no source and has no fitted readout needs no seeds. Everything else is open.",
    "Target": "A share of the reference's best score: the same score for every row, with or without readout.",
    "Steps, ..., seconds to target": "Read at the first evaluation that reaches it, under eval.keep: last at the first "
    "one from which the score stays there. Seconds count training and cache building and, for a readout, its fit; "
    "loading, evaluation and the training of a transfer's source, which is done once, are not in them. A seed that "
    "never arrives counts as endless; where half of them or more do not, the cell holds a lower bound of the median, "
    "from what was run: > 500.",
    "2.0x": "The reference needs 2.0 times as much, read plain or with readout, whichever needs less (each measure by "
    "itself); '2.0x more' and '2.0x slower': the row needs 2.0 times as much as the reference. Empty where row or "
    "reference do not reach the target, and for seconds of runs that a shared machine or another day slowed down.",
    "Memory": "Peak memory of the run; on a CPU it is the peak resident size of the process, which includes its "
    "libraries, what earlier runs of the same process left behind, and the dev texts that the run keeps read "
    "(eval.keep_states_gib).",
}

CURVES_CAPTION = (
    "Lines: the dev score of a row that trains, from evaluation to evaluation, the median over its seeds; the mark at "
    "the end is the last evaluation. Bands: lowest to highest seed. Dotted: targets, shares of LoRA's best score. "
    "Dashed grey: rows that train nothing. An arrow: the row goes on beyond the axis."
)
SCORES_CAPTION = (
    "Dots: the best score of each row, and on the right what it scores on the sets that choose nothing. Thin lines: "
    "from step 0, the tick, to the best score. Bars: lowest to highest seed. Dotted: LoRA's best."
)


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write table.md, .csv and .json, curves and scores as .png and .svg, and report.html; the folder is made.

    Raises:
        RefusedError: the folder cannot be written; a ConfigError where a file is in the way.
    """
    from transferkit.convergence.curve_plot import write_curves
    from transferkit.convergence.score_plot import write_scores

    way_out = "mend that, or choose another with --out"
    with writing(f"{folder}: cannot write the comparison there", way_out=way_out):
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name, text in (("md", to_markdown), ("csv", to_csv), ("json", to_json)):
            written.append(folder / f"table.{name}")
            write_text(written[-1], text(comparison))
        written += write_curves(comparison, folder) + write_scores(comparison, folder)
        curves, scores = ((folder / f"{name}.svg").read_text(encoding="utf-8") for name in ("curves", "scores"))
        written.append(folder / "report.html")
        write_text(written[-1], to_html(to_page(comparison, curves=curves, scores=scores)))
    return written


def to_page(comparison: Comparison, *, curves: str, scores: str) -> Page:
    """What the page says; ``curves`` and ``scores`` are the texts of ``curves.svg`` and ``scores.svg``."""
    reference = comparison.reference
    return Page(
        title=title(comparison),
        subtitle=f"{len(comparison.runs)} runs. Score: mean over {', '.join(comparison.selecting)}, in percent.",
        findings=findings(comparison),
        figures=[
            Figure(inline_svg(curves, label="Dev score against steps and against seconds"), CURVES_CAPTION),
            Figure(inline_svg(scores, label="Best dev score of every row, and that on the other sets"), SCORES_CAPTION),
        ],
        views=views(comparison),
        marked=None if reference is None else row_name(reference),
        notes=comparison.notes,
        definitions=DEFINITIONS,
        runs=[RunFacts(run_id(run), run.record["label"], _facts(run.record)) for run in comparison.runs],
    )


def _facts(record: dict[str, Any]) -> dict[str, str]:
    """What a reader needs to repeat or doubt a run, unknown facts left out."""
    data, git, backbone, source = record["data"], record.get("git"), record["backbone"], record["source"]
    parameters, encoder = record["parameters"], record.get("encoder")
    train = [
        f"{one['name']} ({count(one['rows'])} rows, {one.get('skipped_rows') or 0} skipped)" for one in data["train"]
    ]
    dev = [f"{one['name']} ({one['kind']}{'' if one['select'] else ', selects nothing'})" for one in data["dev"]]
    facts = {
        "Command": record.get("command"),
        "Status": record["status"],
        "Seed": record["seed"],
        "Created": record.get("created_at"),
        "Backbone": _backbone(backbone) if backbone else None,
        "Encoder": f"{encoder['name']} (sha256 {encoder['sha256'][:12]})" if encoder else None,
        "Source run": f"{source['run']} (sha256 {source['sha256'][:12]})" if source else None,
        "Training data": f"{', '.join(train)}; sha256 {data['train_sha256'][:12]}",
        "Dev sets": f"{', '.join(dev)}; sha256 {data['dev_sha256'][:12]}",
        "Parameters": f"{count(parameters['trainable'])} trained of {count(parameters['total'])}",
        "Timings": "; ".join(
            f"{name.removesuffix('_seconds')} {seconds(value)} s"
            for name, value in (record.get("timings") or {}).items()
            if isinstance(value, (int, float))
        ),
        "Peak memory": memory(record.get("peak_memory_bytes")),
        "Device": record.get("device"),
        "Platform": record.get("platform"),
        "Versions": ", ".join(f"{name} {version}" for name, version in (record.get("versions") or {}).items()),
        "Commit": (git["commit"] + (", with uncommitted changes" if git.get("dirty") else "")) if git else None,
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "")}


def _backbone(backbone: dict[str, Any]) -> str:
    revision = f", revision {backbone['revision']}" if backbone.get("revision") else ""
    return (
        f"{backbone['name']} ({backbone.get('location')}{revision}), "
        f"{count(backbone.get('num_parameters'))} parameters, {backbone.get('dtype')}, "
        f"quantization {backbone.get('quantization')}"
    )
