import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from transferkit.training.losses import contrastive_loss, exclusions, info_nce, teaching_loss

WIDTH = 5


def vectors(rows: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(rows, WIDTH, generator=generator, dtype=torch.float64)).to(dtype)


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def looped(queries: Tensor, candidates: Tensor, left_out: list[set[int]], temperature: float) -> float:
    """Row i's positive is candidate i; ``left_out[i]`` are the candidates that row i does not see."""
    total = 0.0
    for i, query in enumerate(queries.tolist()):
        terms = {
            j: math.exp(cosine(query, candidate) / temperature)
            for j, candidate in enumerate(candidates.tolist())
            if j == i or j not in left_out[i]
        }
        total -= math.log(terms[i] / sum(terms.values()))
    return total / len(queries)


# Six pairs: rows 0 and 4 share the anchor text 10; rows 1 and 3 share the positive text 21; row 2's positive
# is row 5's anchor; the hard negatives hold row 0's positive (20), row 1's anchor (11) and four other texts.
ANCHOR_IDS = torch.tensor([10, 11, 12, 13, 10, 15])
POSITIVE_IDS = torch.tensor([20, 21, 15, 21, 24, 25])
NEGATIVE_IDS = torch.tensor([30, 20, 32, 11, 34, 35])
LABELS = torch.tensor([0, 1, 0, 2, 3, 1])
FORWARD = [{0, 4, 7}, {1, 3, 9}, set(), {1, 3}, {0, 4, 7}, {2}]  # columns: 6 positives, 6 hard negatives
BACKWARD = [{0, 4}, {1, 3}, {5}, {1, 3}, {0, 4}, set()]  # columns: 6 anchors
FORWARD_LABELS = [{2}, {5}, {0}, set(), set(), {1}]


def arguments(*, hard: bool, labelled: bool) -> dict[str, Tensor | None]:
    return {
        "anchor_ids": ANCHOR_IDS,
        "positive_ids": POSITIVE_IDS,
        "negative_ids": NEGATIVE_IDS if hard else None,
        "labels": LABELS if labelled else None,
    }


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_contrastive_loss_equals_a_loop(hard: bool, labelled: bool, symmetric: bool, temperature: float) -> None:
    anchors, positives, negatives = vectors(6, 1), vectors(6, 2), vectors(6, 3)
    candidates = torch.cat([positives, negatives]) if hard else positives
    more = FORWARD_LABELS if labelled else [set()] * 6
    expected = looped(anchors, candidates, [a | b for a, b in zip(FORWARD, more, strict=True)], temperature)
    if symmetric:
        back = looped(positives, anchors, [a | b for a, b in zip(BACKWARD, more, strict=True)], temperature)
        expected = (expected + back) / 2
    loss = contrastive_loss(
        anchors,
        positives,
        negatives if hard else None,
        **arguments(hard=hard, labelled=labelled),
        symmetric=symmetric,
        temperature=temperature,
    )
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_exclusions_are_the_stated_pairs_and_never_the_target() -> None:
    ids = torch.cat([POSITIVE_IDS, NEGATIVE_IDS])
    mask = exclusions(ANCHOR_IDS, POSITIVE_IDS, ids, rows=slice(0, 6), labels=LABELS)
    found = [set(row.nonzero().flatten().tolist()) for row in mask]
    assert found == [(a | b) - {i} for i, (a, b) in enumerate(zip(FORWARD, FORWARD_LABELS, strict=True))]
    part = exclusions(ANCHOR_IDS, POSITIVE_IDS, ids, rows=slice(2, 5), labels=LABELS)
    assert torch.equal(part, mask[2:5])


def test_a_positive_of_the_same_anchor_in_another_row_is_known_by_its_text() -> None:
    # Anchor 1 has positives 5 (row 0) and 6 (row 1); row 2 brings text 6 again, for another anchor.
    anchor_ids, positive_ids = torch.tensor([1, 1, 2]), torch.tensor([5, 6, 6])
    mask = exclusions(anchor_ids, positive_ids, positive_ids, rows=slice(0, 3))
    assert mask.tolist() == [[False, True, True], [True, False, True], [False, True, False]]


