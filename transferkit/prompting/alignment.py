"""The one matrix that carries the skill: soft tokens (B, k, d_p) -> the backbone's embedding space (B, k, d_e)."""

import torch
from torch import Tensor, nn

from transferkit.errors import ConfigError


class Alignment(nn.Module):
    """``soft @ W + b``: W (d_p, d_e), b (k, d_e) one offset a soft position, or none (PromptEmbedder's own form).

    With ``W = 0`` the offsets alone are prompt tuning, so transfer contains its strongest cheap rival. Both are kept
    in fp32 whatever the backbone's dtype.

    While it is trained, W may be learned in other coordinates (:meth:`use_basis`); the function is the same one.
    """

    weight: nn.Parameter
    offset: nn.Parameter | None
    basis: Tensor | None = None  # (d_p, d_p)
    centre: Tensor | None = None  # (k, d_p)

    def __init__(self, weight: Tensor, *, tokens: int, offset: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().float().clone())
        # Zero where nothing was learned before: offsets started at sampled tokens spoil the zero-shot score.
        self.offset = nn.Parameter(torch.zeros(tokens, weight.shape[1], device=weight.device)) if offset else None

    def forward(self, soft: Tensor) -> Tensor:
        """(B, k, d_p) -> (B, k, d_e)."""
        soft = soft.float() if self.centre is None else soft.float() - self.centre
        aligned = soft @ (self.weight if self.basis is None else self.basis @ self.weight)
        return aligned if self.offset is None else aligned + self.offset

    @torch.no_grad()
    def use_basis(self, basis: Tensor, centre: Tensor | None) -> None:
        """Learn V with ``W = basis @ V`` and, given ``centre`` (k, d_p), offsets of centred soft tokens.

        AdamW moves every number of V by about as much, so a basis in which the soft tokens vary as much in all
        directions lets it use what tells texts apart, which in W's own coordinates is small beside their mean.
        Changes no output.
        """
        if centre is not None and self.offset is not None:
            self.offset.add_(centre @ self.weight)
            self.centre = centre
        self.weight.copy_(torch.linalg.solve(basis, self.weight))
        self.basis = basis

    @torch.no_grad()
    def fold(self) -> None:
        """Back to W's own coordinates. Changes no output."""
        if self.basis is not None:
            self.weight.copy_(self.basis @ self.weight)
        if self.centre is not None and self.offset is not None:
            self.offset.sub_(self.centre @ self.weight)
        self.basis = self.centre = None


def whitening_basis(soft: Tensor, *, centred: bool, ridge: float = 0.1) -> tuple[Tensor, Tensor | None]:
    """Basis (d_p, d_p) in which ``soft @ basis`` varies as much in every direction, and the centre (k, d_p).

    Scaled so that the result is as large as ``soft`` itself: learning rates keep their meaning.

    Args:
        soft: (n, k, d_p) soft tokens of a sample of texts.
        centred: about the mean of each position; False: about zero, and there is no centre.
        ridge: added to the eigenvalues, in units of their mean; it keeps directions without variance small.

    Raises:
        ConfigError: the soft tokens do not vary.
    """
    rows = soft.double()
    centre = rows.mean(0) if centred else None
    flat = (rows if centre is None else rows - centre).flatten(0, 1)
    moments = flat.T @ flat / len(flat)
    values, vectors = torch.linalg.eigh(moments)
    if float(values.mean()) <= 1e-12 * float(rows.square().mean()):
        raise ConfigError("alignment.basis: 'whitened' needs soft tokens that depend on the text; use 'own'")
    basis = vectors * (values + ridge * values.mean()).rsqrt() @ vectors.T
    basis *= rows.square().mean().sqrt() / (flat @ basis).square().mean().sqrt()
    return basis.float(), None if centre is None else centre.float()


def random_start(prompting_table: Tensor, backbone_table: Tensor, *, seed: int) -> Tensor:
    """Gaussian W0 (d_p, d_e) that maps prompting embeddings to vectors of the backbone's own RMS size.

    Args:
        prompting_table: (V_p, d_p) token embeddings as the Prompting LLM's module outputs them.
        backbone_table: (V_e, d_e) token embeddings as the backbone's module outputs them.
        seed: of the draw, made on the CPU so that every device gets the same matrix.
    """
    d_p, d_e = prompting_table.shape[1], backbone_table.shape[1]
    scale = _rms(backbone_table) / (_rms(prompting_table) * d_p**0.5)
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
    gram = x.T @ x
    gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.solve(gram, x.T @ y).float().to(backbone_rows.device)


def fit_quality(weight: Tensor, prompting_rows: Tensor, backbone_rows: Tensor) -> float:
    """R2 of ``X W`` as a prediction of Y about Y's mean: what the anchors explain."""
    y = backbone_rows.cpu().double()
    residual = (y - prompting_rows.cpu().double() @ weight.cpu().double()).square().sum()
    return float(1 - residual / (y - y.mean(0)).square().sum().clamp(min=1e-30))


def _rms(table: Tensor) -> float:
    return float(table.float().square().mean().sqrt())
