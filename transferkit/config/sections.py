"""Sections of a recipe about the model: who writes, who embeds, what learns. A key's meaning stands here alone.

The reference of the keys is made from the descriptions (:mod:`transferkit.config.reference`), so they are Markdown.
"""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from transferkit.config.poolings import FrozenPooling, Pooling, check_soft_place
from transferkit.config.schema import Strict, Unit
from transferkit.config.specs import Quantization
from transferkit.config.template import AUTO, Template, frozen_template, template_text

Computed = Literal["float32", "bfloat16"]
Precision = Literal["auto", "float32", "bfloat16"]
Relaxation = Literal["vocabulary", "straight_through", "none"]
Reads = Literal["instruction", "text"]
Tokens = Annotated[int, Unit("tokens")]
SoftTokens = Annotated[int, Unit("soft tokens")]
Texts = Annotated[int, Unit("texts")]
Steps = Annotated[int, Unit("optimizer steps")]
Examples = Annotated[int, Unit("examples")]
Share = Annotated[float, Unit("share")]
Gib = Annotated[float, Unit("GiB")]
Seconds = Annotated[float, Unit("seconds")]
MeanEigenvalue = Annotated[float, Unit("mean eigenvalue")]
_LARGEST = 1_000_000  # of what would only overflow beyond it


class LoraSection(Strict):
    """`peft` adapters on every linear layer."""

    r: int = Field(8, ge=1, le=_LARGEST, description="rank; a higher one has more capacity and takes more memory")
    alpha: float = Field(16.0, gt=0, description="the update is scaled by alpha / r")
    dropout: Share = Field(0.0, ge=0, lt=1, description="dropout before the adapters")


class PromptingSection(Strict):
    """The Prompting LLM. In adapt every key is optional and defaults to the source checkpoint's."""

    backbone: str | None = Field(
        None, description="train only: the Prompting LLM, a name in `backbones/`, a folder, a .gguf file or a hub id"
    )
    tokens: SoftTokens | None = Field(
        None, ge=1, le=256, description="k, soft tokens a text; absent: the source's, without one 5"
    )
    tau: float | None = Field(
        None,
        gt=0,
        description="softmax temperature of the relaxation; absent: the source's, without one 3.0. Low values collapse",
    )
    relaxation: Relaxation | None = Field(
        None,
        description="how logits become a soft token; absent: the source's, without one `vocabulary`. `none` passes "
        "hidden states through, so the backbone adds little",
    )
    reads: Reads | None = Field(
        None, description="what the prompt is written from; absent: the source's, without one `text`"
    )
    tuning: Literal["full", "lora"] = Field(
        "full", description="train only: all weights of the Prompting LLM learn, or LoRA adapters in it"
    )
    lora: LoraSection = Field(LoraSection(), description="`tuning: lora`")
    alone_steps: Steps = Field(
        0,
        ge=0,
        description="train only: so many of `optim.steps`, the first ones, teach the Prompting LLM without any "
        "backbone, by its soft tokens side by side; W starts after them",
    )
    contrast: float | None = Field(
        None,
        gt=0,
        description="train only: the size of what a text changes in its soft tokens, over that of what is written of "
        "no text; absent: as it is written, where a few percent differ from text to text",
    )
    max_length: Tokens | None = Field(
        None, ge=8, description="instruction and text that it reads; absent: the source's, without one 128"
    )


class AlignmentSection(Strict):
    """The matrix W (d_p, d_e) and, with ``offset: position``, one vector a soft position."""

    init: Literal["source", "anchors", "random"] | None = Field(
        None,
        description="start of W. `source`, adapt only: what the source learned, as mixtures of the token embeddings "
        "that it was told in. `anchors`: the regression from the Prompting LLM's token embeddings to the decoder's "
        "over the tokens both share. `random`: a draw of matched size. Absent: `source` in adapt, else `anchors`",
    )
    offset: Literal["none", "position"] = Field(
        "position", description="one learned vector a soft position beside W, or W alone"
    )


