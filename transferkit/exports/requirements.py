"""The versions that an export needs: stated in it, and checked when it is loaded."""

from collections.abc import Iterator, Mapping
from importlib import metadata

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from transferkit import __version__
from transferkit.errors import ConfigError

# Of sentence-transformers 5.4 on, modules are given texts and prompts apart.
STOCK = {"transformers": ">=5.16,<6", "sentence-transformers": ">=5.4"}
NEEDS = {"transferkit": f">={__version__}", "torch": ">=2.6", **STOCK}


def check_versions(needs: Mapping[str, str], *, where: str) -> None:
    """Compare what is installed with what an export says that it needs.

    Args:
        needs: package -> versions, as :data:`NEEDS`.
        where: opens the sentence.

    Raises:
        ConfigError: names all that does not fit, and the command that mends it.
    """
    unmet = dict(_unmet(needs))
    if unmet:
        packages = " ".join(f"'{one}'" for one in unmet)
        said = ", ".join(f"{one}, got {found}" for one, found in unmet.items())
        raise ConfigError(f"{where}: expected {said}; pip install {packages}")


def _unmet(needs: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, versions in needs.items():
        requirement = Requirement(f"{name}{versions}")
        try:
            found = metadata.version(name)
            fits = requirement.specifier.contains(Version(found), prereleases=True)
        except metadata.PackageNotFoundError:
            found, fits = "none", False
        except InvalidVersion:
            fits = False
        if not fits:
            yield f"{name}{versions}", found
