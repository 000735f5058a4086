"""Sums over all sequences of labels, by messages that run forwards and backwards over the timesteps (Rabiner 1989).

Everything is float64, and messages are normalised at every timestep, with the logarithms of what was divided by kept
aside: what is left grows with no length. Messages are probabilities where these cannot underflow, which is checked
before (`fits`), and logarithms otherwise: slower, and right for any scores and any masks.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

IMPOSSIBLE = -1e30
"""The score of what may not be: less than any sum of scores, and unlike -inf it never gives NaN."""
UNDERFLOW = 300.0
"""Nats. exp(-2 · UNDERFLOW), the least product of two messages, is still a normal number of float64."""
MOST_MIXING = 8
"""Masks that need more timesteps than this until any label can follow any other are left to logarithms."""


class Chain(NamedTuple):
    """What is scored, float64.

    Attributes:
        scores: (T, B, L), T at least 1, 0 past the end. transitions: (L, L). start, end: (L,).
        lengths: (B,) int64.
    """

    scores: Tensor
    transitions: Tensor
    start: Tensor
    end: Tensor
    lengths: Tensor


class Forward(NamedTuple):
    """What runs forwards.

    Attributes:
        messages: (T, B, L) P(y⟨t⟩ | x⟨1⟩, ..., x⟨t⟩) without the weights of the end; or its logarithm.
        logs: (T, B) the logarithm of what each timestep was divided by.
    """

    messages: Tensor
    logs: Tensor


def inside(lengths: Tensor, steps: int) -> Tensor:
    """(T, B) whether a timestep is before its sequence's end."""
    return torch.arange(steps, device=lengths.device).unsqueeze(1) < lengths


def fits(chain: Chain) -> bool:
    """Whether probabilities as messages stay far from underflow: a bound on the ratio of any two that are not 0.

    Where any label can follow any other within k timesteps, a message is at least exp(-k · (range of the scores and
    transitions + log L)) of the largest of its timestep.
    """
    weights = (chain.transitions, chain.start, chain.end)
    between, first, last = (_range(weight[weight > IMPOSSIBLE / 2]) for weight in weights)
    emitted = float((chain.scores.amax(-1) - chain.scores.amin(-1)).max())
    steps = mixing(chain.transitions > IMPOSSIBLE / 2)
    a_step = emitted + between + math.log(chain.scores.shape[-1])
    return steps is not None and (steps + 1) * a_step + max(first, last) < UNDERFLOW


def _range(weights: Tensor) -> float:
    return float(weights.max() - weights.min()) if weights.numel() else math.inf


def mixing(allowed: Tensor) -> int | None:
    """After how many timesteps any label can follow any other; None for more than `MOST_MIXING`."""
    one = allowed.double()
    reached = one
    for steps in range(1, MOST_MIXING + 1):
        if bool(reached.all()):
            return steps
        reached = (reached @ one).sign()
    return None


def forward(chain: Chain, fast: bool) -> tuple[Forward, Tensor]:
    """The messages, and (B,) the logarithm of the sum over all sequences; 0 for length 0."""
    found = _forward(chain) if fast else _forward_logs(chain)
    here = inside(chain.lengths, len(chain.scores))
    last = _at_end(found.messages, chain.lengths)
    ending = ((last.log() if fast else last) + chain.end).logsumexp(-1)
    totals = found.logs.masked_fill(~here, 0).sum(0) + ending
    return found, totals.masked_fill(chain.lengths == 0, 0)


def marginals(chain: Chain, found: Forward, backward: Tensor, fast: bool) -> Tensor:
    """(T, B, L) the probability of every label at every timestep, 0 past the end."""
    if fast:
        shares = found.messages * backward
        shares /= shares.sum(-1, keepdim=True)
    else:
        shares = (found.messages + backward).softmax(-1)
    return shares.masked_fill_(~inside(chain.lengths, len(shares)).unsqueeze(-1), 0)


