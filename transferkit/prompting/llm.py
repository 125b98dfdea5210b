"""The Prompting LLM: a small decoder that writes k soft tokens, every step differentiable (PromptEmbedder, section 3).

At each step the next-token distribution softmax(logits / tau) weights the model's own token embeddings; the weighted
sum is the soft token and the next input. Lower tau is closer to hard decoding and harder to train.

In bfloat16 the model's products run under autocast and its weights stay fp32; distribution and sum are fp32 always.
"""

import copy
import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from transferkit.config.sections import Computed, LoraSection, Relaxation
from transferkit.decoder.device import is_short, short_attention
from transferkit.decoder.exactness import LEAST, TIMES_ROUNDING
from transferkit.decoder.loading import input_embeddings, load_causal_lm, load_tokenizer
from transferkit.decoder.passes import per_layer_inputs
from transferkit.decoder.pooling import mean
from transferkit.decoder.text_states import fork
from transferkit.decoder.tokens import CutTexts, TextEncoder, alike, in_order, pad_left, positions, way_out
from transferkit.errors import ConfigError
from transferkit.prompting.adapters import add_lora, merged

Outcome = tuple[Tensor, Tensor]  # soft tokens, and the gradient of the token embeddings
_ALLOWED = 1e-4  # relative, in float32


