"""Whether a file of vectors can be made: found out before the model that makes them is loaded."""

from pathlib import Path

from transferkit.errors import ConfigError
from transferkit.files.vectors.origin import has_note, note_file, read_origin
from transferkit.files.vectors.writing import SUFFIXES, VectorFile
from transferkit.files.writable import check_new_file


def check_output(out: Path, *, resume: bool, append: bool = False) -> None:
    """Refuse a file of another kind, one that exists, and an interrupted one that is not to be gone on with.

    Args:
        out: the file.
        resume: whether an interrupted one is to be gone on with.
        append: whether the file may be there, for it is to grow.

    Raises:
        ConfigError: says which.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"--out {out}: expected a file ending in {', '.join(SUFFIXES)}, got {out.suffix or out.name!r}"
        )
    if not append:
        check_new_file(out)
    if has_note(out) and (beside := note_file(out)).exists():
        try:
            read_origin(out, where=str(beside))  # of vectors that are gone: it is written anew
        except ConfigError:
            raise ConfigError(
                f"--out {out}: {beside} is there already, where the file would say what made it; move it away, or "
                "choose another name"
            ) from None
    part = VectorFile(out, identity={}).part
    if part.exists() and not resume:
        raise ConfigError(
            f"--out {out}: an interrupted output lies there ({part.name}); go on with --resume, or remove it"
        )
