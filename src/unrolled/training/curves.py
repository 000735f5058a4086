"""curves.png of a run: loss, learning rate and gradient norm against the step, drawn from its log."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled.lettering import lettering
from unrolled.pictures import drawing, powers_of_ten, save_figure
from unrolled.training.log import read_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAIN_COLOUR, VALID_COLOUR, RATE_COLOUR, NORM_COLOUR = "#2a6f97", "#d1495b", "#5c677d", "#6a994e"
STYLE: Any = {  # Any: the key type that matplotlib asks for differs between its versions
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8d99ae",
    "axes.grid": True,
    "grid.color": "#e5e9f0",
    "axes.axisbelow": True,
    "legend.frameon": False,
}
SMOOTH_OVER = 40  # the smooth curve averages over about a fortieth of the run
NICE_STEPS = [1, 2, 2.5, 5, 10]
HIGHEST = 1e30  # an explosion is drawn up to here: beyond, the axes' own arithmetic overflows

Curve = tuple[list[float], list[float]]


@drawing
def draw_curves(log: Path | Iterable[Mapping[str, Any]], path: Path, *, unit: str = "", title: str = "") -> None:
    """Draw a run's log (its folder, or the entries) as a PNG, 900 pixels wide.

    Above, the training loss (thin: as logged; thick: smoothed) and the validation loss with its best point, in nats
    per symbol; ``unit`` adds a scale on the right: "bits per character" (any "bits ...") or "perplexity". Below,
    learning rate and gradient norm. Entries are {"step", "kind": "train" | "valid", "loss", "learning_rate",
    "norm", ...}; what is missing, null or not finite leaves a gap.

    Raises:
        UserError: when the log is damaged or the picture cannot be written.

    >>> draw_curves(Path("runs/names"), Path("runs/names/curves.png"), unit="perplexity")    # doctest: +SKIP
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    entries = read_log(log) if isinstance(log, Path) else list(log)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 6.4), dpi=100, layout=ConstrainedLayoutEngine(h_pad=0.08, w_pad=0.08))
        FigureCanvasAgg(figure)
        axes = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": [4, 1.1, 1.1]})
        _draw_loss(axes[0], entries, unit)
        _draw_rate(axes[1], _curve(entries, "train", "learning_rate"))
        _draw_norm(axes[2], _curve(entries, "train", "norm"))
        axes[2].set_xlabel("step (updates of the weights)")
        _fit_steps(axes[2], entries)
        figure.align_ylabels(axes)
        if title:
            letters = lettering([title])
            axes[0].set_title(letters(title), loc="left", fontweight="bold", fontsize=11, family=letters.families)
        save_figure(figure, path)


def _curve(entries: Iterable[Mapping[str, Any]], kind: str, key: str) -> Curve:
    """Steps and values of one quantity; what is no number becomes NaN, which matplotlib draws as a gap."""
    points = [(entry["step"], entry[key]) for entry in entries if entry.get("kind") == kind and key in entry]
    values = [float(value) if isinstance(value, int | float) else math.nan for _, value in points]
    return [float(step) for step, _ in points], [
        max(-HIGHEST, min(value, HIGHEST)) if math.isfinite(value) else math.nan for value in values
    ]


def _draw_loss(axes: "Axes", entries: Sequence[Mapping[str, Any]], unit: str) -> None:
    train, valid = _curve(entries, "train", "loss"), _curve(entries, "valid", "loss")
    if train[0]:
        crowded = len(train[0]) > 30
        axes.plot(*train, color=TRAIN_COLOUR, linewidth=0.8, alpha=0.35 if crowded else 0.9, **_dots(train))
        smooth = _smoothed(train[1])
        axes.plot(train[0], smooth, color=TRAIN_COLOUR, linewidth=1.8, label=f"training {_last(smooth)}")
    if valid[0]:
        axes.plot(
            *valid, color=VALID_COLOUR, linewidth=1.8, marker="o", markersize=3.5, label=f"validation{_best(valid)}"
        )
        _mark_best(axes, valid)
    axes.set_ylabel("loss (nats per symbol)")
    if not any(map(math.isfinite, train[1] + valid[1])):
        _say_empty(axes, "no loss that is a number" if train[0] or valid[0] else "nothing logged yet")
        return
    _fit_losses(axes, train, valid)
    if unit:
        _add_unit(axes, unit)
    axes.legend(loc="upper right")


def _say_empty(axes: "Axes", text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=RATE_COLOUR)
    axes.set_yticks([])


def _dots(curve: Curve) -> dict[str, Any]:
    """A line needs two points that follow each other; mark the points where there may be none."""
    return {"marker": "o", "markersize": 4} if sum(map(math.isfinite, curve[1])) < 3 else {}


