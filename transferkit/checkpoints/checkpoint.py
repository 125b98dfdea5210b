"""Save and load an embedder: safetensors, a description, its backbone's identity; never the backbone's weights."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from transferkit.config.sections import LoraSection, Reads
from transferkit.config.specs import BackboneSpec, list_backbones
from transferkit.decoder.backbone import FrozenBackbone
from transferkit.decoder.identity import Identity
from transferkit.decoder.loading import quiet_transformers
from transferkit.decoder.probe import resolve
from transferkit.decoder.readout import Readout
from transferkit.errors import ConfigError
from transferkit.files.builtin import BUNDLED, bundled_dir
from transferkit.files.environment import environment
from transferkit.files.json import read_json, write_json
from transferkit.files.manifest import new_folder, verify
from transferkit.methods.baselines import FrozenEmbedder, LoraEmbedder, PromptingAlone, PromptTuningEmbedder
from transferkit.methods.embedder import BackboneEmbedder, Embedder, PromptEmbedder
from transferkit.prompting.alignment import Alignment
from transferkit.prompting.llm import PromptingLLM
from transferkit.prompting.writer import Writer

FORMAT = 1
DESCRIPTION = "embedder.json"
_LEARNED = "learned.safetensors"
_PROMPTING = "prompting"


def save(
    embedder: Embedder,
    target: Path,
    *,
    instructions: dict[str, str],
    document_instructions: dict[str, str] | None = None,
    prompting_from: Path | None = None,
    lineage: str | None = None,
) -> None:
    """Write a checkpoint folder; it is whole or absent.

    Args:
        embedder: any method but TF-IDF.
        target: folder to create or replace.
        instructions: task instruction of the anchors of each training set, kept for ``adapt`` and for users.
        document_instructions: of the other side, where a set has another one there.
        prompting_from: checkpoint whose frozen Prompting LLM this one shares; its files are hard-linked.
        lineage: equal for checkpoints that one recipe gave on the same data with different seeds.
    """
    description: dict[str, Any] = {
        "format": FORMAT,
        "instructions": instructions,
        "document_instructions": instructions | (document_instructions or {}),
        "lineage": lineage,
        "versions": environment()["versions"],
    }
    tensors: dict[str, Tensor] = {}
    with new_folder(target) as folder:
        _describe(embedder, description, tensors)
        if embedder.readout.kind != "none":
            tensors |= {f"readout.{name}": buffer for name, buffer in embedder.readout.state_dict().items()}
        if isinstance(embedder, PromptEmbedder | PromptingAlone):
            _save_prompting(embedder.writer, folder / _PROMPTING, prompting_from)
        if tensors:
            save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, folder / _LEARNED)
        write_json(folder / DESCRIPTION, description)


def read_description(folder: Path) -> dict[str, Any]:
    """What a checkpoint says of itself, after its files were checked against the manifest.

    Raises:
        ConfigError: not a checkpoint, damaged, or of another format. A run folder is taken for its checkpoint.
    """
    folder = checkpoint_folder(folder)
    verify(folder)
    description = read_json(folder / DESCRIPTION)
    if description.get("format") != FORMAT:
        raise ConfigError(f"{folder}: checkpoint format {description.get('format')!r}, expected {FORMAT}")
    return description


def document_instructions(description: Mapping[str, Any]) -> dict[str, str]:
    """Training set -> instruction of its other side; checkpoints once kept that of the anchors alone."""
    found: dict[str, str] = description.get("document_instructions", description["instructions"])
    return found


def given_folder(folder: Path) -> Path:
    """``folder``, or the run folder that ships with the package where it is called ``bundled``.

    A folder of that name is reached by its absolute path: what ``bundled`` means never depends on where one stands.
    """
    return bundled_dir("source") if folder == BUNDLED else folder


def checkpoint_folder(folder: Path) -> Path:
    """The checkpoint that ``folder`` names: itself, the one inside a run folder, or the bundled one (``bundled``)."""
    folder = given_folder(folder)
    if (folder / "checkpoint").is_dir():
        return folder / "checkpoint"
    if (folder / "record.json").is_file():
        if read_json(folder / "record.json").get("method") == "tfidf":
            raise ConfigError(f"{folder}: a tfidf run has no checkpoint; pass the run of another method")
        raise ConfigError(f"{folder}: this run has no checkpoint yet (it did not finish); continue it with --resume")
    if (folder / "config.json").is_file() or (not folder.exists() and str(folder) in list_backbones()):
        raise ConfigError(
            f"{folder}: a decoder and no checkpoint; `transferkit train` and `adapt` make one, and `{BUNDLED}` is "
            "there already"
        )
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: no such checkpoint or run folder (`{BUNDLED}` is the one that ships with transferkit)"
        )
    return folder


def load(folder: str | Path, *, backbone: str | None = None, device: str | None = None) -> Embedder:
    """The embedder in a checkpoint or run folder, ready to ``encode``.

    Args:
        folder: checkpoint or run folder.
        backbone: where the same backbone lies now, if it has moved; anything else is refused.
        device: for example ``cuda``; default CPU.

    Raises:
        ConfigError: damaged, or a backbone, tokenizer or embedding scale other than the checkpoint's own.
    """
    folder = checkpoint_folder(Path(folder))
    description = read_description(folder)
    place = torch.device(device or "cpu")
    tensors = load_tensors(folder / _LEARNED) if (folder / _LEARNED).is_file() else {}
    if description["kind"] == "prompting-llm-alone":
        embedder: Embedder = PromptingAlone(_writer(folder, description["prompting"], place), join=description["join"])
    else:
        embedder = _load_on_backbone(description, tensors, folder, backbone, place)
    saved = description["readout"]
    embedder.readout = Readout(saved["kind"], saved["width"]).to(place)
    embedder.readout.load_state_dict(_below("readout", tensors) or embedder.readout.state_dict())
    embedder.instructions = description["instructions"]
    embedder.document_instructions = document_instructions(description)
    return embedder.eval().requires_grad_(False)


@dataclass(frozen=True)
class SourceAlignment:
    """What a source learned for its own backbone: W (d_p, d_s), offsets (k, d_s) or none, and which backbone it was."""

    weight: Tensor
    offset: Tensor | None
    spec: BackboneSpec
    identity: Identity


@dataclass(frozen=True)
class Source:
    """A checkpoint that a skill is taken from. Its files were hashed when it was opened, once for all that is read."""

    folder: Path
    description: dict[str, Any]

    def writer(self, *, device: torch.device, **changes: Any) -> Writer:
        """Its Prompting LLM with its settings; ``changes`` override k, tau, relaxation or reads."""
        changed = {key: value for key, value in changes.items() if value is not None}
        return _writer(self.folder, self.description["prompting"] | changed, device)

    def alignment(self) -> SourceAlignment:
        """What it learned for its own backbone, on the CPU; that backbone is not loaded.

        Raises:
            ConfigError: the checkpoint of a Prompting LLM alone.
        """
        if "alignment" not in self.description:
            raise ConfigError(
                f"{self.folder}: a {self.description['kind']} checkpoint holds no alignment; use --set "
                "alignment.init=anchors"
            )
        tensors = load_tensors(self.folder / _LEARNED)
        saved = self.description["backbone"]
        return SourceAlignment(
            weight=tensors["alignment.weight"],
            offset=tensors.get("alignment.offset"),
            spec=BackboneSpec.model_validate(saved["spec"]),
            identity=Identity(**saved["identity"]),
        )


def open_source(folder: Path) -> Source:
    """The source in a checkpoint or run folder.

    Raises:
        ConfigError: as :func:`read_description`, or a checkpoint without a Prompting LLM.
    """
    folder = checkpoint_folder(folder)
    description = read_description(folder)
    if "prompting" not in description:
        raise ConfigError(f"{folder}: holds no Prompting LLM; --source needs the checkpoint of a train or adapt run")
    return Source(folder, description)


def _writer(folder: Path, settings: dict[str, Any], device: torch.device) -> Writer:
    """A checkpoint's Prompting LLM with ``settings``; its files were hashed when its description was read."""
    settings = dict(settings)
    reads = settings.pop("reads")
    if reads not in get_args(Reads):
        raise ConfigError(
            f"{folder}: its Prompting LLM reads {reads!r}, which is no longer offered; use the version of transferkit "
            "that wrote it"
        )
    return Writer(PromptingLLM.load(str(folder / _PROMPTING), device=device, **settings), reads=reads)


