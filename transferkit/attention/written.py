"""An attention report as files: numbers and pictures."""

from pathlib import Path

from transferkit.attention.plots import write_heat_map
from transferkit.attention.report import Report
from transferkit.errors import ConfigError
from transferkit.files.json import write_json


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write attention.json, attention.png and attention.svg; the folder is made.

    Raises:
        ConfigError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "attention.json", report.to_json())
        return [folder / "attention.json", *write_heat_map(report, folder)]
    except OSError as error:
        raise ConfigError(f"{folder}: cannot write the pictures there ({error.strerror}); choose another") from None
