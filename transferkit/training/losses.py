"""InfoNCE over cosine similarities with in-batch and hard negatives; what is no true negative is masked out.

Beside it the loss that needs no pairs: similarities inside a batch, as a teacher has them.

Shapes: d width of a vector, B anchors of this process, G anchors of all processes, N candidates.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax, normalize


def info_nce(
    anchors: Tensor,
    candidates: Tensor,
    *,
    target: Tensor,
    temperature: float,
    exclude: Tensor | None = None,
) -> Tensor:
    """Mean over rows of ``-log softmax(cosine / temperature)`` at the target.

    InfoNCE (arXiv 1807.03748, equation 4) with the density ratio ``exp(cosine / temperature)``: one candidate
    is the positive, and the others, less the excluded ones, stand for samples of the noise distribution. One
    direction only; :func:`contrastive_loss` averages both.

    Args:
        anchors: (B, d), any norm; lower precisions are raised to fp32 before anything is computed.
        candidates: (N, d), any norm.
        target: (B,) column of each row's positive.
        temperature: divides the cosine.
        exclude: (B, N) bool, pairs left out of the sum; a row's own target is never left out.

    Returns:
        Scalar; 0 for a row with nothing to compare with.
    """
    # Autocast would put the product back into half precision, where exp(cosine / 0.05) loses its third digit.
    with torch.autocast(device_type=anchors.device.type, enabled=False):
        logits = _unit(anchors) @ _unit(candidates).T / temperature
        if exclude is not None:
            own = torch.zeros_like(exclude).scatter_(1, target[:, None], True)
            logits = logits.masked_fill(exclude & ~own, float("-inf"))
        return cross_entropy(logits, target)


def exclusions(
    query_ids: Tensor,
    partner_ids: Tensor,
    candidate_ids: Tensor,
    *,
    rows: slice,
    labels: Tensor | None = None,
) -> Tensor:
    """Which pairs (query, candidate) are no negatives.

    A candidate is left out where its text is a partner of the same query text anywhere in the batch (its own
    partner counts, wherever it stands), where it is the query's own text, or where its label is the
    query's. A row's own partner is not left out.

    Args:
        query_ids: (G,) text ids of the queries of all processes.
        partner_ids: (G,) text ids of their partners; the i-th query and partner belong together.
        candidate_ids: (N,) text ids of the candidates, of which the first G are the partners.
        rows: the queries of this process.
        labels: (G,) label of each pair; None where the set has none.

    Returns:
        (B, N) bool, True where the pair is left out.
    """
    own_ids = query_ids[rows]
    same_query = own_ids[:, None] == query_ids[None, :]
    same_text = partner_ids[:, None] == candidate_ids[None, :]
    excluded = (same_query.float() @ same_text.float()) > 0
    excluded |= own_ids[:, None] == candidate_ids[None, :]
    if labels is not None:
        excluded[:, : len(labels)] |= labels[rows][:, None] == labels[None, :]
    start, stop, _ = rows.indices(len(query_ids))
    own = torch.arange(start, stop, device=excluded.device)
    excluded[own - start, own] = False
    return excluded


def contrastive_loss(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor | None = None,
    *,
    anchor_ids: Tensor,
    positive_ids: Tensor,
    negative_ids: Tensor | None = None,
    labels: Tensor | None = None,
    temperature: float,
    symmetric: bool,
    rows: slice | None = None,
) -> Tensor:
    """InfoNCE of this process's anchors against the positives and hard negatives of all processes.

    With ``symmetric`` the mean of that and of the other direction, each positive against all anchors; hard
    negatives are never queries. Every process passes the same gathered tensors, in rank order, and its own
    ``rows``. The mean over processes of equally many rows is then the loss of the whole batch, and so is the
    mean of their gradients where the gathering carries gradients back to every process.

    Args:
        anchors: (G, d) of all processes.
        positives: (G, d), in the same order.
        negatives: (M, d) hard negatives of all processes, in any order; each is a candidate for every anchor.
        anchor_ids: (G,) int64, equal for equal texts (:class:`transferkit.data.examples.Batch`).
        positive_ids: (G,) int64.
        negative_ids: (M,) int64.
        labels: (G,) int64; pairs with equal labels are no negatives of each other.
        temperature: divides the cosine.
        symmetric: also score positives against anchors.
        rows: the part of the G rows that this process scores; None: all.

    Returns:
        Scalar, the mean over the rows.
    """
    rows = slice(0, len(anchors)) if rows is None else rows
    candidates, candidate_ids = positives, positive_ids
    if negatives is not None and negative_ids is not None and len(negatives):
        candidates = torch.cat([positives, negatives])
        candidate_ids = torch.cat([positive_ids, negative_ids])
    target = torch.arange(len(anchors), device=anchors.device)[rows]
    forward = info_nce(
        anchors[rows],
        candidates,
        target=target,
        temperature=temperature,
        exclude=exclusions(anchor_ids, positive_ids, candidate_ids, rows=rows, labels=labels),
    )
    if not symmetric:
        return forward
    backward = info_nce(
        positives[rows],
        anchors,
        target=target,
        temperature=temperature,
        exclude=exclusions(positive_ids, anchor_ids, anchor_ids, rows=rows, labels=labels),
    )
    return (forward + backward) / 2


def teaching_loss(
    student: Tensor, teacher: Tensor, *, text_ids: Tensor, temperature: float, rows: slice | None = None
) -> Tensor:
    """Mean over rows of KL(teacher || student) between softmaxes over a text's similarities to all others.

    Relational distillation (arXiv 1904.05068) of the cosines inside a batch, as a distribution (arXiv 2101.04731). A
    text is not compared with itself, wherever it stands in the batch.

    The student's cosines are first brought to the spread of the teacher's over the whole batch. So it learns which
    texts are more alike, and not how widely a teacher's vectors are spread, which a decoder's narrow cone of states
    cannot follow: the bundled transfer lost by 50 steps without that, and gained with it, under a whitened source and
    under a ready-made encoder alike.

    Args:
        student: (G, d) of all processes, any norm.
        teacher: (G, d_t) of the same texts, in the same order; no gradient reaches it.
        text_ids: (G,) int64, equal for equal texts.
        temperature: divides the cosines.
        rows: the part of the G rows that this process scores; None: all.

    Returns:
        Scalar, at least 0; 0 for a row with nothing to compare with.
    """
    rows = slice(0, len(student)) if rows is None else rows
    with torch.autocast(device_type=student.device.type, enabled=False):
        mine, theirs = _cosines(student), _cosines(teacher.detach())
        same = text_ids[:, None] == text_ids[None, :]
        mine = mine * (_spread(theirs, ~same) / _spread(mine, ~same))
        out = torch.finfo(mine.dtype).min / 2  # finite: a row in which all is left out has a gradient of zero, not NaN
        mine, theirs = (
            log_softmax((cosines[rows] / temperature).masked_fill(same[rows], out), dim=1) for cosines in (mine, theirs)
        )
        return kl_div(mine, theirs, reduction="batchmean", log_target=True)


def _cosines(vectors: Tensor) -> Tensor:
    """(G, G)."""
    unit = _unit(vectors)
    return unit @ unit.T


def _spread(values: Tensor, counted: Tensor) -> Tensor:
    """Standard deviation of those that are ``counted``, at least 1e-6, where its gradient ends."""
    number = counted.sum().clamp(min=1)
    mean = (values * counted).sum() / number
    return (((values - mean) * counted).square().sum() / number).clamp(min=1e-12).sqrt()


def _unit(vectors: Tensor) -> Tensor:
    """Rows of unit norm in at least fp32; a row of zeros stays zero."""
    return normalize(vectors if vectors.dtype == torch.float64 else vectors.float(), dim=-1, eps=1e-8)
