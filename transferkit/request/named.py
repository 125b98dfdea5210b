"""Whether what a user names is there and of the right kind: found in the second before torch is imported."""

from collections.abc import Sequence
from pathlib import Path

from transferkit.config.methods import take_a_source
from transferkit.config.recipe import Recipe, check_target, named_backbones
from transferkit.config.sections import TeacherSection
from transferkit.config.specs import declared_spec
from transferkit.data.tables import check_file, local_source
from transferkit.errors import ConfigError
from transferkit.files.builtin import BUNDLED
from transferkit.files.decoder_folder import check_is_decoder
from transferkit.files.encoder_folder import check_encoder, is_encoder
from transferkit.files.text_files import TextFile
from transferkit.files.vectors.reading import check_vector_file
from transferkit.files.vectors.writing import is_vector_file
from transferkit.runs.checkpoint_folder import MAP, checkpoint_folder, is_checkpoint

_WHO_TEACHES = (
    "; a teacher is a run or checkpoint, a decoder or a folder of sentence-transformers, and teacher.vectors takes a "
    "file of vectors"
)


def check_named(recipe: Recipe, *, data_dir: Path | None) -> None:
    """Refuse a recipe that names a decoder, an encoder, a teacher or a data file that is not there.

    Args:
        recipe: what is to run.
        data_dir: what relative paths start from.

    Raises:
        ConfigError: the first that is missing or of the wrong kind; what is on the hub is asked for later.
    """
    check_target(recipe)
    for name in named_backbones(recipe):
        check_decoder(name)
    if recipe.teacher is not None and needs_teacher(recipe):
        _check_teacher(recipe.teacher, data_dir)
    for one in recipe.data.train:
        if one.path is not None:
            check_file(local_source(f"data.train {one.name!r}", one.path, data_dir))
    for dev in recipe.data.dev:
        for path in (dev.path, dev.train_path, dev.corpus_path, dev.qrels_path):
            if path is not None:
                check_file(local_source(f"data.dev {dev.name!r}", path, data_dir))


def needs_teacher(recipe: Recipe) -> bool:
    """Whether the teacher of a recipe that names one has anything to say in its run."""
    section = recipe.teacher
    scored = any(one.kind == "texts" for one in recipe.data.dev)
    taught = any((section and section.weight > 0) or one.kind == "texts" for one in recipe.data.train)
    return scored or (recipe.facts.learns and recipe.optim.steps > 0 and taught)


def cannot_teach(model: str, error: ConfigError) -> ConfigError:
    """The error for a model that is no teacher."""
    return ConfigError(f"teacher.model: {error}{'' if Path(model).is_dir() else _WHO_TEACHES}")


def _check_teacher(section: TeacherSection, data_dir: Path | None) -> None:
    if section.vectors is not None:
        path = (data_dir or Path()) / section.vectors
        check_vector_file(path, where=f"teacher.vectors: {path}")
    if section.model is not None:
        try:
            check_model(section.model)
        except ConfigError as error:
            raise cannot_teach(section.model, error) from None


def check_source(recipe: Recipe, source: Path | None) -> None:
    """Refuse a source that is not there, one that is missing, and one that the method has no use for.

    Raises:
        ConfigError: says which.
    """
    facts = recipe.facts
    if facts.needs_source and source is None:
        what = recipe.task if recipe.method is None else f"{recipe.task} --method {recipe.method}"
        raise ConfigError(
            f"{what} needs --source; pass a checkpoint or run folder of a `transferkit train`, or `{BUNDLED}`"
        )
    if source is None:
        return
    if not facts.needs_source:
        raise ConfigError(f"--source is for {take_a_source()}; {recipe.method or recipe.task} starts from nothing")
    checkpoint_folder(source)


def check_decoder(name: str) -> None:
    """Refuse a name that is no decoder's; what is on the hub is asked for later.

    Raises:
        ConfigError: no registry name, .yaml file, folder, .gguf file or hub id, or a model of another kind.
    """
    spec = declared_spec(name)
    check_is_decoder(name if spec is None else spec.location)


def check_model(name: str) -> None:
    """Refuse what is no checkpoint, no run folder, no folder of sentence-transformers and no decoder.

    Raises:
        ConfigError: as :func:`check_decoder`, or a checkpoint or an encoder that cannot be opened.
    """
    if is_checkpoint(name):
        checkpoint_folder(Path(name))
    elif is_encoder(name):
        check_encoder(name)
    else:
        check_decoder(name)


def check_texts(texts: str, *, column: str) -> None:
    """Refuse a file of texts that is not there, or without the column; standard input is left alone.

    Raises:
        ConfigError: as :class:`TextFile` in its first row.
    """
    source = TextFile.named(texts, column=column)
    if source.path is not None:
        next(iter(source), None)


def check_models(names: Sequence[str], *, but: str) -> None:
    """As :func:`check_model`, of each but the one that is called ``but``.

    Raises:
        ConfigError: of the first that is none.
    """
    for name in names:
        if name != but:
            check_model(name)


def check_folder(folder: Path | None, *, option: str) -> None:
    """Refuse a folder that is not there.

    Raises:
        ConfigError: names the option.
    """
    if folder is not None and not folder.is_dir():
        what = "is a file, expected a folder" if folder.exists() else "no such folder"
        raise ConfigError(f"{option} {folder}: {what}")


def check_embedder(old: Path) -> None:
    """Refuse what is no checkpoint, no run folder, no map that `bridge` made and no file of vectors.

    Raises:
        ConfigError: says which.
    """
    if is_vector_file(old):
        if not old.is_file():
            raise ConfigError(
                f"{old}: no such file; give a file that `transferkit embed` made, or the checkpoint that made it"
            )
    elif not (old / MAP).is_file():
        checkpoint_folder(old)