def _smoothed(values: list[float]) -> list[float]:
    """The mean of the values around each point, so that the smooth curve does not lag behind; NaN leaves a gap.

    At the start, where the loss falls steeply, the window stays symmetric; at the end it may be one-sided.
    """
    reach = len(values) // (2 * SMOOTH_OVER)
    smooth = []
    for place, value in enumerate(values):
        around = values[place - min(place, reach) : place + min(place, reach) + 1]
        numbers = [near for near in around if math.isfinite(near)]
        smooth.append(sum(numbers) / len(numbers) if math.isfinite(value) else math.nan)
    return smooth


def _last(values: Sequence[float]) -> str:
    numbers = [value for value in values if math.isfinite(value)]
    return f"{numbers[-1]:.3f}" if numbers else ""


def _best_point(curve: Curve) -> tuple[float, float] | None:
    points = [(step, value) for step, value in zip(*curve, strict=True) if math.isfinite(value)]
    return min(points, key=lambda point: point[1], default=None)


def _best(valid: Curve) -> str:
    best = _best_point(valid)
    return f", best {best[1]:.3f} at step {best[0]:,.0f}" if best else ""


def _mark_best(axes: "Axes", valid: Curve) -> None:
    if best := _best_point(valid):
        axes.plot(*best, marker="o", markersize=10, markerfacecolor="none", markeredgecolor=VALID_COLOUR)


def _fit_losses(axes: "Axes", train: Curve, valid: Curve) -> None:
    """Leave the first fall out of the picture where it would press everything after it into a line."""
    values = sorted(value for value in train[1] + valid[1] if math.isfinite(value))
    low, high, most = values[0], values[-1], values[int(0.97 * (len(values) - 1))]
    if len(values) >= 20 and high - low > 1.5 * (most - low) > 0:
        high = low + 1.15 * (most - low)
    margin = 0.06 * (high - low) or 0.05 * max(abs(high), 1.0)
    axes.set_ylim(low - margin, high + margin)


def _add_unit(axes: "Axes", unit: str) -> None:
    """Draw the same heights in the unit's numbers on the right."""
    right = axes.twinx()
    right.grid(False)
    right.set_ylabel(unit)
    right.spines["right"].set_visible(True)
    low, high = axes.get_ylim()
    if unit.startswith("bits"):
        right.set_ylim(low / math.log(2), high / math.log(2))
        return
    ticks = _perplexity_ticks(low, high)
    right.set_ylim(low, high)
    labels = [f"{tick:,g}" if tick < 1e6 else f"{tick:.0e}" for tick in ticks]
    right.set_yticks([math.log(tick) for tick in ticks], labels)


def _perplexity_ticks(low: float, high: float) -> list[float]:
    """Round perplexities between two losses: 1, 2, 5 times a power of ten, or even steps where that gives too few."""
    from matplotlib.ticker import MaxNLocator

    low, high = max(0.0, low), min(high, 300.0)
    powers = range(int(low / math.log(10)), int(max(0.0, high) / math.log(10)) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    if high < low + math.log(12):
        ticks = [float(tick) for tick in MaxNLocator(6, steps=NICE_STEPS).tick_values(math.exp(low), math.exp(high))]
    elif high > low + math.log(3000):
        ticks = ticks[::3]
    return [tick for tick in ticks if tick > 0 and low <= math.log(tick) <= high]


def _draw_rate(axes: "Axes", rate: Curve) -> None:
    axes.plot(*rate, color=RATE_COLOUR, linewidth=1.5, **_dots(rate))
    axes.set_ylabel("learning\nrate")
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    _from_zero(axes, rate[1])


def _draw_norm(axes: "Axes", norm: Curve) -> None:
    steps, values = norm[0], [value if value > 0 else math.nan for value in norm[1]]
    axes.plot(steps, values, color=NORM_COLOUR, linewidth=1.0, **_dots((steps, values)))
    axes.set_ylabel("gradient\nnorm")
    numbers = [value for value in values if math.isfinite(value)]
    if numbers and max(numbers) > 20 * min(numbers):  # an explosion is seen best by its powers of ten
        powers_of_ten(axes)
    else:
        _from_zero(axes, numbers)


def _from_zero(axes: "Axes", values: Iterable[float]) -> None:
    highest = max((value for value in values if math.isfinite(value)), default=0.0)
    if highest > 0:
        axes.set_ylim(0, 1.12 * highest)
    else:
        _say_empty(axes, "none")


def _fit_steps(axes: "Axes", entries: Sequence[Mapping[str, Any]]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    steps = [entry["step"] for entry in entries]
    if not steps:
        axes.set_xticks([])
    else:
        first, last = min(steps), max(steps)
        margin = 0.01 * (last - first) or 1.0
        axes.set_xlim(first - margin, last + margin)
        axes.xaxis.set_major_locator(MaxNLocator(9, integer=True, steps=NICE_STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
