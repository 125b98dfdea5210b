"""The layers of a decoder, and whether a checkpoint's weights are those that its config describes."""

import re
from collections.abc import Iterable
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from transferkit.errors import ConfigError

# Masks and frequencies that older versions of transformers saved with the weights, and computes today.
_COMPUTED = re.compile(r"(masked_bias|inv_freq|attn\.bias|attention\.bias)$")


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
    if left := _left_over(model, info["unexpected_keys"]):
        raise ConfigError(
            f"{location}: {len(left)} weights of its layers ({left[0]}, ...) have no place in the model that its "
            "config.json describes, which would read without them; restore both from one source"
        )


def layer_stack(model: nn.Module) -> nn.ModuleList | None:
    """The layers of a decoder, first to last: its first list of modules."""
    return next((module for _, module in _lists(model)), None)


def _lists(model: nn.Module) -> Iterable[tuple[str, nn.ModuleList]]:
    return ((name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m))


def _left_over(model: PreTrainedModel, unexpected: Iterable[str]) -> list[str]:
    """Names of weights inside the decoder's layers that the model does not have."""
    trunk: nn.Module = model.get_decoder() if hasattr(model, "get_decoder") else model
    stack = layer_stack(trunk)
    name = next((name for name, module in _lists(model) if module is stack), None)
    if stack is None or name is None:
        return []
    # A model without its head bears the names that stand behind that prefix in a checkpoint.
    prefix = model.base_model_prefix
    inside = re.compile(rf"(?:{re.escape(prefix)}\.)?{re.escape(name)}\.(\d+)\.")
    # Layers that predict further tokens stand behind the last one, and only some families name them.
    further = getattr(model.config.get_text_config(), "num_nextn_predict_layers", None) or 0
    predicting = range(len(stack), len(stack) + further)
    found = ((key, inside.match(key)) for key in unexpected if not _COMPUTED.search(key))
    return sorted(key for key, match in found if match and int(match[1]) not in predicting)