class EmbeddingSection(Strict):
    """The frozen decoder that embeds, and how it is read."""

    backbone: str | None = Field(
        None,
        description="the frozen decoder: a name in `backbones/`, a folder, a .gguf file or a hub id; method `encoder`: "
        "a local folder of sentence-transformers; `--target` overrides it",
    )
    more_backbones: list[str] = Field(
        [], description="train only: further backbones, each with a W of its own; the steps take turns"
    )
    quantization: Quantization = Field(
        "none", description="`nf4` takes about a quarter of the weight memory; steps are slower"
    )
    template: str | None = Field(
        None,
        description="a name (`transferkit templates`), or text with one `{text}` and, for soft tokens, one `{soft}`; "
        "`auto`: the best of those with a name and of variations of that one, by the choosing half of the dev sets "
        "before the first step; absent: the source's, then the spec's",
    )
    pooling: Pooling | None = Field(
        None,
        description="hidden states to one vector; `static`: no state, the mean token embedding; `before`: the state "
        "before the soft tokens; `X+Y`: side by side, each of unit length; absent: the source's, then the spec's",
    )
    layers: int | None = Field(
        None,
        ge=1,
        description="last layers whose states are averaged before pooling; absent: the source's, then 1",
    )
    max_length: Tokens = Field(128, ge=1, description="of the text, before the template is put around it")

    @field_validator("template")
    @classmethod
    def _template_is_valid(cls, given: str | None) -> str | None:
        return given if given in (None, AUTO) else Template.parse(template_text(given, soft=True)).source

    @model_validator(mode="after")
    def _soft_pooling_can_see_the_text(self) -> "EmbeddingSection":
        # A template without {soft} is for rows without soft tokens, which read `mean` in the place of `soft`.
        if self.template in (None, AUTO) or self.pooling is None:
            return self
        if Template.parse(self.template).has_soft:
            check_soft_place(self.template, self.pooling, needs_soft=False)
        return self


class FrozenSection(Strict):
    """Baseline ``frozen`` only: every template x pooling is a variant, and the best one is the row."""

    templates: list[str] = Field(
        ["{text}"], min_length=1, description="names, or templates without `{soft}`, each tried with each pooling"
    )
    poolings: list[FrozenPooling] = Field(["mean"], min_length=1, description="each tried with each template")

    @field_validator("templates")
    @classmethod
    def _no_soft_tokens(cls, templates: list[str]) -> list[str]:
        return [frozen_template(given) for given in templates]

    @field_validator("templates", "poolings")
    @classmethod
    def _each_once(cls, values: list[str]) -> list[str]:
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice!r} stands twice; give each once")
        return values


ReadoutKind = Literal["none", "center", "whiten", "pairs"]


class ReadoutSection(Strict):
    """Closed-form map after pooling; what is left open is chosen by the choosing half of the dev sets."""

    kind: Literal["auto", ReadoutKind] = Field(
        "auto",
        description="`pairs`: directions that a training pair's two sides share count most, where no set has pairs "
        "`whiten`; `auto`: `pairs`, unless `whiten` or `none` scores higher by more than a standard error",
    )
    sample: Texts = Field(2000, ge=2, description="training texts it is fitted on; half as many pairs")
    ridge: MeanEigenvalue | None = Field(
        None,
        ge=0,
        description="whiten, pairs: added to every eigenvalue; absent: 1, unless another of 0.03 to 30 is better by "
        "more than that error",
    )
    alpha: float | None = Field(
        None,
        ge=0,
        description="pairs: exponent of the correlation of a pair's sides, 0 whitens; absent: 0.5, unless 0.25 or 1 is "
        "better by more than that error",
    )
    in_loss: bool = Field(
        False,
        description="vectors pass the readout of the first evaluation on their way into the loss too, so that training "
        "adds to what a closed form gives anyway",
    )


class LossSection(Strict):
    """InfoNCE over cosine similarities."""

    temperature: float = Field(0.05, gt=0, description="logits are cosine / temperature")
    symmetric: bool = Field(True, description="also score the anchors against each positive")


