"""The recipe's section [decoding]: how answers are searched for."""

from dataclasses import dataclass

from unrolled.settings import setting

WIDEST = 1000
"""Hypotheses of a sentence; more only cost memory."""


@dataclass(frozen=True)
class DecodingSettings:
    """How a translator's answers are found when it is measured or used; the command line can ask for others.

    >>> DecodingSettings(beam=1).beam
    1
    """

    beam: int = setting(5, minimum=1, maximum=WIDEST, help="translate: hypotheses kept at a step; 1: greedy")
    alpha: float = setting(
        0.7, minimum=0, maximum=10, help="translate: exponent of the length that log-probabilities are divided by"
    )
    coverage: float = setting(
        0.0, minimum=0, maximum=100, help="translate: weight of the coverage penalty; needs attention"
    )
    block_repeats: int = setting(0, minimum=0, help="translate: no run of so many symbols comes twice; 0: off")
