"""Beam search went wrong: is the search to blame, or the model?

With y* what a person wrote and ŷ what the search answered, both under the objective that the search maximises:

    score(y*) > score(ŷ)    the search is to blame: the model likes the person's answer better, and it was not found
    score(y*) ≤ score(ŷ)    the model is to blame: it likes a wrong answer at least as well

Where ŷ is one of the references there is nothing to blame. Of several references the one with the highest score counts:
only if the model likes none of them better it is to blame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from unrolled.decoding.beam import Beam

LENGTHS = ((1, 4), (5, 6), (7, 8), (9, 12), (13, 20), (21, 10**9))
"""Words of a source, first and last, that are put together."""

RIGHT, SEARCH, MODEL = "right", "search", "model"
VERDICTS = (RIGHT, SEARCH, MODEL)
CLOSE = 1e-5
"""Scores nearer than that, relatively, are equal: they come from two passes of float32."""


Item = TypeVar("Item")


def by_words(items: Sequence[Item], text: Callable[[Item], str]) -> list[tuple[str, list[Item]]]:
    """Items whose texts have about as many words, together: "5-6" and the items, short ones first.

    >>> by_words(["one", "one two three four five", "two words"], lambda text: text)
    [('1-4', ['one', 'two words']), ('5-6', ['one two three four five'])]
    """
    found: dict[str, list[Item]] = {}
    for first, last in LENGTHS:
        own = [item for item in items if first <= len(text(item).split()) <= last]
        if own:
            found[f"{first}-{last}" if last < LENGTHS[-1][1] else f"{first} or more"] = own
    return list(found.items())


@dataclass(frozen=True)
class Judged:
    """One source, what was answered, and what a person wrote.

    Attributes:
        reference: of the references the one with the highest score; with its log P(y* | x) and score.
        answer: ŷ, with its log P(ŷ | x) and score; right: whether it is one of the references.
        wider_answer, wider_score, wider_right: the same of a search with a wider beam.
    """

    source: str
    reference: str
    reference_log_probability: float
    reference_score: float
    answer: str
    log_probability: float
    score: float
    right: bool
    wider_answer: str
    wider_score: float
    wider_right: bool

    @property
    def verdict(self) -> str:
        """Who is to blame: "right" for nobody, "search" or "model"."""
        if self.right:
            return RIGHT
        return SEARCH if self.gap > CLOSE * abs(self.score) else MODEL

    @property
    def gap(self) -> float:
        """score(y*) - score(ŷ)."""
        return self.reference_score - self.score


@dataclass(frozen=True)
class Analysis:
    """All sentences of a part, judged.

    Attributes:
        name: the part's. beam: how was searched; wider: the width that is compared with it.
        bleu, wider_bleu: of both searches.
    """

    name: str
    beam: Beam
    wider: int
    judged: tuple[Judged, ...] = field(repr=False)
    bleu: float
    wider_bleu: float

    def shares(self, judged: Sequence[Judged] | None = None) -> dict[str, float]:
        """How many answers are right, how many the search's fault, how many the model's."""
        own = self.judged if judged is None else judged
        return {verdict: sum(one.verdict == verdict for one in own) / max(1, len(own)) for verdict in VERDICTS}

    def by_length(self) -> list[dict[str, Any]]:
        """The shares among short and long sources."""
        grouped = by_words(self.judged, lambda one: one.source)
        return [{"words": words, "sources": len(own), **self.shares(own)} for words, own in grouped]

    def worst(self, verdict: str, count: int = 5) -> list[Judged]:
        """The examples of a verdict where the two scores are furthest apart."""
        own = [one for one in self.judged if one.verdict == verdict]
        return sorted(own, key=lambda one: -abs(one.gap))[:count]

    def change(self) -> dict[str, int]:
        """What the wider beam changed.

        differs: answers that are others. higher: of them those with a higher score. found: of the search's faults
        those whose answer now scores as high as the reference. mended, spoilt: wrong answers that became right, and
        right ones that became wrong.
        """
        faults = [one for one in self.judged if one.verdict == SEARCH]
        return {
            "differs": sum(one.answer != one.wider_answer for one in self.judged),
            "higher": sum(one.wider_score > one.score + CLOSE * abs(one.score) for one in self.judged),
            "faults": len(faults),
            "found": sum(one.wider_score >= one.reference_score - CLOSE * abs(one.score) for one in faults),
            "mended": sum(one.wider_right and not one.right for one in self.judged),
            "spoilt": sum(one.right and not one.wider_right for one in self.judged),
        }

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "data": self.name, "beam": self.beam.width, "alpha": self.beam.alpha, "wider": self.wider,
            "sources": len(self.judged), **self.shares(), "bleu": self.bleu, "wider_bleu": self.wider_bleu,
            "by_length": self.by_length(), "change": self.change(),
            "examples": [{"verdict": one.verdict, **vars(one)} for one in self.judged],
        }  # fmt: skip
