"""A Prompting LLM in bfloat16: its products run in it, its weights stay fp32, and rounding is all that differs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.parts import TEXTS, load_prompting, relative, source_checkpoint
from helpers.products import Products
from helpers.tiny import Tiny
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen3 import modeling_qwen3
from zoo import FAMILIES, save

from transferkit.config.sections import LoraSection
from transferkit.errors import ConfigError
from transferkit.prompting.llm import PromptingLLM
from transferkit.prompting.saved import open_source, open_writer

PROMPTS = [text for text in TEXTS if text]
USABLE = sorted(name for name, family in FAMILIES.items() if family.expected != "refused")
# What a decoder of the zoo says to bfloat16 as a Prompting LLM.
NOT_IN_BFLOAT16 = {"dbrx": "off by inf"}  # its experts add what autocast rounded to what it did not


def gradients(prompting: PromptingLLM) -> tuple[Tensor, dict[str, Tensor]]:
    """Soft tokens, and the gradient of every weight that learns."""
    prompting.zero_grad()
    soft = prompting(PROMPTS)
    (soft * torch.randn(soft.shape, generator=torch.Generator().manual_seed(0))).sum().backward()
    return soft, {name: p.grad for name, p in prompting.named_parameters() if p.grad is not None}


def test_products_run_in_bfloat16_and_weights_and_their_gradients_are_fp32(tiny: Tiny) -> None:
    exact, fast = (load_prompting(tiny.prompting, precision=one) for one in ("float32", "bfloat16"))
    truth, exact_gradients = gradients(exact)
    with Products() as products:
        soft, fast_gradients = gradients(fast)
    relaxations = fast.tokens  # the weighted sum of token embeddings is fp32, forward, and two products backward
    assert products.found["float32"] == 3 * relaxations
    assert products.found["bfloat16"] > 10 * products.found["float32"]
    assert {p.dtype for p in fast.parameters()} == {torch.float32}
    assert soft.dtype == torch.float32
    assert {gradient.dtype for gradient in fast_gradients.values()} == {torch.float32}
    assert 1e-4 < relative(soft, truth) < 0.02
    whole = [torch.cat([one[name].flatten() for name in exact_gradients]) for one in (fast_gradients, exact_gradients)]
    assert relative(*whole) < 0.05


def test_in_float32_nothing_runs_in_bfloat16(tiny: Tiny) -> None:
    with Products() as products:
        gradients(load_prompting(tiny.prompting))
    assert products.found["float32"] > 100
    assert products.found.keys() == {"float32"}


def test_weights_that_are_frozen_are_kept_as_autocast_rounds_them(tiny: Tiny) -> None:
    """To the last bit: a checkpoint writes what was written in training."""
    prompting = load_prompting(tiny.prompting, precision="bfloat16")
    embeddings = prompting.model.get_input_embeddings().weight.detach().clone()
    before = prompting(PROMPTS).detach()
    prompting.freeze()
    dtypes = {name: p.dtype for name, p in prompting.model.named_parameters()}
    assert all(dtype == torch.bfloat16 for name, dtype in dtypes.items() if "_proj" in name)
    assert sum(dtype == torch.bfloat16 for dtype in dtypes.values()) >= 14
    assert all(dtype == torch.float32 for name, dtype in dtypes.items() if "norm" in name or "embed" in name)
    assert torch.equal(prompting.model.get_input_embeddings().weight, embeddings)
    assert torch.equal(prompting(PROMPTS), before)
    exact = load_prompting(tiny.prompting)
    exact.freeze()
    assert {p.dtype for p in exact.parameters()} == {torch.float32}


def test_adapters_learn_in_fp32_beside_rounded_weights(tiny: Tiny) -> None:
    exact, fast = (load_prompting(tiny.prompting, precision=one) for one in ("float32", "bfloat16"))
    for prompting in (exact, fast):
        prompting.add_lora(LoraSection(r=4), seed=1)
        for name, parameter in prompting.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(3))
    truth, exact_gradients = gradients(exact)
    with Products() as products:
        soft, fast_gradients = gradients(fast)
    assert products.found["float32"] == 2 * fast.tokens  # the token embeddings do not learn
    assert products.found["bfloat16"] > 100
    learned = {name: p for name, p in fast.named_parameters() if p.requires_grad}
    assert {p.dtype for p in learned.values()} == {torch.float32}
    assert all("lora_" in name for name in learned)
    assert fast_gradients.keys() == exact_gradients.keys() == learned.keys()
    assert 1e-4 < relative(soft, truth) < 0.02
    whole = [torch.cat([one[name].flatten() for name in exact_gradients]) for one in (fast_gradients, exact_gradients)]
    assert relative(*whole) < 0.1


def test_what_an_adapter_adds_is_not_rounded_away(tiny: Tiny) -> None:
    """Merged in bfloat16, a change of a thousandth of a weight would mostly be lost."""
    prompting = load_prompting(tiny.prompting, precision="bfloat16")
    base = {name: p.detach().bfloat16().float() for name, p in prompting.model.named_parameters()}
    prompting.add_lora(LoraSection(r=4, alpha=4.0), seed=1)
    for name, parameter in prompting.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.01, generator=torch.Generator().manual_seed(3))
    merged = prompting.merged_model()
    assert {p.dtype for p in merged.parameters()} == {torch.float32}
    (layer,) = [one for name, one in prompting.named_modules() if name.endswith("layers.1.mlp.down_proj")]
    added: Any = layer.lora_B["default"].weight @ layer.lora_A["default"].weight  # type: ignore[index, union-attr]
    name = "model.layers.1.mlp.down_proj.weight"
    assert float(added.abs().max()) < 0.01 * float(base[name].abs().max())  # the premise: it is small
    assert relative(merged.state_dict()[name] - base[name], added) < 1e-2


@pytest.mark.parametrize("name", USABLE)
def test_every_family_writes_in_bfloat16(name: str, tmp_path: Path) -> None:
    save(FAMILIES[name], tmp_path)
    if (reason := NOT_IN_BFLOAT16.get(name)) is not None:
        with pytest.raises(ConfigError, match=rf"cannot be a Prompting LLM in bfloat16: .*{reason}.*float32$"):
            PromptingLLM.load(str(tmp_path), tokens=3, precision="bfloat16")
        return
    fast = PromptingLLM.load(str(tmp_path), tokens=3, precision="bfloat16")
    with torch.no_grad():
        soft = fast(PROMPTS)
        fast.precision = "float32"
        truth = fast(PROMPTS)
    assert fast.model.config.get_text_config()._attn_implementation in ("sdpa", "eager")
    # Random weights three times too large round a lot; plain products, which round this one's scores, are off by 1.2.
    assert 0 < relative(soft, truth) < (0.4 if name == "minicpm3" else 0.2)
    assert name != "minicpm3" or not fast.short_attention


def test_a_wrong_mask_is_found(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    run = PromptingLLM._run

    def attends_to_padding(self: PromptingLLM, embeds: Tensor, ids: Tensor, mask: Tensor, cache: Any) -> Any:
        return run(self, embeds, ids, torch.ones_like(mask), cache)

    monkeypatch.setattr(PromptingLLM, "_run", attends_to_padding)
    with pytest.raises(ConfigError, match="its batches differ from single prompts"):
        load_prompting(tiny.prompting, precision="bfloat16")


def test_what_goes_wrong_in_bfloat16_alone_is_found(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that reads other embeddings than single prompts do. A norm comes first, so another size would be none."""
    run = PromptingLLM._run

    def worse(self: PromptingLLM, embeds: Tensor, ids: Tensor, mask: Tensor, cache: Any) -> Any:
        wrong = self.precision == "bfloat16" and len(ids) > 1
        return run(self, embeds.flip(-1) if wrong else embeds, ids, mask, cache)

    monkeypatch.setattr(PromptingLLM, "_run", worse)
    assert load_prompting(tiny.prompting).precision == "float32"
    with pytest.raises(ConfigError, match="its batches differ from single prompts"):
        load_prompting(tiny.prompting, precision="bfloat16")


