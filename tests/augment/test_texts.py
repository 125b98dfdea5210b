"""Augmenting without models: noise, word overlap, scripts, filters and prompts."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from transferkit.augment.candidates import Candidate, Kind, Origin, Reason, Source, draw_seed
from transferkit.augment.filters import Filters
from transferkit.augment.noise import Noise, delete_words, swap_words
from transferkit.augment.overlap import foreign_share, overlap, words
from transferkit.augment.paraphrase import cleaned
from transferkit.augment.prompts import read_prompts
from transferkit.augment.settings import Limits
from transferkit.augment.similarity import Similarity
from transferkit.errors import ConfigError
from transferkit.methods.base import Embedder
from transferkit.readout.readout import Readout

TEXT = "the red cat sat by the water and saw two cars"


def made(kind: str, *, row: int = 1, seed: int = 3, samples: int = 5, rate: float = 0.2, text: str = TEXT) -> list[str]:
    return [c.text for c in Noise(kind, rate=rate, samples=samples, seed=seed)([Source(row, text)])]


def test_deletion_keeps_the_order_and_leaves_something() -> None:
    for rate in (0.001, 0.5, 0.999):
        for text in made("deletion", rate=rate, samples=50):
            rest = iter(TEXT.split())
            assert all(word in rest for word in text.split()), "not a subsequence"
            assert 0 < len(text.split()) < len(TEXT.split())


def test_deletion_takes_every_word_equally_often_and_the_share_that_is_asked_for() -> None:
    rng, numbered, draws = np.random.default_rng(0), [str(i) for i in range(200)], 400
    left = Counter(itertools.chain.from_iterable(delete_words(numbered, 0.3, rng) for _ in range(draws)))
    kept = np.array([left[word] for word in numbered]) / draws
    assert abs(kept.mean() - 0.7) < 0.005  # standard error 0.0016
    assert np.abs(kept - 0.7).max() < 0.1  # of one word 0.023, of 200 words


def test_swap_changes_places_alone() -> None:
    for text in made("swap", samples=50):
        assert Counter(text.split()) == Counter(TEXT.split())
        assert text != TEXT
    neighbours = {tuple(swap_words("a b c".split(), 0.001, np.random.default_rng(i))) for i in range(50)}
    assert neighbours == {("b", "a", "c"), ("a", "c", "b")}


def test_several_swaps_never_undo_each_other() -> None:
    numbered = [str(i) for i in range(12)]
    for i in range(200):
        assert swap_words(numbered, 0.5, np.random.default_rng(i)) != numbered


@pytest.mark.parametrize("kind", ["deletion", "swap"])
def test_noise_follows_from_seed_row_and_text(kind: str) -> None:
    assert made(kind) == made(kind)
    assert made(kind) != made(kind, seed=4)
    assert made(kind) != made(kind, row=2)
    alone = made(kind, row=7)
    together = Noise(kind, rate=0.2, samples=5, seed=3)([Source(6, "a red cat"), Source(7, TEXT)])
    assert [c.text for c in together if c.source.row == 7] == alone


def test_noise_needs_two_words() -> None:
    (candidate,) = Noise("swap", rate=0.5, samples=1, seed=0)([Source(1, " cat ")])
    assert candidate.problem == "nothing to change"


def test_draw_seed_is_the_same_in_every_process_and_differs_by_place() -> None:
    assert draw_seed(17, "swap", 1) == 4099594110764479789
    assert len({draw_seed(seed, "swap", row) for seed in range(20) for row in range(20)}) == 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't, reset -- my CARD!", "don't reset my card"),
        ("don\u2019t _so_", "don't so"),
        ("ﬁve \uff11\uff12 straße", "five 12 strasse"),
        ("我喜欢猫 cats", "我 喜 欢 猫 cats"),
        ("हिन्दी भाषा", "हिन्दी भाषा"),  # vowel signs are part of the word
        ("... !?", ""),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert words(text) == expected.split()


def test_overlap() -> None:
    assert overlap("a red cat", "A cat, red!") == 1
    assert overlap("a red cat", "a cat and a dog") == 2 / 5
    assert overlap("我喜欢猫", "我爱猫") == 2 / 5
    assert overlap("?", "!") == 1


def test_foreign_share() -> None:
    assert foreign_share("красный кот", "a red cat") == 1
    assert foreign_share("a кот", "a red cat") == 3 / 4
    assert foreign_share("赤い猫", "赤いネコ") == 0
    assert foreign_share("12", "a red cat") == foreign_share("кот", "12") == 0


def candidate(text: str, *, anchor: str = TEXT, kind: Kind = "paraphrase", problem: Reason | None = None) -> Candidate:
    origin = Origin(kind, model="m") if kind in ("paraphrase", "back-translation") else Origin(kind)
    return Candidate(Source(1, anchor), text, origin, seed=0, problem=problem)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (candidate("two cars were seen by a red cat at the water"), None),
        (candidate("", problem="unfinished"), "unfinished"),
        (candidate(" \n"), "empty"),
        (candidate(f"{TEXT} {TEXT} and that is all there was to it"), "too long"),
        (candidate("THE red cat sat by the water, and saw two cars."), "copy"),
        (candidate("saw two cars and the red cat sat by the water"), "copy"),  # the same words
        (candidate("the red cat и две машины"), "other script"),
        (candidate("completely unrelated words stand here"), "too far"),
        (candidate("the red cat sat by water and saw two cars", kind="deletion"), None),
        (candidate("the cat red sat by the water and saw two cars", kind="swap"), None),
        (candidate(f"{TEXT}.", kind="swap"), "copy"),
        (candidate("", kind="swap", problem="nothing to change"), "nothing to change"),
    ],
)
def test_every_reason(given: Candidate, reason: Reason | None) -> None:
    assert Filters(Limits(), None)([given]) == [(given, reason)]


def test_repeated_pairs_are_kept_once_within_and_across_blocks() -> None:
    filters = Filters(Limits(), None)
    filters.remember("a red cat saw it", "the cat that saw it is red")
    known = candidate("The cat that saw it is red.", anchor="a red cat saw it")
    new, again = candidate("two cars by the water"), candidate("Two cars, by the water")
    other = candidate("two cars by the water", anchor="two cars now stand by the water")
    assert [reason for _, reason in filters([known, new, again, other])] == ["repeated", None, "repeated", None]


class Planted(Embedder):
    """Vectors by text."""

    def __init__(self, vectors: dict[str, list[float]]) -> None:
        super().__init__(Readout.plain(2))
        self.vectors = vectors

    def encode(self, texts: list[str], **_: object) -> np.ndarray:  # type: ignore[override]
        found = np.array([self.vectors[text] for text in texts], dtype=np.float32)
        return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_an_embedder_judges_instead_of_common_words() -> None:
    near, far = candidate("an automobile", anchor="a car"), candidate("a car park", anchor="a car")
    planted = Planted({"a car": [1, 0], "an automobile": [3, 1], "a car park": [1, 2]})
    judge = Similarity(planted, limit=0.9, batch_size=4)
    assert [reason for _, reason in Filters(Limits(), judge)([near, far])] == [None, "too far"]
    assert [reason for _, reason in Filters(Limits(), None)([near, far])] == ["too far", None]


def test_the_limit_is_the_quantile_of_cosines_between_different_anchors() -> None:
    rng = np.random.default_rng(0)
    vectors = {f"text {i}": rng.normal(size=3).tolist() for i in range(40)}
    judge = Similarity(Planted({**vectors, "Text 3!": [0, 0, 1]}), limit=None, batch_size=4)
    judge.calibrate([*vectors, "Text 3!"])
    assert judge.limit is not None
    kept = {**vectors, "text 3": [0, 0, 1]}  # the same but for case and punctuation: one of them counts
    unit = [np.array(v) / np.linalg.norm(v) for v in kept.values()]
    cosines = sorted(float(a @ b) for a, b in itertools.combinations(unit, 2))
    assert judge.limit == pytest.approx(np.quantile(cosines, 0.99), abs=1e-5)
    judge.calibrate(["text 1", "Text 1."])
    assert judge.limit == -1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("  A cat. \n", "A cat."),
        ('"A cat."', "A cat."),
        ("\u201cA cat.\u201d", "A cat."),
        ('"Yes", he said, "a cat"', '"Yes", he said, "a cat"'),
        ("Here is the text:\n\nA cat.", "A cat."),
        ("Here is the text:", "Here is the text:"),
        ("<think>\nWell:\nso\n</think>\n\nA cat.", "A cat."),
        ("", ""),
    ],
)
def test_what_models_put_around_a_text_goes(answer: str, expected: str) -> None:
    assert cleaned(answer, "There is a cat.") == expected


def test_what_the_anchor_has_too_stays() -> None:
    assert cleaned('"a cat"', '"the cat"') == '"a cat"'
    assert cleaned("to do:\na cat", "needed:\nthe cat") == "to do:\na cat"


def test_bundled_prompts_name_their_source_and_give_the_text_a_line() -> None:
    prompts = read_prompts()
    assert len({prompt.name for prompt in prompts}) == len(prompts) >= 3
    for prompt in prompts:
        assert prompt.source
        assert "{text}" in prompt.chat.splitlines()
        assert "{text}" in prompt.completion.splitlines()
        assert prompt.completion.endswith(":\n")
    assert [prompt.name for prompt in read_prompts(names=["plain-words"])] == ["plain-words"]


@pytest.mark.parametrize(
    ("content", "names", "says"),
    [
        ("prompts: []", [], "p.yaml: prompts: "),
        ("prompts: [{name: a, source: b, chat: c, completion: '{text}'}]", [], r"chat: needs \{text\} exactly once"),
        (2 * "x: 1\n", [], "key 'x' is written twice"),
        (
            "prompts:\n" + 2 * "  - {name: a, source: b, chat: '{text}', completion: '{text}'}\n",
            [],
            "the name 'a' is used twice",
        ),
        (
            "prompts: [{name: formal, source: b, chat: '{text}', completion: '{text}'}]",
            ["formel"],
            "--prompt formel: no such prompt; did you mean 'formal'",
        ),
    ],
)
def test_wrong_prompt_files(content: str, names: list[str], says: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(content)
    with pytest.raises(ConfigError, match=says):
        read_prompts(tmp_path / "p.yaml", names=names)
