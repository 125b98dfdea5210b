"""What ``embedder.json`` of a checkpoint must hold; a method's own keys beside these are its own matter."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator

from transferkit.config.poolings import Pooling
from transferkit.config.schema import Strict
from transferkit.config.sections import Computed, LoraSection, ReadoutKind, Relaxation
from transferkit.config.specs import BackboneSpec, Quantization
from transferkit.config.template import Template

Size = Annotated[int, Field(ge=1, lt=2**31)]


class _Readout(Strict):
    kind: ReadoutKind
    width: Size
    ridge: float | None = None
    alpha: float | None = None
    descending: bool = False


class _Identity(Strict):
    config_sha256: str
    tokenizer_sha256: str
    weights_sha256: str
    embedding_scale: float
    all_weights_sha256: str | None = None


class _Backbone(Strict):
    spec: BackboneSpec
    identity: _Identity
    quantization: Quantization
    dtype: Computed
    template: str
    max_length: Size
    pooling: Pooling
    layers: Size = 1

    @field_validator("template")
    @classmethod
    def _is_one(cls, text: str) -> str:
        Template.parse(text)
        return text


class _Prompting(Strict):
    tokens: Annotated[int, Field(ge=1, le=256)]
    tau: float = Field(gt=0)
    relaxation: Relaxation
    max_length: Size
    reads: str
    precision: Computed = "float32"
    gain: float | None = None


class _Alignment(Strict):
    offset: bool


class _Encoder(Strict):
    name: str
    location: str
    sha256: str
    precision: Computed


class Description(Strict):
    """``embedder.json``. What a method unpacks is known key by key: an unknown one may change its vectors."""

    model_config = ConfigDict(extra="ignore")

    kind: str
    instructions: dict[str, str]
    document_instructions: dict[str, str] = Field(default_factory=dict)
    lineage: str | None = None
    readout: _Readout
    backbone: _Backbone | None = None
    prompting: _Prompting | None = None
    alignment: _Alignment | None = None
    lora: LoraSection | None = None
    encoder: _Encoder | None = None
    join: str = ""

    @field_validator("backbone", "prompting", "alignment", "lora", "encoder", mode="before")
    @classmethod
    def _is_left_out_or_whole(cls, section: Any) -> Any:
        if section is None:
            raise ValueError("expected a mapping, got nothing")
        return section
