"""What a user may call a model -> encoders of mteb: a checkpoint or run folder, ``tfidf``, or a frozen backbone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transferkit.baselines import PromptingAlone
from transferkit.checkpoint import checkpoint_folder, load, read_description
from transferkit.embedder import BackboneEmbedder, PromptEmbedder
from transferkit.errors import ConfigError
from transferkit.methods import variant_name
from transferkit.mteb_encoder import MtebEncoder, TextEncoder
from transferkit.mteb_meta import state_sha256
from transferkit.mteb_reading import Reading, Way
from transferkit.mteb_tfidf import TFIDF, TfidfEncoder
from transferkit.open_model import find_decoder, is_checkpoint
from transferkit.reread import SharedPass, reread
from transferkit.resources import BUNDLED
from transferkit.runs import read_json

Group = Sequence[TextEncoder]  # encoders of one loaded model that share their passes over the texts


@dataclass(frozen=True)
class Model:
    """A model that was found, not loaded yet. ``groups`` loads it.

    Attributes:
        name: see :class:`TextEncoder`.
        methods: of its encoders, in their order.
        trained: training set -> instruction.
    """

    name: str
    methods: Sequence[str]
    trained: Mapping[str, str]
    groups: Callable[[], Iterator[Group]] = field(repr=False)


@dataclass(frozen=True)
class _Finder:
    """What all models have in common."""

    reading: Reading
    instructions: Mapping[str, str]
    device: str
    backbone: str | None
    prompting_alone: bool

    def tfidf(self) -> Model:
        """The floor; no option concerns it."""
        return Model(TFIDF, [TfidfEncoder.method], {}, lambda: iter([[TfidfEncoder()]]))

    def frozen(self, given: str) -> Model:
        """A decoder as it is."""
        reading = self.reading
        decoder = find_decoder(given, template=reading.template, pooling=reading.pooling)
        spec = decoder.spec
        ways = reading.ways(decoder.template, decoder.pooling, soft=False, model=given)

        def groups() -> Iterator[Group]:
            embedder = decoder.load(
                device=self.device,
                quantization=reading.quantization,
                dtype=reading.dtype,
                max_length=reading.max_length,
            )
            yield from _views(
                embedder, ways, "frozen", name=spec.name, licence=spec.license, instructions=self.instructions
            )

        return Model(spec.name, [_method("frozen", way) for way in ways], {}, groups)

    def checkpoint(self, given: str) -> Model:
        """A method as it was trained, or without its readout in the ways that were asked for."""
        folder = checkpoint_folder(Path(given))
        description = read_description(folder)
        run = folder.parent if folder.name == "checkpoint" else folder
        name = str(BUNDLED) if Path(given) == BUNDLED else run.resolve().name
        record = read_json(run / "record.json") if (run / "record.json").is_file() else {}
        kind = description["kind"]
        method = record.get("label") or kind
        ways = self._ways_of_checkpoint(description, given)
        if ways:
            method = kind if description["readout"]["kind"] == "none" else f"{kind} without readout"
        methods = [_method(method, way) for way in ways] or [method]
        alone = "prompting LLM alone" if self.prompting_alone and kind == "transfer" else None
        options: dict[str, Any] = {"instructions": self.instructions}

        def groups() -> Iterator[Group]:
            embedder = load(folder, backbone=self.backbone, device=self.device)
            if isinstance(embedder, BackboneEmbedder) and ways:
                yield from _views(embedder, ways, method, name=name, **options)
            else:
                yield [MtebEncoder(embedder, name=name, method=method, **options)]
            if alone is not None and isinstance(embedder, PromptEmbedder):
                soft = PromptingAlone(embedder.writer, join="mean")
                soft.instructions = embedder.instructions
                yield [MtebEncoder(soft, name=f"{name}-prompting-alone", method=alone, **options)]

        return Model(name, methods + ([] if alone is None else [alone]), description["instructions"], groups)

    def _ways_of_checkpoint(self, description: Mapping[str, Any], given: str) -> list[Way]:
        """Empty where it is read as it was trained."""
        if self.reading.several is None:
            return []
        if "backbone" not in description:
            raise ConfigError(
                f"{self.reading.several}: {given} holds a Prompting LLM alone, which has neither; evaluate it without"
            )
        own = description["backbone"]
        soft = description["kind"] in ("transfer", "prompt-tuning")
        return self.reading.ways(own["template"], own["pooling"], soft=soft, model=given)


def find_models(
    given: list[str],
    reading: Reading,
    *,
    instructions: Mapping[str, str],
    device: str,
    backbone: str | None = None,
    prompting_alone: bool = False,
) -> list[Model]:
    """The models that ``given`` names; nothing heavy is read.

    With ``templates`` or ``poolings`` a checkpoint is read without its readout, which was fitted to vectors of its
    own template and pooling; so its rows, the one with its own template among them, can be compared.

    Args:
        given: checkpoint or run folders, ``bundled``, ``tfidf``, registry names, specs, model folders, hub ids.
        reading: how those of them that hold a decoder are read.
        instructions: as for :class:`MtebEncoder`.
        device: where they are loaded.
        backbone: where the backbone of the checkpoint lies now, if it has moved.
        prompting_alone: also the Prompting LLM alone of every transfer checkpoint.

    Raises:
        ConfigError: a name that is none of these or given twice, a damaged checkpoint, a template or pooling that
            cannot be used.
    """
    for name in given:
        if given.count(name) > 1:
            raise ConfigError(f"{name}: is given twice; give every model once")
    checkpoints = [name for name in given if name != TFIDF and is_checkpoint(name)]
    frozen = [name for name in given if name != TFIDF and name not in checkpoints]
    if backbone is not None and len(checkpoints) != 1:
        raise ConfigError(f"--backbone says where one checkpoint's backbone lies, got {len(checkpoints)} checkpoints")
    if not frozen and (reading.template or reading.pooling):
        option = "--template" if reading.template else "--pooling"
        raise ConfigError(
            f"{option} is for frozen backbones; a checkpoint is read as it was trained, or with {option}s NAME in "
            "other ways"
        )
    if frozen and reading.pooling == "soft":
        raise ConfigError("--pooling soft: a frozen backbone has no soft tokens; use last, mean, weighted_mean or max")
    if reading.several is not None and not frozen and not checkpoints:
        raise ConfigError(f"{reading.several} needs a decoder or a checkpoint, got {TFIDF} alone")
    if prompting_alone and not checkpoints:
        raise ConfigError("--prompting-alone needs a checkpoint that holds a Prompting LLM, got none")
    finder = _Finder(reading, instructions, device, backbone, prompting_alone)
    return [
        finder.tfidf() if name == TFIDF else finder.checkpoint(name) if name in checkpoints else finder.frozen(name)
        for name in given
    ]


def _views(
    embedder: BackboneEmbedder, ways: Sequence[Way], method: str, **options: Any
) -> Iterator[Sequence[MtebEncoder]]:
    """Encoders of the ways, those of a template together; ``options`` as for :class:`MtebEncoder`."""
    weights = None
    for template in dict.fromkeys(template for template, _ in ways):
        views = [reread(embedder, template=template, pooling=pooling) for one, pooling in ways if one == template]
        weights = weights or state_sha256(views[0])
        shared = SharedPass(views) if len(views) > 1 else None
        yield [
            MtebEncoder(
                view, method=_method(method, (template, view.pooling)), shared=shared, weights=weights, **options
            )
            for view in views
        ]


def _method(method: str, way: Way) -> str:
    template, pooling = way
    return f"{method}, {variant_name(pooling, template)}"