def load_tensors(file: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file on the CPU.

    Raises:
        ConfigError: unreadable.
    """
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}); restore the checkpoint from a copy") from None


def check_identity(saved: dict[str, Any], backbone: FrozenBackbone) -> None:
    """Refuse any backbone but the one that the checkpoint was trained against.

    Raises:
        ConfigError: names what differs and the command that carries the skill over.
    """
    different = Identity(**saved["identity"]).differences(backbone.identity)
    if different:
        raise ConfigError(
            f"this checkpoint belongs to {saved['spec']['name']} and {backbone.encoder.tokenizer.name_or_path} differs "
            f"from it in {', '.join(different)}; carry the skill over with `transferkit adapt --source CHECKPOINT "
            "--target MODEL`"
        )


def describe_backbone(embedder: BackboneEmbedder) -> dict[str, Any]:
    """Everything needed to load the same backbone again and to know that it is the same."""
    backbone = embedder.backbone
    return {
        "spec": backbone.spec.model_dump(exclude_none=True),
        "identity": asdict(backbone.identity),
        "quantization": backbone.quantization,
        "dtype": str(backbone.dtype).removeprefix("torch."),
        "template": backbone.template.source,
        "max_length": backbone.max_length,
        "pooling": embedder.pooling,
        "layers": backbone.layers,
    }


def describe(embedder: Embedder) -> dict[str, Any]:
    """What a checkpoint of ``embedder`` would say of it: method, settings and, where it has one, its backbone."""
    description: dict[str, Any] = {}
    _describe(embedder, description, {})
    return description


def _describe(embedder: Embedder, description: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    description["readout"] = {"kind": embedder.readout.kind, "width": len(embedder.readout.mean)}
    if isinstance(embedder, BackboneEmbedder):
        description["backbone"] = describe_backbone(embedder)
    if isinstance(embedder, PromptEmbedder | PromptingAlone):
        description["prompting"] = _writer_settings(embedder.writer)
    match embedder:
        case PromptEmbedder():
            description["kind"] = "transfer"
            description["alignment"] = {"offset": embedder.alignment.offset is not None}
            tensors |= {f"alignment.{name}": value for name, value in embedder.alignment.state_dict().items()}
        case PromptingAlone():
            description |= {"kind": "prompting-llm-alone", "join": embedder.join}
        case LoraEmbedder():
            description |= {"kind": "lora", "lora": embedder.lora.model_dump()}
            tensors |= {f"adapter.{name}": p for name, p in embedder.adapter().items()}
        case PromptTuningEmbedder():
            description["kind"] = "prompt-tuning"
            tensors["prompt"] = embedder.prompt
        case _:
            description["kind"] = "frozen"


def _writer_settings(writer: Writer) -> dict[str, Any]:
    prompting = writer.prompting
    return {
        "tokens": prompting.tokens,
        "tau": prompting.tau,
        "relaxation": prompting.relaxation,
        "max_length": prompting.max_length,
        "reads": writer.reads,
    }


def _save_prompting(writer: Writer, folder: Path, shared: Path | None) -> None:
    if shared is None:
        with quiet_transformers():
            writer.prompting.merged_model().save_pretrained(folder)
            writer.prompting.encoder.tokenizer.save_pretrained(folder)
        return
    folder.mkdir()
    for file in (checkpoint_folder(shared) / _PROMPTING).iterdir():
        try:
            os.link(file, folder / file.name)
        except OSError:  # another disk, or a file system without links
            shutil.copy2(file, folder / file.name)


def _load_on_backbone(
    description: dict[str, Any], tensors: dict[str, Tensor], folder: Path, location: str | None, device: torch.device
) -> BackboneEmbedder:
    saved = description["backbone"]
    spec = BackboneSpec.model_validate(saved["spec"])
    if location is not None:
        spec = resolve(location).model_copy(update={"tokenizer": spec.tokenizer})
    prompting = description.get("prompting")
    tokens = prompting["tokens"] if prompting else len(tensors.get("prompt", ()))
    backbone = FrozenBackbone.load(
        spec,
        quantization=saved["quantization"],
        dtype=saved["dtype"],
        template=saved["template"],
        max_length=saved["max_length"],
        soft_tokens=tokens,
        layers=saved.get("layers", 1),
        device=device,
    )
    check_identity(saved, backbone)
    pooling = saved["pooling"]
    match description["kind"]:
        case "transfer":
            weight = tensors["alignment.weight"]
            alignment = Alignment(weight.to(device), tokens=tokens, offset=description["alignment"]["offset"])
            alignment.load_state_dict(_below("alignment", tensors))
            return PromptEmbedder(
                _writer(folder, description["prompting"], device), alignment, backbone, pooling=pooling
            )
        case "lora":
            lora = LoraSection.model_validate(description["lora"])
            embedder = LoraEmbedder(backbone, pooling=pooling, lora=lora, seed=0)
            embedder.load_adapter(_below("adapter", tensors))
            return embedder
        case "prompt-tuning":
            tuned = PromptTuningEmbedder(backbone, pooling=pooling, tokens=tokens, seed=0)
            tuned.prompt.data.copy_(tensors["prompt"])
            return tuned
        case _:
            return FrozenEmbedder(backbone, pooling=pooling)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
