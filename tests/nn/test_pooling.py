"""Pooling looks at true timesteps only: what it gives a padded sequence is what it gives it alone."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tolerances import assert_equal
from unrolled.nn import LSTM
from unrolled.nn.pooling import POOLING_KINDS, Pooling

F = 6
every_kind = pytest.mark.parametrize("kind", POOLING_KINDS)
both_ways = pytest.mark.parametrize("bidirectional", [False, True])
some_lengths = st.lists(st.integers(0, 5), min_size=1, max_size=5)
seeds = st.integers(0, 999)


def made(kind: str, bidirectional: bool = True, seed: int = 5) -> Pooling:
    torch.manual_seed(seed)
    return Pooling(F, kind, bidirectional=bidirectional).double()


def outputs_of(steps: int, batch: int) -> Tensor:
    return torch.randn(steps, batch, F, dtype=torch.float64)


def padded_with(outputs: Tensor, lengths: Tensor, padding: float) -> Tensor:
    past = torch.arange(outputs.shape[0]).unsqueeze(1) >= lengths
    return outputs.masked_fill(past.unsqueeze(-1), padding)


@settings(max_examples=50)
@given(st.sampled_from(POOLING_KINDS), st.booleans(), some_lengths, seeds)
def test_padded_is_alone_and_nothing_is_zeros(kind: str, both: bool, lengths: list[int], seed: int) -> None:
    pooling = made(kind, both, seed)
    outputs = padded_with(outputs_of(5, len(lengths)), torch.tensor(lengths), math.nan)
    vectors = pooling(outputs, torch.tensor(lengths))
    assert vectors.shape == (len(lengths), pooling.output_size)
    for row, length in enumerate(lengths):
        if length:
            assert_equal(vectors[row], pooling(outputs[:length, row : row + 1])[0])
        else:
            assert (vectors[row] == 0).all()


@both_ways
@pytest.mark.parametrize("layers", [1, 2])
def test_last_is_the_final_state_of_each_direction(bidirectional: bool, layers: int) -> None:
    layer = LSTM(3, 4, layers, bidirectional=bidirectional)
    lengths = torch.tensor([6, 1, 4, 0])
    outputs, (final, _) = layer(torch.randn(6, 4, 3), lengths=lengths)
    directions = 1 + bidirectional
    expected = torch.cat(final[-directions:].unbind(0), -1)
    vectors = Pooling(4 * directions, "last", bidirectional=bidirectional)(outputs, lengths)
    assert vectors.equal(expected)


@both_ways
def test_mean_and_max_are_over_time(bidirectional: bool) -> None:
    outputs, lengths = outputs_of(5, 3), torch.tensor([5, 2, 3])
    means, maxima = (made(kind, bidirectional)(outputs, lengths) for kind in ("mean", "max"))
    for row, length in enumerate([5, 2, 3]):
        assert_equal(means[row], sum(outputs[t, row] for t in range(length)) / length)
        assert maxima[row].tolist() == [max(outputs[t, row, f].item() for t in range(length)) for f in range(F)]


def test_the_maximum_of_negative_numbers_is_not_the_padding() -> None:
    outputs = -1 - torch.rand(4, 2, F).double()
    assert (made("max")(padded_with(outputs, torch.tensor([2, 4]), 0.0), torch.tensor([2, 4])) <= -1).all()


@given(some_lengths, seeds)
def test_attention_is_its_formula(lengths: list[int], seed: int) -> None:
    pooling = made("attention", seed=seed)
    outputs = outputs_of(5, len(lengths))
    weights, vectors = (f(outputs, torch.tensor(lengths)) for f in (pooling.weights, pooling))
    assert weights.shape == (5, len(lengths))
    for row, length in enumerate(lengths):
        assert (weights[length:, row] == 0).all()
        if not length:
            continue
        scores = [
            pooling.query @ torch.tanh(pooling.hidden.weight @ outputs[t, row] + pooling.hidden.bias)
            for t in range(length)
        ]
        expected = torch.stack(scores).exp() / torch.stack(scores).exp().sum()
        assert_equal(weights[:length, row], expected)
        assert_equal(vectors[row], expected @ outputs[:length, row])


@every_kind
@both_ways
def test_no_lengths_means_all_timesteps(kind: str, bidirectional: bool) -> None:
    pooling, outputs = made(kind, bidirectional), outputs_of(5, 3)
    assert_equal(pooling(outputs), pooling(outputs, torch.tensor([5, 5, 5])))


@every_kind
@both_ways
def test_gradients(kind: str, bidirectional: bool) -> None:
    pooling, lengths = made(kind, bidirectional), torch.tensor([4, 0, 2])
    outputs = outputs_of(4, 3).requires_grad_()
    names = list(dict(pooling.named_parameters()))

    def function(outputs: Tensor, *parameters: Tensor) -> Tensor:
        state = dict(zip(names, parameters, strict=True))
        result: Tensor = torch.func.functional_call(pooling, state, (outputs, lengths))
        return result

    assert torch.autograd.gradcheck(function, (outputs, *pooling.parameters()))


@every_kind
def test_padding_of_any_kind_leaves_the_gradient_alone(kind: str) -> None:
    pooling, lengths, outputs = made(kind), torch.tensor([4, 0, 2]), outputs_of(4, 3)
    gradients = []
    for padding in (0.0, math.nan):
        padded = padded_with(outputs, lengths, padding).requires_grad_()
        gradients.append(torch.autograd.grad(pooling(padded, lengths).sum(), [padded, *pooling.parameters()]))
    assert all(one.isfinite().all() for one in gradients[1])
    assert all(one.equal(other) for one, other in zip(*gradients, strict=True))


def test_under_autocast_the_weights_keep_their_precision() -> None:
    pooling, outputs, lengths = made("attention").float(), outputs_of(5, 2).float(), torch.tensor([5, 0])
    with torch.autocast("cpu", torch.bfloat16):
        weights, vectors = pooling.weights(outputs, lengths), pooling(outputs, lengths)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(0), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(vectors.float(), pooling(outputs, lengths), rtol=0.05, atol=0.05)


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ValueError, match='kind="first" is none of last, mean, max, attention'):
        Pooling(6, "first", bidirectional=False)
    with pytest.raises(ValueError, match="size=5 must be at least 1, and even if bidirectional"):
        Pooling(5, bidirectional=True)
    with pytest.raises(ValueError, match='weights: pooling by "mean" has none'):
        made("mean").weights(outputs_of(3, 2))
    with pytest.raises(ValueError, match=r"outputs has shape \(5, 6\), and must be \(T, B, 6\)"):
        made("mean")(torch.zeros(5, 6))
    with pytest.raises(ValueError, match="lengths go from 0 to 9, and must lie between 0 and 5"):
        made("mean")(outputs_of(5, 2), torch.tensor([0, 9]))


@pytest.mark.parametrize("kind", POOLING_KINDS)
@pytest.mark.parametrize("cuts", [[7], [1, 6], [3, 1, 3], [1] * 7])
def test_running_is_the_whole_after_every_timestep(kind: str, cuts: list[int]) -> None:
    pooling, outputs = made(kind, False), outputs_of(7, 2)
    found, before = [], None
    for piece in outputs.split(cuts):
        vectors, before = pooling.running(piece, before)
        found.append(vectors)
    for step, vectors in enumerate(torch.cat(found), start=1):
        torch.testing.assert_close(vectors, pooling(outputs[:step]), rtol=1e-5, atol=1e-6)


def test_the_last_output_of_two_directions_is_not_known_on_the_way() -> None:
    with pytest.raises(ValueError, match="whole sequence"):
        made("last", True).running(outputs_of(3, 2))
