"""``export``: a checkpoint or a run -> a folder for sentence-transformers."""

from pathlib import Path

from transferkit.exports.card import card_of
from transferkit.exports.folder import check_new, write_checkpoint_export
from transferkit.files.lock import sole_use
from transferkit.files.manifest import new_folder
from transferkit.runs.checkpoint_folder import checkpoint_folder, given_folder, read_description


def export(model: str | Path, to: str | Path) -> Path:
    """Write a folder that sentence-transformers loads, with prompts and a model card.

    ``SentenceTransformer(FOLDER, trust_remote_code=True)`` finds the module in the installed transferkit; the folder
    holds no code. The decoder is not in it, as it is in no checkpoint.

    Args:
        model: checkpoint or run folder, or ``bundled``.
        to: the folder, which must not exist.

    Returns:
        The folder.

    Raises:
        ConfigError: no checkpoint there, a damaged one, or a folder that exists or cannot be made.
        RefusedError: the disk refused; nothing is left then.
    """
    given, to = given_folder(Path(model)), Path(to)
    checkpoint = checkpoint_folder(given)
    description = read_description(checkpoint)
    check_new(to, checkpoint=checkpoint)
    with sole_use(to, option="--to"):
        card = card_of(given, description, name=to.name)
        with new_folder(to) as folder:
            write_checkpoint_export(folder, checkpoint, description, card=card)
    return to
