"""Pretrain one small decoder with a vocabulary of its own, on one thread, from parquet text.

    python benchmarks/pretrain.py benchmarks/pretrain/NAME.yaml --corpus DIR --work DIR

Run the same command again after a kill: it goes on from the last checkpoint and ends with the same weights,
bit for bit. ``train.steps`` and ``train.cooldown_steps`` may be changed between two starts, as long as the
cool-down has not begun.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from muon import Muon
from pretrain_export import bits_per_byte, export, write_folder
from pretrain_recipe import PretrainRecipe, TrainConfig, training_windows
from pretrain_text import heldout_windows, prepare
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM, PreTrainedModel

from transferkit.config.schema import parse, read_yaml
from transferkit.errors import ConfigError, TransferkitError, did_you_mean
from transferkit.files.json import write_text


def build_model(recipe: PretrainRecipe) -> PreTrainedModel:
    """The untrained decoder in float32, its weights drawn from the seed."""
    settings = dict(recipe.model)
    family = settings.pop("model_type", None)
    try:
        config = AutoConfig.for_model(family, **settings, vocab_size=recipe.text.vocab_size)
    except ValueError:
        hint = did_you_mean(str(family), CONFIG_MAPPING)
        raise ConfigError(f"model.model_type: unknown model type {family!r}{hint}") from None
    ids = {token: number for number, token in enumerate(recipe.text.special_tokens)}
    config.bos_token_id = None if recipe.text.bos is None else ids[recipe.text.bos]
    config.eos_token_id, config.pad_token_id = ids[recipe.text.eos], ids[recipe.text.pad]
    torch.manual_seed(recipe.seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model


def build_optimizers(model: PreTrainedModel, train: TrainConfig) -> list[torch.optim.Optimizer]:
    """Optimizers of the matrices and of the rest (embeddings, norms, biases), at full learning rates."""
    embeddings = {id(p) for m in model.modules() if isinstance(m, torch.nn.Embedding) for p in m.parameters()}
    matrices = [p for p in model.parameters() if p.ndim == 2 and id(p) not in embeddings]
    rest = [p for p in model.parameters() if p.ndim != 2 or id(p) in embeddings]
    matrix_group = {"params": matrices, "lr": train.matrix_lr, "weight_decay": train.weight_decay}
    rest_group = {"params": rest, "lr": train.lr, "weight_decay": 0.0}
    if train.optimizer == "adamw":
        return [torch.optim.AdamW([matrix_group, rest_group], betas=(0.9, 0.95), fused=True)]
    muon = Muon(matrices, lr=train.matrix_lr, weight_decay=train.weight_decay)
    return [muon, torch.optim.AdamW([rest_group], betas=(0.9, 0.95), fused=True)]


def training_loss(model: PreTrainedModel, inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean next-token cross entropy in nats of windows (n, context)."""
    logits = model(input_ids=inputs, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def _optimizer_tensors(model: PreTrainedModel, optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"optimizer/{names[id(parameter)]}/{key}": value
        for optimizer in optimizers
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def save_checkpoint(
    path: Path, model: PreTrainedModel, optimizers: list[torch.optim.Optimizer], state: dict[str, Any]
) -> None:
    """Write weights, optimizer state and ``state`` as one file, beside its place, then rename it."""
    tensors = {f"model/{name}": parameter.detach() for name, parameter in model.named_parameters()}
    tensors |= _optimizer_tensors(model, optimizers)
    beside = path.with_name(path.name + ".part")
    save_file(tensors, beside, metadata={"state": json.dumps(state)})
    with beside.open("rb") as written:
        os.fsync(written.fileno())
    beside.replace(path)


def load_checkpoint(path: Path, model: PreTrainedModel, optimizers: list[torch.optim.Optimizer]) -> dict[str, Any]:
    """Fill the model and the optimizers from a checkpoint and give back its ``state``."""
    owner = {id(p): optimizer for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]}
    parameters = dict(model.named_parameters())
    with safe_open(path, framework="pt") as stored:
        state: dict[str, Any] = json.loads(stored.metadata()["state"])
        for key in sorted(stored.keys()):
            kind, name = key.split("/", 1)
            if kind == "model":
                parameters[name].data.copy_(stored.get_tensor(key))
            else:
                name, entry = name.rsplit("/", 1)
                owner[id(parameters[name])].state[parameters[name]][entry] = stored.get_tensor(key)
    return state


def identity(recipe: PretrainRecipe) -> str:
    """Hash of what may not change between two starts of a run."""
    free = {"train": {"steps", "cooldown_steps", "compile", "log_every", "heldout_every", "checkpoint_every"}}
    kept = recipe.model_dump(exclude={**free, "prompts": True})
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _resume(
    work: Path, recipe: PretrainRecipe, model: PreTrainedModel, optimizers: list[torch.optim.Optimizer]
) -> dict[str, Any]:
    """State to go on from; rows of the log that lie past it are dropped."""
    checkpoint, log = work / "checkpoint.safetensors", work / "log.jsonl"
    state: dict[str, Any] = {"step": 0, "train_seconds": 0.0, "identity": identity(recipe)}
    if checkpoint.is_file():
        state = load_checkpoint(checkpoint, model, optimizers)
        if state["identity"] != identity(recipe):
            raise ConfigError(f"--work: {checkpoint} was written for another recipe; name another folder")
    rows = log.read_text().splitlines() if log.is_file() else []
    kept = [row for row in rows if row.endswith("}") and json.loads(row)["step"] <= state["step"]]
    write_text(log, "".join(f"{row}\n" for row in kept))
    return state


def _train_step(
    loss: Tensor, model: PreTrainedModel, optimizers: list[torch.optim.Optimizer], clip_norm: float
) -> float:
    """Update the weights and give back the loss as a number."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def train(recipe: PretrainRecipe, work: Path, *, stop_after: int | None = None) -> PreTrainedModel:
    """Train to the end, from the last checkpoint where there is one.

    Args:
        recipe: What to train.
        work: Folder that ``prepare`` filled; gets ``checkpoint.safetensors`` and ``log.jsonl``.
        stop_after: Return after so many steps, without a checkpoint, as if killed there.
    """
    config, text = recipe.train, recipe.text
    model = build_model(recipe).train()
    write_folder(model, work, work / "untrained", text=text)  # refuses now what would not reload at the end
    optimizers = build_optimizers(model, config)
    full = [(group, group["lr"]) for optimizer in optimizers for group in optimizer.param_groups]
    windows = training_windows(recipe, work)
    heldout, heldout_bytes = heldout_windows(work, text=text, everything=False)
    state = _resume(work, recipe, model, optimizers)
    loss_of = torch.compile(training_loss, dynamic=False) if config.compile else training_loss
    losses: list[float] = []
    started = time.perf_counter()
    for step in range(state["step"], min(config.steps, stop_after or config.steps)):
        for group, lr in full:
            group["lr"] = lr * config.lr_factor(step)
        torch.manual_seed(recipe.seed + step)  # dropout, where a family has it, then depends on the step alone
        inputs, targets = (torch.from_numpy(array) for array in windows.batch(step))
        losses.append(_train_step(loss_of(model, inputs, targets), model, optimizers, config.clip_norm))
        done = step + 1
        last = done == config.steps
        if done % config.log_every == 0 or last:
            seconds = time.perf_counter() - started
            state["train_seconds"] += seconds
            row: dict[str, float] = {"step": done, "tokens": done * config.batch_size * text.context}
            row |= {"loss": sum(losses) / len(losses), "lr_factor": config.lr_factor(step)}
            row["tokens_per_second"] = len(losses) * config.batch_size * text.context / seconds
            row["train_seconds"] = state["train_seconds"]
            if done % config.heldout_every == 0 or last:
                row["heldout_bits_per_byte"] = bits_per_byte(model, heldout, byte_count=heldout_bytes)
            with (work / "log.jsonl").open("a") as log:
                log.write(json.dumps(row) + "\n")
            losses, started = [], time.perf_counter()
        if done % config.checkpoint_every == 0 or last:
            save_checkpoint(work / "checkpoint.safetensors", model, optimizers, state | {"step": done})
    return model


def main() -> int:
    """Parse the command line, train, write the model folder."""
    parser = argparse.ArgumentParser(description="Pretrain one small decoder from parquet text; resumes by itself.")
    parser.add_argument("recipe", type=Path, help="YAML file, as in benchmarks/pretrain/")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of parquet files with a column 'text'")
    parser.add_argument("--work", type=Path, required=True, help="folder for tokens, checkpoint, log and the model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        recipe = parse(PretrainRecipe, read_yaml(options.recipe), where=str(options.recipe))
        prepare(options.corpus, options.work, config=recipe.text, seed=recipe.seed)
        model = train(recipe, options.work)
        windows = training_windows(recipe, options.work)
        export(
            model,
            options.work,
            recipe_file=options.recipe,
            text=recipe.text,
            prompts=recipe.prompts,
            training=windows,
        )
    except TransferkitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
