"""How often the true symbol was the most probable one, without the probabilities of all where they are many."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unrolled.nn import AdaptiveSoftmax, Softmax


@torch.no_grad()
def right_guesses(output: AdaptiveSoftmax | Softmax, features: Tensor, targets: Tensor) -> int:
    """How many of the targets (N,) are the most probable symbol after the features (N, F); of equals, the first is."""
    if isinstance(output, AdaptiveSoftmax):
        return int(_adaptive_hits(output, features, targets).sum())
    return int(_hits(output, features, targets).sum())


def _hits(output: Softmax, features: Tensor, targets: Tensor) -> Tensor:
    return functional.linear(features, output.weight, output.bias + output.never).float().argmax(-1) == targets


def _adaptive_hits(output: AdaptiveSoftmax, features: Tensor, targets: Tensor) -> Tensor:
    """No symbol of a cluster is more probable than the cluster, so few rows have to look into another than their own.

    Groups are the frequent symbols (0) and the clusters; `entry` (N, groups) is what a group's symbols have at most.
    """
    first = _scores(output, 0, features)
    clusters = torch.cat([first, output.clusters(features).float()], -1).log_softmax(-1)
    frequent = clusters[:, : output.bounds[0]]
    best, guess = frequent.max(-1)
    entry = torch.cat([best.unsqueeze(-1), clusters[:, output.bounds[0] :]], -1)
    group = torch.bucketize(targets, torch.tensor(output.bounds, device=targets.device), right=True)
    hit = guess == targets
    for own in range(1, entry.shape[-1]):
        rows = (group == own).nonzero().squeeze(-1)
        best[rows], inside = _best(output, own, features[rows], entry[rows, own])
        hit[rows] = inside == targets[rows]
    for other in range(entry.shape[-1]):
        rows = (hit & (group != other) & (entry[:, other] >= best)).nonzero().squeeze(-1)
        rival = entry[rows, 0] if other == 0 else _best(output, other, features[rows], entry[rows, other])[0]
        hit[rows] = (best[rows] > rival) | ((best[rows] == rival) & (group[rows] < other))
    return hit


def _best(output: AdaptiveSoftmax, cluster: int, features: Tensor, entry: Tensor) -> tuple[Tensor, Tensor]:
    """The log-probability of a cluster's most probable symbol, and its id; `entry` (N,) is that of the cluster."""
    scores = _scores(output, cluster, features)
    best, place = scores.max(-1)
    return best - scores.logsumexp(-1) + entry, place + output.bounds[cluster - 1]


def _scores(output: AdaptiveSoftmax, group: int, features: Tensor) -> Tensor:
    here = slice(output.bounds[group - 1] if group else 0, output.bounds[group])
    return functional.linear(features, output.weight[here], output.bias[here] + output.never[here]).float()
