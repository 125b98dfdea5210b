"""JSON and text on disk: read whole or refused, written beside and renamed."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from transferkit.errors import ConfigError, with_article


class Keys(dict[str, Any]):
    """What a file holds by name: one that is missing is a sentence, where any other mapping has a KeyError.

    Args:
        found: what it holds.
        where: the file, and what its keys are called, as in ``FILE: tensor``.
    """

    def __init__(self, found: Mapping[str, Any], *, where: str) -> None:
        super().__init__(found)
        self.where = where

    def __missing__(self, key: str) -> Any:
        raise ConfigError(f"{self.where} {key!r}: is missing; restore the file from a copy")


def read_text(path: Path) -> str:
    """The text in a UTF-8 file.

    Raises:
        ConfigError: not there, not readable, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 ({error}); restore it from a copy") from None


def parse_json(text: str, *, where: str) -> Any:
    """The value that JSON text stands for; its strings can all be written again.

    Raises:
        ConfigError: not JSON, nested too deeply, or half of a surrogate pair in it.
    """
    try:
        value = json.loads(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{where}: not valid JSON (half of a surrogate pair)") from None
    except ValueError as error:
        raise ConfigError(f"{where}: not valid JSON ({error})") from None
    except RecursionError:
        raise ConfigError(f"{where}: not valid JSON (nested too deeply)") from None
    return value


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ConfigError: not there, not JSON, or not an object.
    """
    value = parse_json(read_text(path), where=str(path))
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected a JSON object, got {with_article(type(value).__name__)}")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write JSON beside and rename, so that a reader never sees half a file."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, as :func:`write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write beside and rename; a full disk or a power cut leaves the old file or the new one, whole."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        flush(beside)
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()  # half a file on a full disk helps nobody
        raise
    flush_folder(path.parent)


def flush(path: Path) -> None:
    """Have the disk hold what was written to ``path``."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Have the disk hold what was made, renamed or removed in ``folder``, where the system can be asked."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
