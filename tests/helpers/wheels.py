"""Packages of data, in the place of an index."""

from pathlib import Path
from zipfile import ZipFile


def wheel(folder: Path, package: str, files: dict[str, bytes]) -> None:
    """A package of data, as an index would hand it out."""
    name, version = package.split("==")
    stem = f"{name.replace('-', '_')}-{version}"
    with ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")