def test_gradients_equal_finite_differences() -> None:
    inputs = [vectors(6, seed).requires_grad_() for seed in (1, 2, 3)]

    def loss(anchors: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        ids = arguments(hard=True, labelled=True)
        return contrastive_loss(anchors, positives, negatives, **ids, symmetric=True, temperature=0.5)

    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_mean_over_two_processes_is_the_whole_batch(symmetric: bool) -> None:
    def run(parts: list[slice]) -> tuple[Tensor, list[Tensor]]:
        inputs = [vectors(6, seed).requires_grad_() for seed in (1, 2, 3)]
        ids = arguments(hard=True, labelled=True)
        losses = [contrastive_loss(*inputs, **ids, symmetric=symmetric, temperature=0.1, rows=part) for part in parts]
        loss = torch.stack(losses).mean()
        return loss, list(torch.autograd.grad(loss, inputs))

    whole, gradients = run([slice(0, 6)])
    shared, shared_gradients = run([slice(0, 3), slice(3, 6)])
    torch.testing.assert_close(shared, whole, rtol=1e-12, atol=0)
    for one, other in zip(gradients, shared_gradients, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-14)
        assert one.abs().max() > 1e-3


def test_length_does_not_matter_and_bf16_under_autocast_is_computed_in_fp32() -> None:
    anchors, positives = vectors(6, 1, torch.bfloat16), vectors(6, 2, torch.bfloat16)
    target = torch.arange(6)
    expected = info_nce(anchors.double(), positives.double(), target=target, temperature=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = info_nce(4 * anchors, positives / 8, target=target, temperature=0.05)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_row_with_everything_excluded_and_a_zero_vector_stay_finite() -> None:
    anchors = torch.cat([torch.zeros(1, WIDTH), vectors(2, 1, torch.float32)]).requires_grad_()
    everything = torch.ones(3, 3, dtype=torch.bool)
    positives = vectors(3, 2, torch.float32)
    loss = info_nce(anchors, positives, target=torch.arange(3), temperature=0.05, exclude=everything)
    (gradient,) = torch.autograd.grad(loss, anchors)
    assert loss.item() == 0.0
    assert gradient.abs().max() == 0.0
    assert torch.isfinite(info_nce(anchors, positives, target=torch.arange(3), temperature=0.05))


# Similarities as a teacher has them. Rows 1 and 4 are one text.

TEXT_IDS = torch.tensor([10, 11, 12, 13, 11, 15])


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> float:
    """Mean KL(teacher || student), row by row in float64, the student's cosines at the teacher's spread."""
    ids = TEXT_IDS.tolist()
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (student.double().numpy(), teacher.double().numpy())]
    mine, theirs = ([[float(a @ b) for b in x] for a in x] for x in unit)
    spreads = [
        np.std([cosines[i][j] for i in range(6) for j in range(6) if ids[i] != ids[j]]) for cosines in (mine, theirs)
    ]
    total = 0.0
    for i in range(6):
        others = [j for j in range(6) if ids[j] != ids[i]]
        q = np.exp([mine[i][j] * spreads[1] / spreads[0] / temperature for j in others])
        p = np.exp([theirs[i][j] / temperature for j in others])
        q, p = q / q.sum(), p / p.sum()
        total += float(np.sum(p * np.log(p / q)))
    return total / 6


@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_teaching_equals_a_loop_over_rows(temperature: float, dtype: torch.dtype) -> None:
    student, teacher = vectors(6, 1, dtype), vectors(6, 2, dtype)[:, :3]
    expected = divergence(student, teacher, temperature)
    loss = teaching_loss(4 * student, teacher / 8, text_ids=TEXT_IDS, temperature=temperature)
    assert expected > 1e-3
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(expected, rel=1e-12 if dtype == torch.float64 else 1e-5)


def test_teaching_is_zero_where_student_and_teacher_have_the_same_cosines() -> None:
    student = vectors(6, 1)
    turned = student @ torch.linalg.qr(vectors(WIDTH, 3)).Q
    loss = teaching_loss(student.requires_grad_(), turned, text_ids=TEXT_IDS, temperature=0.05)
    (gradient,) = torch.autograd.grad(loss, student)
    assert abs(loss.item()) < 1e-12
    assert gradient.abs().max() < 1e-12


def test_a_direction_that_all_texts_share_changes_nothing() -> None:
    """It narrows the cone: each cosine becomes the same multiple of itself plus the same number."""
    student, teacher = normalize(vectors(6, 1)), vectors(6, 2)
    narrow = torch.cat([student, 3 * torch.ones(6, 1)], dim=1)
    plain, shared = (teaching_loss(x, teacher, text_ids=TEXT_IDS, temperature=0.05) for x in (student, narrow))
    assert plain > 0.1
    torch.testing.assert_close(shared, plain, rtol=1e-9, atol=0)


def test_gradients_of_teaching_equal_finite_differences_and_reach_the_student_alone() -> None:
    student, teacher = vectors(6, 1).requires_grad_(), vectors(6, 2).requires_grad_()

    def loss(student: Tensor) -> Tensor:
        return teaching_loss(student, teacher, text_ids=TEXT_IDS, temperature=0.5)

    assert torch.autograd.gradcheck(loss, [student])
    loss(student).backward()
    assert teacher.grad is None


def test_the_mean_of_teaching_over_two_processes_is_the_whole_batch() -> None:
    student, teacher = vectors(6, 1).requires_grad_(), vectors(6, 2)
    options = {"text_ids": TEXT_IDS, "temperature": 0.1}
    whole = teaching_loss(student, teacher, **options)
    parts = [teaching_loss(student, teacher, **options, rows=part) for part in (slice(0, 3), slice(3, 6))]
    assert parts[0].item() != parts[1].item()
    shared = torch.stack(parts).mean()
    torch.testing.assert_close(shared, whole, rtol=1e-12, atol=0)
    (one,), (other,) = (torch.autograd.grad(loss, student) for loss in (whole, shared))
    torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-14)


def test_teaching_in_bf16_under_autocast_is_computed_in_fp32() -> None:
    student, teacher = vectors(6, 1, torch.bfloat16), vectors(6, 2, torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = teaching_loss(student, teacher, text_ids=TEXT_IDS, temperature=0.05)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(divergence(student, teacher, 0.05), rel=1e-5)


def test_a_batch_of_one_text_and_vectors_of_zero_teach_nothing_and_stay_finite() -> None:
    student = torch.cat([torch.zeros(1, WIDTH), vectors(2, 1, torch.float32)]).requires_grad_()
    same = torch.tensor([7, 7, 7])
    loss = teaching_loss(student, vectors(3, 2, torch.float32), text_ids=same, temperature=0.05)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss.item() == 0.0
    assert gradient.abs().max() == 0.0
    for some in (student, torch.ones(3, WIDTH, requires_grad=True)):
        loss = teaching_loss(some, vectors(3, 2, torch.float32), text_ids=torch.arange(3), temperature=0.05)
        (gradient,) = torch.autograd.grad(loss, some)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
