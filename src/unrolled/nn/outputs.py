"""Features become probabilities of the next symbol. <pad> and <bos> have none: they are never predicted."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled.data.vocabulary import BOS, PAD


class Output(Protocol):
    """What a model asks of its output layer."""

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """The negative log-probability of the targets, summed: (N, F) features, (N,) ids, 0 = not counted."""

    def log_probabilities(self, features: Tensor) -> Tensor:
        """(..., F) features to (..., V) log-probabilities."""


class Softmax(nn.Module):
    """softmax(W y + b) over all symbols.

    Args:
        features: numbers a timestep, F.
        vocabulary: symbols, V.
        weight: a (V, F) parameter to share, that of the embedding ("tied", Press and Wolf 2017); None for its own.
    """

    never: Tensor

    def __init__(self, features: int, vocabulary: int, *, weight: nn.Parameter | None = None) -> None:
        super().__init__()
        self.weight = _weight(features, vocabulary, weight)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.register_buffer("never", _never(vocabulary), persistent=False)

    def loss(self, features: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """See `Output`. `smoothing` is the share of the probability that training keeps for all symbols alike."""
        scores = functional.linear(features, self.weight, self.bias + self.never).float()
        loss = functional.cross_entropy(scores, targets, ignore_index=PAD, reduction="sum")
        if not smoothing:
            return loss
        counted = scores[targets != PAD]
        possible = counted[:, self.never == 0]  # the mean over what can be predicted: minus infinity has none
        return (1 - smoothing) * loss + smoothing * (counted.logsumexp(-1) - possible.mean(-1)).sum()

    def log_probabilities(self, features: Tensor) -> Tensor:
        """See `Output`."""
        return functional.linear(features, self.weight, self.bias + self.never).float().log_softmax(-1)


class AdaptiveSoftmax(nn.Module):
    """The softmax of a large vocabulary, in parts: first the frequent symbols and one entry for each rarer cluster,
    then, only where it is needed, the symbols of that cluster.

    P(symbol) = P(cluster) P(symbol | cluster). With ids by falling frequency, most timesteps compute only the first
    part (Grave et al. 2017). All symbols keep their full vectors, so the weight can be tied to the embedding.

    Args:
        features, vocabulary, weight: as for `Softmax`.
        cutoffs: the first id of each rarer cluster, ascending: (2000, 10000).
    """

    never: Tensor

    def __init__(
        self, features: int, vocabulary: int, cutoffs: tuple[int, ...], *, weight: nn.Parameter | None = None
    ) -> None:
        super().__init__()
        if not cutoffs or list(cutoffs) != sorted(set(cutoffs)) or not 4 < cutoffs[0] <= cutoffs[-1] < vocabulary:
            raise ValueError(
                f"cutoffs={list(cutoffs)} must rise and lie between 5 and the vocabulary's {vocabulary} symbols"
            )
        self.bounds = [*cutoffs, vocabulary]
        self.weight = _weight(features, vocabulary, weight)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.clusters = nn.Linear(features, len(cutoffs))
        self.register_buffer("never", _never(vocabulary), persistent=False)

    def _parts(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """(weight, bias) of the frequent symbols and of each cluster. Split, not sliced: its gradient is one tensor."""
        starts = [0, *self.bounds]
        sizes = [stop - start for start, stop in zip(starts, self.bounds, strict=False)]
        return tuple(zip(torch.split(self.weight, sizes), torch.split(self.bias + self.never, sizes), strict=True))

    def _first(self, features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Log-probabilities of the frequent symbols, then of the clusters."""
        frequent = functional.linear(features, weight, bias).float()
        return torch.cat([frequent, self.clusters(features).float()], -1).log_softmax(-1)

    def loss(self, features: Tensor, targets: Tensor) -> Tensor:
        """See `Output`."""
        counted = targets != PAD
        features, targets = features[counted], targets[counted]
        entry = targets.clone()
        total = features.new_zeros((), dtype=torch.float32)
        frequent, *rarer = self._parts()
        for cluster, (start, stop) in enumerate(zip(self.bounds, self.bounds[1:], strict=False)):
            rows = ((targets >= start) & (targets < stop)).nonzero().squeeze(-1)
            entry[rows] = self.bounds[0] + cluster
            inside = functional.linear(features[rows], *rarer[cluster]).float()
            total = total + functional.cross_entropy(inside, targets[rows] - start, reduction="sum")
        return total + functional.nll_loss(self._first(features, *frequent), entry, reduction="sum")

    def log_probabilities(self, features: Tensor) -> Tensor:
        """See `Output`."""
        frequent, *rarer = self._parts()
        first = self._first(features, *frequent)
        parts = [first[..., : self.bounds[0]]]
        for cluster, (weight, bias) in enumerate(rarer):
            inside = functional.linear(features, weight, bias).float().log_softmax(-1)
            parts.append(inside + first[..., self.bounds[0] + cluster, None])
        return torch.cat(parts, -1)


def _weight(features: int, vocabulary: int, shared: nn.Parameter | None) -> nn.Parameter:
    if shared is not None:
        if tuple(shared.shape) != (vocabulary, features):
            raise ValueError(
                f"the tied weight has shape {tuple(shared.shape)}, and must have ({vocabulary}, {features})"
            )
        return shared
    bound = 1 / math.sqrt(features)
    return nn.Parameter(torch.empty(vocabulary, features).uniform_(-bound, bound))


def _never(vocabulary: int) -> Tensor:
    """What is added to the scores: minus infinity for the symbols that are never predicted."""
    never = torch.zeros(vocabulary)
    never[[PAD, BOS]] = -math.inf
    return never
