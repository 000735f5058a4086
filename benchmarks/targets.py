"""What the recurrence compiler has to reach, as data: `minimum` answers for one measurement, None where nothing is set.

All of it is meant for 2 threads and every shape that is measured; the fraction of the peak also for 1.
"""

from dataclasses import dataclass

from benchmarks.peers import Shape

UNLIMITED = 1 << 30


@dataclass(frozen=True)
class Target:
    """How many times as fast as a peer ours is to be at least.

    Attributes:
        peer, cells: against whom, and for which cells; no cells: all.
        inference, training: the ratios; None where none is set.
        batch, hidden: only up to these sizes. A later target of the list replaces an earlier one.
        strict: the ratio itself is not enough.
    """

    peer: str
    cells: tuple[str, ...]
    inference: float | None
    training: float | None
    batch: int = UNLIMITED
    hidden: int = UNLIMITED
    strict: bool = False

    def holds_for(self, peer: str, cell: str, shape: Shape) -> bool:
        """Whether this target is about a measurement."""
        return (
            peer == self.peer
            and (not self.cells or cell in self.cells)
            and shape.batch <= self.batch
            and shape.hidden <= self.hidden
        )


WITHOUT_A_LIBRARY = ("lstm-peephole", "gru", "gru-simplified", "minimal")
"""The cells that torch.nn does not have: users write a loop."""

TARGETS = (
    Target("torch.nn", ("lstm",), 1.05, 1.10),
    Target("torch.nn", ("gru-torch", "rnn"), 1.4, 1.4),
    Target("torch.nn", ("gru-torch", "rnn"), 2.0, 4.0, batch=1),
    Target("eager-loop", WITHOUT_A_LIBRARY, 1.5, 2.5),
    Target("eager-loop", WITHOUT_A_LIBRARY, 5.0, 8.0, batch=1, hidden=256),
    Target("torch.compile", (), 1.0, None, strict=True),
    Target("jax", (), 1.0, 1.0, strict=True),
    Target("onnxruntime", (), 1.0, None, strict=True),
)

THREADS = 2
"""The number of threads that the ratios are meant for."""

PEAK = {1: 0.88, 2: 0.82}
"""The fraction of the peak by the number of threads, for inference at batches of 32 and more, 256 units and more."""

PEAK_BATCH, PEAK_HIDDEN = 32, 256

LENGTHS = 0.83
"""The time with half the batch half as long, relative to that without lengths, at most. The work is 0.75."""

STEP = 2.0
"""How many times as fast as torch.nn's cell a packed step at batch 1 is to be."""

LANGUAGE_MODEL = {"lstm": 1.15, "gru": 1.4}
"""How many times as many symbols a second a character model trains on, than the plain script."""


def target(peer: str, cell: str, shape: Shape, threads: int) -> Target | None:
    """The target for a ratio to a peer."""
    found = [one for one in TARGETS if one.holds_for(peer, cell, shape)]
    return found[-1] if found and threads == THREADS else None


def verdict(ratio: float, peer: str, cell: str, shape: Shape, *, training: bool, threads: int) -> tuple[str, float]:
    """ "met", "missed" or "" where nothing is set; and the ratio that is asked for."""
    found = target(peer, cell, shape, threads)
    least = found and (found.training if training else found.inference)
    if not found or least is None:
        return "", 0.0
    met = ratio > least if found.strict else ratio >= least
    return ("met" if met else "missed"), least


def peak_verdict(fraction: float, shape: Shape, *, training: bool, threads: int) -> tuple[str, float]:
    """The same for the fraction of the peak."""
    large = shape.batch >= PEAK_BATCH and shape.hidden >= PEAK_HIDDEN
    if training or not large or threads not in PEAK:
        return "", 0.0
    return ("met" if fraction >= PEAK[threads] else "missed"), PEAK[threads]
