"""Soft tokens against a plain loop over single prompts, greedy decoding, and full recomputation."""

from pathlib import Path

import pytest
import torch
from helpers.parts import TEXTS, load_prompting, relative
from helpers.tiny import Tiny
from torch import Tensor
from transformers import GenerationConfig
from zoo import FAMILIES, VOCABULARY_SIZE, save, tokenizer

from transferkit.config.sections import LoraSection, Relaxation
from transferkit.decoder.tokens import pad_left
from transferkit.errors import ConfigError
from transferkit.prompting.llm import PromptingLLM, collapse

PROMPTS = [text for text in TEXTS if text]
ENTRIES = len(tokenizer())


def saved(name: str, folder: Path) -> Path:
    return save(FAMILIES[name], folder)


def ids_of(prompting: PromptingLLM, prompt: str) -> list[int]:
    return prompting.encoder.bos + prompting.encoder.literal(prompt)


def by_hand(prompting: PromptingLLM, prompt: str) -> Tensor:
    """Soft tokens (k, d_p) of one prompt: no padding, no cache, the model called with embeddings alone."""
    model, embedding = prompting.model, prompting.model.get_input_embeddings()
    table = embedding(torch.arange(ENTRIES))
    inputs = embedding(torch.tensor([ids_of(prompting, prompt)]))
    written = []
    for _ in range(prompting.tokens):
        logits = model(inputs_embeds=inputs, use_cache=False).logits[0, -1, :ENTRIES]
        written.append(torch.softmax(logits / prompting.tau, 0) @ table)
        inputs = torch.cat([inputs, written[-1][None, None]], dim=1)
    return torch.stack(written)


@pytest.mark.parametrize("name", ["qwen3", "gpt2", "gemma", "mistral-window", "bloom"])
def test_equals_single_prompts_without_cache(name: str, tmp_path: Path) -> None:
    prompting = load_prompting(saved(name, tmp_path))
    soft = prompting(PROMPTS)
    for i, prompt in enumerate(PROMPTS):
        assert relative(soft[i], by_hand(prompting, prompt)) < 1e-5


def test_scaled_embeddings_are_mixed_as_the_module_outputs_them(tmp_path: Path) -> None:
    prompting = load_prompting(saved("gemma", tmp_path), tau=1e6)  # so warm that every token weighs the same
    weight = prompting.model.get_input_embeddings().weight[:ENTRIES]
    scale = prompting.width**0.5
    expected = (weight.mean(0) * scale).expand(len(PROMPTS), prompting.tokens, -1)
    assert relative(prompting(PROMPTS), expected) < 1e-2
    assert relative(prompting.token_table(), weight * scale) < 1e-5


