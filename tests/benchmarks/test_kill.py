"""Killed at random moments, resumed, and the same bytes: the short form of what the benchmark does a hundred times."""

import json
import os
import subprocess
import sys
from pathlib import Path

from helpers.small_pretraining import ROOT


def test_killed_and_stopped_runs_end_as_one_that_was_not(tmp_path: Path) -> None:
    out = tmp_path / "kill.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "kill.py"), "--only", "adapt", "--out", str(out)]
    done = subprocess.run(
        [*command, "--kills", "1", "--signals", "1", "--seed", "72"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["wrong"] == 0
    signals = [row["signal"] for row in found["rows"]]
    kills = [row["by"] for row in found["rows"] if row["signal"] == "SIGKILL"]
    assert kills == ["change of a file", "clock"]  # the second one while it was resumed
    assert signals[-2:] == ["SIGINT", "SIGTERM"]
