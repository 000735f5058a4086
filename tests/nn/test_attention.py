"""Attention is the papers' formulas; weights sum to one over what is there, and see nothing else."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tolerances import assert_equal
from unrolled.nn.attention import ATTENTION_KINDS, Attention, AttentionKeys

Q, M, SIZE = 4, 3, 5
every_kind = pytest.mark.parametrize("kind", ATTENTION_KINDS)
kinds = st.sampled_from(ATTENTION_KINDS)
seeds = st.integers(0, 999)
some_lengths = st.lists(st.integers(0, 6), min_size=1, max_size=4)


def made(kind: str, seed: int = 3, dtype: torch.dtype = torch.float64) -> Attention:
    torch.manual_seed(seed)
    return Attention(M if kind == "dot" else Q, M, SIZE, kind=kind).to(dtype)


def memory_of(steps: int, batch: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(steps, batch, M, dtype=dtype)


def queries_of(attention: Attention, *shape: int) -> Tensor:
    return torch.randn(*shape, attention.query_size, dtype=next(attention.parameters(), torch.zeros(0).double()).dtype)


def score(attention: Attention, q: Tensor, m: Tensor) -> Tensor:
    """One query and one timestep, by the formula."""
    if attention.kind == "dot":
        return q @ m / math.sqrt(M)
    if attention.kind == "bilinear":
        return q @ attention.memory.weight @ m
    hidden = torch.tanh(attention.query.weight @ q + attention.memory.weight @ m + attention.memory.bias)
    return attention.score.weight[0] @ hidden


def by_hand(attention: Attention, q: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """The context and weights of one query (Q,) over one sequence (S, M)."""
    exponentials = torch.stack([score(attention, q, m) for m in memory]).exp()
    weights = exponentials / exponentials.sum()
    return sum((w * m for w, m in zip(weights, memory, strict=True)), torch.zeros(M).double()), weights


@settings(max_examples=40)
@given(kinds, some_lengths, seeds)
def test_it_is_the_formula_of_each_sequence_alone(kind: str, lengths: list[int], seed: int) -> None:
    attention = made(kind, seed)
    memory, query = memory_of(6, len(lengths)), queries_of(attention, len(lengths))
    memory[torch.arange(6).unsqueeze(1) >= torch.tensor(lengths)] = math.nan  # padding must not be looked at
    context, weights = attention(query, attention.prepare(memory, torch.tensor(lengths)))
    assert (context.shape, weights.shape) == ((len(lengths), M), (len(lengths), 6))
    for row, length in enumerate(lengths):
        assert (weights[row, length:] == 0).all()
        if length:
            expected = by_hand(attention, query[row], memory[:length, row])
            assert_equal((context[row], weights[row, :length]), expected)
        else:
            assert (context[row] == 0).all()


@settings(max_examples=25)
@given(kinds, some_lengths, st.integers(0, 4), seeds)
def test_many_queries_are_one_after_another(kind: str, lengths: list[int], steps: int, seed: int) -> None:
    attention = made(kind, seed)
    keys = attention.prepare(memory_of(6, len(lengths)), torch.tensor(lengths))
    queries = queries_of(attention, steps, len(lengths))
    contexts, weights = attention(queries, keys)
    assert (contexts.shape, weights.shape) == ((steps, len(lengths), M), (steps, len(lengths), 6))
    for t in range(steps):
        assert_equal((contexts[t], weights[t]), attention(queries[t], keys))


@every_kind
def test_without_lengths_everything_is_looked_at(kind: str) -> None:
    attention = made(kind)
    memory, query = memory_of(6, 2), queries_of(attention, 2)
    keys = attention.prepare(memory)
    assert keys.past is None
    assert_equal(attention(query, keys), attention(query, attention.prepare(memory, torch.tensor([6, 6]))))


@every_kind
@given(st.floats(0, 1e4), seeds)
def test_weights_sum_to_one_however_large_the_scores(kind: str, size: float, seed: int) -> None:
    attention = made(kind, seed, torch.float32)
    lengths = torch.tensor([5, 1, 0, 3])
    keys = attention.prepare(size * memory_of(5, 4, torch.float32), lengths)
    context, weights = attention(size * queries_of(attention, 4).float(), keys)
    assert context.isfinite().all()
    torch.testing.assert_close(weights.sum(-1), (lengths > 0).float())


@every_kind
def test_gradients(kind: str) -> None:
    attention, lengths = made(kind), torch.tensor([4, 2, 0])
    memory, queries = memory_of(4, 3).requires_grad_(), queries_of(attention, 2, 3).requires_grad_()
    names = [f"attention.{name}" for name, _ in attention.named_parameters()]

    def function(memory: Tensor, queries: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        state = dict(zip(names, parameters, strict=True))
        result: tuple[Tensor, Tensor] = torch.func.functional_call(Whole(attention), state, (memory, queries, lengths))
        return result

    assert torch.autograd.gradcheck(function, (memory, queries, *attention.parameters()))


class Whole(torch.nn.Module):
    """Preparing and asking as one call."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, memory: Tensor, queries: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = self.attention(queries, self.attention.prepare(memory, lengths))
        return result