class TeacherSection(Strict):
    """What teaches by the similarities inside a batch; sets of kind `texts` have nothing else to learn from."""

    model: str | None = Field(
        None,
        description="a checkpoint or run folder, a decoder, or a local folder of a sentence-transformers model; "
        "absent, in adapt: the source through its own backbone",
    )
    backbone: str | None = Field(None, description="where the decoder of a teaching checkpoint lies now, if it moved")
    vectors: str | None = Field(
        None,
        description="instead of a model: the file of vectors that `transferkit embed` made of the texts, "
        "relative to `--data-dir`; .npy: of the whole file of the sets of kind `texts`, row by row",
    )
    temperature: float = Field(0.05, gt=0, description="similarities are cosine / temperature")
    weight: float = Field(
        1.0,
        ge=0,
        description="of the teaching beside the contrastive loss, on sets that have pairs; without this section 0",
    )
    alone: bool = Field(
        False,
        description="`true`: sets that have pairs are taught as texts, and which of them belong together is unused",
    )

    @model_validator(mode="after")
    def _one_teacher(self) -> "TeacherSection":
        if self.alone and not self.weight:
            raise ValueError("weight: 0 beside alone: true leaves sets of pairs nothing to learn from")
        if self.vectors is not None and (self.model is not None or self.backbone is not None):
            raise ValueError("vectors: stands in the place of a model; give vectors alone, or model and backbone")
        return self


class OptimSection(Strict):
    """AdamW with linear warm-up, constant, and a linear cool-down to zero where one is asked for."""

    steps: Steps = Field(ge=0, description="0 measures the start alone")
    seconds: Seconds | None = Field(
        None,
        gt=0,
        description="of training, without evaluation: once they are up the run ends at the next step, however many of "
        "`steps` are left, so a cool-down may never begin; absent: no limit",
    )
    batch_size: Examples = Field(
        48, ge=2, le=_LARGEST, description="a step, over all processes; sets the number of in-batch negatives"
    )
    micro_batch_size: Texts | None = Field(
        None,
        ge=1,
        description="a forward pass (gradient caching): less memory, same loss; absent: all at once",
    )
    lr: float = Field(
        1e-3,
        gt=0,
        le=_LARGEST,
        description="of all that learns outside the alignment: Prompting LLM, adapters, free vectors (these in units "
        "of the root mean square of the decoder's token embeddings)",
    )
    lr_alignment: float = Field(
        3e-3,
        gt=0,
        le=_LARGEST,
        description="of W, in units of that size over the same of the Prompting LLM's token embeddings",
    )
    lr_offset: float = Field(1e-2, gt=0, le=_LARGEST, description="of the offsets, in units of that size")
    warmup_steps: Steps = Field(0, ge=0, description="linear, then constant; fewer than `steps`")
    cooldown_steps: Steps = Field(0, ge=0, description="the last ones: learning rates fall linearly to zero")
    weight_decay: float = Field(0.0, ge=0, le=_LARGEST, description="of AdamW")
    clip_norm: float | None = Field(1.0, gt=0, description="largest gradient norm; `null`: no limit")

    @model_validator(mode="after")
    def _warmup_ends(self) -> "OptimSection":
        if self.steps and self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps: expected fewer than steps ({self.steps}), got {self.warmup_steps}")
        left = self.steps - self.warmup_steps
        if self.steps and self.cooldown_steps > left:
            raise ValueError(
                f"cooldown_steps: expected at most what warm-up leaves of the steps ({left}), got {self.cooldown_steps}"
            )
        return self


class EvalSection(Strict):
    """When the dev sets are scored."""

    every: Steps = Field(50, ge=1, description='between evaluations; the resolution of "steps to target"')
    keep: Literal["best", "last"] = Field(
        "best", description="the step whose weights are kept: best by the selecting dev score, or the last"
    )
    batch_size: Texts = Field(64, ge=1, description="a forward pass")
    keep_states_gib: Gib = Field(
        0.0,
        ge=0,
        le=_LARGEST,
        description="memory for what a frozen backbone has read of the dev texts and of the readout's sample: "
        "evaluations get faster, scores stay the same",
    )
