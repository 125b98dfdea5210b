"""The LoRA baseline is the real thing: the same losses as a plain `peft` and torch loop written here."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.run_parts import trial
from helpers.tiny import Tiny
from peft import LoraConfig, TaskType, get_peft_model
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from transferkit.config.sections import LoraSection
from transferkit.data.examples import Batch
from transferkit.prompting.adapters import add_lora

R, ALPHA, LR, TEMPERATURE, CLIP, STEPS = 4, 8.0, 3e-3, 0.05, 1.0, 6


def plain_vectors(model: Any, tokenizer: Any, texts: list[str]) -> Tensor:
    """Mean of the last hidden states over the text, each text alone: no padding, BOS read but not averaged."""
    vectors = []
    for text in texts:
        ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"][:24]]
        vectors.append(model(input_ids=torch.tensor([ids])).last_hidden_state[0, 1:].mean(0))
    return torch.nn.functional.normalize(torch.stack(vectors), dim=-1)


def plain_loss(anchors: Tensor, positives: Tensor, batch: Batch) -> Tensor:
    """InfoNCE in both directions, one row at a time; what is no true negative is left out."""
    b, similarity = len(anchors), anchors @ positives.T / TEMPERATURE
    labels = None if batch.labels is None else batch.labels.tolist()
    losses = []
    for texts, partners, scores in (
        (batch.anchors, batch.positives, similarity),
        (batch.positives, batch.anchors, similarity.T),
    ):
        for i in range(b):
            mine = {partners[j] for j in range(b) if texts[j] == texts[i]} | {texts[i]}
            kept = [
                j
                for j in range(b)
                if j == i or not (partners[j] in mine or (labels is not None and labels[j] == labels[i]))
            ]
            losses.append(torch.logsumexp(scores[i, kept], 0) - scores[i, i])
    return torch.stack(losses).mean()


def test_a_kernel_for_four_bits_that_is_missing_is_not_reported(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    logger.filters.clear()  # of what ran before in this process
    add_lora(AutoModel.from_pretrained(os.fspath(tiny.target)), LoraSection(), seed=1)
    caplog.clear()
    logger.warning("Failed to load CPU gemm_4bit_forward from kernels-community: %s. Please", "no kernels")
    logger.warning("something else")
    assert caplog.messages == ["something else"]


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")  # peft calls names that transformers renamed
@pytest.mark.parametrize("clip", [CLIP, None])
def test_same_losses_as_a_plain_loop(tiny: Tiny, tmp_path: Path, clip: float | None) -> None:
    recipe = tiny.recipe(
        "baseline",
        method="lora",
        lora={"r": R, "alpha": ALPHA},
        readout={"kind": "none"},
        embedding={"template": "{text}", "pooling": "mean"},
        optim={"steps": STEPS, "lr": LR, "clip_norm": clip},
        eval={"every": 99},
    )
    one = trial(tiny, recipe)
    one.fit(tmp_path / "run")

    model = AutoModel.from_pretrained(os.fspath(tiny.target)).eval()
    tokenizer = AutoTokenizer.from_pretrained(os.fspath(tiny.target))
    torch.manual_seed(recipe.seed)
    config = LoraConfig(r=R, lora_alpha=ALPHA, target_modules="all-linear", task_type=TaskType.FEATURE_EXTRACTION)
    model = get_peft_model(model, config).eval()
    learned = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in learned) == sum(p.numel() for p in one.embedder.trainable()["model"])
    optimizer = torch.optim.AdamW(learned, lr=LR, weight_decay=0.0)
    losses, clipped = [], 0
    for step in range(STEPS):
        batch = one.data.batch(step)
        vectors = plain_vectors(model, tokenizer, batch.anchors + batch.positives)
        loss = plain_loss(vectors[: len(batch)], vectors[len(batch) :], batch)
        optimizer.zero_grad()
        loss.backward()
        if clip is not None:
            clipped += bool(torch.nn.utils.clip_grad_norm_(learned, clip) > clip)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] != pytest.approx(losses[0], rel=1e-3)
    assert clip is None or clipped > 0  # the premise: clipping had something to do
    assert one.progress.losses == pytest.approx(losses, rel=1e-5)
