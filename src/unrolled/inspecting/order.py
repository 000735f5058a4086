"""The orders that a picture's units can have; a file of its own, for the command line names them before it computes."""

from enum import StrEnum


class UnitOrder(StrEnum):
    """How the units of a picture are ordered: the longest memory first, alike side by side, or as they are."""

    memory = "memory"
    similar = "similar"
    none = "none"
