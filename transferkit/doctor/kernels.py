"""Whether 4-bit layers compute what their weights say, forward and backward, on every device here.

A kernel may be there and be wrong: one of bitsandbytes 0.50 for CPUs had no backward, and gradients had cosine 0.03
with the truth, without an error.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transferkit.doctor.findings import Finding

if TYPE_CHECKING:
    import torch

_WIDTH, _OUT, _ROWS = 256, 128, 32
_TOLERANCE = 0.02  # relative error; bfloat16 rounds by 0.004
_ROUNDING = 0.2  # of nf4 itself: 0.1 on weights with a normal distribution


@dataclass(frozen=True)
class KernelErrors:
    """Relative errors of one 4-bit layer.

    Attributes:
        weights: of what its bits mean, against the weights that were given; the rounding of nf4 itself.
        forward: of its outputs, against a product with what its bits mean.
        gradient: of the gradient to its input, against the same.
    """

    weights: float
    forward: float
    gradient: float

    @property
    def are_small(self) -> bool:
        """Whether they are what rounding makes; NaN is not."""
        return self.weights < _ROUNDING and self.forward < _TOLERANCE and self.gradient < _TOLERANCE


def examine_kernels() -> Iterator[Finding]:
    """NF4 as decoders are loaded with it, in both precisions."""
    import torch

    for name in ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]:
        for dtype in (torch.float32, torch.bfloat16):
            precision = str(dtype).removeprefix("torch.")
            try:
                errors = nf4_errors(torch.device(name), dtype)
            except Exception as error:  # a kernel may fail with anything
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                yield _wrong(f"{name}, {precision}", f"does not run ({reason})")
                continue
            found = (
                f"forward within {errors.forward:.1e} of the dequantised weights, gradient within {errors.gradient:.1e}"
            )
            if errors.are_small:
                yield Finding("4-bit", f"nf4 on {name}, {precision}", "ok", found)
            else:
                yield _wrong(
                    f"{name}, {precision}",
                    f"{found}, weights within {errors.weights:.2f}; rounding alone allows {_TOLERANCE} and {_ROUNDING}",
                )


def _wrong(where: str, found: str) -> Finding:
    advice = (
        "install the tested bitsandbytes (`versions` names it) and leave --quantize nf4 away until this is right; "
        "without it nothing is computed in 4 bits"
    )
    return Finding("4-bit", f"nf4 on {where}", "wrong", found, advice)


def nf4_errors(device: "torch.device", dtype: "torch.dtype") -> KernelErrors:
    """The errors of one layer, its gradient taken after passes without gradient, as training does after evaluation."""
    import torch
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    from transferkit.decoder.loading import prepare_linear4bit

    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(_OUT, _WIDTH, generator=generator) / _WIDTH**0.5
    x = torch.randn(_ROWS, _WIDTH, generator=generator).to(device, dtype)
    towards = torch.randn(_ROWS, _OUT, generator=generator).to(device, dtype)
    layer: Any = Linear4bit(_WIDTH, _OUT, bias=False, compute_dtype=dtype, compress_statistics=True, quant_type="nf4")
    layer.load_state_dict({"weight": weights})
    model = torch.nn.Sequential(layer).to(device).eval().requires_grad_(False)
    prepare_linear4bit(model, "doctor")
    with torch.no_grad():
        alone, together = model(x[:1]), model(x)
    x.requires_grad_()
    out = model(x)
    (gradient,) = torch.autograd.grad((out * towards).sum(), x)
    dense = dequantize_4bit(layer.weight.data, layer.weight.quant_state).double()
    expected = x.detach().double() @ dense.T
    forward = max(_relative(alone, expected[:1]), _relative(together, expected), _relative(out, expected))
    return KernelErrors(
        weights=_relative(dense, weights.to(device)),
        forward=forward,
        gradient=_relative(gradient, towards.double() @ dense),
    )


def _relative(value: "torch.Tensor", truth: "torch.Tensor") -> float:
    """In the norm; infinite where something is no number."""
    error = float((value.detach().double() - truth.double()).norm() / truth.double().norm())
    return error if error == error else float("inf")
