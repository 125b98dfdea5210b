"""Facts of machine and software: versions, platform, command line, commit."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

_RUNS_FROM = ("transferkit", "backbones", "recipes")  # folders of the checkout that decide what a run does
_PACKAGES = ("transferkit", "torch", "transformers", "accelerate", "peft", "bitsandbytes", "gguf", "datasets", "numpy")


def environment() -> dict[str, Any]:
    """Facts of machine and software that a reader needs to repeat a run."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "versions": {"python": platform.python_version(), **versions},
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "command": " ".join(["transferkit", *sys.argv[1:]]),
        "git": _git_state(),
    }


def _git_state() -> dict[str, Any] | None:
    """Commit of the checkout that transferkit runs from; None for an installed wheel.

    ``dirty`` says that what runs is not what was committed; results that a study has written change nothing of it.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        status = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--", *_RUNS_FROM],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "dirty": bool(status.strip())}
