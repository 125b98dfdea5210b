"""The Prompting LLM: a small decoder that writes k soft tokens, every step differentiable (PromptEmbedder, section 3).

At each step the next-token distribution softmax(logits / tau) weights the model's own token embeddings; the weighted
sum is the soft token and the next input. Lower tau is closer to hard decoding and harder to train.
"""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from transferkit.config.sections import LoraSection, Relaxation
from transferkit.decoder.cache import fork
from transferkit.decoder.loading import input_embeddings, load_causal_lm, load_tokenizer
from transferkit.decoder.passes import per_layer_inputs
from transferkit.decoder.pooling import mean
from transferkit.decoder.tokens import TextEncoder, pad_left, positions
from transferkit.errors import ConfigError
from transferkit.prompting.adapters import add_lora


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
        self.use_cache = True
        self.peft: nn.Module | None = None
        self._takes_position_ids = "position_ids" in inspect.signature(model.forward).parameters

    @classmethod
    def load(
        cls, location: str, *, revision: str | None = None, device: torch.device | None = None, **options: Any
    ) -> "PromptingLLM":
        """Load the decoder at ``location`` in fp32; ``options`` as for the constructor.

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
        self.peft = add_lora(self.model, lora, seed=seed)

    def merged_model(self) -> PreTrainedModel:
        """A copy of the model with its adapters merged in, or the model itself where it has none."""
        if self.peft is None:
            return self.model
        merged: PreTrainedModel = copy.deepcopy(self.peft).merge_and_unload()  # type: ignore[operator]
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
        """Stays in eval mode: checkpointing and dropout do not go with a cache that carries gradients."""
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
        rows = self.encoder.texts(prompts, max_length=self.max_length)
        ids, mask = pad_left([self.encoder.bos + row or [self.encoder.filler] for row in rows], device=self.device)
        return self.generate(ids, mask)

    def generate(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Soft tokens (B, k, d_p) after left-padded ``ids`` (B, T) with ``mask`` (B, T)."""
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
        return weights @ table.float()

    def _choose_cache(self, location: str) -> None:
        """Keep the cached generation where it equals recomputation of single prompts; refuse where nothing does.

        Compared are the soft tokens and the gradient of the token embeddings, which every step contributes to.
        """
        generator = torch.Generator().manual_seed(0)
        lengths = (min(12, self.max_length), 5)  # the difference is padding
        rows = [torch.randint(0, self.encoder.vocabulary_rows, (n,), generator=generator).tolist() for n in lengths]
        weights = torch.randn(2, self.tokens, self.width, generator=generator).to(self.device)
        self.use_cache = False
        try:
            singles = [self._outcome(rows[i : i + 1], weights[i : i + 1]) for i in range(2)]
        except Exception as error:
            raise ConfigError(
                f"{location}: cannot be a Prompting LLM: it does not run on embeddings ({error})"
            ) from None
        truth = torch.cat([soft for soft, _ in singles]), singles[0][1] + singles[1][1]
        errors: dict[bool, float] = {}
        for use_cache in (True, False):
            self.use_cache = use_cache
            try:
                outcome = self._outcome(rows, weights)
            except Exception:
                errors[use_cache] = float("inf")
                continue
            errors[use_cache] = max(float((a - b).norm() / b.norm()) for a, b in zip(outcome, truth, strict=True))
        exact = [use_cache for use_cache in (True, False) if errors[use_cache] < 1e-4]
        if not exact:
            raise ConfigError(
                f"{location}: cannot be a Prompting LLM: its batches differ from single prompts by "
                f"{min(errors.values()):.2g} (relative); choose another decoder"
            )
        self.use_cache = exact[0]

    def _outcome(self, rows: list[list[int]], weights: Tensor) -> tuple[Tensor, Tensor]:
        """Soft tokens of ``rows`` and the gradient of (soft * weights).sum() in the token embeddings."""
        table = input_embeddings(self.model).weight
        soft = self.generate(*pad_left(rows, device=self.device))
        return soft.detach(), torch.autograd.grad((soft * weights).sum(), table)[0]


def collapse(soft: Tensor) -> float:
    """Variance of soft tokens (B, k, d) across texts over their mean square: near 0, they ignore the text."""
    soft = soft.detach().float()
    return float(soft.var(dim=0, unbiased=False).mean() / soft.square().mean().clamp(min=1e-30))