def pairs(chain: Chain, found: Forward, backward: Tensor, gradient: Tensor, fast: bool) -> Tensor:
    """(L, L) how often a label (row) is expected before another (column), a sequence counting as `gradient` (B,)."""
    counts = inside(chain.lengths, len(chain.scores))[1:] * gradient
    if not fast:
        return _pairs_logs(chain, found, backward, counts)
    weights, emitted = _weights(chain), _emitted(chain)[1:]
    before, after = found.messages[:-1], backward[1:] * emitted
    # All pairs of timesteps at once, each divided by the sum over its own pairs of labels.
    sums = ((before @ weights) * after).sum(-1)
    return ((before * (counts / sums).unsqueeze(-1)).flatten(0, 1).t() @ after.flatten(0, 1)) * weights


def at_end(values: Tensor, lengths: Tensor) -> Tensor:
    """(B, L) of (T, B, L) what is at each sequence's last timestep; 0 for length 0."""
    return _at_end(values, lengths).masked_fill((lengths == 0).unsqueeze(-1), 0)


def _at_end(values: Tensor, lengths: Tensor) -> Tensor:
    place = (lengths - 1).clamp(min=0).view(1, -1, 1).expand(1, -1, values.shape[-1])
    return values.gather(0, place).squeeze(0)


def _emitted(chain: Chain) -> Tensor:
    return (chain.scores - chain.scores.amax(-1, keepdim=True)).exp_()


def _weights(chain: Chain) -> Tensor:
    return (chain.transitions - chain.transitions.max()).exp()


def _forward(chain: Chain) -> Forward:
    """Each timestep's probabilities are those before it, times the transitions, times what is emitted."""
    emitted, weights = _emitted(chain), _weights(chain)
    messages, sums = torch.empty_like(emitted), emitted.new_empty(*emitted.shape[:2], 1)
    before = None
    for own, message, total in zip(emitted.unbind(), messages.unbind(), sums.unbind(), strict=True):
        reached = (chain.start - chain.start.max()).exp() if before is None else torch.mm(before, weights)
        reached = reached * own
        torch.sum(reached, -1, keepdim=True, out=total)
        before = torch.div(reached, total, out=message)
    logs = sums.squeeze(-1).log_() + chain.scores.amax(-1)
    logs[0] += chain.start.max()
    logs[1:] += chain.transitions.max()
    return Forward(messages, logs)


def _forward_logs(chain: Chain) -> Forward:
    messages, logs = torch.empty_like(chain.scores), chain.scores.new_empty(chain.scores.shape[:2])
    reached = chain.start
    for t, own in enumerate(chain.scores):
        reached = reached + own
        logs[t] = reached.logsumexp(-1)
        messages[t] = reached - logs[t].unsqueeze(-1)
        reached = (messages[t].unsqueeze(-1) + chain.transitions).logsumexp(-2)
    return Forward(messages, logs)


def backward(chain: Chain, fast: bool) -> Tensor:
    """(T, B, L) in proportion to P(x⟨t+1⟩, ..., x⟨T⟩ | y⟨t⟩), the weights of the end included; or its logarithm."""
    found = torch.empty_like(chain.scores)
    ending = (chain.end - chain.end.max()).exp() if fast else chain.end - chain.end.logsumexp(-1)
    goes_on = inside(chain.lengths - 1, len(found)).unsqueeze(-1)
    emitted = _emitted(chain) if fast else chain.scores
    weights = _weights(chain).t().contiguous() if fast else chain.transitions
    found[-1] = ending
    for t in range(len(found) - 2, -1, -1):
        if fast:
            going = torch.mm(found[t + 1] * emitted[t + 1], weights)
            going /= going.amax(-1, keepdim=True)
        else:
            going = ((found[t + 1] + emitted[t + 1]).unsqueeze(-2) + weights).logsumexp(-1).log_softmax(-1)
        torch.where(goes_on[t], going, ending, out=found[t])
    return found


def _pairs_logs(chain: Chain, found: Forward, backward: Tensor, counts: Tensor) -> Tensor:
    """See `pairs`: timestep by timestep."""
    sums = torch.zeros_like(chain.transitions)
    after = (backward + chain.scores)[1:]
    for before, behind, count in zip(found.messages[:-1], after, counts, strict=True):
        scores = before.unsqueeze(-1) + chain.transitions + behind.unsqueeze(-2)
        sums += (scores.flatten(1).softmax(-1) * count.unsqueeze(-1)).sum(0).view_as(sums)
    return sums
