"""The exceptions that are the user's to mend: they name what was wrong, where, and what to do."""


class UserError(Exception):
    """Something the user gave cannot be used.

    The message is complete by itself: what was wrong, where (file and line, or the recipe's key), what to do. The
    command line prints it without a traceback and exits with 1.
    """


class ShapeError(ValueError, RuntimeError):
    """A tensor whose shape, type or device does not fit a layer.

    Programs written for torch.nn catch RuntimeError or ValueError here, depending on the case; this is both.
    """


class UnknownLabel(UserError):
    """A label that the symbols at hand do not have."""


def short(value: object) -> str:
    """A number for a message, of a long one the beginning."""
    try:
        shown = str(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "of thousands of digits"
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
