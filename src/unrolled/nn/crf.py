"""Labels of neighbouring timesteps scored together: the linear-chain conditional random field (Lafferty et al. 2001).

P(y | x) = exp(s(x, y)) / Σ_y' exp(s(x, y')), with
s = start[y⟨1⟩] + Σ_t scores[t, y⟨t⟩] + Σ_t transitions[y⟨t-1⟩, y⟨t⟩] + end[y⟨T⟩].
The sum over all sequences is a recurrence over timesteps, and so are the best sequence and the marginals.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unrolled.nn import chain
from unrolled.nn.chain import IMPOSSIBLE, Chain, inside


class LinearChainCRF(nn.Module):
    """A CRF over sequences of labels.

        crf = nn.LinearChainCRF(17)
        loss = crf.loss(scores, tags, lengths)
        best, log_probability = crf.viterbi(scores, lengths)

    Args:
        labels: how many labels, L.
        allowed: (L, L) whether a label (row) may be followed by another (column); None for all.
        first, last: (L,) whether a label may begin, or end, a sequence.

    Shapes: scores (T, B, L), tags (T, B) int64, lengths (B,), 0 allowed, or None if every sequence has T timesteps.
    What lies past a sequence's end is never looked at. Whatever the scores' type, everything is computed in float64 and
    rounded at the end: rounding does not grow with the length.
    """

    forbidden: Tensor
    not_first: Tensor
    not_last: Tensor

    def __init__(
        self, labels: int, *, allowed: Tensor | None = None, first: Tensor | None = None, last: Tensor | None = None
    ) -> None:
        super().__init__()
        self.labels = labels
        self.transitions = nn.Parameter(torch.zeros(labels, labels))
        self.start, self.end = nn.Parameter(torch.zeros(labels)), nn.Parameter(torch.zeros(labels))
        masks = {
            "forbidden": (allowed, (labels, labels)),
            "not_first": (first, (labels,)),
            "not_last": (last, (labels,)),
        }
        for name, (mask, shape) in masks.items():
            if mask is not None and tuple(mask.shape) != shape:
                raise ValueError(f"a mask of shape {tuple(mask.shape)} was given, and {shape} is needed")
            self.register_buffer(
                name, torch.zeros(shape, dtype=torch.bool) if mask is None else ~mask, persistent=False
            )

    def _weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Transitions, start and end in float64, with what is forbidden out of reach."""
        return (
            self.transitions.double().masked_fill(self.forbidden, IMPOSSIBLE),
            self.start.double().masked_fill(self.not_first, IMPOSSIBLE),
            self.end.double().masked_fill(self.not_last, IMPOSSIBLE),
        )

    def loss(self, scores: Tensor, tags: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The negative log-probability of the tags, in nats, summed over the batch.

        Raises:
            ValueError: a sequence of tags is one that the masks forbid.
        """
        return -self._logs(scores, tags, lengths).sum().to(_returned(scores))

    def log_likelihood(self, scores: Tensor, tags: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B,) log P(tags | x); see `loss`."""
        return self._logs(scores, tags, lengths).to(_returned(scores))

    def _logs(self, scores: Tensor, tags: Tensor, lengths: Tensor | None) -> Tensor:
        """`log_likelihood` in float64: the difference of two long sums."""
        scores, lengths = _given(scores, lengths)
        self._check(tags, lengths)
        return self._score(scores, tags, lengths) - self._log_partition(scores, lengths)

    def _check(self, tags: Tensor, lengths: Tensor) -> None:
        here = inside(lengths, len(tags))
        if len(tags) > 1:
            wrong = self.forbidden[tags[:-1], tags[1:]] & here[1:]
            if wrong.any():
                t, row = wrong.nonzero()[0].tolist()
                before, after = int(tags[t, row]), int(tags[t + 1, row])
                raise ValueError(f"sequence {row}: label {after} may not follow label {before} (timestep {t + 1})")
        there = lengths > 0
        if not len(tags) or not there.any():
            return
        ends = tags.gather(0, (lengths - 1).clamp(min=0).unsqueeze(0)).squeeze(0)
        for name, mask, own in (("begin", self.not_first, tags[0]), ("end", self.not_last, ends)):
            wrong = mask[own] & there
            if wrong.any():
                row = int(wrong.nonzero()[0])
                raise ValueError(f"sequence {row}: label {int(own[row])} may not {name} a sequence")

    def _score(self, scores: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """(B,) the score of one sequence of tags each."""
        if not len(scores):
            return scores.new_zeros(scores.shape[1])
        transitions, start, end = self._weights()
        here = inside(lengths, len(scores))
        emitted = scores.gather(2, tags.unsqueeze(-1)).squeeze(-1).masked_fill(~here, 0).sum(0)
        passed = transitions[tags[:-1], tags[1:]].masked_fill(~here[1:], 0).sum(0)
        last = tags.gather(0, (lengths - 1).clamp(min=0).unsqueeze(0)).squeeze(0)
        total = emitted + passed + start[tags[0]] + end[last]
        return total.masked_fill(lengths == 0, 0)

    def log_partition(self, scores: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B,) log Σ exp(score) over all sequences of labels; 0 for length 0."""
        return self._log_partition(*_given(scores, lengths)).to(_returned(scores))

    def _log_partition(self, scores: Tensor, lengths: Tensor) -> Tensor:
        if not scores.numel():
            return scores.new_zeros(scores.shape[1])
        found: Tensor = _LogPartition.apply(scores, *self._weights(), lengths)  # type: ignore[no-untyped-call]
        return found

    @torch.no_grad()
    def marginals(self, scores: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(T, B, L) the probability of every label at every timestep, 0 past the end."""
        returned = _returned(scores)
        scores, lengths = _given(scores, lengths)
        if not scores.numel():
            return scores.to(returned)
        own = Chain(scores, *self._weights(), lengths)
        fast = chain.fits(own)
        found, _ = chain.forward(own, fast)
        return chain.marginals(own, found, chain.backward(own, fast), fast).to(returned)

    @torch.no_grad()
    def filtered(self, scores: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Of every label at every timestep, its probability given what was read so far: for streams, whose end has not
        come. At a sequence's last timestep it differs from `marginals` only by the end's weights.

        Args:
            scores: (T, B, L), true timesteps all. before: what the piece before returned, (B, L); None to begin.

        Returns:
            The probabilities (T, B, L), and what goes on, (B, L).
        """
        transitions, start, _ = self._weights()
        found, returned = [], _returned(scores)
        for own in scores.double():
            reached = start if before is None else (before.double().unsqueeze(-1) + transitions).logsumexp(-2)
            before = (reached + own).log_softmax(-1)
            found.append(before)
        if before is None:
            raise ValueError("filtered: there is no timestep")
        return torch.stack(found).exp().to(returned), before.to(returned)

    @torch.no_grad()
    def viterbi(self, scores: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The most probable labels (T, B), 0 past the end, and their log-probability (B,)."""
        tags, logs = self.n_best(scores, lengths, 1)
        return tags[0], logs[0]

    @torch.no_grad()
    def n_best(self, scores: Tensor, lengths: Tensor | None = None, n: int = 1) -> tuple[Tensor, Tensor]:
        """The n most probable sequences (n, T, B) and their log-probabilities (n, B), best first; -inf where there are
        fewer that the masks allow."""
        if n < 1:
            raise ValueError(f"n={n} must be at least 1")
        returned = _returned(scores)
        scores, lengths = _given(scores, lengths)
        steps, batch, labels = scores.shape
        transitions, start, end = self._weights()
        if not steps:
            logs = scores.new_full((n, batch), -torch.inf)
            logs[0] = 0
            return lengths.new_zeros((n, 0, batch)), logs.to(returned)
        # best[b, l, k]: the k-th best score of a sequence that ends with label l here.
        best = scores.new_full((batch, labels, n), IMPOSSIBLE * steps * 4)
        best[:, :, 0] = start + scores[0]
        pointers = []
        here = inside(lengths, steps)
        for t in range(1, steps):
            values, places = _best_before(best, transitions, n)
            values = values + scores[t].unsqueeze(-1)
            best = torch.where(here[t].view(-1, 1, 1), values, best)
            pointers.append(places)
        final, places = (best + end.unsqueeze(-1)).flatten(1).topk(n, dim=-1)
        tags = _traced_back(pointers, places, lengths, steps, n)
        logs = (final - self._log_partition(scores, lengths).unsqueeze(-1)).t()
        logs = logs.masked_fill(final.t() < IMPOSSIBLE / 2, -torch.inf)
        empty = lengths == 0
        logs[0] = logs[0].masked_fill(empty, 0)
        logs[1:] = logs[1:].masked_fill(empty, -torch.inf)
        return tags, logs.to(returned)


def _returned(scores: Tensor) -> torch.dtype:
    """The type of results: that of the scores, and float32 at least."""
    return torch.float64 if scores.dtype == torch.float64 else torch.float32


def _given(scores: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scores in float64, 0 past the end, and lengths."""
    scores = scores.double()
    if lengths is None:
        return scores, torch.full((scores.shape[1],), scores.shape[0], device=scores.device)
    lengths = lengths.long()
    return scores.masked_fill(~inside(lengths, len(scores)).unsqueeze(-1), 0), lengths


def _best_before(best: Tensor, transitions: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """(B, L, n) the n best scores (B, L, n) that lead to a label, and their places, label · n + rank."""
    if n == 1:
        values, places = (best.transpose(1, 2) + transitions.t()).max(-1, keepdim=True)
        return values, places
    batch, labels = best.shape[:2]
    reached = (best.unsqueeze(2) + transitions.unsqueeze(-1)).transpose(1, 2).reshape(batch, labels, -1)
    values, places = reached.topk(n, dim=-1)
    return values, places


class _LogPartition(torch.autograd.Function):
    """The log-partition; its gradient is the expectation of every score, found by running backwards once."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Tensor:
        own = Chain(scores, transitions, start, end, lengths)
        ctx.fast = chain.fits(own)
        found, totals = chain.forward(own, ctx.fast)
        ctx.save_for_backward(*own, *found)
        return totals

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        own, found = Chain(*ctx.saved_tensors[:5]), chain.Forward(*ctx.saved_tensors[5:])
        behind = chain.backward(own, ctx.fast)
        expected = chain.marginals(own, found, behind, ctx.fast) * gradient.view(1, -1, 1)
        passed = chain.pairs(own, found, behind, gradient, ctx.fast)
        return expected, passed, expected[0].sum(0), chain.at_end(expected, own.lengths).sum(0), None


def _traced_back(pointers: list[Tensor], places: Tensor, lengths: Tensor, steps: int, n: int) -> Tensor:
    """(n, T, B) the labels that the last places (B, n), label · n + rank, were reached by."""
    tags = lengths.new_zeros((n, steps, len(lengths)))
    current = places
    for t in range(steps - 1, -1, -1):
        active = (lengths > t).unsqueeze(-1)
        tags[:, t] = torch.where(active, current // n, 0).t()
        if t:
            earlier = pointers[t - 1].flatten(1).gather(1, current)
            current = torch.where(active, earlier, current)
    return tags
