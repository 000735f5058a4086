"""Novel sequences: draw ŷ⟨t⟩ from the model's distribution, feed it back as x⟨t+1⟩, until <eos> or a length."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from unrolled.arguments import real, whole
from unrolled.data.vocabulary import EOS, PAD
from unrolled.errors import UserError

State = TypeVar("State")
Step = Callable[[Tensor, State], tuple[Tensor, State]]
"""One timestep: symbols (B,) and a state give log-probabilities (B, V), natural, of the next symbol, and a state."""


@dataclass(frozen=True)
class Sampler:
    """How a symbol is drawn. The settings apply in this order: forbidden, repetition, temperature, top_k, top_p, min_p.

    forbidden: ids never drawn. Exactly as if a forbidden symbol were drawn again until something else comes: the rest
        keep their proportions.
    temperature: log-probabilities are divided by it; 1 is the model as it is, 0 always takes the likeliest symbol.
    top_k: only the k likeliest symbols; 0 = all.
    top_p: only the smallest set of likeliest symbols whose probabilities reach p together; 1 = all.
    min_p: only symbols at least this many times as probable as the likeliest one; 0 = all (Nguyen et al. 2024).
    repetition: log-probabilities of symbols that came already are multiplied by it; 1 = the model as it is, more
        repeats less (Keskar et al. 2019, who do so with scores before the softmax).

    Raises UserError, naming the setting, where a value is out of range.

    >>> Sampler(temperature=0.8, top_k=40, forbidden=frozenset({1}))
    Sampler(temperature=0.8, top_k=40, top_p=1.0, forbidden=frozenset({1}), min_p=0.0, repetition=1.0)
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    forbidden: frozenset[int] = frozenset()
    min_p: float = 0.0
    repetition: float = 1.0

    def __post_init__(self) -> None:
        real(
            "temperature", self.temperature, 0, 1e6,
            hint=": 0 always takes the likeliest symbol, 1 is the model as it is, more is bolder",
        )  # fmt: skip
        whole("top_k", self.top_k, 0, hint=": 0 draws from all symbols")
        if real("top_p", self.top_p, 0, 1, hint=": 1 draws from all symbols") == 0:
            raise UserError(f"top_p {self.top_p}: must be above 0; temperature 0 always takes the likeliest symbol")
        real("min_p", self.min_p, 0, 1, hint=": 0 draws from all symbols, 1 only from the likeliest")
        real("repetition", self.repetition, 1, 1e6, hint=": 1 is off, 1.2 is usual")
        if any(symbol < 0 for symbol in self.forbidden):
            raise UserError(f"Forbidden symbols {sorted(self.forbidden)}: ids start at 0.")


def distribution(log_probabilities: Tensor, settings: Sampler, history: Tensor | None = None) -> Tensor:
    """The probabilities that `draw` draws from, (B, V) float64, each row summing to 1.

    log_probabilities: (B, V), natural logarithms, -inf for what cannot come; they need not be normalised.
    history: (B, t) the symbols so far, which `repetition` looks at.
    Ties are settled for the smaller id, so that top_k=1, a tiny top_p and temperature 0 agree.
    Raises UserError where a row has nothing left to draw, or is not made of numbers.
    """
    scores = without(log_probabilities.double(), settings.forbidden)
    if settings.repetition != 1 and history is not None:
        again = torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, history, True)
        scores = torch.where(again, scores * settings.repetition, scores)
    best = scores.max(dim=-1, keepdim=True).values
    _check_drawable(best, settings.forbidden)
    if settings.temperature == 0:
        return torch.zeros_like(scores).scatter_(-1, scores.argmax(dim=-1, keepdim=True), 1.0)
    probabilities = torch.softmax((scores - best) / settings.temperature, dim=-1)
    if settings.top_k or settings.top_p < 1:
        probabilities = _truncated(probabilities, settings)
    if settings.min_p:
        least = settings.min_p * probabilities.max(dim=-1, keepdim=True).values
        probabilities = torch.where(probabilities >= least, probabilities, 0.0)
        probabilities = probabilities / probabilities.sum(dim=-1, keepdim=True)
    return probabilities


def draw(
    log_probabilities: Tensor, settings: Sampler, generator: torch.Generator, history: Tensor | None = None
) -> Tensor:
    """One symbol for each row: log-probabilities (B, V) -> LongTensor (B,) on the same device.

    The draw happens in float64 where the generator lives: one CPU generator gives one sample on every device, up to
    the rounding of the model itself. Raises what `distribution` raises.
    """
    place = generator.device
    past = None if history is None else history.to(place)
    shares = distribution(log_probabilities.detach().to(place), settings, past)
    uniform = torch.rand(len(shares), 1, generator=generator, device=place, dtype=torch.float64)
    return chosen(shares, uniform).to(log_probabilities.device)


