"""Sums over sequences of labels: messages that are probabilities, and messages that are logarithms."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unrolled.nn import chain
from unrolled.nn.chain import IMPOSSIBLE, Chain


def a_chain(labels: int, lengths: list[int], seed: int, forbidden: float) -> Chain:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    sizes = torch.tensor(lengths)
    scores = 3 * random(max(1, *lengths, 1), len(lengths), labels)
    scores = scores.masked_fill(~chain.inside(sizes, len(scores)).unsqueeze(-1), 0)
    transitions = random(labels, labels)
    closed = torch.rand(labels, labels, generator=generator) < forbidden
    closed.fill_diagonal_(False)
    closed[:, 0] = closed[0, :] = False  # label 0 goes with everything, as a tagger's O
    return Chain(scores, transitions.masked_fill(closed, IMPOSSIBLE), random(labels), random(labels), sizes)


@given(
    labels=st.integers(1, 5), lengths=st.lists(st.integers(0, 12), min_size=1, max_size=4), seed=st.integers(0, 10**6),
    forbidden=st.sampled_from([0.0, 0.5, 0.9]),
)  # fmt: skip
def test_probabilities_and_logarithms_give_the_same(
    labels: int, lengths: list[int], seed: int, forbidden: float
) -> None:
    own = a_chain(labels, lengths, seed, forbidden)
    assert chain.fits(own)
    gradient = torch.linspace(-1, 2, len(lengths), dtype=torch.float64)
    results = []
    for fast in (True, False):
        found, totals = chain.forward(own, fast)
        behind = chain.backward(own, fast)
        marginals = chain.marginals(own, found, behind, fast)
        results.append((totals, marginals, chain.pairs(own, found, behind, gradient, fast)))
    for quick, exact in zip(*results, strict=True):
        torch.testing.assert_close(quick, exact, rtol=1e-9, atol=1e-11)


def test_what_may_underflow_is_left_to_logarithms() -> None:
    own = a_chain(3, [5, 4], 1, 0.0)
    assert chain.fits(own)
    assert not chain.fits(own._replace(scores=100 * own.scores))
    assert not chain.fits(own._replace(scores=torch.full_like(own.scores, torch.nan)))
    alone = torch.full((3, 3), IMPOSSIBLE, dtype=torch.float64).fill_diagonal_(0.0)
    assert not chain.fits(own._replace(transitions=alone))


@pytest.mark.parametrize(
    ("allowed", "steps"),
    [([[1, 1], [1, 1]], 1), ([[1, 1], [1, 0]], 2), ([[1, 0], [1, 1]], None), ([[0, 1], [1, 0]], None)],
)
def test_mixing_is_the_first_power_without_a_zero(allowed: list[list[int]], steps: int | None) -> None:
    assert chain.mixing(torch.tensor(allowed).bool()) == steps
