"""LoRA through `peft`: the baseline has to be the real thing."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn

from transferkit.config.sections import LoraSection
from transferkit.errors import ConfigError
from transferkit.progress import drop_kernel_message


def add_lora(model: nn.Module, lora: LoraSection, *, seed: int, autocast: bool = False) -> nn.Module:
    """Put LoRA on every linear layer of ``model``, in place, its own weights frozen; returns `peft`'s wrapper.

    Adapter weights are fp32 whatever the model's dtype, and drawn from ``seed``. With ``autocast`` every pass is to run
    under it, which rounds them for each product; `peft` would raise their inputs to fp32 before that, and now does not.

    Raises:
        ConfigError: `peft` refuses this architecture.
    """
    drop_kernel_message()
    from peft import LoraConfig, TaskType, get_peft_model  # four seconds that other methods need not pay
    from peft.tuners.tuners_utils import BaseTunerLayer

    torch.manual_seed(seed)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # the stub says int, the code divides
        lora_dropout=lora.dropout,
        target_modules="all-linear",
        task_type=TaskType.FEATURE_EXTRACTION,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft 0.21 calls names that transformers 5.23 renamed
            wrapped = get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError(f"peft cannot put LoRA on this decoder ({' '.join(str(error).split())})") from None
    for layer in wrapped.modules() if autocast else ():
        if isinstance(layer, BaseTunerLayer):
            layer.cast_input_dtype_enabled = False  # type: ignore[assignment]  # nn.Module's stub knows no flags
    return wrapped


@contextmanager
def merged(model: nn.Module) -> Iterator[None]:
    """Inside the block the LoRA of ``model`` is in its weights, rounded to their dtype, as it is once it was saved."""
    from peft.tuners.lora import LoraLayer

    layers = [one for one in model.modules() if isinstance(one, LoraLayer)]
    weights = [cast(nn.Parameter, one.get_base_layer().weight) for one in layers]
    own = [weight.data for weight in weights]
    try:
        with torch.no_grad():
            for layer, weight in zip(layers, weights, strict=True):
                (name,) = layer.active_adapters
                added: torch.Tensor = layer.get_delta_weight(name)  # type: ignore[operator]
                weight.data = (weight.float() + added).to(weight.dtype)
                layer._disable_adapters = True
        yield
    finally:
        for layer, weight, values in zip(layers, weights, own, strict=True):
            weight.data = values
            layer._disable_adapters = False
