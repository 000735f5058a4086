"""Labels of neighbouring timesteps scored together: the linear-chain conditional random field (Lafferty et al. 2001).

P(y | x) = exp(s(x, y)) / Σ_y' exp(s(x, y')), with
s = start[y⟨1⟩] + Σ_t scores[t, y⟨t⟩] + Σ_t transitions[y⟨t-1⟩, y⟨t⟩] + end[y⟨T⟩].
The sum over all sequences is a recurrence over timesteps, and so are the best sequence and the marginals.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

IMPOSSIBLE = -1e4
"""The score of what may not be: its probability underflows to 0 in float32, and unlike -inf it never gives NaN."""


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
    What lies past a sequence's end is never looked at.
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
        """Transitions, start and end, with what is forbidden out of reach."""
        return (
            self.transitions.masked_fill(self.forbidden, IMPOSSIBLE),
            self.start.masked_fill(self.not_first, IMPOSSIBLE),
            self.end.masked_fill(self.not_last, IMPOSSIBLE),
        )

    def loss(self, scores: Tensor, tags: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The negative log-probability of the tags, in nats, summed over the batch.

        Raises:
            ValueError: a sequence of tags is one that the masks forbid.
        """
        return -self.log_likelihood(scores, tags, lengths).sum()

    def log_likelihood(self, scores: Tensor, tags: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B,) log P(tags | x); see `loss`."""
        scores, lengths = _given(scores, lengths)
        self._check(tags, lengths)
        return self._score(scores, tags, lengths) - self.log_partition(scores, lengths)

    def _check(self, tags: Tensor, lengths: Tensor) -> None:
        inside = _inside(lengths, len(tags))
        if len(tags) > 1:
            wrong = self.forbidden[tags[:-1], tags[1:]] & inside[1:]
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
        inside = _inside(lengths, len(scores))
        emitted = scores.gather(2, tags.unsqueeze(-1)).squeeze(-1).masked_fill(~inside, 0).sum(0)
        passed = transitions[tags[:-1], tags[1:]].masked_fill(~inside[1:], 0).sum(0)
        last = tags.gather(0, (lengths - 1).clamp(min=0).unsqueeze(0)).squeeze(0)
        total = emitted + passed + start[tags[0]] + end[last]
        return total.masked_fill(lengths == 0, 0)

    def log_partition(self, scores: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B,) log Σ exp(score) over all sequences of labels; 0 for length 0."""
        scores, lengths = _given(scores, lengths)
        found: Tensor = _LogPartition.apply(scores, *self._weights(), lengths)  # type: ignore[no-untyped-call]
        return found

    @torch.no_grad()
    def marginals(self, scores: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(T, B, L) the probability of every label at every timestep, 0 past the end."""
        scores, lengths = _given(scores, lengths)
        weights = self._weights()
        forward, totals = _forward(scores, *weights, lengths)
        backward = _backward(scores, weights[0], weights[2], lengths)
        return _marginals(forward, backward, totals, lengths)

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
        found = []
        for own in scores:
            reached = start if before is None else (before.unsqueeze(-1) + transitions).logsumexp(-2)
            before = (reached + own).log_softmax(-1)
            found.append(before)
        if before is None:
            raise ValueError("filtered: there is no timestep")
        return torch.stack(found).exp(), before

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
        scores, lengths = _given(scores, lengths)
        steps, batch, labels = scores.shape
        transitions, start, end = self._weights()
        if not steps:
            logs = scores.new_full((n, batch), -torch.inf)
            logs[0] = 0
            return lengths.new_zeros((n, 0, batch)), logs
        # best[b, l, k]: the k-th best score of a sequence that ends with label l here.
        best = scores.new_full((batch, labels, n), IMPOSSIBLE * steps * 4)
        best[:, :, 0] = start + scores[0]
        pointers = []
        for t in range(1, steps):
            reached = (best.unsqueeze(2) + transitions.unsqueeze(-1)).transpose(1, 2).reshape(batch, labels, -1)
            values, places = reached.topk(n, dim=-1)
            values = values + scores[t].unsqueeze(-1)
            active = (lengths > t).view(-1, 1, 1)
            best = torch.where(active, values, best)
            pointers.append(places)
        final, places = (best + end.unsqueeze(-1)).flatten(1).topk(n, dim=-1)
        tags = _traced_back(pointers, places, lengths, steps, n)
        logs = (final - self.log_partition(scores, lengths).unsqueeze(-1)).t()
        logs = logs.masked_fill(final.t() < IMPOSSIBLE / 2, -torch.inf)
        empty = lengths == 0
        logs[0] = logs[0].masked_fill(empty, 0)
        logs[1:] = logs[1:].masked_fill(empty, -torch.inf)
        return tags, logs


def _given(scores: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scores in float32 at least, 0 past the end, and lengths."""
    scores = scores if scores.dtype in (torch.float32, torch.float64) else scores.float()
    if lengths is None:
        return scores, torch.full((scores.shape[1],), scores.shape[0], device=scores.device)
    lengths = lengths.long()
    return scores.masked_fill(~_inside(lengths, len(scores)).unsqueeze(-1), 0), lengths


def _inside(lengths: Tensor, steps: int) -> Tensor:
    return torch.arange(steps, device=lengths.device).unsqueeze(1) < lengths


def _through(logs: Tensor, weights: Tensor) -> Tensor:
    """log(exp(logs) @ weights) of (B, L) and (L, L): one product a timestep, its largest term taken out."""
    highest = logs.amax(-1, keepdim=True)
    summed = torch.mm((logs - highest).exp(), weights)
    return summed.clamp(min=torch.finfo(logs.dtype).tiny).log().add_(highest)


def _forward(scores: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """α (T, B, L): log Σ exp(score) of all beginnings that end with a label; and the log-partition (B,)."""
    steps, batch, labels = scores.shape
    alphas = scores.new_empty(steps, batch, labels)
    if not steps:
        return alphas, scores.new_zeros(batch)
    weights = transitions.exp()
    alphas[0] = start + scores[0]
    for t in range(1, steps):
        alphas[t] = _through(alphas[t - 1], weights) + scores[t]
    place = (lengths - 1).clamp(min=0).view(1, -1, 1).expand(1, -1, labels)
    totals = (alphas.gather(0, place).squeeze(0) + end).logsumexp(-1)
    return alphas, totals.masked_fill(lengths == 0, 0)


def _backward(scores: Tensor, transitions: Tensor, end: Tensor, lengths: Tensor) -> Tensor:
    """β (T, B, L): log Σ exp(score) of all ends that follow a label."""
    steps = len(scores)
    betas = torch.empty_like(scores)
    weights = transitions.exp().t().contiguous()
    for t in range(steps - 1, -1, -1):
        if t == steps - 1:
            betas[t] = end
            continue
        going = _through(betas[t + 1] + scores[t + 1], weights)
        betas[t] = torch.where((lengths > t + 1).unsqueeze(-1), going, end)
    return betas


def _marginals(forward: Tensor, backward: Tensor, totals: Tensor, lengths: Tensor) -> Tensor:
    found = (forward + backward - totals.unsqueeze(-1)).exp()
    return found.masked_fill(~_inside(lengths, len(found)).unsqueeze(-1), 0)


class _LogPartition(torch.autograd.Function):
    """The log-partition; its gradient is the expectation of every score, found by running backwards once."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, transitions: Tensor, start: Tensor, end: Tensor, lengths: Tensor) -> Tensor:
        alphas, totals = _forward(scores, transitions, start, end, lengths)
        ctx.save_for_backward(scores, transitions, end, lengths, alphas, totals)
        return totals

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scores, transitions, end, lengths, alphas, totals = ctx.saved_tensors
        betas = _backward(scores, transitions, end, lengths)
        expected = _marginals(alphas, betas, totals, lengths) * gradient.view(1, -1, 1)
        return (
            expected,
            *_weight_gradients(scores, transitions, lengths, alphas, betas, totals, gradient, expected),
            None,
        )


def _weight_gradients(
    scores: Tensor, transitions: Tensor, lengths: Tensor, alphas: Tensor, betas: Tensor, totals: Tensor,
    gradient: Tensor, expected: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The expected number of each transition, beginning and end. All pairs of timesteps at once: the sum over them of
    exp(α⟨t-1⟩[i] + transitions[i, j] + scores⟨t⟩[j] + β⟨t⟩[j] - total) is one product of two matrices."""
    steps, _, labels = scores.shape
    if not steps:
        zero = scores.new_zeros(labels)
        return torch.zeros_like(transitions), zero, zero
    before, after = alphas[:-1], betas[1:] + scores[1:]
    # Each side is taken relative to its own largest, and the rest is put back as one factor a timestep.
    high_before, high_after = before.amax(-1, keepdim=True), after.amax(-1, keepdim=True)
    factor = (high_before + high_after - totals.view(1, -1, 1)).exp() * gradient.view(1, -1, 1)
    factor = factor.masked_fill(~_inside(lengths, steps)[1:].unsqueeze(-1), 0)
    left = ((before - high_before).exp() * factor).flatten(0, 1)
    pairs = torch.mm(left.t(), (after - high_after).exp().flatten(0, 1)) * transitions.exp()
    place = (lengths - 1).clamp(min=0).view(1, -1, 1).expand(1, -1, labels)
    return (
        pairs,
        expected[0].sum(0),
        expected.gather(0, place).squeeze(0).masked_fill((lengths == 0).unsqueeze(-1), 0).sum(0),
    )


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
