"""An output in the making: blocks of bytes appended to a part beside it, so that a kill loses one block at most.

The data grow in ``.NAME.part``; ``.NAME.part.json`` says how much of it counts and what it was made from. The finished
file appears by rename.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import Any

from transferkit.errors import ConfigError
from transferkit.files.json import flush, flush_folder, read_json, write_json
from transferkit.files.writable import writing

FORMAT = 1
_LONGEST = 40  # characters of a setting that a message shows
_START = 1 << 10  # bytes, in which every header lies
_OWN = ("format", "rows", "bytes", "identity", "sha256")  # keys of the progress file; all others are facts


class PartFile:
    """A part and what is known of it.

    Args:
        out: the finished file.
        identity: what the output is made from and how; a part made otherwise is not continued.
        unit: what a row is, in the plural, for messages.
        again: what one gives to go on after an interruption, for messages.

    Attributes:
        rows: on disk so far.
        bytes: of the part that count.
        facts: what was given to :meth:`write` beside the rows.
    """

    def __init__(self, out: Path, *, identity: dict[str, str], unit: str, again: str = "the same command") -> None:
        self.out = out
        self.identity = identity
        self.unit = unit
        self.again = again
        self.rows = 0
        self.bytes = 0
        self.facts: dict[str, Any] = {}
        self._hash = sha256()  # of the bytes that count

    @property
    def part(self) -> Path:
        """The data so far."""
        return self.out.with_name(f".{self.out.name}.part")

    @property
    def progress(self) -> Path:
        """How much of :attr:`part` counts, and what it was made from."""
        return self.out.with_name(f".{self.out.name}.part.json")

    def resume(self) -> None:
        """Take over what an earlier call left; nothing there is a fresh start.

        Raises:
            ConfigError: made from something else or in another way, or damaged; nothing is changed then.
            RunError: the disk refused.
        """
        if self.part.is_dir():  # of a version that kept a folder of blocks
            raise self.damaged()
        if not (self.part.is_file() and self.progress.is_file()):
            return
        saved = read_json(self.progress)
        if saved.get("format") != FORMAT or not set(_OWN[:-1]) <= set(saved):
            raise self.damaged()
        before = saved["identity"]
        if not isinstance(before, dict):
            raise self.damaged()
        names = dict.fromkeys([*self.identity, *before])
        different = [name for name in names if self.identity.get(name) != before.get(name)]
        if different:
            changed = ", ".join(one + _change(before.get(one), self.identity.get(one)) for one in different)
            raise ConfigError(
                f"{self.part}: was begun with other settings ({changed}); give {self.again} to go on, or remove it to "
                "start again"
            )
        self._hash = self._hash_of(saved["bytes"])
        counts = {"rows": saved["rows"], "bytes": saved["bytes"]}
        if not isinstance(saved["rows"], int) or saved["rows"] < 0:
            raise self.damaged()
        facts = {name: value for name, value in saved.items() if name not in _OWN}
        if "sha256" in saved and saved["sha256"] != self._seal(self._hash, counts, facts):  # earlier versions say none
            raise self.damaged()
        self.rows, self.bytes, self.facts = counts["rows"], counts["bytes"], facts
        with self._writing(self.part, kept=f"the {self.rows} {self.unit} before"):
            os.truncate(self.part, self.bytes)

    def write(self, block: bytes, *, rows: int, **facts: Any) -> None:
        """Add a block; it counts once the progress file says so, whatever is killed in between.

        Args:
            block: the first one opens the part.
            rows: in the block.
            facts: JSON values that are kept with the progress, and given back by :meth:`resume`.

        Raises:
            RunError: the disk refused; the blocks before are kept.
        """
        counts = {"rows": self.rows + rows, "bytes": self.bytes + len(block)}
        with self._writing(self.part, kept=f"the {self.rows} {self.unit} before"):
            if self.bytes == 0:
                self.out.parent.mkdir(parents=True, exist_ok=True)
                self.progress.unlink(missing_ok=True)
            with self.part.open("r+b" if self.bytes else "wb") as file:
                file.truncate(self.bytes)
                file.seek(self.bytes)
                file.write(block)
            flush(self.part)
            digest = self._hash.copy() if self.bytes else sha256()
            digest.update(block)
            seal = {"identity": self.identity, "sha256": self._seal(digest, counts, facts)}
            write_json(self.progress, {"format": FORMAT, **counts, **facts, **seal})
        self.rows, self.bytes, self.facts, self._hash = counts["rows"], counts["bytes"], facts, digest

    def _hash_of(self, size: Any) -> "hashlib._Hash":
        """Of the part's first bytes.

        Raises:
            ConfigError: it has fewer, or ``size`` is no number of bytes.
        """
        if not isinstance(size, int) or not 0 <= size <= self.part.stat().st_size:
            raise self.damaged()
        with self.part.open("rb") as file:
            digest = sha256(self._as_begun(file.read(min(size, _START))))
            size -= file.tell()
            while size and (read := file.read(min(size, 1 << 20))):
                digest.update(read)
                size -= len(read)
        return digest

    def _as_begun(self, start: bytes) -> bytes:
        """What the first bytes of the part, here ``start``, were before ``make`` of :meth:`complete` changed them."""
        return start

    def _seal(self, digest: "hashlib._Hash", counts: dict[str, int], facts: dict[str, Any]) -> str:
        """Of the bytes that count and of all that is said of them."""
        whole = digest.copy()
        whole.update(json.dumps([counts, facts, self.identity], sort_keys=True).encode())
        return whole.hexdigest()

    def complete(self, make: Callable[[Path], Path]) -> None:
        """Make the part the finished file.

        Args:
            make: part -> the file that becomes the output, the part itself or another one beside it. It may change
                the first bytes of the part, where :meth:`_as_begun` knows what they were.

        Raises:
            RunError: the disk refused; the part is kept.
        """
        with self._writing(self.out, kept=f"all {self.rows} {self.unit}"):
            os.truncate(self.part, self.bytes)
            whole = make(self.part)
            if self.out.exists():
                shutil.copymode(self.out, whole)  # a file that grew is as private as it was
            flush(whole)
            whole.replace(self.out)
            flush_folder(self.out.parent)
            self.discard()

    def discard(self) -> None:
        """Remove the part."""
        self.part.unlink(missing_ok=True)
        self.progress.unlink(missing_ok=True)

    def damaged(self) -> ConfigError:
        """The error for a part that cannot be read."""
        return ConfigError(f"{self.part}: damaged, or of another version of transferkit; remove it to start again")

    def _writing(self, path: Path, *, kept: str) -> AbstractContextManager[None]:
        way_out = f"{kept} are kept, make room and go on with {self.again}"
        return writing(f"{path}: cannot be written", way_out=way_out)


def _change(before: Any, now: Any) -> str:
    """What a setting was and is, in a message; nothing where one of them is too long to be read there, as a hash is."""
    was, is_now = ("none" if value is None else str(value) for value in (before, now))
    return f": {was}, now {is_now}" if max(len(was), len(is_now)) <= _LONGEST else ""