@pytest.mark.parametrize("name", ["qwen3", "gpt_neox"])
def test_cold_relaxation_is_greedy_decoding(name: str, tmp_path: Path) -> None:
    prompting = load_prompting(saved(name, tmp_path), tokens=6, tau=1e-4)
    ids, mask = pad_left([ids_of(prompting, prompt) for prompt in PROMPTS], device=torch.device("cpu"))
    beyond = list(range(ENTRIES, VOCABULARY_SIZE))
    config = GenerationConfig(do_sample=False, max_new_tokens=6, pad_token_id=2, suppress_tokens=beyond)
    prompting.model.generation_config = GenerationConfig()  # no EOS: every prompt gets six tokens
    decoded = prompting.model.generate(ids, attention_mask=mask.long(), generation_config=config)
    rows = prompting.model.get_input_embeddings()(decoded[:, ids.shape[1] :])
    assert len(decoded[:, ids.shape[1] :].unique()) > 3  # the premise: it does not repeat one token
    torch.testing.assert_close(prompting(PROMPTS), rows, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("relaxation", ["vocabulary", "straight_through", "none"])
@pytest.mark.parametrize("name", ["qwen3", "gpt2", "gemma3-window"])
def test_cached_generation_equals_recomputation(name: str, relaxation: Relaxation, tmp_path: Path) -> None:
    prompting = load_prompting(saved(name, tmp_path), relaxation=relaxation)
    assert prompting.use_cache
    outcomes = []
    for use_cache in (True, False):
        prompting.use_cache = use_cache
        prompting.zero_grad()
        soft = prompting(PROMPTS)
        weights = torch.randn(soft.shape, generator=torch.Generator().manual_seed(0))
        (soft * weights).sum().backward()
        outcomes.append((soft, {n: p.grad for n, p in prompting.named_parameters() if p.grad is not None}))
    (cached, cached_gradients), (full, full_gradients) = outcomes
    assert relative(cached, full) < 1e-5
    assert cached_gradients.keys() == full_gradients.keys()
    assert len(full_gradients) > 10
    whole = torch.cat([gradient.flatten() for gradient in full_gradients.values()]).norm()
    for parameter, gradient in full_gradients.items():
        # Relative to itself, but not below the rounding of the whole gradient: some biases have none at all.
        error = (cached_gradients[parameter] - gradient).norm()
        assert float(error) < 1e-5 * float(gradient.norm() + 1e-2 * whole), parameter


def test_straight_through_is_hard_forward_and_the_mixture_backward(tiny: Tiny) -> None:
    gradients: list[dict[str, Tensor]] = []
    for relaxation in ("vocabulary", "straight_through"):
        prompting = load_prompting(tiny.prompting, relaxation=relaxation, tokens=1, tau=2.0)
        soft = prompting(PROMPTS)
        if relaxation == "straight_through":
            distances = (soft - prompting.token_table()).norm(dim=-1)  # (B, 1, d) against (V, d)
            assert (distances.min(1).values < 1e-5).all()
            cold = load_prompting(tiny.prompting, tokens=1, tau=1e-4)
            torch.testing.assert_close(soft, cold(PROMPTS), rtol=1e-4, atol=1e-5)
        weights = torch.randn(soft.shape, generator=torch.Generator().manual_seed(0))
        (soft * weights).sum().backward()
        gradients.append({n: p.grad for n, p in prompting.model.named_parameters() if p.grad is not None})
    mixture, hard = gradients
    compared = [name for name in mixture if "embed_tokens" not in name]  # it receives the hard choice itself
    assert len(compared) > 10
    for name in compared:
        assert relative(hard[name], mixture[name]) < 1e-5, name


def test_no_relaxation_hands_over_hidden_states(tiny: Tiny) -> None:
    prompting = load_prompting(tiny.prompting, relaxation="none")
    soft = prompting(PROMPTS)
    assert prompting.width == soft.shape[-1] == prompting.model.config.hidden_size
    trunk, embedding = prompting.model.get_decoder(), prompting.model.get_input_embeddings()
    for i, prompt in enumerate(PROMPTS):
        inputs = embedding(torch.tensor([ids_of(prompting, prompt)]))
        for step in range(prompting.tokens):
            state = trunk(inputs_embeds=inputs, use_cache=False).last_hidden_state[:, -1:]
            assert relative(soft[i, step], state[0, 0]) < 1e-5
            inputs = torch.cat([inputs, state], dim=1)


def test_static_is_the_mean_token_embedding(tiny: Tiny) -> None:
    prompting = load_prompting(tiny.prompting)
    tokenizer, table = prompting.encoder.tokenizer, prompting.token_table().detach().double()
    texts = [text for text in TEXTS if text]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert relative(prompting.mean_token_embeddings(texts), torch.stack([table[row].mean(0) for row in ids])) < 1e-6
    torch.testing.assert_close(prompting.mean_token_embeddings([""])[0].double(), table[prompting.encoder.filler])


def test_rows_beyond_the_tokenizer_get_no_weight(tiny: Tiny) -> None:
    prompting = load_prompting(tiny.prompting)
    assert prompting.encoder.vocabulary_rows == ENTRIES < VOCABULARY_SIZE
    before = prompting(PROMPTS).detach()
    for module in (prompting.model.get_input_embeddings(), prompting.model.get_output_embeddings()):
        module.weight.data[ENTRIES:] = 50.0
    assert relative(prompting(PROMPTS), before) < 1e-6


def test_collapse_figure() -> None:
    same = torch.randn(1, 3, 4).expand(6, -1, -1)
    assert collapse(same) == pytest.approx(0, abs=1e-9)
    opposite = torch.stack([torch.ones(3, 4), -torch.ones(3, 4)])  # mean zero: all of it is variance
    assert collapse(opposite) == pytest.approx(1)
    shifted = torch.stack([torch.full((3, 4), 3.0), torch.full((3, 4), 1.0)])  # variance 1, mean square 5
    assert collapse(shifted) == pytest.approx(0.2)
    assert collapse(torch.zeros(2, 3, 4)) == 0


def test_the_tiny_model_does_not_collapse_and_a_deaf_one_does(tiny: Tiny) -> None:
    prompting = load_prompting(tiny.prompting)
    assert collapse(prompting(PROMPTS)) > 1e-3
    prompting.tau = 1e6
    assert collapse(prompting(PROMPTS)) < 1e-6


def test_lora_learns_adapters_alone_and_merges_into_equal_weights(tiny: Tiny) -> None:
    prompting = load_prompting(tiny.prompting)
    before = prompting(PROMPTS).detach()
    prompting.add_lora(LoraSection(r=4), seed=1)
    assert relative(prompting(PROMPTS), before) < 1e-6  # adapters start at nothing
    learned = {name: p for name, p in prompting.named_parameters() if p.requires_grad}
    assert learned
    assert all("lora_" in name for name in learned)
    for parameter in learned.values():
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(3))
    with_adapters = prompting(PROMPTS)
    assert relative(with_adapters, before) > 1e-2
    merged = prompting.merged_model()
    assert not [name for name, _ in merged.named_parameters() if "lora" in name]
    plain = PromptingLLM(merged, prompting.encoder, tokens=3)
    assert relative(plain(PROMPTS), with_adapters) < 1e-5
    assert relative(prompting(PROMPTS), with_adapters) < 1e-7  # merging left the original alone


def test_stays_in_eval_mode(tiny: Tiny) -> None:
    prompting = load_prompting(tiny.prompting)
    assert not any(module.training for module in prompting.train().modules())


def test_more_soft_tokens_than_the_context_are_refused(tiny: Tiny) -> None:
    with pytest.raises(ConfigError, match="57 soft tokens do not fit a context of 64 positions"):
        load_prompting(tiny.prompting, tokens=57)


def test_as_many_soft_tokens_as_the_context_holds(tmp_path: Path) -> None:
    """Learned positions fail beyond the context, rotary ones would not show it."""
    prompting = load_prompting(saved("gpt2", tmp_path), tokens=56)
    assert torch.isfinite(prompting([" the cat" * 100])).all()


def test_decoder_without_exact_batches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be a Prompting LLM"):
        load_prompting(saved("rwkv", tmp_path))


def test_a_decoder_that_takes_no_embeddings_is_refused(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("forward() got an unexpected keyword argument")

    monkeypatch.setattr(PromptingLLM, "_single", refuse)
    with pytest.raises(ConfigError, match=r"cannot be a Prompting LLM: it does not run on embeddings \(forward"):
        load_prompting(tiny.prompting)
