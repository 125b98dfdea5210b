"""What the Prompting LLM is given to read, and the memory of what a frozen one wrote."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.parts import TEXTS, load_prompting
from helpers.tiny import Tiny
from torch import Tensor, nn
from zoo import WORDS

from transferkit.prompting.memory import SoftTokenMemory
from transferkit.prompting.writer import Writer

K, WIDTH = 3, 4
SIZE = K * WIDTH * 4  # bytes of one prompt's soft tokens


class Recorder(nn.Module):
    """In the Prompting LLM's place: notes each call; a prompt's soft tokens follow from its characters."""

    device = torch.device("cpu")
    max_length = 128

    def __init__(self) -> None:
        super().__init__()
        self.encoder = SimpleNamespace(texts=lambda texts, max_length, cut: cut.cut([list(text) for text in texts]))
        self.calls: list[list[str]] = []
        self.scale = nn.Parameter(torch.ones(()))

    def freeze(self) -> None:
        self.requires_grad_(False)

    def forward(self, prompts: list[str]) -> Tensor:
        self.calls.append(list(prompts))
        return torch.stack([soft_of(prompt) for prompt in prompts]) * self.scale


def soft_of(prompt: str) -> Tensor:
    return torch.randn(K, WIDTH, generator=torch.Generator().manual_seed(sum(map(ord, prompt))))


def writer(**options: str) -> tuple[Writer, Recorder]:
    recorder = Recorder()
    return Writer(recorder, **options), recorder  # type: ignore[arg-type]


def test_reads_text() -> None:
    one, recorder = writer(reads="text")
    soft = one(["a cat", "dog"], ["find", "see"])
    assert recorder.calls == [["find\na cat\n", "see\ndog\n"]]
    assert torch.equal(soft, torch.stack([soft_of("find\na cat\n"), soft_of("see\ndog\n")]))


def test_reads_instruction() -> None:
    one, recorder = writer(reads="instruction")
    soft = one(["a cat", "dog", "car"], ["find", "see", "find"])
    assert recorder.calls == [["find\n", "see\n"]]
    assert torch.equal(soft, torch.stack([soft_of("find\n"), soft_of("see\n"), soft_of("find\n")]))


def test_equal_prompts_are_written_once_and_share_their_gradient() -> None:
    one, recorder = writer()
    soft = one(["a", "b", "a", "a"], ["see"] * 4)
    assert recorder.calls == [["see\na\n", "see\nb\n"]]
    assert torch.equal(soft[0], soft[3])
    soft.sum().backward()
    assert recorder.scale.grad is not None
    expected = 3 * float(soft_of("see\na\n").sum()) + float(soft_of("see\nb\n").sum())
    assert float(recorder.scale.grad) == pytest.approx(expected, rel=1e-5)


def test_frozen_writer_remembers() -> None:
    one, recorder = writer()
    fresh = one(["a", "b"], ["see"] * 2).detach()
    one.freeze(memory_bytes=10 * SIZE)
    assert not [p for p in one.parameters() if p.requires_grad]
    recorder.calls.clear()
    for _ in range(3):
        assert torch.equal(one(["a", "b"], ["see"] * 2), fresh)
    assert torch.equal(one(["b", "c", "a"], ["see"] * 3)[[2, 0]], fresh)
    assert recorder.calls == [["see\na\n", "see\nb\n"], ["see\nc\n"]]
    assert one.memory is not None
    assert one.memory.used_bytes == 3 * SIZE


def test_budget_is_respected_and_changes_no_value() -> None:
    one, recorder = writer()
    texts, tasks = list("abcde"), ["see"] * 5
    fresh = one(texts, tasks).detach()
    one.freeze(memory_bytes=2 * SIZE + SIZE // 2)
    recorder.calls.clear()
    for _ in range(3):
        assert torch.equal(one(texts, tasks), fresh)
    assert one.memory is not None
    assert one.memory.used_bytes == 2 * SIZE
    assert [len(call) for call in recorder.calls] == [5, 3, 3]  # beyond the budget: again each time


def test_another_instruction_is_another_prompt() -> None:
    one, recorder = writer()
    one.freeze()
    first, second = one(["a"], ["see"]), one(["a"], ["find"])
    assert len(recorder.calls) == 2
    assert not torch.equal(first, second)


def test_memory_keeps_what_the_model_wrote(tiny: Tiny) -> None:
    one = Writer(load_prompting(tiny.prompting))
    fresh = one(TEXTS, ["see"] * len(TEXTS)).detach()
    one.freeze()
    kept = [one(TEXTS[::-1], ["see"] * len(TEXTS)).flip(0) for _ in range(2)]
    assert torch.equal(kept[0], kept[1])
    torch.testing.assert_close(kept[0], fresh, rtol=1e-5, atol=1e-6)


def test_memory_is_restored_to_the_last_bit(tiny: Tiny) -> None:
    """In another order, the same prompts would be written in other shapes and round differently."""
    rng = np.random.default_rng(0)
    prompts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 30))) for _ in range(40)]
    prompting = load_prompting(tiny.prompting)
    budget = 30 * 3 * prompting.width * 4
    first, second = (SoftTokenMemory(budget_bytes=budget) for _ in range(2))
    for start, stop in ((0, 5), (3, 21), (0, 1), (10, 40), (30, 40)):
        first.get(prompts[start:stop], write=prompting)
    assert [len(group) for group in first.groups] == [5, 16, 19]
    second.restore(first.groups, seconds=0.0, write=prompting)
    assert second.used_bytes == first.used_bytes == budget
    assert second.groups == first.groups
    for prompt in prompts[:30]:
        assert torch.equal(first.get([prompt], write=prompting), second.get([prompt], write=prompting))


# Contrast


def test_what_a_text_changes_is_made_as_large_as_asked(tiny: Tiny) -> None:
    prompting = load_prompting(tiny.prompting)
    plain, contrasted = Writer(prompting), Writer(prompting)
    tasks = ["see" if i % 2 else "find the cat" for i in range(len(TEXTS))]
    contrasted.measure_gain(0.5, TEXTS, tasks)
    assert contrasted.gain is not None
    assert contrasted.gain > 1
    found = contrasted(TEXTS, tasks).detach()
    common = torch.cat([plain([""], [task]) for task in tasks]).detach()
    sizes = [float(each.square().mean().sqrt()) for each in (found - common, common)]
    assert sizes[0] == pytest.approx(0.5 * sizes[1], rel=1e-3)
    for i, (text, task) in enumerate(zip(TEXTS, tasks, strict=True)):
        own = plain([text], [task]).detach()
        expected = common[i] + contrasted.gain * (own[0] - common[i])
        torch.testing.assert_close(found[i], expected, rtol=1e-3, atol=1e-4 * sizes[1] * contrasted.gain)
    torch.testing.assert_close(contrasted([""], ["see"]), plain([""], ["see"]))  # no text changes nothing


def test_the_collapse_figure_stays_that_of_what_is_written(tiny: Tiny) -> None:
    prompting = load_prompting(tiny.prompting)
    plain, contrasted = Writer(prompting), Writer(prompting, gain=30.0)
    for one in (plain, contrasted):
        one(TEXTS, [""] * len(TEXTS))
    assert plain.last_written is not None
    assert contrasted.last_written is not None
    torch.testing.assert_close(contrasted.last_written, plain.last_written)


def test_a_frozen_one_writes_of_no_text_once(tiny: Tiny) -> None:
    one = Writer(load_prompting(tiny.prompting), gain=30.0)
    one.freeze()
    assert one.memory is not None
    first, again = one(["a cat"], ["see"]), one(["a cat"], ["see"])
    assert torch.equal(first, again)
    assert one.memory.groups == [["see\na cat\n", "see\n\n"]]
