"""The most probable sequence that a search with a bounded number of hypotheses finds: beam search."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from unrolled.arguments import real, whole
from unrolled.data.vocabulary import EOS
from unrolled.decoding.sampling import Step, without
from unrolled.decoding.settings import WIDEST
from unrolled.errors import UserError

State = TypeVar("State")
Select = Callable[[State, Tensor], State]
"""The rows (N,) of a state, in any order, repeats allowed: the state is a value, so a hypothesis takes its parent's."""
Coverage = Callable[[State], Tensor]
"""How much of the source was attended to so far, (N,): at most 0, and it never falls (Wu et al. 2016, their cp)."""


@dataclass(frozen=True)
class Beam:
    """How to search.

    A hypothesis y of T symbols, its <eos> counted, is ranked by

        score(y) = log P(y | x) / T^alpha + coverage * cp(x, y)

    width: hypotheses kept at a step, for each sentence; 1 is greedy search.
    alpha: 0 compares log-probabilities as they are, which favours short answers; 1 compares means a symbol.
    coverage: how much it matters that every part of the source was attended to; only where the model attends.
    block_repeats: no run of so many symbols comes twice; 0 allows all.
    best: how many answers to give, at most `width` of them.
    forbidden: ids that never come.
    early_stop: end as soon as no hypothesis that is still open can become one of the best. It is safe: a
        log-probability only falls, so an open one ends with at most log P / (longest length)^alpha, and the answers are
        those that a search to the end gives.

    Raises UserError, naming the setting, where a value is out of range.
    """

    width: int = 5
    alpha: float = 0.7
    coverage: float = 0.0
    block_repeats: int = 0
    best: int = 1
    forbidden: frozenset[int] = frozenset()
    early_stop: bool = True

    def __post_init__(self) -> None:
        whole("beam width", self.width, 1, WIDEST, hint=": 1 is greedy search")
        real("alpha", self.alpha, 0, 10, hint=": 0 is no length normalization, 0.7 is usual")
        real("coverage", self.coverage, 0, 100, hint=": 0 is off, 0.2 is usual")
        whole("block_repeats", self.block_repeats, 0, hint=": 0 is off, otherwise how long a run may not come twice")
        whole("best", self.best, 1, self.width, hint=", the beam's width")


@dataclass(frozen=True)
class Hypothesis:
    """One answer.

    Attributes:
        symbols: without <eos>. ended: whether <eos> came; otherwise the longest length cut it off.
        log_probability: log P(y | x), natural, <eos> counted. score: what it was ranked by; see `Beam`.
    """

    symbols: tuple[int, ...]
    ended: bool
    log_probability: float
    score: float


@dataclass(frozen=True)
class BeamStep:
    """What one step of a search chose: N hypotheses, by sentence, and within each by falling score.

    Attributes:
        sentences, symbols, log_probabilities, scores: (N,) of each.
        parents: (N,) which of the hypotheses that went on before (`going`) each continues; first, the sentences.
        ended: (N,) whether <eos> came. cut: (N,) whether the longest length ended it.
        going: (N,) whether the search goes on with it: neither, and the sentence's best answers may still change.
    """

    sentences: Tensor
    symbols: Tensor
    log_probabilities: Tensor
    scores: Tensor
    parents: Tensor
    ended: Tensor
    cut: Tensor
    going: Tensor


def score_of(log_probability: float, length: int, settings: Beam, coverage: float = 0.0) -> float:
    """What `Beam` ranks a hypothesis of `length` symbols by.

    >>> score_of(-6.0, 4, Beam(alpha=1.0))
    -1.5
    """
    return log_probability / float(length**settings.alpha) + settings.coverage * coverage


def beam_search(
    step: Step[State], state: State, first: Tensor, *, select: Select[State], settings: Beam, lengths: Tensor,
    end: int = EOS, coverage: Coverage[State] | None = None, watch: Callable[[BeamStep], None] | None = None,
) -> list[list[Hypothesis]]:  # fmt: skip
    """The best answers to each of B sentences, best first.

    step: see `sampling.Step`; log-probabilities, so none is above 0. It is called without gradients, with the
        hypotheses of all sentences as rows.
    state: of the B sentences, before `first` (B,) is read.
    lengths: (B,) how many symbols a sentence's answer may have at most, <eos> counted.
    watch: called with every step that was taken; it changes nothing.

    Answers that end come before those that the longest length cut off.

    >>> import torch
    >>> def coin(symbols, state):  # heads (4) or tails (5) or the end (3), whatever came before
    ...     return torch.tensor([0.0, 0, 0, 0.5, 0.3, 0.2]).log().expand(len(symbols), -1), state
    >>> start, lengths = torch.tensor([2]), torch.tensor([4])
    >>> found = beam_search(coin, None, start, select=lambda s, rows: s, settings=Beam(alpha=0), lengths=lengths)
    >>> found[0][0].symbols, round(found[0][0].log_probability, 3)
    ((), -0.693)
    """
    if len(lengths) != len(first) or (len(lengths) and int(lengths.min()) < 1):
        raise UserError(f"lengths {lengths.tolist()}: must be one for each of {len(first)} sentences, 1 or more")
    return _Search(step, select, settings, lengths, end, coverage, watch).run(state, first)


