"""Versions of what is installed, against what transferkit allows and what its tests run with.

Allowed is what the package's metadata say, in a checkout its pyproject.toml. Tested is constraints.txt, which stands in
the metadata too.
"""

import platform
import re
import tomllib
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from transferkit.doctor.findings import Finding
from transferkit.files.builtin import checkout

_PACKAGE = "transferkit"
_TESTED = "extra_metadata/constraints.txt"  # among the metadata
_OPTIONAL = ("tracking", "mteb", "gguf")  # extras that a user may want; the others are for development


def examine_packages() -> Iterator[Finding]:
    """Python, what must be installed, and of what may be the packages that are there."""
    tested = tested_versions()
    if not tested:
        advice = "install transferkit again"
        yield Finding("versions", "transferkit", "wrong", "does not know the versions that it was tested with", advice)
    python, requirements = _declared()
    here = platform.python_version()
    if python.contains(here, prereleases=True):
        yield Finding("versions", "python", "ok", here)
    else:
        yield Finding(
            "versions", "python", "wrong", f"{here}, allowed {python}", f"make an environment of Python {python}"
        )
    for requirement, is_optional in requirements:
        found = _installed(requirement.name)
        if found is None and is_optional:
            continue
        yield _finding(requirement, found, tested.get(_normal(requirement.name)))


def tested_versions() -> dict[str, str]:
    """Package, in lower case with hyphens, -> the version that the tests run with."""
    folder = checkout()
    if folder is not None:
        text = (folder / "constraints.txt").read_text(encoding="utf-8")
    else:
        text = metadata.distribution(_PACKAGE).read_text(_TESTED) or ""
    pins = (line.split("==") for line in text.splitlines() if "==" in line and not line.startswith("#"))
    return {_normal(name): version for name, version in pins}


def _finding(requirement: Requirement, found: str | None, tested: str | None) -> Finding:
    name, allowed = requirement.name, str(requirement.specifier) or "any"
    install = f"pip install '{name}{requirement.specifier}'"
    if found is None:
        return Finding("versions", name, "wrong", f"not installed, allowed {allowed}", install)
    try:
        is_allowed = requirement.specifier.contains(Version(found), prereleases=True)
        same = tested is not None and Version(found).public == Version(tested).public
    except InvalidVersion:
        is_allowed = same = False
    if not is_allowed:
        return Finding("versions", name, "wrong", f"{found}, allowed {allowed}", install)
    if same:
        return Finding("versions", name, "ok", found)
    return Finding("versions", name, "note", f"{found}, allowed; tested with {tested or 'no certain version'}")


def _installed(name: str) -> str | None:
    """Its version; None where it is not there, or so broken that nothing says which it is."""
    try:
        found: str | None = metadata.version(name)  # None where its metadata are damaged
    except metadata.PackageNotFoundError:
        return None
    return found


def _declared() -> tuple[SpecifierSet, list[tuple[Requirement, bool]]]:
    """Which Python is allowed, and which packages; True: only with an extra."""
    folder = checkout()
    if folder is not None:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = project["optional-dependencies"]
        lines = [(line, False) for line in project["dependencies"]]
        lines += [(line, True) for extra in _OPTIONAL for line in extras[extra]]
        return SpecifierSet(project["requires-python"]), [(Requirement(line), extra) for line, extra in lines]
    every = [Requirement(line) for line in metadata.requires(_PACKAGE) or []]
    extras_of = [(one, [extra for extra in _OPTIONAL if _needs(one, extra)]) for one in every]
    python = metadata.metadata(_PACKAGE)["Requires-Python"]
    return SpecifierSet(python), [(one, bool(extras)) for one, extras in extras_of if extras or _needs(one, "")]


def _needs(requirement: Requirement, extra: str) -> bool:
    """Whether it is asked for with this extra and not without one; with ``""``: whether it always is."""
    marker = requirement.marker
    always = marker is None or marker.evaluate({"extra": ""})
    return always if not extra else not always and marker is not None and marker.evaluate({"extra": extra})


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
