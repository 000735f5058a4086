"""A sequence becomes one vector: its last state, or the mean, the maximum or a weighted mean of its timesteps."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from unrolled.nn.attention import past_end, softmax_inside
from unrolled.nn.shapes import InputForm

POOLING_KINDS = ("last", "mean", "max", "attention")
"""How a sequence becomes one vector; see `Pooling`."""


class Pooling(nn.Module):
    """The outputs of a recurrent layer, (T, B, F), to one vector a sequence, (B, F).

        pooling = nn.Pooling(256, "attention", bidirectional=True)
        vectors = pooling(outputs, lengths)

    Args:
        size: numbers a timestep, F. `output_size` is the same.
        kind: "last", the output after the last true timestep; of two directions, each one's own last: the forward half
            at the sequence's end, the backward half at its beginning. "mean" and "max", over true timesteps.
            "attention", a mean under the softmax of vᵀ tanh(W h⟨t⟩ + b), v being a learned query (Yang et al. 2016).
        bidirectional: whether the second half of the numbers comes from a layer that runs backwards. It has no default:
            "last" would be wrong in silence.

    A sequence of length 0 becomes zeros. What lies past a sequence's end is never looked at.

    Raises:
        ValueError: an argument out of its range; two directions of an odd size.
    """

    def __init__(self, size: int, kind: str = "last", *, bidirectional: bool) -> None:
        super().__init__()
        if kind not in POOLING_KINDS:
            raise ValueError(f'kind="{kind}" is none of {", ".join(POOLING_KINDS)}')
        if size < 1 or (bidirectional and size % 2):
            raise ValueError(f"size={size} must be at least 1, and even if bidirectional: half for each direction")
        self.size, self.kind, self.bidirectional = size, kind, bidirectional
        self.output_size = size
        if kind == "attention":
            self.hidden = nn.Linear(size, size)
            self.query = nn.Parameter(torch.empty(size).uniform_(-1 / math.sqrt(size), 1 / math.sqrt(size)))

    def forward(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """One vector a sequence.

        Args:
            outputs: (T, B, F).
            lengths: (B,) integers, 0 allowed; None if every sequence has T timesteps.

        Raises:
            ValueError: shapes that do not fit, named.
        """
        form = self._form(outputs, lengths)
        if self.kind == "last":
            return self._last(form)
        if self.kind == "mean":
            return _mean(form)
        return _maximum(form) if self.kind == "max" else self._weighted(form)

    def running(self, outputs: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The vector of what was read so far, after every timestep: for streams of layers in one direction.

        Args:
            outputs: (T, B, F), true timesteps all. before: what the piece before returned, (B, F + 2); None to begin.

        Returns:
            (T, B, F), of which the last is that of the whole, and what goes on.

        Raises:
            ValueError: the last output of two directions is not known before the sequence's end.
        """
        if self.kind == "last":
            if self.bidirectional:
                raise ValueError('running: of two directions, pooling="last" needs the whole sequence')
            return outputs, outputs.new_zeros(outputs.shape[1], self.size + 2)
        values = outputs.double()
        # what goes on: the sum under weights (or the maximum), the weights' sum, and the highest score so far
        old = values.new_zeros(values.shape[1], self.size + 2) if before is None else before
        old_sum, old_weight, old_score = old[:, :-2], old[:, -2], old[:, -1]
        if self.kind == "max":
            highest = values.cummax(0).values
            found = highest if before is None else torch.maximum(highest, old_sum)
            return found.to(outputs.dtype), torch.cat([found[-1], old[:, -2:]], -1)
        scores = values.new_zeros(values.shape[:2])
        if self.kind == "attention":
            scores = torch.matmul(torch.tanh(self.hidden(outputs)), self.query).double()
        top = scores.amax(0) if before is None else torch.maximum(scores.amax(0), old_score)
        weights, faded = (scores - top).exp(), (old_score - top).exp() * (old_weight > 0)
        total = (old_weight * faded) + weights.cumsum(0)
        sums = old_sum * faded.unsqueeze(-1) + (weights.unsqueeze(-1) * values).cumsum(0)
        after = torch.cat([sums[-1], total[-1].unsqueeze(-1), top.unsqueeze(-1)], -1)
        return (sums / total.unsqueeze(-1)).to(outputs.dtype), after

    def weights(self, outputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """How much each timestep counts, (T, B), at least float32: 0 past the end, 1 in sum, all 0 for length 0.

        Raises:
            ValueError: the pooling is not by attention; shapes that do not fit.
        """
        if self.kind != "attention":
            raise ValueError(f'weights: pooling by "{self.kind}" has none, only kind="attention"')
        return self._weights(self._form(outputs, lengths)).t()

    def _form(self, outputs: Tensor, lengths: Tensor | None) -> InputForm:
        if outputs.dim() != 3:
            raise ValueError(f"outputs has shape {tuple(outputs.shape)}, and must be (T, B, {self.size})")
        return InputForm.of(outputs, False, self.size, lengths)

    def _last(self, form: InputForm) -> Tensor:
        half = self.size // 2 if self.bidirectional else self.size
        forward, backward = form.x[..., :half], form.x[0, :, half:]
        if form.lengths is None:
            return torch.cat([forward[-1], backward], -1)
        place = (form.lengths.long() - 1).clamp(min=0).view(1, -1, 1).expand(1, -1, half)
        joined = torch.cat([forward.gather(0, place).squeeze(0), backward], -1)
        return joined.masked_fill((form.lengths == 0).unsqueeze(-1), 0)

    def _weights(self, form: InputForm) -> Tensor:
        hidden = torch.tanh(self.hidden(form.inside(form.x)))
        return softmax_inside(torch.matmul(hidden, self.query).t(), past_end(form))

    def _weighted(self, form: InputForm) -> Tensor:
        weights, rows = self._weights(form), form.inside(form.x).transpose(0, 1)
        return torch.bmm(weights.to(rows.dtype).unsqueeze(1), rows).squeeze(1)

    def extra_repr(self) -> str:
        return f'{self.size}, "{self.kind}", bidirectional={self.bidirectional}'


def _mean(form: InputForm) -> Tensor:
    if form.lengths is None:
        return form.x.mean(0)
    return form.inside(form.x).sum(0) / form.lengths.clamp(min=1).unsqueeze(-1)


def _maximum(form: InputForm) -> Tensor:
    past = past_end(form)
    if form.lengths is None or past is None:
        return form.x.amax(0)
    highest = form.x.masked_fill(past.t().unsqueeze(-1), -math.inf).amax(0)
    return highest.masked_fill((form.lengths == 0).unsqueeze(-1), 0)
