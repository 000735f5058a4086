"""A file of labelled sequences comes in, in any of a dozen formats; examples and what is wrong with the rest go out."""

from unrolled.data.labelled.example import Example, Labelled
from unrolled.data.labelled.opening import EXTENSIONS, FITTING, read_labelled

__all__ = ["EXTENSIONS", "FITTING", "Example", "Labelled", "read_labelled"]
