"""The layers of a decoder, and whether a checkpoint's weights are those that its config describes."""

import re
from collections.abc import Iterable
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from transferkit.errors import ConfigError

# Masks, positions and frequencies that older versions of transformers saved with the weights, and computes today.
_COMPUTED = re.compile(
    r"(^|[._])(masked_bias|causal_mask|embed_positions|inv_freq|(cos|sin)_cached|(attn|attention)\.bias)$"
)
# What a layer behind the last one has that predicts further tokens; no other layer of a decoder has it.
_PREDICTS = re.compile(r"\.(eh_proj|enorm|hnorm|shared_head)\.")


def check_complete(model: PreTrainedModel, info: dict[str, Any], *, location: str) -> None:
    """Refuse a model that lacks weights, or in whose layers some of the checkpoint's find no place.

    Heads, towers and further stacks may be left over: who reads text as vectors has no use for them.

    Args:
        model: as it was loaded.
        info: its loading info, without what transformers leaves out on purpose.
        location: of the checkpoint.

    Raises:
        ConfigError: names the first of them.
    """
    if missing := sorted(info["missing_keys"]):
        raise ConfigError(
            f"{location}: the checkpoint lacks {len(missing)} weights of this architecture ({missing[0]}, ...); "
            "they would be random"
        )
    trunk = model.get_decoder() if hasattr(model, "get_decoder") else model
    if left := _left_over(model, trunk, info["unexpected_keys"]):
        raise ConfigError(
            f"{location}: {len(left)} weights of its decoder ({left[0]}, ...) have no place in the model that its "
            "config.json describes, which would read without them; restore both from one source, or take these out of "
            "the weights"
        )


def layer_stack(model: nn.Module) -> nn.ModuleList | None:
    """The layers of a decoder, first to last: its first list of modules."""
    return next((m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m)), None)


def _left_over(model: PreTrainedModel, trunk: nn.Module, unexpected: Iterable[str]) -> list[str]:
    """Names of weights inside the decoder's layers, or in another of its modules, that the model does not have."""
    modules = {name: module for name, module in model.named_modules() if name}
    stack = layer_stack(trunk)
    layers = next((name for name, module in modules.items() if module is stack), None)
    inside = {id(module) for module in trunk.modules()} - {id(trunk)}
    found: dict[str, list[str]] = {}  # layer, or "" for other modules -> keys
    for key in unexpected:
        # A model without its head bears the names that stand behind that prefix in a checkpoint.
        name = key.removeprefix(f"{model.base_model_prefix}.")
        below = name.removeprefix(f"{layers}.")
        if layers is not None and below != name:
            found.setdefault(below.partition(".")[0], []).append(key)
        elif id(modules.get(name.rpartition(".")[0])) in inside:
            found.setdefault("", []).append(key)
    kept = [keys for keys in found.values() if not any(_PREDICTS.search(key) for key in keys)]
    return sorted(key for keys in kept for key in keys if not _COMPUTED.search(key))
