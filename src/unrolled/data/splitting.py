"""The stated rule by which one file becomes a training, a validation and a test part."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Self

from unrolled.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TRAIN, VALIDATION, TEST = 0, 1, 2
_PERCENT = re.compile(r"\s*(\d{1,3}(\.\d{0,20})?|\.\d{1,20})\s*", re.ASCII)
STRATIFIED = "stratified"
"""The rule that new runs of tasks that read rows write into their recipe, where nobody gave another."""
PART_NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Either contiguous shares of the whole, or ten parts chosen by the last digit of a number.

    shares: how much is for train, validation and test; they add up to 1.
    digits: for "mod10" and "stratified", the part of each last digit; otherwise empty.
    stratified: whether rows are numbered class by class and in an order that their content gives, rather than as they
        stand in the file: every part then has its share of every class, however the rows are sorted.

    >>> Split.parse("90/10", "text").borders(1_115_394)
    (1003854, 1115394)
    """

    shares: tuple[Fraction, Fraction, Fraction]
    digits: tuple[int, ...] = ()
    stratified: bool = False

    @classmethod
    def parse(cls, written: str, format: str) -> Self:
        """Read ``data.split`` of text, lines or rows; empty is its default. UserError where it makes no sense."""
        written = written or ("90/5/5" if format == "text" else "mod10")
        if written == STRATIFIED and format != "rows":
            raise UserError('data.split = "stratified" is for tasks that read rows; use "mod10" for lines, or percents')
        if written in ("mod10", STRATIFIED):
            if format == "text":
                raise UserError('data.split = "mod10" counts lines: it needs data.format = "lines"')
            tenths, digits = (Fraction(8, 10), Fraction(1, 10), Fraction(1, 10)), (TRAIN,) * 8 + (VALIDATION, TEST)
            return cls(tenths, digits=digits, stratified=written == STRATIFIED)
        return cls(_shares(written))

    def given(self, *, valid: bool, test: bool) -> "Split":
        """The rule that is left when validation or test come from files of their own.

        With a validation file all is for training; with a test file alone, the test's share joins the training part.
        """
        if valid:
            return Split((Fraction(1), Fraction(0), Fraction(0)))
        if test:
            train, validation, rest = self.shares
            digits = tuple(TRAIN if part == TEST else part for part in self.digits)
            return replace(self, shares=(train + rest, validation, Fraction(0)), digits=digits)
        return self

    def borders(self, count: int) -> tuple[int, int]:
        """Where the validation part and the test part of ``count`` things begin (contiguous shares, rounded down)."""
        train, validation, _ = self.shares
        return int(count * train), int(count * (train + validation))

    def parts(self, count: int) -> "NDArray[np.int8]":
        """The part (0 train, 1 validation, 2 test) of each of ``count`` lines."""
        import numpy as np  # here, so that reading a recipe needs no NumPy

        index = np.arange(count)
        if self.digits:
            return np.array(self.digits, dtype=np.int8)[index % 10]
        return np.searchsorted(self.borders(count), index, side="right").astype(np.int8)


def _shares(written: str) -> tuple[Fraction, Fraction, Fraction]:
    shares = written.split("/")
    # only digits: a fraction also takes 1e999999999, and computes it
    plain = len(shares) <= 3 and all(_PERCENT.fullmatch(share) for share in shares)
    percents = [Fraction(share.strip()) for share in shares] if plain else []
    if not percents or sum(percents) != 100 or percents[0] == 0:
        raise UserError(
            f'data.split = "{written[:40]}" is not a rule: write percents that add up to 100, as "90/5/5" '
            '(train/validation/test), "90/10" or "100", or, for lines, "mod10"'
        )
    train, validation, test = ([share / 100 for share in percents] + [Fraction(0)] * 2)[:3]
    return train, validation, test