class _Search(Generic[State]):
    """One search: the open hypotheses of all sentences as rows, the closed ones in a list for each sentence."""

    def __init__(
        self, step: Step[State], select: Select[State], settings: Beam, lengths: Tensor, end: int,
        coverage: Coverage[State] | None, watch: Callable[[BeamStep], None] | None,
    ) -> None:  # fmt: skip
        self.step, self.select, self.settings, self.end, self.coverage = step, select, settings, end, coverage
        self.lengths, self.watch = lengths, watch
        self.closed: list[list[Hypothesis]] = [[] for _ in lengths]

    @torch.no_grad()
    def run(self, state: State, first: Tensor) -> list[list[Hypothesis]]:
        sentences = torch.arange(len(first), device=first.device)
        logs = torch.zeros(len(first), dtype=torch.float64, device=first.device)
        history = first.new_empty(len(first), 0)
        symbols = first
        while len(sentences):
            found, state = self.step(symbols, state)
            covered = None if self.coverage is None or not self.settings.coverage else self.coverage(state).double()
            parents, symbols, logs, score = self._best(sentences, logs, history, found, covered)
            history = torch.cat([history[parents], symbols.unsqueeze(1)], 1)
            sentences = sentences[parents]
            ended, cut = self._close(sentences, history, logs, score)
            open_ = ~(ended | cut)
            open_ &= self._hopeful(sentences, logs, open_)
            if self.watch is not None:
                self.watch(BeamStep(sentences, symbols, logs, score, parents, ended, cut, open_))
            keep = open_.nonzero().squeeze(1)
            state = self.select(state, parents[keep])
            sentences, symbols, logs, history = sentences[keep], symbols[keep], logs[keep], history[keep]
        if not all(self.closed):
            raise UserError(
                "the search found no answer with a probability above 0: the model's weights are damaged, its training "
                "diverged, or too much is forbidden (block_repeats)"
            )
        return [self._ranked(answers) for answers in self.closed]

    def _best(
        self, sentences: Tensor, logs: Tensor, history: Tensor, found: Tensor, covered: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The `width` best continuations of every sentence: parents' rows, symbols, log-probabilities, scores."""
        found = without(found.double(), self.settings.forbidden)
        if self.settings.block_repeats:
            found = found.masked_fill(repeats(history, self.settings.block_repeats, found.shape[1]), -math.inf)
        width = min(self.settings.width, found.shape[1])
        values, symbols = found.topk(width, -1)
        totals = (logs.unsqueeze(1) + values).flatten()
        parents = torch.arange(len(logs), device=logs.device).repeat_interleave(width)
        score = totals / (history.shape[1] + 1) ** self.settings.alpha
        if covered is not None:
            score = score + self.settings.coverage * covered[parents]
        # by sentence, and within each by falling score
        order = score.argsort(descending=True, stable=True)
        order = order[sentences[parents[order]].argsort(stable=True)]
        owner = sentences[parents[order]]
        start = torch.searchsorted(owner, owner)  # where the sentence's candidates begin
        place = torch.arange(len(order), device=order.device) - start
        chosen = order[(place < self.settings.width) & (totals[order] > -math.inf)]
        return parents[chosen], symbols.flatten()[chosen], totals[chosen], score[chosen]

    def _close(self, sentences: Tensor, history: Tensor, logs: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
        """Note the hypotheses that are at their end; returns which ended, and which the longest length cut off."""
        ended = history[:, -1] == self.end
        cut = ~ended & (self.lengths[sentences] <= history.shape[1])
        for row in (ended | cut).nonzero().squeeze(1).tolist():
            symbols = history[row].tolist()
            closed = bool(ended[row])
            answer = Hypothesis(tuple(symbols[:-1] if closed else symbols), closed, float(logs[row]), float(score[row]))
            self.closed[int(sentences[row])].append(answer)
        return ended, cut

    def _hopeful(self, sentences: Tensor, logs: Tensor, open_: Tensor) -> Tensor:
        """Which rows are of sentences whose best answers may still change."""
        if not self.settings.early_stop:
            return torch.ones_like(open_)
        bound = logs / self.lengths[sentences].double() ** self.settings.alpha
        worst = torch.full((len(self.closed),), -math.inf, dtype=torch.float64)
        for sentence in set(sentences[open_].tolist()):
            ended = sorted((one.score for one in self.closed[sentence] if one.ended), reverse=True)
            if len(ended) >= self.settings.best:
                worst[sentence] = ended[self.settings.best - 1]
        most = torch.full_like(worst, -math.inf).scatter_reduce(
            0, sentences[open_].cpu(), bound[open_].cpu(), "amax", include_self=True
        )
        return (most > worst).to(open_.device)[sentences]

    def _ranked(self, answers: list[Hypothesis]) -> list[Hypothesis]:
        return sorted(answers, key=lambda one: (not one.ended, -one.score))[: self.settings.best]


def repeats(history: Tensor, length: int, vocabulary: int) -> Tensor:
    """(N, V) which symbols would close a run of `length` that a row of the history (N, t) holds already.

    >>> import torch
    >>> repeats(torch.tensor([[4, 5, 4]]), 2, 6)[0].nonzero().flatten().tolist()
    [5]
    """
    rows, steps = history.shape
    banned = torch.zeros(rows, vocabulary, dtype=torch.bool, device=history.device)
    if steps < length:
        return banned
    runs = history.unfold(1, length, 1)  # (N, t - length + 1, length)
    recent = history[:, steps - length + 1 :].unsqueeze(1)
    same = (runs[:, :, : length - 1] == recent).all(-1)
    row, place = same.nonzero().unbind(1)
    banned[row, runs[row, place, length - 1]] = True
    return banned
