"""The one matrix that carries the skill: soft tokens (B, k, d_p) -> the backbone's embedding space (B, k, d_e)."""

import torch
from torch import Tensor, nn

from transferkit.decoder.decoder import root_mean_square


class Alignment(nn.Module):
    """``soft @ W + b``: W (d_p, d_e), b (k, d_e) one offset a soft position, or none (PromptEmbedder's own form).

    With ``W = 0`` the offsets alone are prompt tuning, so transfer contains its strongest cheap rival. Both are kept
    in fp32 whatever the backbone's dtype.
    """

    weight: nn.Parameter
    offset: nn.Parameter | None

    def __init__(self, weight: Tensor, *, tokens: int, offset: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().float().clone())
        # Zero where nothing was learned before: offsets started at sampled tokens spoil the zero-shot score.
        self.offset = nn.Parameter(torch.zeros(tokens, weight.shape[1], device=weight.device)) if offset else None

    def forward(self, soft: Tensor) -> Tensor:
        """(B, k, d_p) -> (B, k, d_e)."""
        aligned = soft.float() @ self.weight
        return aligned if self.offset is None else aligned + self.offset


def random_start(prompting_table: Tensor, backbone_table: Tensor, *, seed: int) -> Tensor:
    """Gaussian W0 (d_p, d_e) that maps prompting embeddings to vectors of the backbone's own RMS size.

    Args:
        prompting_table: (V_p, d_p) token embeddings as the Prompting LLM's module outputs them.
        backbone_table: (V_e, d_e) token embeddings as the backbone's module outputs them.
        seed: of the draw, made on the CPU so that every device gets the same matrix.
    """
    d_p, d_e = prompting_table.shape[1], backbone_table.shape[1]
    scale = root_mean_square(backbone_table) / (root_mean_square(prompting_table) * d_p**0.5)
    draw = torch.randn(d_p, d_e, generator=torch.Generator().manual_seed(seed))
    return draw.to(backbone_table.device) * scale


def anchor_start(prompting_rows: Tensor, backbone_rows: Tensor, *, ridge: float = 0.1) -> Tensor:
    """Ridge regression W0 = (X'X + c I)^-1 X'Y over shared tokens, c = ridge x mean diagonal of X'X.

    Args:
        prompting_rows: X (n, d_p), embeddings of the shared tokens in the Prompting LLM.
        backbone_rows: Y (n, d_e), embeddings of the same tokens in the backbone.
        ridge: in units of the mean diagonal.

    Returns:
        (d_p, d_e) float32, solved in float64.
    """
    x, y = prompting_rows.cpu().double(), backbone_rows.cpu().double()  # not every device has float64
    return torch.linalg.solve(_ridged(x, ridge), x.T @ y).float().to(backbone_rows.device)


def ridge_inverse(rows: Tensor, *, ridge: float = 0.1) -> Tensor:
    """(X'X + c I)^-1 X', (d, n) in float64 on the CPU: ``v @ this`` are the shares in which rows X (n, d) make v."""
    x = rows.cpu().double()
    return torch.linalg.solve(_ridged(x, ridge), x.T)


def _ridged(x: Tensor, ridge: float) -> Tensor:
    gram = x.T @ x
    return gram + ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)


def fit_quality(weight: Tensor, prompting_rows: Tensor, backbone_rows: Tensor) -> float:
    """R2 of ``X W`` as a prediction of Y about Y's mean: what the anchors explain."""
    y = backbone_rows.cpu().double()
    residual = (y - prompting_rows.cpu().double() @ weight.cpu().double()).square().sum()
    return float(1 - residual / (y - y.mean(0)).square().sum().clamp(min=1e-30))
