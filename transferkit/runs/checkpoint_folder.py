"""The checkpoint folder as it lies on disk: where one is, and what it says of itself. Readable without torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from transferkit.config.methods import leaves_checkpoint
from transferkit.config.sections import ReadoutKind
from transferkit.config.specs import BackboneSpec, list_backbones
from transferkit.errors import ConfigError, did_you_mean, one_of
from transferkit.files.builtin import BUNDLED, SHIPPED, TOY, bundled_dir, is_bundled
from transferkit.files.encoder_folder import is_encoder
from transferkit.files.json import Keys, read_json
from transferkit.files.locations import gguf_inside, is_gguf
from transferkit.files.manifest import NAME, sha256_file, verify
from transferkit.runs.description import Description
from transferkit.runs.schema import check

FORMAT = 1
DESCRIPTION = "embedder.json"
LEARNED = "learned.safetensors"
PROMPTING = "prompting"
MAP = "bridge.json"  # in the folder of a map that `bridge` made
# The bundled toy as it was sealed before -> as it is: its lineage was written anew, then W was told in tokens too,
# and no weight or setting changed.
_TOY_NOW = "5e3366a4200bfcc77cbb56170e98f087fb9d960f5da8add19481c136bf07b2c1"
_RESEALED = {
    "76e72d91e42404576a087ca9a1bc7cab30a8c6f2b329809814d2cd0e579ceace": _TOY_NOW,
    "367f7e2635e128344d2a56a45d361733df660972bb3e040dc18c2fcca763dc0b": _TOY_NOW,
}


def given_folder(folder: Path) -> Path:
    """``folder``, or the run folder that ships with the package where it is called ``bundled`` or ``bundled-toy``.

    A folder of such a name is reached by its absolute path: what they mean never depends on where one stands.
    """
    return bundled_dir(SHIPPED[folder]) if folder in SHIPPED else folder


def checkpoint_folder(folder: Path) -> Path:
    """The checkpoint that ``folder`` names: itself, the one inside a run folder, or one that ships.

    Raises:
        ConfigError: there is none.
    """
    folder = given_folder(folder)
    if (folder / "checkpoint").is_dir():
        return folder / "checkpoint"
    if (folder / "record.json").is_file():
        method = read_json(folder / "record.json").get("method")
        if not leaves_checkpoint(method):
            raise ConfigError(f"{folder}: a {method} run has no checkpoint; pass the run of another method")
        raise ConfigError(f"{folder}: this run has no checkpoint yet (it did not finish); continue it with --resume")
    if is_encoder(str(folder)):
        raise ConfigError(
            f"{folder}: a ready-made encoder and no checkpoint; `transferkit baseline RECIPE --method encoder --target "
            f"{folder}` makes one"
        )
    is_decoder = (folder / "config.json").is_file() or (is_gguf(str(folder)) and folder.is_file())
    if is_decoder or (not folder.exists() and str(folder) in list_backbones()):
        raise ConfigError(
            f"{folder}: a decoder and no checkpoint; `transferkit train` and `adapt` make one, and `{TOY}` is "
            "there already"
        )
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: no such checkpoint or run folder (`{BUNDLED}`, a source, and `{TOY}`, which "
            "embeds, ship with transferkit)"
        )
    return folder


def embedder_digest(checkpoint: Path) -> str:
    """What tells one checkpoint from all others: the hash of its manifest, which holds those of its files.

    Empty where it has none, which loading refuses.

    Raises:
        ConfigError: no checkpoint there.
    """
    manifest = checkpoint_folder(checkpoint) / NAME
    return sha256_file(manifest) if manifest.is_file() else ""


def is_checkpoint(model: str) -> bool:
    """Whether ``model`` names a checkpoint, a run or an export of one, and not a decoder or a ready-made encoder.

    Raises:
        ConfigError: a folder that is neither.
    """
    folder = given_folder(Path(model))
    if not folder.is_dir() or (folder / "config.json").is_file() or is_encoder(str(folder)):
        return False
    if not any((folder / part).exists() for part in (NAME, "record.json", "checkpoint")):
        raise ConfigError(
            f"{model}: not a complete checkpoint (no {NAME} in it) and not a model folder (no config.json in it)"
            f"{gguf_inside(folder)}"
        )
    return True


def read_description(folder: Path) -> dict[str, Any]:
    """What a checkpoint says of itself, after its files were checked against the manifest.

    Raises:
        ConfigError: not a checkpoint, damaged, or of another format. A run folder is taken for its checkpoint.
    """
    folder = checkpoint_folder(folder)
    verify(folder)
    file = folder / DESCRIPTION
    description = read_json(file)
    if description.get("format") != FORMAT:
        raise ConfigError(f"{file}: checkpoint format {description.get('format')!r}, expected {FORMAT}")
    check(Description, description, where=str(file))
    return Keys(description, where=f"{file}: key")


def lacks_own_decoder(folder: Path, description: Mapping[str, Any]) -> bool:
    """Whether a source ships without its decoder, and no copy of that one is on this machine."""
    if not is_bundled(folder):
        return False
    spec = BackboneSpec.model_validate(description["backbone"]["spec"])
    return not spec.bundled and spec.location == spec.hub_id


def check_own_decoder(folder: Path, description: Mapping[str, Any]) -> None:
    """Refuse to embed with a source that ships without its decoder, where no copy of that one is on this machine.

    Raises:
        ConfigError: says what the source is for.
    """
    if lacks_own_decoder(folder, description):
        spec = BackboneSpec.model_validate(description["backbone"]["spec"])
        raise ConfigError(
            f"{BUNDLED}: is a source, and the decoder that it was trained through, {spec.name}, does not ship with it; "
            f"carry it to yours with `transferkit adapt --source {BUNDLED} --target MODEL`, or take {TOY}, which "
            "embeds as it is"
        )


def is_without_readout(description: Mapping[str, Any], asked: str | None, *, where: str) -> bool:
    """Whether a checkpoint is to be read without the readout that it holds.

    Args:
        description: of the checkpoint.
        asked: ``none``, or the kind of its own; None: its own.
        where: opens messages.

    Raises:
        ConfigError: no kind, or one that it does not hold.
    """
    own, kinds = description["readout"]["kind"], get_args(ReadoutKind)
    if asked is not None and asked not in kinds:
        raise ConfigError(f"{where}: expected {one_of(kinds)}, got {asked!r}{did_you_mean(asked, kinds)}")
    if asked not in (None, "none", own):
        holds = "holds no readout" if own == "none" else f"holds a readout of kind {own}"
        ways = "leave it away" if own == "none" else f"give none or {own}"
        raise ConfigError(
            f"{where}: the checkpoint {holds} and none of kind {asked}; {ways}, or fit that one in a run with "
            f"readout.kind={asked}"
        )
    return asked == "none" and own != "none"


def document_instructions(description: Mapping[str, Any]) -> dict[str, str]:
    """Training set -> instruction of its other side; checkpoints once kept that of the anchors alone."""
    found: dict[str, str] = description.get("document_instructions", description["instructions"])
    return found


def source_facts(source: Path) -> dict[str, Any]:
    """What tells the source of a run from another: its run or shipped name, its checkpoint's hash, its lineage.

    And the seconds that its training took, where its run is beside the checkpoint.
    """
    folder = checkpoint_folder(source)
    run = folder.parent.name if folder.name == "checkpoint" else folder.name
    run = next((name.name for name in SHIPPED if folder == checkpoint_folder(name)), run)
    return {
        "run": run,
        "sha256": sha256_file(folder / NAME),
        "lineage": read_json(folder / DESCRIPTION).get("lineage"),
        "train_seconds": _train_seconds(folder.parent) if folder.name == "checkpoint" else None,
    }


def _train_seconds(run: Path) -> float | None:
    """Of a run's record; None where there is none that says so."""
    record = read_json(run / "record.json") if (run / "record.json").is_file() else {}
    found: float | None = (record.get("timings") or {}).get("train_seconds")
    return found


def as_sealed_now(recorded: Any) -> Any:
    """A hash from a record as it would be now: the bundled source was sealed anew, any other hash stays as it is."""
    return _RESEALED.get(str(recorded), recorded)
