"""Backbone specs: what is known about a decoder before it is loaded. The folder ``backbones/`` is the registry."""

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from transferkit.config.poolings import Pooling
from transferkit.config.schema import Strict, parse, read_yaml
from transferkit.config.template import Template
from transferkit.errors import ConfigError, did_you_mean
from transferkit.files.builtin import builtin_dir, bundled_dir
from transferkit.files.locations import COPIES, check_location, is_gguf, local_copy

Quantization = Literal["none", "nf4"]


class TokenizerFacts(Strict):
    """What the backbone's tokenizer does; a fact that was not verified is left out and read at load time."""

    add_bos: bool | None = Field(None, description="a BOS token exists and opens every sequence")
    has_pad: bool | None = Field(None, description="the tokenizer names a padding token of its own")
    append_eos: bool = Field(False, description="close every sequence with EOS, for models tuned to be read there")
    vocab_size: int | None = Field(None, ge=1, description="entries of the tokenizer, added tokens included")


class BackboneSpec(Strict):
    """One decoder: where it is, what its config says, and how its embedding is read.

    Declared facts are checked against the loaded model (:meth:`transferkit.decoder.decoder.Decoder.load`).
    """

    name: str = Field(description="equals the file name without .yaml")
    family: str = Field(description="recipes/<family>/ holds the recipes written for it")
    hub_id: str | None = Field(None, description="Hugging Face id; absent for a local or bundled decoder")
    path: str | None = Field(None, description="local folder or .gguf file, absolute or relative to the spec file")
    bundled: bool = Field(False, description="ships with the package, in transferkit/bundled/<name>")
    revision: str | None = Field(None, description="full commit id; absent: the hub's newest at first load, recorded")
    license: str | None = Field(None, description="SPDX id, or the name of the model licence")
    gated: bool = Field(False, description="the hub asks for an accepted licence and a token")
    model_type: str = Field(description="model_type of config.json (of its text part for composite models)")
    hidden_size: int = Field(ge=1, description="hidden_size of config.json, the width of the layers")
    embedding_size: int | None = Field(None, ge=1, description="width of the token embeddings where it differs")
    num_layers: int | None = Field(None, ge=1)
    max_length: int | None = Field(None, ge=8, description="positions, soft tokens included")
    tokenizer: TokenizerFacts = TokenizerFacts()
    pooling: Pooling = "soft"
    template: str = "{text}{soft}"
    quantizations: list[Quantization] = Field(["none"], description="ways of loading that the tests cover")
    sources: list[str] = Field([], description="where the facts were read")

    @field_validator("template")
    @classmethod
    def _template_is_valid(cls, text: str) -> str:
        Template.parse(text)
        return text

    @model_validator(mode="after")
    def _one_place(self) -> "BackboneSpec":
        if (self.hub_id is not None) + (self.path is not None) + self.bundled != 1:
            raise ValueError("needs exactly one of hub_id, path and bundled: true")
        return self

    @property
    def location(self) -> str:
        """Where the model is: the local folder, the .gguf file or the hub id."""
        if self.bundled:
            return str(bundled_dir(self.name))
        return self.path or str(self._local_copy or self.hub_id)

    @property
    def where(self) -> str:
        """The same for readers: a bundled decoder is nowhere else, and a copy of the hub's is where users keep them."""
        if self.bundled:
            return "bundled"
        return self.location if self._local_copy is None else f"${COPIES}/{self.name}"

    @property
    def _local_copy(self) -> Path | None:
        return None if self.hub_id is None else local_copy(self.name)


def list_backbones() -> list[str]:
    """Names of the built-in specs, sorted."""
    return sorted(path.stem for path in builtin_dir("backbones").glob("*.yaml"))


def read_spec(path: Path) -> BackboneSpec:
    """The spec in a YAML file.

    Raises:
        ConfigError: the file is malformed, or its ``name`` differs from the file's.
    """
    mapping = read_yaml(path)
    if isinstance(mapping.get("path"), str):
        mapping["path"] = str((path.parent / mapping["path"]).resolve())
    spec = parse(BackboneSpec, mapping, where=str(path))
    if spec.name != path.stem:
        raise ConfigError(f"{path}: name: expected {path.stem!r} (the file's name), got {spec.name!r}")
    return spec


def find_spec(name: str) -> BackboneSpec:
    """The spec called ``name``: a path when it ends in .yaml, a built-in name otherwise.

    Raises:
        ConfigError: no such spec; the message names the closest one.
    """
    if name.endswith(".yaml"):
        return read_spec(Path(name))
    known = list_backbones()
    if name not in known:
        raise ConfigError(
            f"unknown backbone {name!r}{did_you_mean(name, known)} "
            "(`transferkit backbones list` shows all; a local folder, a .gguf file or a hub id such as org/model works "
            "too)"
        )
    return _built_in(builtin_dir("backbones") / f"{name}.yaml")


def all_specs() -> list[BackboneSpec]:
    """Every built-in spec, in the order of their names."""
    folder = builtin_dir("backbones")
    return [_built_in(folder / f"{name}.yaml") for name in list_backbones()]


@cache
def _built_in(path: Path) -> BackboneSpec:
    """Read once: to place an unknown decoder all are looked at."""
    return read_spec(path)


def declared_spec(name: str) -> BackboneSpec | None:
    """The spec that a user's name for a backbone stands for, found without the hub.

    A built-in name or a ``.yaml`` path gives its spec; a hub id that a built-in spec describes gives that one. None:
    any other folder, .gguf file or hub id, of which only the model itself tells.

    Raises:
        ConfigError: none of these.
    """
    if name.endswith(".yaml") or name in list_backbones():
        return find_spec(name)
    if not (Path(name).is_dir() or is_gguf(name)):
        for known in all_specs():
            if known.hub_id == name:
                return known
        if "/" not in name:
            find_spec(name)  # raises, with the closest name
    check_location(name)
    return None


def lasting_name(name: str) -> str:
    """A backbone's name that means the same from every folder: a local model or spec goes by its absolute path."""
    path = Path(name)
    if name in list_backbones() or not (name.endswith(".yaml") or path.is_dir() or is_gguf(name)):
        return name
    return str(path.parent.resolve() / path.name)  # a link keeps its own name, which a spec must be called by
