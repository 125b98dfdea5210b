"""A study of a user's own file: the carried skill on their decoders beside every rival. No torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.config.methods import all_methods
from transferkit.config.schema import dump_yaml, parse
from transferkit.errors import ConfigError
from transferkit.files.json import write_text
from transferkit.files.writable import check_new_file, writing
from transferkit.request.columns import find_columns
from transferkit.request.own_data import own_data
from transferkit.study.plan import plan
from transferkit.study.schema import Study

SEEDS = (17, 18, 19)  # three, so that a difference can be decided
_RECIPES = "mixture"  # their data are replaced, and they ask for nothing else

_HEAD = """\
# What a carried skill is worth on {data}, beside its rivals.
#
#   transferkit study {out} --out {report}
#
# Rivals have the steps and rates of their recipe: LoRA counts with the best of several rates, so give it a row for each
# (optim.lr). With one seed a run takes a third of the time, and every difference stays open.
"""


@dataclass(frozen=True)
class Written:
    """What was written, and what was found in the user's file."""

    study: Study
    said: list[str]


def write_study(
    out: Path,
    *,
    data: Path,
    targets: Sequence[str],
    source: Path,
    columns: Mapping[str, str],
    instruction: str | None,
) -> Written:
    """Write the study of ``data`` to ``out``.

    Every method is a row that learns on the file alone, but those that need what is not given: a ready-made encoder, a
    decoder in 4 bits.

    Args:
        out: a new YAML file.
        data: labelled texts or pairs.
        targets: decoders, as runs take them; a folder as one writes it from here.
        source: checkpoint or run folder of a `train`, or ``bundled``.
        columns: role -> column of the file.
        instruction: what is asked of its texts.

    Raises:
        ConfigError: wrong input, or texts alone, from which no rival learns.
        RefusedError: nothing can be written there.
    """
    check_new_file(out)
    found = find_columns(data, columns)
    if found.kind == "texts":
        raise ConfigError(
            f"{data}: {found.in_words()}; the rivals of a study learn from labels or pairs: name their columns, or run "
            "`transferkit adapt --data` without a study"
        )
    own = own_data(found, "adapt", instruction=instruction)
    keys = {key: json.loads(value) for key, _, value in (one.partition("=") for one in own.overrides)}
    steps = {key: keys[key] for key in ("optim.steps", "eval.every")}  # of the rivals each has its own
    of_all = {key: value for key, value in keys.items() if key not in steps}
    places = [str(Path(one).resolve()) if Path(one).exists() else one for one in targets]
    given = str(source.resolve()) if source.exists() else str(source)
    runs = [{"name": "transfer", "recipe": f"{_RECIPES}/adapt", "source": given, "targets": places, "set": steps}]
    for name, facts in all_methods().items():
        if facts.task == "baseline" and not facts.has_encoder and facts.quantization is None:
            row: dict[str, Any] = {"name": name, "recipe": f"{_RECIPES}/baseline"}
            row |= {"source": given} if facts.needs_source else {}
            row |= {"targets": [*places]} if facts.has_backbone else {}
            runs.append(row | {"set": {"method": name}})
    mapping = {"seeds": list(SEEDS), "set": of_all, "runs": runs}
    study = parse(Study, mapping, where=str(out))
    plan(study, runs=Path("runs"), beside=out.parent)  # whatever is wrong is found before the file is there
    with writing(f"{out}: could not be written", way_out="mend that, or choose another with --out"):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, _HEAD.format(data=data.name, out=out, report=out.with_name("report")) + dump_yaml(mapping))
    return Written(study, own.said)
