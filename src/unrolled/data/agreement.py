"""The built-in data of subject-verb agreement: "The cat, which already ate ..., was full". Made, not shipped.

    The cat was full.                                        0 words between subject and verb
    The cats, which already ate the fish, were full.         5

Verbs before was or were are in the past tense, which has no number, and every noun in between is singular or plural by
the toss of a coin. So nothing but the subject tells whether the verb is was or were: who goes by the last noun is right
half the time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled.data.cache import kept

AGREEMENT = "sentences of subject-verb agreement (made)"
LONGEST = 60
"""Words between subject and verb in the training sentences, at most."""
COUNT = 30_000
"""Sentences, of all parts together."""
SINGULAR, PLURAL = "was", "were"

SUBJECTS = (
    "cat", "dog", "bird", "horse", "lion", "tiger", "rabbit", "bear", "girl", "boy", "farmer", "teacher", "sailor",
    "singer", "doctor", "painter",
)  # fmt: skip
NOUNS = (
    "apple", "cake", "pear", "salad", "house", "tree", "river", "garden", "road", "table", "wall", "boat", "hill",
    "window", "field", "barn",
)  # fmt: skip
"""Of what is in between: other words than the subjects', of regular plural too."""
ADJECTIVES = ("old", "small", "green", "quiet", "new", "large")
PREPOSITIONS = ("near", "behind", "under", "beside", "above", "from")
ADVERBS = ("already", "quickly", "often", "gladly", "then", "again")
VERBS = ("ate", "saw", "liked", "found", "left", "loved")
ENDS = ("full", "hungry", "tired", "happy", "asleep", "late")


@dataclass(frozen=True)
class Agreement:
    """A sentence in parts: ``The SUBJECT between was END.``

    Attributes:
        subject: a noun in the singular. between: (D,) words with their commas; none for distance 0. end: what is said.
    """

    subject: str
    between: tuple[str, ...]
    end: str

    @property
    def distance(self) -> int:
        """Words between subject and verb."""
        return len(self.between)

    def start(self, plural: bool) -> str:
        """Everything before the verb."""
        subject = self.subject + "s" * plural
        between = f", {' '.join(self.between)}," if self.between else ""
        return f"The {subject}{between}"

    def text(self, plural: bool) -> str:
        """The whole sentence, its subject in the singular or the plural."""
        return f"{self.start(plural)} {PLURAL if plural else SINGULAR} {self.end}."


def made_agreement(draw: random.Random, distance: int) -> Agreement:
    """A sentence with so many words between subject and verb."""
    return Agreement(draw.choice(SUBJECTS), tuple(_between(draw, distance)), draw.choice(ENDS))


def agreement_text(seed: int = 0, count: int = COUNT, longest: int = LONGEST) -> str:
    """Sentences, one a line: every distance up to ``longest`` and both numbers equally often."""
    draw = random.Random(seed)
    lines = (made_agreement(draw, draw.randint(0, longest)).text(draw.random() < 0.5) for _ in range(count))
    return "".join(f"{line}\n" for line in lines)


def agreement_path() -> Path:
    """A file in the cache folder that holds ``agreement_text()``, made if it is not there."""

    def make(path: Path) -> dict[str, Any]:
        path.write_bytes(agreement_text().encode())
        return {}

    return kept(
        {"agreement": 1, "count": COUNT, "longest": LONGEST}, make, lambda path, _: bool(path.read_text("utf-8"))
    )[0]


def _between(draw: random.Random, distance: int) -> list[str]:
    """So many words: a relative clause, and what else fits into its length."""
    words = [["which"], ["which", draw.choice(VERBS)], ["which", draw.choice(ADVERBS), draw.choice(VERBS)]]
    if distance == 0:
        return []
    if distance == 1:
        return ["too"]
    found = words[min(distance, 3) - 1]
    if distance - len(found) > 1:
        found += _noun_phrase(draw, distance - len(found))
    while (left := distance - len(found)) > 0:
        found += draw.choice(_FITTING[min(left, 4)])(draw, left)
    return found


def _noun_phrase(draw: random.Random, most: int) -> list[str]:
    noun = draw.choice(NOUNS) + draw.choice(("", "s"))
    return ["the", *([draw.choice(ADJECTIVES)] if most > 2 and draw.random() < 0.3 else []), noun]


def _place(draw: random.Random, most: int) -> list[str]:
    return [draw.choice(PREPOSITIONS), *_noun_phrase(draw, most - 1)]


def _deed(draw: random.Random, most: int) -> list[str]:
    return ["and", draw.choice(VERBS), *_noun_phrase(draw, most - 2)]


def _manner(draw: random.Random, most: int) -> list[str]:
    return [draw.choice(ADVERBS)]


_Phrase = Callable[[random.Random, int], list[str]]
_FITTING: dict[int, tuple[_Phrase, ...]] = {
    1: (_manner,), 2: (_manner,), 3: (_place, _manner), 4: (_place, _place, _place, _deed, _deed),
}  # fmt: skip
"""What may come next where so many words are left, 4 for more."""