def chosen(shares: Tensor, uniform: Tensor) -> Tensor:
    """The symbols (B,) that probabilities (B, V) and numbers between 0 and 1 (B, 1) give."""
    cumulative = shares.cumsum(dim=-1)
    # The first symbol whose cumulative probability is above the threshold. One of probability 0 is never the first,
    # and the threshold stays under the total, whatever that was rounded to.
    return torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True).squeeze(-1)


def sample(
    step: Step[State],
    state: State,
    first: Tensor,
    *,
    settings: Sampler,
    length: int,
    end: int | None = EOS,
    generator: torch.Generator,
) -> Iterator[Tensor]:
    """B sequences at once, one LongTensor (B,) a timestep, yielded as soon as it is drawn.

    step: see `Step`; called without gradients, once for every timestep.
    state: the state before `first`, e.g. after a prefix was read.
    first: LongTensor (B,), the symbols before the first one drawn: <bos>, or the last of a prefix.
    end: a sequence ends with this symbol (yielded too); None = never. An ended row yields <pad> and is fed it.
    Stops when every row has ended, and after `length` symbols at the latest.
    Raises UserError at once for a length under 1, and what `draw` raises while it runs.

    >>> def uniform(symbols, state):
    ...     return torch.zeros(len(symbols), 10), state
    >>> generator = torch.Generator().manual_seed(1)
    >>> start = torch.tensor([2, 2])
    >>> symbols = list(sample(uniform, None, start, settings=Sampler(), length=5, end=None, generator=generator))
    >>> torch.stack(symbols).shape
    torch.Size([5, 2])
    """
    length = whole("length", length, 1)
    return _timesteps(step, state, first, settings, length, end, generator)


def _timesteps(
    step: Step[State],
    state: State,
    symbols: Tensor,
    settings: Sampler,
    length: int,
    end: int | None,
    generator: torch.Generator,
) -> Iterator[Tensor]:
    alive = torch.ones_like(symbols, dtype=torch.bool)
    history = symbols.new_empty(len(symbols), 0) if settings.repetition != 1 else None
    for _ in range(length):
        # Around the step alone: held across a yield, no_grad would leak into the caller's code.
        with torch.no_grad():
            log_probabilities, state = step(symbols, state)
        symbols = torch.full_like(symbols, PAD)
        past = None if history is None else history[alive]
        symbols[alive] = draw(log_probabilities[alive], settings, generator, past)
        if history is not None:
            history = torch.cat([history, symbols.unsqueeze(1)], 1)
        yield symbols.clone()
        if end is not None:
            alive = alive & (symbols != end)
        if not alive.any():
            return


def without(scores: Tensor, forbidden: frozenset[int]) -> Tensor:
    """Scores (..., V) in which forbidden symbols have minus infinity."""
    if not forbidden:
        return scores
    if max(forbidden) >= scores.shape[-1]:
        raise UserError(f"Forbidden symbol {max(forbidden)}: the vocabulary has only {scores.shape[-1]} symbols.")
    return scores.index_fill(-1, torch.tensor(sorted(forbidden), device=scores.device), -math.inf)


def _check_drawable(best: Tensor, forbidden: frozenset[int]) -> None:
    if torch.isfinite(best).all():
        return
    if not (best == -math.inf).any():
        raise UserError(
            "The model's log-probabilities are not finite numbers: its weights are damaged or its training diverged; "
            "use an earlier checkpoint or train again with clipping (training.clip_norm)."
        )
    reason = f"with {len(forbidden)} symbols forbidden, " if forbidden else ""
    raise UserError(f"Nothing is left to draw: {reason}no symbol has a probability above 0; forbid fewer.")


def _truncated(probabilities: Tensor, settings: Sampler) -> Tensor:
    ranked, order = probabilities.sort(dim=-1, descending=True, stable=True)
    if settings.top_k:
        ranked[:, settings.top_k :] = 0
        ranked = ranked / ranked.sum(dim=-1, keepdim=True)
    before = ranked.cumsum(dim=-1) - ranked
    ranked = torch.where(before < settings.top_p, ranked, 0.0)
    return torch.zeros_like(ranked).scatter_(-1, order, ranked / ranked.sum(dim=-1, keepdim=True))
