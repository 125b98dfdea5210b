"""Convergence table -> one self-contained HTML page, and all files of a comparison in a folder.

The page loads nothing: styles and curves stand inside it. Light or dark follows the reader's system.
"""

import re
from html import escape
from pathlib import Path
from typing import Any

from transferkit.convergence.comparable import run_id
from transferkit.convergence.comparison import Comparison
from transferkit.convergence.findings import findings
from transferkit.convergence.formats import count, memory, seconds
from transferkit.convergence.tables import View, row_name, title, to_csv, to_json, to_markdown, views
from transferkit.errors import ConfigError
from transferkit.files.json import write_text
from transferkit.runs.folder import Run

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
    "Last": "The score of the last evaluation, which nothing chose.",
    "% of LoRA": "Best score over the reference's. The reference is the LoRA row with the highest best "
    "score, plain or with readout, so all other learning rates and poolings of LoRA stay rows.",
    "Other sets": "Mean over the dev sets that select nothing, at the evaluation of Best.",
    "Target": "A share of the reference's best score: the same score for every row, with or without readout.",
    "Steps, ..., seconds to target": "Read at the first evaluation that reaches it, under eval.keep: last at the first "
    "one from which the score stays there. Seconds count training and cache building and, for a readout, its fit; "
    "loading, evaluation and the training of a transfer's source, which is done once, are not in them. A seed that "
    "never arrives counts as endless; where half of them or more do not, the cell holds a lower bound of the median, "
    "from what was run: > 500.",
    "2.0x": "The reference needs 2.0 times as much, read plain or with readout, whichever needs less (each measure by "
    "itself). Empty where row or reference do not reach the target, and for seconds of runs that a shared machine or "
    "another day slowed down.",
    "Memory": "Peak memory of the run; on a CPU it is the peak resident size of the process, which includes its "
    "libraries, what earlier runs of the same process left behind, and the dev texts that the run keeps read "
    "(eval.keep_states_gib).",
}

CURVES_CAPTION = (
    "Lines: median over seeds; bands: lowest to highest seed. Dotted: targets. Dashed grey: what trains nothing."
)
SCORES_CAPTION = "Dots: the best score of each row and what it scores on the other sets; bars: lowest to highest seed."

_STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1f2328; --soft: #59636e; --line: #d8dde3; --page: #ffffff; --card: #f6f8fa;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #9aa4af; --line: #363c44; --page: #15181c; --card: #1d2126; }
  svg { --c1: #ff8a3d; --c2: #f2b632; --c3: #e0788f; --c4: #c9a24a; --c5: #f7b59c;
        --c6: #4aa8f0; --c7: #8fd0fa; --c8: #a0adff; --c9: #6f9fdc; --c10: #6cc9d1;
        --c11: #b79ae6; --c12: #e3a3c8; --c13: #35c99a; --c14: #a9d66a; --c15: #9aa0a6; --c16: #a6adb5; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .6rem; }
.soft, figcaption { color: var(--soft); font-size: .88rem; }
.findings { padding: .9rem 1.1rem .9rem 2.1rem; background: var(--card); border-radius: 8px; }
.findings li { margin: .35rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; min-width: 60%; }
th, td { padding: .3rem .75rem; text-align: right; white-space: nowrap; vertical-align: top; }
th { border-bottom: 2px solid var(--line); font-weight: 600; }
th:nth-child(-n+2), td.name { text-align: left; }
td.label { text-align: left; white-space: normal; min-width: 13rem; font-weight: 500; }
tr.first td { border-top: 1px solid var(--line); }
tr.reference td { background: var(--card); }
figure { margin: 1rem 0; }
svg { width: 100%; height: auto; }
details { border-top: 1px solid var(--line); padding: .45rem 0; }
summary { cursor: pointer; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .25rem 1.2rem; }
dl { font-size: .9rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
code { font-size: .85rem; }
"""


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write table.md, .csv and .json, curves and scores as .png and .svg, and report.html; the folder is made.

    Raises:
        ConfigError: the folder cannot be written.
    """
    from transferkit.convergence.plots import write_curves
    from transferkit.convergence.score_plot import write_scores

    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name, text in (("md", to_markdown), ("csv", to_csv), ("json", to_json)):
            written.append(folder / f"table.{name}")
            write_text(written[-1], text(comparison))
        written += write_curves(comparison, folder) + write_scores(comparison, folder)
        curves, scores = ((folder / f"{name}.svg").read_text(encoding="utf-8") for name in ("curves", "scores"))
        written.append(folder / "report.html")
        write_text(written[-1], to_html(comparison, curves=curves, scores=scores))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot write the comparison there ({error.strerror}); choose another") from None
    return written


def to_html(comparison: Comparison, *, curves: str, scores: str) -> str:
    """The page; ``curves`` and ``scores`` are the texts of ``curves.svg`` and ``scores.svg``."""
    found = "".join(f"<li>{escape(sentence)}</li>" for sentence in findings(comparison))
    notes = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
    sections = [
        f"<h1>{escape(title(comparison))}</h1>",
        f'<p class="soft">{escape(_subtitle(comparison))}</p>',
        f'<ul class="findings">{found}</ul>',
        _figure(curves, "Dev score against steps and against seconds", CURVES_CAPTION),
        _figure(scores, "Best dev score of every row, and that on the other sets", SCORES_CAPTION),
        *[_table(view, comparison) for view in views(comparison)],
        f"<h2>Notes</h2><ul>{notes}</ul>" if notes else "",
        f"<h2>What the columns mean</h2>{_definitions(DEFINITIONS)}",
        "<h2>Runs</h2>",
        *[_run(run) for run in comparison.runs],
    ]
    body = "\n".join(section for section in sections if section)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title(comparison))}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _subtitle(comparison: Comparison) -> str:
    return f"{len(comparison.runs)} runs. Score: mean over {', '.join(comparison.selecting)}, in percent."


def _figure(svg: str, label: str, caption: str) -> str:
    """The drawing without prolog and metadata, in colours that follow the page."""
    from transferkit.convergence.plots import COLOURS, INK, MUTED, OTHER_COLOUR, PAPER

    drawing = svg[svg.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    colours = [colour for family in COLOURS.values() for colour in family] + [OTHER_COLOUR, MUTED]
    for position, colour in enumerate(colours, start=1):
        drawing = drawing.replace(colour, f"var(--c{position}, {colour})")
    drawing = drawing.replace(INK, "currentColor").replace(f"fill: {PAPER}", "fill: none")
    drawing = drawing.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>"


def _table(view: View, comparison: Comparison) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in view.header)
    reference = comparison.reference
    labels = [row[0] for row in view.rows]
    lines = []
    for position, cells in enumerate(view.rows):
        first = position == 0 or labels[position - 1] != cells[0]
        is_reference = reference is not None and cells[:2] == row_name(reference)
        classes = " ".join(name for name, on in (("first", first), ("reference", is_reference)) if on)
        numbers = "".join(f"<td>{escape(cell)}</td>" for cell in cells[2:])
        label = escape(cells[0]) if first else ""
        lines.append(
            f'<tr class="{classes}"><td class="label">{label}</td>'
            f'<td class="name">{escape(cells[1])}</td>{numbers}</tr>'
        )
    return (
        f'<h2>{escape(view.title)}</h2><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f'<tbody>{"".join(lines)}</tbody></table></div><p class="soft">{escape(view.caption)}</p>'
    )


def _definitions(pairs: dict[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in pairs.items()) + "</dl>"


def _run(run: Run) -> str:
    record = run.record
    summary = f'<summary>{escape(run_id(run))} <span class="soft">{escape(record["label"])}</span></summary>'
    return f"<details>{summary}{_definitions(_facts(record))}</details>"


def _facts(record: dict[str, Any]) -> dict[str, str]:
    """What a reader needs to repeat or doubt a run, unknown facts left out."""
    data, git, backbone, source = record["data"], record.get("git"), record["backbone"], record["source"]
    parameters = record["parameters"]
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
