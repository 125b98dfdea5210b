"""What a YAML file of ``benchmarks/pretrain/`` holds, and the training windows that follow from it."""

from pathlib import Path
from typing import Any, Literal

from pretrain_text import TextConfig, Windows

from transferkit.config.schema import Strict


class TrainConfig(Strict):
    """How the weights are learned.

    Attributes:
        steps: Optimizer steps.
        batch_size: Windows a step.
        warmup_steps: The learning rates rise linearly from 0.
        cooldown_steps: The last steps, in which they fall linearly to 0; constant in between.
        optimizer: ``muon`` for the matrices and AdamW for the rest, or ``adamw`` for everything.
        lr: AdamW's learning rate.
        matrix_lr: Learning rate of the matrices, whichever optimizer they have.
        weight_decay: Of the matrices, times their learning rate.
        clip_norm: Largest norm of all gradients together.
        compile: Fuse the loss with ``torch.compile`` (needs a C++ compiler): minutes at the start,
            then about 1.8 times the speed.
        log_every: Steps between rows of ``log.jsonl``.
        heldout_every: Steps between measurements on held-out text.
        checkpoint_every: Steps between checkpoints.
    """

    steps: int
    batch_size: int
    warmup_steps: int
    cooldown_steps: int
    optimizer: Literal["muon", "adamw"]
    lr: float
    matrix_lr: float
    weight_decay: float
    clip_norm: float
    compile: bool
    log_every: int
    heldout_every: int
    checkpoint_every: int

    def lr_factor(self, step: int) -> float:
        """Share of the full learning rate at a step counted from 0."""
        return min(1.0, (step + 1) / max(1, self.warmup_steps), (self.steps - step) / max(1, self.cooldown_steps))


class PretrainRecipe(Strict):
    """One YAML file of ``benchmarks/pretrain/``; ``model`` has the family's own configuration keys."""

    seed: int
    model: dict[str, Any]
    text: TextConfig
    train: TrainConfig
    prompts: list[str]


def training_windows(recipe: PretrainRecipe, work: Path) -> Windows:
    """Every window of every step, from a folder that ``prepare`` filled."""
    config = recipe.train
    return Windows(work, config=recipe.text, steps=config.steps, batch_size=config.batch_size, seed=recipe.seed)