def test_wrong_attention_over_long_prompts_is_found(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 short prompts attend in another way; here fused attention, in that precision alone, reads padding."""
    real = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def broken(module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Any, **options: Any) -> Any:
        if torch.is_autocast_enabled("cpu"):
            later = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
            mask, options = later[None, None], {**options, "is_causal": False}
        return real(module, q, k, v, mask, **options)

    assert load_prompting(tiny.prompting, precision="bfloat16").short_attention
    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "sdpa", broken)
    assert load_prompting(tiny.prompting).precision == "float32"
    with pytest.raises(ConfigError, match="its batches differ from single prompts"):
        load_prompting(tiny.prompting, precision="bfloat16")


def test_attention_over_short_prompts_that_is_not_exact_is_not_used(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = modeling_qwen3.eager_attention_forward

    def coarse(*args: Any, **options: Any) -> Any:
        out, weights = plain(*args, **options)
        return out + 0.5 * out.flip(1), weights

    monkeypatch.setattr(modeling_qwen3, "eager_attention_forward", coarse)
    fast, exact = (load_prompting(tiny.prompting, precision=one) for one in ("bfloat16", "float32"))
    assert not fast.short_attention
    assert relative(fast(PROMPTS), exact(PROMPTS)) < 0.02


def test_a_checkpoint_says_in_which_precision_it_writes(tiny: Tiny, tmp_path: Path) -> None:
    source = open_source(source_checkpoint(tiny, tmp_path / "source"))
    own = source.description["prompting"]
    assert own["precision"] == "float32"
    old = {key: value for key, value in own.items() if key != "precision"}
    for settings, expected in ((own, "float32"), (own | {"precision": "bfloat16"}, "bfloat16"), (old, "float32")):
        writer = open_writer(source.folder, settings, torch.device("cpu"))
        assert writer.prompting.precision == expected
        assert not any(p.requires_grad for p in writer.parameters())
