"""Which candidates become pairs. Every one that does not is counted, by the first reason that applies."""

from collections.abc import Sequence
from hashlib import blake2b

from transferkit.augment.candidates import Candidate, Reason
from transferkit.augment.overlap import foreign_share, overlap, words
from transferkit.augment.settings import Limits
from transferkit.augment.similarity import Similarity

FOREIGN_LETTERS = 0.2  # a name or a unit may stand in another script


class Filters:
    """All checks, in the order in which reasons are listed, and the memory of the pairs that were kept.

    Noise is near its anchor by construction: of it only what is empty, equal or repeated is rejected.

    Of the language only the script is looked at: more than a fifth of the letters in scripts that the anchor does not
    use. Another language in the same script, such as a back-translation that stayed abroad, shares few words and is
    then too far; an embedder that knows both languages lets it pass.

    Args:
        limits: of generated candidates.
        similarity: judges what is too far, instead of common words.
    """

    def __init__(self, limits: Limits, similarity: Similarity | None) -> None:
        self.limits = limits
        self.similarity = similarity
        self._seen: set[int] = set()

    def remember(self, anchor: str, positive: str) -> bool:
        """Note a pair of the file; False where it, but for case and punctuation, is known already."""
        key = f"{' '.join(words(anchor))}\n{' '.join(words(positive))}".encode()
        number = int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
        known = number in self._seen
        self._seen.add(number)
        return not known

    def __call__(self, candidates: Sequence[Candidate]) -> list[tuple[Candidate, Reason | None]]:
        """Each candidate with the reason that speaks against it, None for a pair."""
        reasons: list[Reason | None] = [self._reason(candidate) for candidate in candidates]
        if self.similarity is not None:
            judged = [i for i, c in enumerate(candidates) if reasons[i] is None and c.origin.model is not None]
            if judged:
                for i, far in zip(judged, self.similarity.too_far([candidates[i] for i in judged]), strict=True):
                    reasons[i] = "too far" if far else None
        for i, candidate in enumerate(candidates):
            if reasons[i] is None and not self.remember(candidate.source.text, candidate.text):
                reasons[i] = "repeated"
        return list(zip(candidates, reasons, strict=True))

    def _reason(self, candidate: Candidate) -> Reason | None:
        """The first reason that the two texts alone give."""
        anchor, text = candidate.source.text, candidate.text
        if candidate.problem is not None:
            return candidate.problem
        if not text.strip():
            return "empty"
        written, given = words(text), words(anchor)
        if candidate.origin.model is None:
            return "copy" if written == given else None
        if len(written) > 2 * len(given) + 5:
            return "too long"
        common = overlap(anchor, text)
        if written == given or common >= self.limits.max_overlap:
            return "copy"
        if foreign_share(text, anchor) > FOREIGN_LETTERS:
            return "other script"
        if self.similarity is None and common < self.limits.min_overlap:
            return "too far"
        return None
