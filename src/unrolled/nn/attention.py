"""A query looks at a memory: which timesteps matter now, and the mean of what is written there."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unrolled.nn.shapes import InputForm

ATTENTION_KINDS = ("additive", "dot", "bilinear")
"""How a query is compared with a timestep of the memory; see `Attention`."""


class AttentionKeys(NamedTuple):
    """A memory, made ready once for all the queries that will look at it. Sequences come first here, for speed.

    Attributes:
        projected: (B, S, K) what queries are compared with.
        memory: (B, S, M) what contexts are made of, zero past each sequence's end.
        past: (B, S) true past each sequence's end, or None if every sequence has S timesteps.
    """

    projected: Tensor
    memory: Tensor
    past: Tensor | None

    @property
    def batch(self) -> int:
        """How many sequences there are, B."""
        return self.memory.shape[0]

    def select(self, rows: Tensor) -> AttentionKeys:
        """The sequences of these numbers, (N,) integers in any order, repeats allowed: beam search's gathering."""
        past = None if self.past is None else self.past.index_select(0, rows)
        return AttentionKeys(self.projected.index_select(0, rows), self.memory.index_select(0, rows), past)

    def expand(self, batch: int) -> AttentionKeys:
        """One sequence's keys for `batch` queries, without a copy.

        Raises:
            ValueError: there is not exactly one sequence; `select` says which is meant.
        """
        if self.batch != 1:
            raise ValueError(f"expand: these are the keys of {self.batch} sequences, not of one; use select(rows)")
        past = None if self.past is None else self.past.expand(batch, -1)
        return AttentionKeys(self.projected.expand(batch, -1, -1), self.memory.expand(batch, -1, -1), past)


class Attention(nn.Module):
    """A score for each timestep of the memory, a softmax over them, and the mean under those weights.

        attention = nn.Attention(512, 1024, 256)
        keys = attention.prepare(memory, lengths)
        context, weights = attention(query, keys)

    With q the query and m one timestep of the memory, the score is

        additive   vᵀ tanh(W q + U m + b)    Bahdanau et al. 2015
        dot        qᵀ m / √M                 Luong et al. 2015, scaled so that it does not grow with M
        bilinear   qᵀ W m                    Luong et al. 2015, there "general"

    Args:
        query_size: numbers of a query, Q.
        memory_size: numbers of a timestep of the memory, M.
        size: numbers inside the tanh; only additive attention has them.
        kind: "additive", "dot" or "bilinear".

    Shapes: a query (B, Q) gives a context (B, M) and weights (B, S); queries (T, B, Q) give (T, B, M) and (T, B, S).
    Weights are at least float32, sum to 1 and are exactly 0 past a sequence's end; for length 0, weights and context
    are 0. `output_size` is M.

    Raises:
        ValueError: an argument out of its range; dot with two different sizes.
    """

    def __init__(self, query_size: int, memory_size: int, size: int, *, kind: str = "additive") -> None:
        super().__init__()
        if kind not in ATTENTION_KINDS:
            raise ValueError(f'kind="{kind}" is none of {", ".join(ATTENTION_KINDS)}')
        for name, value in {"query_size": query_size, "memory_size": memory_size, "size": size}.items():
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if kind == "dot" and query_size != memory_size:
            raise ValueError(
                f'kind="dot" needs a query as wide as the memory, and query_size={query_size}, '
                f'memory_size={memory_size}; "bilinear" and "additive" take any sizes'
            )
        self.query_size, self.memory_size, self.size, self.kind = query_size, memory_size, size, kind
        self.output_size = memory_size
        if kind == "additive":
            self.query = nn.Linear(query_size, size, bias=False)
            self.memory = nn.Linear(memory_size, size)
            self.score = nn.Linear(size, 1, bias=False)
        elif kind == "bilinear":
            self.memory = nn.Linear(memory_size, query_size, bias=False)

    def prepare(self, memory: Tensor, lengths: Tensor | None = None) -> AttentionKeys:
        """What all queries share, computed once.

        Args:
            memory: (S, B, M), time first: the outputs of an encoder.
            lengths: (B,) integers, 0 allowed: nothing past a sequence's end is looked at.

        Raises:
            ValueError: shapes that do not fit, named.
        """
        if memory.dim() != 3:
            raise ValueError(f"memory has shape {tuple(memory.shape)}, and must be (S, B, {self.memory_size})")
        form = InputForm.of(memory, False, self.memory_size, lengths)
        # What lies past the end is cleared, not only left out of the softmax: 0 · NaN is NaN.
        rows = form.inside(form.x).transpose(0, 1).contiguous()
        return AttentionKeys(rows if self.kind == "dot" else self.memory(rows), rows, past_end(form))

    def forward(self, query: Tensor, keys: AttentionKeys) -> tuple[Tensor, Tensor]:
        """Contexts and weights, for one query a sequence or for many.

        Raises:
            ValueError: shapes that do not fit. Keys of one sequence are not stretched over several queries unasked:
                `keys.expand(batch)` does it.
        """
        self._check(query, keys)
        queries = query.unsqueeze(1) if query.dim() == 2 else query.transpose(0, 1)
        scores = self._scores(queries, keys.projected)
        weights = softmax_inside(scores, None if keys.past is None else keys.past.unsqueeze(1))
        context = torch.bmm(weights.to(keys.memory.dtype), keys.memory)
        if query.dim() == 2:
            return context.squeeze(1), weights.squeeze(1)
        return context.transpose(0, 1), weights.transpose(0, 1)

    def _scores(self, queries: Tensor, projected: Tensor) -> Tensor:
        """(B, T, Q) queries to (B, T, S) scores."""
        if self.kind == "additive":
            # in place: the largest tensor here, (B, T, S, size), exists once
            both = (self.query(queries).unsqueeze(2) + projected.unsqueeze(1)).tanh_()
            scores: Tensor = self.score(both).squeeze(-1)
            return scores
        if self.kind == "dot":
            queries = queries / math.sqrt(self.memory_size)
        return torch.bmm(queries, projected.transpose(1, 2))

    def _check(self, query: Tensor, keys: AttentionKeys) -> None:
        if query.dim() not in (2, 3) or query.shape[-1] != self.query_size:
            raise ValueError(
                f"query has shape {tuple(query.shape)}, and must be (B, {self.query_size}) or (T, B, {self.query_size})"
            )
        if query.shape[-2] != keys.batch:
            raise ValueError(
                f"query has {query.shape[-2]} sequences, and the keys have {keys.batch}; "
                "keys.select(rows) or keys.expand(batch) makes them fit"
            )

    def extra_repr(self) -> str:
        return f'{self.query_size}, {self.memory_size}, {self.size}, kind="{self.kind}"'


def past_end(form: InputForm) -> Tensor | None:
    """(B, T): true past each sequence's end; None if every sequence has T timesteps."""
    if form.lengths is None:
        return None
    return torch.arange(form.x.shape[0], device=form.x.device) >= form.lengths.unsqueeze(1)


def softmax_inside(scores: Tensor, past: Tensor | None) -> Tensor:
    """The softmax of `scores` over the last dimension, at least in float32; exactly 0 where `past`.

    A row that is past its end everywhere becomes zeros, in the gradient too.
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if past is None:
        return scores.softmax(-1)
    # The least number, not minus infinity: a row of nothing but that has no softmax.
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(past, lowest).softmax(-1).masked_fill(past, 0)
