"""Where the built-in files are: specs and recipes beside the package or inside a wheel, models inside the package."""

from pathlib import Path
from typing import Literal

from transferkit.errors import ConfigError

BUNDLED = Path("bundled")  # the source that ships with the package; its own decoder does not
TOY = Path("bundled-toy")  # a tiny one that does embed: a bundled decoder is its own
SHIPPED = {BUNDLED: "source", TOY: "toy"}  # what a user calls them -> their folder
_PACKAGE = Path(__file__).resolve().parents[1]


def builtin_dir(kind: Literal["backbones", "recipes"]) -> Path:
    """Folder of the built-in ``backbones`` or ``recipes``.

    The installed folder comes first: a stranger's ``recipes`` folder may lie beside the package in site-packages.

    Raises:
        ConfigError: neither folder exists, so the installation is incomplete.
    """
    installed, checkout = _PACKAGE / "builtin" / kind, _PACKAGE.parent / kind
    if installed.is_dir():
        return installed
    if (_PACKAGE.parent / "pyproject.toml").is_file() and checkout.is_dir():
        return checkout
    raise ConfigError(f"no built-in {kind}: looked in {installed} and {checkout}; reinstall transferkit")


def checkout() -> Path | None:
    """The checkout that transferkit runs from; None where it is installed."""
    root = _PACKAGE.parent
    return root if not (_PACKAGE / "builtin").is_dir() and (root / "pyproject.toml").is_file() else None


def is_bundled(folder: Path) -> bool:
    """Whether ``folder`` lies in the installed package."""
    return folder.resolve().is_relative_to(_PACKAGE)


def bundled_dir(name: str) -> Path:
    """Folder of a model that ships with the package: a backbone by its name, or the run folder of a source.

    Raises:
        ConfigError: it is not there, so the installation is incomplete.
    """
    folder = _PACKAGE / "bundled" / name
    if not folder.is_dir():
        raise ConfigError(f"no bundled {name!r}: {folder} does not exist; reinstall transferkit")
    return folder
