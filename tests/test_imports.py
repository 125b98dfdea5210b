"""What only reads specs, recipes, records and tables starts without the heavy libraries."""

import subprocess
import sys

import pytest

import transferkit

HEAVY = {"torch", "transformers", "datasets", "matplotlib", "accelerate", "peft", "bitsandbytes"}
LIGHT = ["transferkit"] + [
    f"transferkit.{name}"
    for name in (
        "cli",
        "config.specs",
        "config.recipes",
        "runs.folder",
        "study.plan",
        "study.state",
        "study.demo",
        "convergence.tables",
        "convergence.report",
    )
]


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running ``code``."""
    command = f"{code}\nimport sys\nprint(*sys.modules, sep='\\n')"
    process = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return {name.partition(".")[0] for name in process.stdout.split()}


@pytest.mark.parametrize("module", LIGHT)
def test_import_is_light(module: str) -> None:
    loaded = loaded_after(f"import {module}")
    assert "transferkit" in loaded
    assert not loaded & HEAVY


def test_reading_the_registries_is_light() -> None:
    code = "import transferkit; assert transferkit.list_backbones(); assert transferkit.list_recipes()"
    assert not loaded_after(code) & HEAVY


def test_planning_a_study_is_light() -> None:
    planning = "from transferkit.study.demo import planned_runs; planned_runs(Path('x'), decoder=None, train=False)"
    code = f"from pathlib import Path; {planning}"
    assert not loaded_after(code) & HEAVY


def test_heavy_import_would_be_seen() -> None:
    assert "torch" in loaded_after("import torch")


@pytest.mark.parametrize("name", transferkit.__all__)
def test_public_name_resolves(name: str) -> None:
    value = getattr(transferkit, name)
    assert name in dir(transferkit)
    assert value is getattr(transferkit, name)
    assert getattr(value, "__name__", name) == name


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'transferkit' has no attribute 'lode'"):
        _ = transferkit.lode  # type: ignore[attr-defined]
