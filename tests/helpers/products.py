"""Which precision matrix products really run in: every one that torch dispatches, forward and backward."""

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")


class Products(TorchDispatchMode):
    """Inside the block: how many products of each dtype, and how many states (B, T, d) were raised to float32."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.raised = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, options = func._schema.name.removeprefix("aten::"), kwargs or {}
        if name in _PRODUCTS:
            self.found[str(args[-1].dtype).removeprefix("torch.")] += 1
        if name == "_to_copy" and options.get("dtype") == torch.float32:
            self.raised += args[0].dtype == torch.bfloat16 and args[0].dim() == 3
        return func(*args, **options)
