"""An attention report as files: numbers and pictures."""

from pathlib import Path

from transferkit.attention.plots import write_heat_map
from transferkit.attention.report import Report
from transferkit.files.json import write_json
from transferkit.files.writable import writing


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write attention.json, attention.png and attention.svg; the folder is made.

    Raises:
        RefusedError: the folder cannot be written; a ConfigError where a file is in the way.
    """
    with writing(f"{folder}: cannot write the pictures there", way_out="mend that, or choose another with --out"):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "attention.json", report.to_json())
        return [folder / "attention.json", *write_heat_map(report, folder)]
