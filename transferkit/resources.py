"""Where the built-in folders are: beside the package in a checkout, inside it in an installed wheel."""

from pathlib import Path
from typing import Literal

from transferkit.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent


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
