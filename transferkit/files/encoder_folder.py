"""A ready-made encoder on the disk, a folder of sentence-transformers: whether it is one, is safe, and which it is."""

import json
from hashlib import sha256
from pathlib import Path

from transferkit.errors import ConfigError
from transferkit.files.json import parse_json, read_text
from transferkit.files.locations import local_copy
from transferkit.files.manifest import sha256_file

EXPORTED = "transferkit.json"  # of a folder that `export` made around a checkpoint
_MODULES = "modules.json"  # what tells such a folder from a decoder's


def encoder_folder(location: str) -> Path:
    """The folder that a path means; a name that is no path may be one of the local copies."""
    return Path(location) if Path(location).exists() else local_copy(location) or Path(location)


def is_encoder(location: str) -> bool:
    """Whether a local folder of sentence-transformers lies there; an export is none, for it is a checkpoint."""
    folder = encoder_folder(location)
    return (folder / _MODULES).is_file() and not (folder / EXPORTED).is_file()


def check_encoder(location: str) -> Path:
    """The folder of an encoder that needs no code of its own and has no pickled weights.

    Raises:
        ConfigError: it is none, or needs what transferkit does not load.
    """
    folder = encoder_folder(location)
    if not is_encoder(location):
        what = f"no {_MODULES} in it" if folder.is_dir() else "no such folder"
        what = "the export of a checkpoint" if (folder / EXPORTED).is_file() else what
        raise ConfigError(
            f"{location}: not a local folder of sentence-transformers ({what}); name the folder that "
            "`SentenceTransformer(...).save(FOLDER)` wrote"
        )
    try:
        modules = parse_json(read_text(folder / _MODULES), where=str(folder / _MODULES))
        types = [str(module["type"]) for module in modules]
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{folder / _MODULES}: cannot be read ({error}); restore it") from None
    own = next((name for name in types if not name.startswith("sentence_transformers.")), None)
    if own is not None:
        raise ConfigError(
            f"{folder} needs code of its own ({own}), and transferkit does not run the code of models; choose another "
            "encoder"
        )
    for pickle in sorted(folder.rglob("*.bin")):
        if not any(pickle.parent.glob("*.safetensors")):
            raise ConfigError(
                f"{pickle}: pickled weights are not loaded; save the model anew, sentence-transformers writes "
                "safetensors"
            )
    return folder


def encoder_sha256(folder: Path) -> str:
    """Of every file that could change a vector."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".md"]
    own = [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    hashes = {path.relative_to(folder).as_posix(): sha256_file(path) for path in own}
    return sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