@every_kind
def test_padding_of_any_kind_leaves_the_gradient_alone(kind: str) -> None:
    attention, lengths = made(kind), torch.tensor([4, 0, 2])
    memory, queries = memory_of(4, 3), queries_of(attention, 2, 3).requires_grad_()
    gradients = []
    for padding in (0.0, math.nan):
        past = (torch.arange(4).unsqueeze(1) >= lengths).unsqueeze(-1)
        padded = memory.masked_fill(past, padding).requires_grad_()
        context, weights = attention(queries, attention.prepare(padded, lengths))
        total = context.sum() + weights.pow(2).sum()
        gradients.append(torch.autograd.grad(total, [padded, queries, *attention.parameters()]))
        assert (gradients[-1][0].masked_select(past) == 0).all()
    assert all(one.isfinite().all() for one in gradients[1])
    assert all(one.equal(other) for one, other in zip(*gradients, strict=True))


@every_kind
def test_selecting_rows_is_preparing_those(kind: str) -> None:
    attention, lengths, rows = made(kind), torch.tensor([6, 3, 0]), torch.tensor([1, 0, 1, 2, 1])
    memory, query = memory_of(6, 3), queries_of(attention, 5)
    for given_lengths in (lengths, None):
        keys = attention.prepare(memory, given_lengths).select(rows)
        chosen = None if given_lengths is None else given_lengths[rows]
        expected = attention.prepare(memory[:, rows], chosen)
        assert isinstance(keys, AttentionKeys)
        assert_equal(attention(query, keys), attention(query, expected))


@every_kind
def test_keys_of_one_sequence_are_stretched_only_when_told(kind: str) -> None:
    attention, memory = made(kind), memory_of(6, 1)
    for lengths in (torch.tensor([4]), None):
        keys = attention.prepare(memory, lengths)
        for query in (queries_of(attention, 3), queries_of(attention, 2, 3)):
            with pytest.raises(ValueError, match="query has 3 sequences, and the keys have 1"):
                attention(query, keys)
            repeated = keys.select(torch.zeros(3, dtype=torch.long))
            assert_equal(attention(query, keys.expand(3)), attention(query, repeated))
    with pytest.raises(ValueError, match="the keys of 2 sequences, not of one"):
        attention.prepare(memory_of(6, 2)).expand(4)


@every_kind
def test_under_autocast_the_softmax_keeps_its_precision(kind: str) -> None:
    attention = made(kind, dtype=torch.float32)
    memory, query = memory_of(6, 2, torch.float32), queries_of(attention, 3, 2).float()
    lengths = torch.tensor([6, 0])
    with torch.autocast("cpu", torch.bfloat16):
        context, weights = attention(query, attention.prepare(memory, lengths))
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(-1), torch.tensor([[1.0, 0.0]] * 3))
    exact = attention(query, attention.prepare(memory, lengths))
    torch.testing.assert_close(context.float(), exact[0], rtol=0.05, atol=0.05)
    if kind != "dot":  # which has no parameters
        context.float().sum().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in attention.parameters())


def test_a_model_in_half_precision() -> None:
    attention = made("additive", dtype=torch.bfloat16)
    memory, query = memory_of(6, 2).bfloat16(), queries_of(attention, 2)
    context, weights = attention(query, attention.prepare(memory, torch.tensor([6, 2])))
    assert (context.dtype, weights.dtype) == (torch.bfloat16, torch.float32)


def test_dot_has_no_weights_and_each_kind_only_its_own() -> None:
    shapes = {kind: {n: tuple(v.shape) for n, v in made(kind).state_dict().items()} for kind in ATTENTION_KINDS}
    assert shapes == {
        "additive": {
            "query.weight": (SIZE, Q),
            "memory.weight": (SIZE, M),
            "memory.bias": (SIZE,),
            "score.weight": (1, SIZE),
        },
        "dot": {},
        "bilinear": {"memory.weight": (Q, M)},
    }


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ValueError, match='kind="cosine" is none of additive, dot, bilinear'):
        Attention(4, 3, 5, kind="cosine")
    with pytest.raises(ValueError, match=r'kind="dot" needs a query as wide as the memory, and query_size=4'):
        Attention(4, 3, 5, kind="dot")
    with pytest.raises(ValueError, match="size=0 must be at least 1"):
        Attention(4, 3, 0)
    attention = made("additive")
    with pytest.raises(ValueError, match=r"memory has shape \(6, 3\), and must be \(S, B, 3\)"):
        attention.prepare(torch.zeros(6, 3))
    with pytest.raises(ValueError, match="lengths go from 1 to 7, and must lie between 0 and 6"):
        attention.prepare(memory_of(6, 2), torch.tensor([1, 7]))
    with pytest.raises(ValueError, match=r"query has shape \(2, 3\), and must be \(B, 4\) or \(T, B, 4\)"):
        attention(torch.zeros(2, 3).double(), attention.prepare(memory_of(6, 2)))
