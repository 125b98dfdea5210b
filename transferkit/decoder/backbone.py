"""The frozen embedding decoder: text and soft tokens -> last hidden states, by the cheapest path that is exact.

What stands before the soft tokens runs without gradient into a KV cache; the soft tokens and what follows run with
gradient on top of it. Whether a decoder's cached pass is exact is measured when it is loaded, never looked up.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from transferkit.config.specs import BackboneSpec, Quantization
from transferkit.config.template import Template
from transferkit.decoder.cache import fork
from transferkit.decoder.exactness import Exactness, measure, measure_stack_scale
from transferkit.decoder.identity import Identity, identify
from transferkit.decoder.loading import DTYPES, input_embeddings, load_tokenizer, load_trunk, num_quantized_layers
from transferkit.decoder.perlayer import per_layer_inputs
from transferkit.decoder.pooling import mean, pool
from transferkit.decoder.text_states import TextState, TextStateMemory
from transferkit.decoder.tokens import Rows, TemplateEncoder, TextEncoder, pad_left, positions
from transferkit.errors import ConfigError


@dataclass
class Hidden:
    """What was read of a batch: last hidden ``states`` (B, L, d_out), ``mask`` and ``soft`` (B, L) booleans.

    ``mask`` is True at the positions that may be pooled: real tokens and soft tokens, without BOS wherever the row
    has anything else (its state is nearly constant and would drown a mean). ``static`` gives the texts' mean token
    embeddings (B, d_e).
    """

    states: Tensor
    mask: Tensor
    soft: Tensor
    static: Callable[[], Tensor]

    def pool(self, how: str) -> Tensor:
        """One vector a row, as :func:`transferkit.decoder.pooling.pool` gives it."""
        return pool(self.states, self.mask, self.soft, self.static, how=how)


class FrozenBackbone(nn.Module):
    """A decoder that reads a template and is never trained (adapters of a baseline are put on it from outside).

    Attributes:
        trunk: the decoder without its head.
        rows: encoder of (texts, instructions) -> token ids around the soft tokens.
        exactness: what the check at load time measured; it decides between the cached and the full path.
        embedding_width: d_e, what soft tokens must have (differs from ``output_width`` in a few decoders).
        output_width: d_out, width of the last hidden states.
        stack_scale: factor that puts token embeddings into the scale that the layers receive.
    """

    def __init__(
        self,
        trunk: PreTrainedModel,
        encoder: TextEncoder,
        *,
        template: str,
        max_length: int,
        soft_tokens: int,
        context: int | None,
        layers: int = 1,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.encoder = encoder
        self.max_length = max_length  # tokens of a text that are asked for
        self.soft_tokens = soft_tokens  # k, kept free in the context
        self.context = context  # positions; None: no limit is known
        self.layers = layers  # last ones, whose states are averaged
        self.use_template(template)
        self.parameters_accepted = set(inspect.signature(trunk.forward).parameters)
        # State-space decoders call theirs by another name.
        self.cache_name = "cache_params" if "cache_params" in self.parameters_accepted else "past_key_values"
        self.embedding_width = input_embeddings(trunk).weight.shape[1]
        self.stack_scale = 1.0
        self.quantized_layers = num_quantized_layers(trunk)

    @classmethod
    def load(
        cls,
        spec: BackboneSpec,
        *,
        quantization: Quantization = "none",
        dtype: str = "float32",
        template: str | None = None,
        max_length: int = 128,
        soft_tokens: int = 0,
        layers: int = 1,
        device: torch.device | None = None,
    ) -> "FrozenBackbone":
        """Load the decoder that ``spec`` describes and check it against what the spec declares.

        Args:
            spec: from the registry or probed.
            quantization: ``nf4`` loads linear layers in 4 bits.
            dtype: of weights and activations; ``float32`` or ``bfloat16``.
            template: instead of the spec's.
            max_length: tokens of the text; cut to what the context leaves.
            soft_tokens: k, reserved in the context.
            layers: hidden states are the mean over so many last layers' outputs, as the decoder hands them out (the
                last one with its final norm).
            device: default CPU.

        Raises:
            ConfigError: weights not found or incomplete, a declared fact that does not hold, k larger than the
                context, fewer layers than asked for, or a decoder whose padded batches are wrong on every path.
        """
        device = device or torch.device("cpu")
        trunk = load_trunk(
            spec.location, revision=spec.revision, dtype=DTYPES[dtype], quantization=quantization, device=device
        )
        tokenizer = load_tokenizer(spec.location, revision=spec.revision)
        encoder = TextEncoder(
            tokenizer,
            num_rows=input_embeddings(trunk).weight.shape[0],
            add_bos=spec.tokenizer.add_bos,
            append_eos=spec.tokenizer.append_eos,
        )
        limits = (spec.max_length, getattr(trunk.config.get_text_config(), "max_position_embeddings", None))
        context = min((limit for limit in limits if limit), default=None)
        backbone = cls(
            trunk,
            encoder,
            template=template or spec.template,
            max_length=max_length,
            soft_tokens=soft_tokens,
            context=context,
            layers=layers,
        )
        # An unpinned spec is pinned here, so that a checkpoint asks for this commit and not for a newer one.
        backbone.spec = spec = spec.model_copy(
            update={"revision": spec.revision or getattr(trunk.config, "_commit_hash", None)}
        )
        backbone.quantization = quantization
        backbone.stack_scale = measure_stack_scale(backbone)
        with torch.no_grad():
            probe = backbone.full_pass(Rows(before=[[backbone.encoder.filler]], after=[[]]), None)
        backbone.output_width = probe.states.shape[-1]
        backbone.exactness = measure(backbone, name=spec.name)
        _compare_with_spec(backbone, spec)
        backbone.identity = identify(
            spec.location, revision=spec.revision, tokenizer=tokenizer, embedding_scale=backbone._embedding_scale()
        )
        return backbone

    template: Template
    rows: TemplateEncoder
    spec: BackboneSpec
    quantization: Quantization
    exactness: Exactness
    output_width: int
    identity: Identity

    @property
    def device(self) -> torch.device:
        """Where the decoder's weights lie."""
        return input_embeddings(self.trunk).weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of embeddings and activations."""
        return input_embeddings(self.trunk).weight.dtype

    def train(self, mode: bool = True) -> "FrozenBackbone":
        """Stays in eval mode: dropout would make texts random and checkpointing would drop the KV cache."""
        return super().train(False)

    def use_template(self, template: str) -> None:
        """Read texts through another template from now on.

        Raises:
            ConfigError: template and soft tokens leave no room for text in the context.
        """
        self.template = Template.parse(template)
        self.rows = TemplateEncoder(self.encoder, self.template, max_length=self.max_length)
        if self.context is None:
            return
        variable = sum(part in ("{text}", "{instruction}") for part in self.template.parts)
        left = (self.context - self.soft_tokens - self.rows.overhead()) // variable
        if left < 1:
            raise ConfigError(
                f"{self.soft_tokens} soft tokens and {self.rows.overhead()} of template {template!r} do not leave room "
                f"for text in a context of {self.context} positions; lower prompting.tokens"
            )
        self.rows.max_length = min(self.max_length, left)

    def embed_ids(self, ids: Tensor) -> Tensor:
        """Token embeddings (..., d_e) in the scale in which the decoder's layers receive them."""
        return input_embeddings(self.trunk)(ids) * self.stack_scale

    def token_table(self, ids: Sequence[int] | None = None) -> Tensor:
        """Embeddings (n, d_e) of ``ids``, or of all rows, without gradient."""
        rows = torch.arange(self.encoder.num_rows) if ids is None else torch.as_tensor(ids, dtype=torch.long)
        with torch.no_grad():
            return self.embed_ids(rows.to(self.device))

    def forward(self, rows: Rows, soft: Tensor | None, *, memory: TextStateMemory | None = None) -> Hidden:
        """Hidden states of ``rows`` with ``soft`` (B, k, d_e) at the template's place, or without soft tokens.

        Gradients flow into ``soft`` and, on the full path, into whatever adapters the trunk carries. With ``memory``
        text that was read before is not read again; only the cached path has such text.
        """
        if soft is None:
            self._check_full()
            return self.full_pass(rows, None)
        soft = soft.to(self.dtype)
        if self.takes_cached_path(rows):
            state = self.read_text(rows) if memory is None else memory.get(rows, read=self.read_text)
            return self.continue_text(state, rows, soft)
        self._check_full()
        return self.full_pass(rows, soft)

    def _check_full(self) -> None:
        if not self.exactness.full:
            raise ConfigError(
                f"{self.spec.name}: template {self.template.source!r} needs a full pass over padded rows, which is not "
                "exact on this decoder; only soft tokens that stand last can be read on it"
            )

    def read_text(self, rows: Rows) -> TextState:
        """Run what stands before the soft tokens into a KV cache, without gradient."""
        ids, mask = pad_left(rows.before, device=self.device)
        with torch.no_grad():
            out = self.run(input_ids=ids, mask=mask, use_cache=True)
        return TextState(cache=getattr(out, self.cache_name), states=self._states(out), mask=mask)

    def continue_text(self, state: TextState, rows: Rows, soft: Tensor) -> Hidden:
        """Run the soft tokens and what follows on top of ``state``, which stays as it is."""
        after = torch.tensor(rows.after, dtype=torch.long, device=self.device).view(len(soft), -1)
        embeds = torch.cat([soft, self.embed_ids(after)], dim=1)
        ones = torch.ones(embeds.shape[:2], dtype=torch.bool, device=self.device)
        mask = torch.cat([state.mask, ones], dim=1)
        ids = torch.cat([after.new_zeros(soft.shape[:2]), after], dim=1)
        out = self.run(input_ids=ids, inputs_embeds=embeds, mask=mask, cache=fork(state.cache))
        soft_at = torch.zeros_like(mask)
        soft_at[:, state.mask.shape[1] : state.mask.shape[1] + soft.shape[1]] = True
        states = torch.cat([state.states, self._states(out)], dim=1)
        return Hidden(states, self._poolable(mask), soft_at, partial(self.mean_token_embeddings, rows))

    def takes_cached_path(self, rows: Rows) -> bool:
        """Whether soft tokens in ``rows`` run on top of cached text: exact on this decoder, and columns line up.

        They do where every row has text before its soft tokens and equally many tokens after them.
        """
        return self.exactness.cached and all(rows.before) and len({len(row) for row in rows.after}) == 1

    def full_pass(self, rows: Rows, soft: Tensor | None) -> Hidden:
        """One pass over whole rows, padded on the left, with gradient everywhere."""
        before, before_mask = pad_left(rows.before, device=self.device)
        after, after_mask = pad_left(rows.after, device=self.device)
        soft_ids = before.new_zeros(len(before), 0 if soft is None else soft.shape[1])
        soft_mask = torch.ones_like(soft_ids, dtype=torch.bool)
        mask = torch.cat([before_mask, soft_mask, after_mask], dim=1)
        soft_at = torch.cat([torch.zeros_like(before_mask), soft_mask, torch.zeros_like(after_mask)], dim=1)
        # Stable sort on "is real": padding moves to the left, everything else keeps its order.
        order = mask.long().argsort(dim=1, stable=True)
        mask, soft_at = mask.gather(1, order), soft_at.gather(1, order)
        ids = torch.cat([before, soft_ids, after], dim=1).gather(1, order)
        embeds = None
        if soft is not None:
            embeds = torch.cat([self.embed_ids(before), soft, self.embed_ids(after)], dim=1)
            embeds = embeds.gather(1, order.unsqueeze(-1).expand_as(embeds))
        out = self.run(input_ids=ids, inputs_embeds=embeds, mask=mask)
        return Hidden(self._states(out), self._poolable(mask), soft_at, partial(self.mean_token_embeddings, rows))

    @torch.no_grad()
    def mean_token_embeddings(self, rows: Rows) -> Tensor:
        """Of each text alone, (B, d_e) in fp32: what the pooling ``static`` gives, without any pass."""
        ids, mask = pad_left([text or [self.encoder.filler] for text in rows.texts], device=self.device)
        return mean(self.embed_ids(ids).float(), mask)

    def _states(self, out: Any) -> Tensor:
        """Last hidden states (B, L, d_out), or the mean over the last layers' where several are asked for."""
        if self.layers == 1:
            states: Tensor = out.last_hidden_state
            return states
        found = getattr(out, "hidden_states", None) or ()
        if len(found) <= self.layers:  # the first ones are the embeddings
            raise ConfigError(
                f"embedding.layers, --layers: {self.layers} asked for, this decoder hands out the states of "
                f"{max(0, len(found) - 1)} layers; lower it"
            )
        return torch.stack(found[-self.layers :]).mean(0)

    def _poolable(self, mask: Tensor) -> Tensor:
        if not self.encoder.bos:
            return mask
        bos = mask & (mask.long().cumsum(1) == 1)
        return torch.where((mask.sum(1) > 1).unsqueeze(1), mask & ~bos, mask)

    def run(
        self,
        *,
        input_ids: Tensor,
        mask: Tensor,
        inputs_embeds: Tensor | None = None,
        cache: Cache | None = None,
        use_cache: bool = False,
    ) -> Any:
        """The trunk on ``input_ids`` (B, new) or, where given, on ``inputs_embeds`` in their place.

        ``mask`` (B, cached + new) covers what the cache holds too; positions follow from it. Soft tokens have id 0.
        """
        options: dict[str, Any] = {"attention_mask": mask.long()}
        if "position_ids" in self.parameters_accepted:
            options["position_ids"] = positions(mask, input_ids.shape[1])
        if cache is not None:
            options[self.cache_name] = cache
        if inputs_embeds is None:
            options["input_ids"] = input_ids
        else:
            options |= {"inputs_embeds": inputs_embeds, **per_layer_inputs(self.trunk, input_ids)}
        if self.layers > 1:
            options["output_hidden_states"] = True
        return self.trunk(use_cache=use_cache or cache is not None, **options)

    def _embedding_scale(self) -> float:
        """Size of the embeddings that the layers receive over that of the weight rows (sqrt(d) in some families)."""
        weight = input_embeddings(self.trunk).weight[:64].float()
        seen = self.token_table(range(min(64, self.encoder.num_rows))).float()
        return round(float(seen.norm() / weight.norm().clamp(min=1e-30)), 6)


def _compare_with_spec(backbone: FrozenBackbone, spec: BackboneSpec) -> None:
    """Declared facts are checked facts: a wrong spec is a wrong result later."""
    config = backbone.trunk.config
    layers = getattr(config.get_text_config(), "num_hidden_layers", None)
    facts = {
        "model_type": (spec.model_type, config.model_type),
        "hidden_size": (spec.hidden_size, getattr(config.get_text_config(), "hidden_size", spec.hidden_size)),
        "embedding_size": (spec.embedding_size or spec.hidden_size, backbone.embedding_width),
        "num_layers": (spec.num_layers or layers, layers),
    }
    for key, (declared, found) in facts.items():
        if declared != found:
            raise ConfigError(
                f"backbone {spec.name}: {key}: the spec says {declared!r}, the model has {found!r}; mend the spec"
            )