class PromptingLLM(nn.Module):
    """Writes (B, k, d_p) soft tokens for prompts.

    Args:
        model: a decoder with its language-model head.
        encoder: its tokenizer.
        tokens: k.
        tau: softmax temperature.
        relaxation: ``vocabulary`` mixes all token embeddings; ``straight_through`` takes the likeliest one forward and
            the mixture's gradient backward; ``none`` hands over the last hidden state instead of a token.
        max_length: tokens of a prompt.
        precision: in which the model computes.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        encoder: TextEncoder,
        *,
        tokens: int = 5,
        tau: float = 3.0,
        relaxation: Relaxation = "vocabulary",
        max_length: int = 128,
        precision: Computed = "float32",
    ) -> None:
        super().__init__()
        self.model = model
        self.encoder = encoder
        self.tokens = tokens
        self.tau = tau
        self.relaxation = relaxation
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if context is not None and tokens + 8 > context:
            raise ConfigError(f"prompting.tokens: {tokens} soft tokens do not fit a context of {context} positions")
        self.max_length = max_length if context is None else min(max_length, context - tokens - len(encoder.bos))
        self.cut_texts = CutTexts(
            "the Prompting LLM",
            limit=self.max_length,
            remedy=way_out("prompting.max_length", full=self.max_length == max_length),
            what="texts with their instructions",
        )
        self.precision: Computed = precision
        self.use_cache = True
        self.short_attention = False  # until it is known to be exact
        self.peft: nn.Module | None = None
        self._as_saved = False
        self._takes_position_ids = "position_ids" in inspect.signature(model.forward).parameters

    @classmethod
    def load(
        cls, location: str, *, revision: str | None = None, device: torch.device | None = None, **options: Any
    ) -> "PromptingLLM":
        """Load the decoder at ``location`` with fp32 weights; ``options`` as for the constructor.

        Raises:
            ConfigError: not found, or its batches are not exact on any path.
        """
        model = load_causal_lm(location, revision=revision, device=device or torch.device("cpu"))
        tokenizer = load_tokenizer(location, revision=revision)
        encoder = TextEncoder(tokenizer, num_rows=input_embeddings(model).weight.shape[0])
        prompting = cls(model, encoder, **options)
        prompting._choose_cache(location)
        return prompting

    def add_lora(self, lora: LoraSection, *, seed: int) -> None:
        """Freeze the weights and learn `peft` adapters on every linear layer instead."""
        self.peft = add_lora(self.model, lora, seed=seed, autocast=self.precision == "bfloat16")
        self._round_frozen()

    def freeze(self) -> None:
        """Learn nothing from now on."""
        self.requires_grad_(False)
        self._round_frozen()

    def _round_frozen(self) -> None:
        """In bfloat16 keep what autocast would round at every pass, and no step changes, as it rounds it: same bits."""
        embeddings = input_embeddings(self.model).weight
        for module in self.modules() if self.precision == "bfloat16" else ():
            if isinstance(module, nn.Linear | Conv1D) and module.weight is not embeddings:
                for parameter in module.parameters(recurse=False):
                    if not parameter.requires_grad:
                        parameter.data = parameter.data.to(torch.bfloat16)

    def merged_model(self) -> PreTrainedModel:
        """A copy of the model with its adapters merged in, or the model itself where it has none."""
        if self.peft is None:
            return self.model
        # An adapter's share of a weight is less than bfloat16 can add to it.
        merged: PreTrainedModel = copy.deepcopy(self.peft).float().merge_and_unload()  # type: ignore[operator]
        return merged

    @property
    def width(self) -> int:
        """d_p, width of a soft token."""
        if self.relaxation == "none":
            return int(self.model.config.get_text_config().hidden_size)
        return input_embeddings(self.model).weight.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return input_embeddings(self.model).weight.device

    def train(self, mode: bool = True) -> "PromptingLLM":
        """Stays in eval mode: checkpointing and dropout do not go with a cache that carries gradients.

        Outside of training it writes as its checkpoint will: weights with adapters merged into them are rounded anew.
        """
        self._as_saved = not mode
        return super().train(False)

    def token_table(self) -> Tensor:
        """(V_p, d_p) embeddings of all real tokens, as the embedding module outputs them (scaled in some families)."""
        return input_embeddings(self.model)(torch.arange(self.encoder.vocabulary_rows, device=self.device))

    @torch.no_grad()
    def mean_token_embeddings(self, texts: Sequence[str]) -> Tensor:
        """Of each text, (B, d_p) in fp32, without any pass."""
        rows = self.encoder.texts(texts, max_length=self.max_length)
        ids, mask = pad_left([row or [self.encoder.filler] for row in rows], device=self.device)
        return mean(input_embeddings(self.model)(ids).float(), mask)

    def forward(self, prompts: Sequence[str]) -> Tensor:
        """Soft tokens (B, k, d_p), fp32, one row a prompt; gradients reach every weight that is used."""
        rows = self.encoder.texts(prompts, max_length=self.max_length, cut=self.cut_texts)
        rows = [self.encoder.bos + row or [self.encoder.filler] for row in rows]
        # No prompt may be rounded in another way beside a long one than alone: see :class:`Reader`.
        short, last = self.short_attention and self.precision == "bfloat16", self.tokens - 1
        groups = alike([not short or (is_short(n, n), is_short(n + last, n + last)) for n in map(len, rows)])
        soft = [self.generate(*pad_left([rows[i] for i in some], device=self.device)) for some in groups]
        return torch.cat(soft)[in_order(groups)]

    def generate(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Soft tokens (B, k, d_p) after left-padded ``ids`` (B, T) with ``mask`` (B, T)."""
        half = self.precision == "bfloat16"
        # One block around all steps, so that a weight that learns is rounded once and not at each of them.
        with ExitStack() as stack:
            if half and self.peft is not None and self._as_saved:
                stack.enter_context(merged(self.peft))  # in fp32, so before autocast begins
            stack.enter_context(torch.autocast(self.device.type, torch.bfloat16, enabled=half))
            return self._generate(ids, mask)

    def _generate(self, ids: Tensor, mask: Tensor) -> Tensor:
        table = self.token_table()
        inputs = input_embeddings(self.model)(ids)
        read = ids
        soft: list[Tensor] = []
        cache: Any = None
        for _ in range(self.tokens):
            out = self._run(inputs, read, mask, cache)
            soft.append(self._relax(out, table))
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
            new = soft[-1].unsqueeze(1)
            if self.use_cache:
                cache, inputs, read = fork(out.past_key_values), new, ids.new_zeros(len(ids), 1)
            else:
                inputs, read = torch.cat([inputs, new], dim=1), torch.cat([read, ids.new_zeros(len(ids), 1)], dim=1)
        return torch.stack(soft, dim=1)

    def _run(self, embeds: Tensor, ids: Tensor, mask: Tensor, cache: Any) -> Any:
        options: dict[str, Any] = {"attention_mask": mask.long()}
        if self._takes_position_ids:
            options["position_ids"] = positions(mask, embeds.shape[1])
        with ExitStack() as stack:
            if self.short_attention and self.precision == "bfloat16":
                stack.enter_context(short_attention(self.model, queries=embeds.shape[1], keys=mask.shape[1]))
            return self.model(
                inputs_embeds=embeds,
                past_key_values=cache,
                use_cache=self.use_cache,
                output_hidden_states=self.relaxation == "none",
                logits_to_keep=1,
                **per_layer_inputs(self.model, ids),
                **options,
            )

    def _relax(self, out: Any, table: Tensor) -> Tensor:
        """One soft token (B, d_p) from the model's output at the last position."""
        if self.relaxation == "none":
            return out.hidden_states[-1][:, -1].float()
        # Rows beyond the tokenizer never belonged to a token: they get no weight.
        logits = out.logits[:, -1, : len(table)].float()
        weights = torch.softmax(logits / self.tau, dim=-1)
        if self.relaxation == "straight_through":
            hard = nn.functional.one_hot(logits.argmax(-1), len(table)).to(weights.dtype)
            weights = hard + weights - weights.detach()
        with torch.autocast(self.device.type, enabled=False):
            return weights @ table.float()

    def _choose_cache(self, location: str) -> None:
        """Keep the cached generation where it equals recomputation of single prompts; refuse where nothing does.

        Compared are the soft tokens and the gradient of the token embeddings, which every step contributes to. Masks
        and positions are the same in every precision, so they are judged in float32; in bfloat16 a path may then be
        off from the same figures by twice as much as single prompts are. So may short texts that attend in their way.
        """
        generator = torch.Generator().manual_seed(0)
        lengths = (min(12, self.max_length), 5)  # the difference is padding
        rows = [torch.randint(0, self.encoder.vocabulary_rows, (n,), generator=generator).tolist() for n in lengths]
        weights = torch.randn(2, self.tokens, self.width, generator=generator).to(self.device)
        precision, self.precision = self.precision, "float32"
        try:
            truth = self._single(rows, weights)
        except Exception as error:
            raise ConfigError(
                f"{location}: cannot be a Prompting LLM: it does not run on embeddings ({error})"
            ) from None
        allowed: dict[Computed, float] = {"float32": _ALLOWED}
        if precision == "bfloat16":
            rounding = self._error(lambda: self._single(rows, weights), truth, precision)
            if rounding > 1:
                raise ConfigError(
                    f"{location}: cannot be a Prompting LLM in bfloat16: its soft tokens or their gradient are off by "
                    f"{rounding:.2g} (relative); use precision: float32"
                )
            allowed[precision] = max(TIMES_ROUNDING * rounding, LEAST)
        errors: list[float] = []
        for use_cache in (True, False):
            self.use_cache = use_cache
            errors = [self._error(lambda: self._outcome(rows, weights), truth, one) for one in allowed]
            if all(error <= limit for error, limit in zip(errors, allowed.values(), strict=True)):
                break
        else:
            raise ConfigError(
                f"{location}: cannot be a Prompting LLM: its batches differ from single prompts by "
                f"{max(errors):.2g} (relative); choose another decoder"
            )
        if precision == "bfloat16":
            self.short_attention = True
            short = self._error(lambda: self._outcome(rows, weights), truth, precision)
            self.short_attention = short <= allowed[precision]
        self.precision = precision

    def _error(self, way: Callable[[], Outcome], truth: Outcome, precision: Computed) -> float:
        """Largest relative error of soft tokens and gradient; infinite where the way cannot run."""
        self.precision = precision
        try:
            outcome = way()
        except Exception:
            return float("inf")
        error = max(float((a - b).norm() / b.norm()) for a, b in zip(outcome, truth, strict=True))
        return error if error == error else float("inf")

    def _single(self, rows: list[list[int]], weights: Tensor) -> Outcome:
        """:meth:`_outcome` of each prompt alone, without a cache, joined."""
        cached, self.use_cache = self.use_cache, False
        try:
            (soft, gradient), (soft_2, gradient_2) = (
                self._outcome(rows[i : i + 1], weights[i : i + 1]) for i in range(2)
            )
        finally:
            self.use_cache = cached
        return torch.cat([soft, soft_2]), gradient + gradient_2

    def _outcome(self, rows: list[list[int]], weights: Tensor) -> Outcome:
        """Soft tokens of ``rows`` and the gradient of (soft * weights).sum() in the token embeddings."""
        table = input_embeddings(self.model).weight
        soft = self.generate(*pad_left(rows, device=self.device))
        return soft.detach(), torch.autograd.grad((soft * weights).sum(), table)[0]


def collapse(soft: Tensor) -> float:
    """Variance of soft tokens (B, k, d) across texts over their mean square: near 0, they ignore the text."""
    soft = soft.detach().float()
    return float(soft.var(dim=0, unbiased=False).mean() / soft.square().mean().clamp(min=1e-30))
