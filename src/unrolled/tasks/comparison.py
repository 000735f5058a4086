"""Is a model any better than the plain baselines beside its figures?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Comparison(NamedTuple):
    """A model's figure beside a baseline's; `worse` where the model would better be left out."""

    baseline: str
    figure: str
    ours: float
    theirs: float
    worse: bool


LOWER_IS_BETTER = ("perplexity", "mean_absolute_error")


def comparisons(figures: Mapping[str, Any]) -> Iterator[Comparison]:
    """Each baseline of a part's figures, compared by the figure that it has."""
    ngram = figures.get("ngram")
    if ngram:
        yield _compared(f"{ngram['order']}-gram", "perplexity", figures["perplexity"], ngram["perplexity"])
    for name, own in figures.get("baselines", {}).items():
        figure, theirs = next(iter(own.items()))
        ours = figures["spans"]["f1"] if figure == "f1" else figures.get(figure)
        if ours is not None:
            yield _compared(name, figure, ours, theirs)


def _compared(baseline: str, figure: str, ours: float, theirs: float) -> Comparison:
    return Comparison(baseline, figure, ours, theirs, ours > theirs if figure in LOWER_IS_BETTER else ours < theirs)


def worse_than(figures: Mapping[str, Any]) -> list[str]:
    """The baselines that did better than the model."""
    return [one.baseline for one in comparisons(figures) if one.worse]
