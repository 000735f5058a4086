"""What every picture shares: how it is begun, its endings, and that its file is replaced as a whole."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from unrolled.errors import UserError
from unrolled.files import atomic_write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = ("png", "svg")


def picture_kind(path: Path) -> str:
    """Which kind of picture a file's ending asks for, "png" or "svg".

    Raises:
        UserError: neither.
    """
    kind = path.suffix.lower().lstrip(".")
    if kind not in ENDINGS:
        raise UserError(f"{path}: a picture is written as .png or .svg")
    return kind


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that touches no window system."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, by the file's ending.

    Raises:
        UserError: the ending is another, or the file cannot be written.
    """
    kind = picture_kind(path)
    picture = BytesIO()
    figure.savefig(picture, format=kind)
    atomic_write_bytes(path, picture.getvalue())
