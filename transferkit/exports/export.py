"""``export``: a checkpoint or a run -> a folder for sentence-transformers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transferkit.errors import ConfigError
from transferkit.exports.folder import check_new, write_checkpoint_export
from transferkit.exports.push import check_push
from transferkit.exports.push import push as upload
from transferkit.exports.requirements import NEEDS, STOCK
from transferkit.files.json import write_text
from transferkit.files.lock import sole_use
from transferkit.files.manifest import new_folder
from transferkit.report.card import CARD, export_card
from transferkit.runs.checkpoint_folder import (
    check_own_decoder,
    checkpoint_folder,
    document_instructions,
    given_folder,
    read_description,
)


def export(
    model: str | Path,
    to: str | Path,
    *,
    merge: bool = False,
    baked: bool = False,
    instruction: str | None = None,
    backbone: str | None = None,
    push: str | None = None,
) -> Path:
    """Write a folder that sentence-transformers loads, with prompts and a model card.

    ``SentenceTransformer(FOLDER, trust_remote_code=True)`` finds the module in the installed transferkit; the folder
    holds no code. The decoder is not in it, as it is in no checkpoint. With ``merge`` or ``baked`` it is, and the
    folder is read by stock modules alone, without the flag and without transferkit.

    Args:
        model: checkpoint or run folder, or ``bundled-toy``.
        to: the folder, which must not exist.
        merge: write the decoder with LoRA's adapters in its weights.
        baked: write the decoder with soft tokens, where they are the same for every text, as rows of its vocabulary.
        instruction: of all texts, for ``merge`` and ``baked``; left out: the checkpoint's, where it has one alone.
        backbone: where the decoder lies now, for ``merge`` and ``baked``.
        push: ``NAME/REPOSITORY`` of the hub, to which the folder is uploaded when it is whole; made private where there
            is none.

    Returns:
        The folder.

    Raises:
        ConfigError: no checkpoint there, a damaged one, a folder that exists or cannot be made, or what cannot be
            merged, baked or pushed.
        RunError: stock modules give other vectors than the checkpoint; or the hub did not take the folder, which stays.
        RefusedError: the disk refused. Nothing is left of a folder that could not be made.
    """
    given, to = given_folder(Path(model)), Path(to)
    _check_options(merge=merge, baked=baked, told=instruction is not None or backbone is not None)
    checkpoint = checkpoint_folder(given)
    description = read_description(checkpoint)
    if backbone is None:
        check_own_decoder(checkpoint, description)
    check_new(to, checkpoint=checkpoint)
    if push is not None:
        check_push(push)
    if merge or baked:
        fill = _stock(given, description, name=to.name, merge=merge, instruction=instruction, backbone=backbone)
    else:

        def fill(folder: Path) -> None:
            card = export_card(given, description, name=to.name, needs=NEEDS)
            write_checkpoint_export(folder, checkpoint, description, card=card)

    with sole_use(to, option="--to"), new_folder(to) as folder:
        fill(folder)
    if push is not None:
        upload(to, push)
    return to


def _check_options(*, merge: bool, baked: bool, told: bool) -> None:
    """Refuse what does not go together.

    Raises:
        ConfigError: says which.
    """
    if merge and baked:
        raise ConfigError("--merge and --baked: adapters are merged, soft tokens are baked; give one of them")
    if told and not (merge or baked):
        raise ConfigError(
            "--instruction and --backbone are for --merge and --baked; any other export takes prompts, and is told "
            "where the decoder lies when it is loaded"
        )


def _stock(
    given: Path,
    description: Mapping[str, Any],
    *,
    name: str,
    merge: bool,
    instruction: str | None,
    backbone: str | None,
) -> Callable[[Path], None]:
    """What fills a folder with a decoder behind stock modules; the checkpoint is opened before anything is written."""
    from transferkit.checkpoints.checkpoint import load
    from transferkit.exports.stock import write_stock
    from transferkit.methods.on_backbone import BackboneEmbedder

    embedder = load(given, backbone=backbone)
    if not isinstance(embedder, BackboneEmbedder):
        raise ConfigError(f"{embedder.facts.title}: is no decoder alone; leave --merge and --baked away")
    chosen = _instruction(description, instruction) if embedder.reads_instruction else ""

    def fill(folder: Path) -> None:
        write_stock(folder, embedder, instruction=chosen, merge=merge)
        card = export_card(given, description, name=name, needs=STOCK, constant=chosen)
        write_text(folder / CARD, card)

    return fill


def _instruction(description: Mapping[str, Any], given: str | None) -> str:
    """The one that every text is read with.

    Raises:
        ConfigError: none was given, and there are several.
    """
    if given is not None:
        return given
    known = sorted({*description["instructions"].values(), *document_instructions(description).values()})
    if len(known) > 1:
        raise ConfigError(
            f"--instruction: stock modules read all texts with one, and this checkpoint was trained with "
            f"{'; '.join(map(repr, known))}; choose one, and export again for another"
        )
    return known[0] if known else ""
