"""What every picture shares: how it is begun, its endings, and that its file is replaced as a whole."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from unrolled.errors import UserError
from unrolled.files import atomic_write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = ("png", "svg")
COLOURS = ("#2a6f97", "#d1495b", "#6a994e", "#c98a1b", "#7b5ea7", "#3d9a9a", "#8c564b", "#5c677d")
"""Of curves beside each other."""


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


def plain_axes(axes: Axes) -> None:
    """Without a frame, on a pale grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e9f0")
    axes.set_axisbelow(True)


def curve_style(place: int) -> tuple[str, str]:
    """The colour and the line of the curve of a number: when the colours are used up, they come again, broken."""
    return COLOURS[place % len(COLOURS)], "-" if place < len(COLOURS) else "--"


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, by the file's ending.

    Raises:
        UserError: the ending is another, or the file cannot be written.
    """
    kind = picture_kind(path)
    picture = BytesIO()
    figure.savefig(picture, format=kind)
    atomic_write_bytes(path, picture.getvalue())
