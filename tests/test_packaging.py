"""The wheel: what it contains, and that it works where only the wheel is."""

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

import transferkit

ROOT = Path(__file__).resolve().parent.parent
LEFTOVERS = {"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".DS_Store"}


def run(*command: str | Path, cwd: Path, path: Path | None = None) -> str:
    """Standard output of a Python command; ``path`` is put before the installed packages."""
    environment = {**os.environ, "PYTHONPATH": str(path or "")}
    process = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def files_below(folder: Path) -> set[str]:
    """Paths relative to ``folder``, without what Python and its tools leave behind."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if not set(path.parts) & LEFTOVERS}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built with the installed hatchling."""
    folder = tmp_path_factory.mktemp("wheel")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("kind", ["backbones", "recipes"])
def test_wheel_has_every_yaml(contents: set[str], kind: str) -> None:
    prefix = f"transferkit/builtin/{kind}/"
    built = {name.removeprefix(prefix) for name in contents if name.startswith(prefix)}
    assert built == files_below(ROOT / kind)
    assert any(name.endswith(".yaml") for name in built)


def test_wheel_knows_the_tested_versions(wheel: Path, contents: set[str]) -> None:
    (name,) = (name for name in contents if name.endswith(".dist-info/extra_metadata/constraints.txt"))
    with ZipFile(wheel) as archive:
        assert archive.read(name) == (ROOT / "constraints.txt").read_bytes()


def test_wheel_has_the_package_and_nothing_else(contents: set[str]) -> None:
    package = {name for name in contents if not name.startswith("transferkit/builtin/")}
    metadata = {name for name in package if ".dist-info/" in name}
    assert {name.removeprefix("transferkit/") for name in package - metadata} == files_below(ROOT / "transferkit")
    assert "transferkit/py.typed" in contents
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_wheel_announces_version_and_command(wheel: Path, contents: set[str]) -> None:
    with ZipFile(wheel) as archive:
        (metadata,) = (archive.read(name).decode() for name in contents if name.endswith("/METADATA"))
        (scripts,) = (archive.read(name).decode() for name in contents if name.endswith("/entry_points.txt"))
    assert f"\nVersion: {transferkit.__version__}\n" in metadata
    assert "transferkit = transferkit.cli:main" in scripts


@pytest.mark.slow
def test_installed_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site, away = tmp_path / "site", Path("/")
    run("-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheel, cwd=tmp_path)
    home = run("-c", "import transferkit; print(transferkit.__file__)", cwd=away, path=site)
    assert Path(home.strip()).is_relative_to(site)
    assert "adapt" in run("-m", "transferkit", "--help", cwd=away, path=site)
    (home,) = site.glob("*.dist-info")
    code = "from transferkit.doctor.packages import *; print(tested_versions()['torch'], len(list(examine_packages())))"
    version, count = run("-c", code, cwd=away, path=site).split()
    assert f"torch=={version}" in (home / "extra_metadata" / "constraints.txt").read_text()
    assert int(count) > 15
    for kind in ("backbones", "recipes"):
        listed = run("-m", "transferkit", kind, "list", cwd=away, path=site)
        for spec in (ROOT / kind).rglob("*.yaml"):
            if spec.parent == ROOT / "recipes" / "base":  # what recipes build on is none
                continue
            name = spec.relative_to(ROOT / kind).with_suffix("").as_posix()
            assert name in listed, f"{kind} list does not show {name}"
