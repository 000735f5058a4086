"""The linear-chain CRF against the sum over all sequences, written out."""

import math
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrolled.nn.crf import LinearChainCRF


def a_crf(labels: int, seed: int, masked: bool = False) -> LinearChainCRF:
    generator = torch.Generator().manual_seed(seed)
    masks: dict[str, Tensor] = {}
    if masked:  # a ring that may stay: some path always exists
        allowed = torch.rand(labels, labels, generator=generator) < 0.5
        for label in range(labels):
            allowed[label, label] = allowed[label, (label + 1) % labels] = True
        masks = {"allowed": allowed, "first": torch.arange(labels) != 1, "last": torch.arange(labels) != labels}
    crf = LinearChainCRF(labels, **masks).double()
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return crf


@torch.no_grad()
def every(crf: LinearChainCRF, scores: Tensor) -> dict[tuple[int, ...], float]:
    """Log-scores of all sequences of one row (T, L) that the masks allow."""
    found = {}
    for tags in product(range(crf.labels), repeat=len(scores)):
        steps = pairwise(tags)
        if crf.not_first[tags[0]] or crf.not_last[tags[-1]] or any(crf.forbidden[a, b] for a, b in steps):
            continue
        total = crf.start[tags[0]] + crf.end[tags[-1]] + sum(scores[t, tag] for t, tag in enumerate(tags))
        total = total + sum(crf.transitions[a, b] for a, b in pairwise(tags))
        found[tags] = float(total)
    return found


cases = given(
    labels=st.integers(2, 3), lengths=st.lists(st.integers(1, 4), min_size=1, max_size=3), seed=st.integers(0, 10**6),
    masked=st.booleans(), scale=st.sampled_from([2.0, 3000.0]),
)  # fmt: skip


@settings(max_examples=40)
@cases
@torch.no_grad()
def test_everything_is_what_the_sum_over_all_sequences_says(
    labels: int, lengths: list[int], seed: int, masked: bool, scale: float
) -> None:
    crf = a_crf(labels, seed, masked)
    sizes = torch.tensor(lengths)
    scores = scale * torch.randn(
        5, len(lengths), labels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    totals, marginals = crf.log_partition(scores, sizes), crf.marginals(scores, sizes)
    best, logs = crf.n_best(scores, sizes, 4)
    for row, length in enumerate(lengths):
        table = every(crf, scores[:length, row])
        total = torch.tensor(list(table.values()), dtype=torch.float64).logsumexp(0)
        assert float(totals[row]) == pytest.approx(float(total), abs=1e-6)
        ranked = sorted(table.items(), key=lambda item: -item[1])[:4]
        for rank, (tags, score) in enumerate(ranked):
            assert float(logs[rank, row]) == pytest.approx(score - float(total), abs=1e-6)
            assert tuple(best[rank, :length, row].tolist()) == tags
        assert all(logs[rank, row] == -torch.inf for rank in range(len(ranked), 4))
        assert not best[:, length:, row].any()
        for t, label in product(range(length), range(labels)):
            share = sum(math.exp(s - float(total)) for tags, s in table.items() if tags[t] == label)
            assert float(marginals[t, row, label]) == pytest.approx(float(share), abs=1e-6)
        assert not marginals[length:, row].any()
        one = torch.zeros(5, 1, dtype=torch.int64)
        tags, score = ranked[-1]
        one[:length, 0] = torch.tensor(tags)
        found = crf.log_likelihood(scores[:, row : row + 1], one, sizes[row : row + 1])
        assert float(found) == pytest.approx(score - float(total), abs=1e-6)
    assert torch.equal(crf.viterbi(scores, sizes)[0], best[0])


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_finite_differences(masked: bool) -> None:
    crf = a_crf(3, 5, masked)
    scores = torch.randn(4, 3, 3, dtype=torch.float64, requires_grad=True)
    lengths, tags = torch.tensor([4, 1, 0]), crf.viterbi(scores, torch.tensor([4, 1, 0]))[0]

    def loss(scores: Tensor, transitions: Tensor, start: Tensor, end: Tensor) -> Tensor:
        given = {"transitions": transitions, "start": start, "end": end}
        return _loss(crf, given, scores, tags, lengths)

    inputs = [
        scores,
        *(parameter.detach().clone().requires_grad_() for parameter in (crf.transitions, crf.start, crf.end)),
    ]
    assert torch.autograd.gradcheck(loss, inputs)


def _loss(crf: LinearChainCRF, given: dict[str, Tensor], scores: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
    class Loss(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.crf = crf

        def forward(self, scores: Tensor) -> Tensor:
            return self.crf.loss(scores, tags, lengths)

    named = {f"crf.{name}": value for name, value in given.items()}
    result: Tensor = torch.func.functional_call(Loss(), named, (scores,))
    return result


def test_marginals_are_the_gradient_of_the_log_partition() -> None:
    crf = a_crf(4, 1)
    scores = torch.randn(6, 2, 4, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([6, 3])
    (gradient,) = torch.autograd.grad(crf.log_partition(scores, lengths).sum(), scores)
    torch.testing.assert_close(gradient, crf.marginals(scores, lengths))


def test_padding_changes_nothing() -> None:
    crf = a_crf(3, 2).float()
    scores = torch.randn(7, 2, 3)
    lengths, tags = torch.tensor([4, 7]), torch.randint(3, (7, 2))
    loud = scores.clone()
    loud[4:, 0] = torch.nan
    assert torch.equal(crf.log_likelihood(loud, tags, lengths), crf.log_likelihood(scores, tags, lengths))
    loud.requires_grad_()
    crf.loss(loud, tags, lengths).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in crf.parameters() if parameter.grad is not None)
    alone = crf.log_likelihood(scores[:4, :1], tags[:4, :1])
    torch.testing.assert_close(alone, crf.log_likelihood(scores, tags, lengths)[:1])


def test_length_zero_is_certain() -> None:
    crf = a_crf(3, 3).float()
    scores, lengths = torch.randn(2, 2, 3, requires_grad=True), torch.tensor([0, 2])
    assert crf.log_partition(scores, lengths)[0] == 0
    assert crf.log_likelihood(scores, torch.zeros(2, 2, dtype=torch.int64), lengths)[0] == 0
    assert crf.n_best(scores, lengths, 2)[1][:, 0].tolist() == [0, -torch.inf]
    crf.log_partition(scores, lengths).sum().backward()
    assert scores.grad is not None
    assert not scores.grad[:, 0].any()
    assert torch.isfinite(scores.grad).all()


def test_large_scores_stay_finite() -> None:
    crf = a_crf(3, 4).float()
    scores = (1000 * torch.randn(20, 4, 3)).requires_grad_()
    loss = crf.loss(scores, torch.zeros(20, 4, dtype=torch.int64))
    loss.backward()
    assert torch.isfinite(loss)
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()


def test_what_is_forbidden_is_named() -> None:
    crf = LinearChainCRF(
        3, allowed=torch.tensor([[1, 1, 0], [1, 1, 1], [1, 1, 1]]).bool(), first=torch.tensor([1, 0, 1]).bool()
    )
    scores = torch.randn(3, 1, 3)
    with pytest.raises(ValueError, match="label 2 may not follow label 0"):
        crf.loss(scores, torch.tensor([[0], [0], [2]]))
    with pytest.raises(ValueError, match="label 1 may not begin"):
        crf.loss(scores, torch.tensor([[1], [0], [0]]))
    with pytest.raises(ValueError, match="at least 1"):
        crf.n_best(scores, n=0)
    with pytest.raises(ValueError, match="mask of shape"):
        LinearChainCRF(3, first=torch.ones(2).bool())


@pytest.mark.parametrize("cuts", [[6], [1, 5], [2, 3, 1]])
@pytest.mark.parametrize("masked", [False, True])
def test_filtered_are_the_marginals_of_a_sequence_that_might_end_anyhow(cuts: list[int], masked: bool) -> None:
    crf = a_crf(3, 1, masked)
    with torch.no_grad():
        crf.end.zero_()
    crf.not_last.zero_()
    scores = torch.randn(6, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found, before = [], None
    for piece in scores.split(cuts):
        shares, before = crf.filtered(piece, before)
        found.append(shares)
    for step, shares in enumerate(torch.cat(found), start=1):
        torch.testing.assert_close(shares, crf.marginals(scores[:step])[-1], rtol=1e-9, atol=1e-9)


LONG = 20_000


def a_long_one(labels: int = 5) -> tuple[Tensor, Tensor]:
    """Scores (T, 1, L) in float32, and one label each."""
    generator = torch.Generator().manual_seed(7)
    scores = 2 * torch.randn(LONG, 1, labels, generator=generator)
    return scores, torch.randint(labels, (LONG, 1), generator=generator)


@torch.no_grad()
def test_without_transitions_a_long_sequence_is_its_timesteps_by_themselves() -> None:
    scores, tags = a_long_one()
    crf, exact = LinearChainCRF(5), scores.double()
    totals = exact.logsumexp(-1).sum(0)
    torch.testing.assert_close(crf.log_partition(scores).double(), totals, rtol=1e-7, atol=0)
    torch.testing.assert_close(crf.marginals(scores), exact.softmax(-1).float(), rtol=1e-6, atol=1e-12)
    best, logs = crf.viterbi(scores)
    assert torch.equal(best, scores.argmax(-1))
    torch.testing.assert_close(logs.double(), exact.amax(-1).sum(0) - totals, rtol=1e-7, atol=0)
    own = exact.gather(-1, tags.unsqueeze(-1)).sum() - totals
    torch.testing.assert_close(crf.log_likelihood(scores, tags).double(), own, rtol=1e-7, atol=0)


@torch.no_grad()
def test_sequences_that_never_meet_are_summed_right_however_far_apart() -> None:
    """Each label is followed by itself alone: all sequences are constant, and their scores part as a random walk."""
    scores, _ = a_long_one()
    crf, each = LinearChainCRF(5, allowed=torch.eye(5).bool()), scores.double().sum(0)
    torch.testing.assert_close(crf.log_partition(scores).double(), each.logsumexp(-1), rtol=1e-7, atol=0)
    torch.testing.assert_close(crf.marginals(scores)[LONG // 2].double(), each.softmax(-1), rtol=1e-5, atol=1e-12)
    assert crf.viterbi(scores)[0].unique().tolist() == each.argmax(-1).tolist()
    least = int(each.argmin())  # the one that all others are far above, until its end forbids them
    crf.not_last.copy_(torch.arange(5) != least)
    torch.testing.assert_close(crf.log_partition(scores).double(), each[:, least], rtol=1e-7, atol=0)


def test_a_long_sequence_has_the_same_gradients_in_both_types() -> None:
    scores, tags = a_long_one()
    crf = a_crf(5, 8).float()
    scores.requires_grad_()
    crf.loss(scores, tags).backward()
    exact, twice = a_crf(5, 8), scores.detach().double().requires_grad_()
    with torch.no_grad():
        for own, other in zip(exact.parameters(), crf.parameters(), strict=True):
            own.copy_(other)
    exact.loss(twice, tags).backward()
    assert scores.grad is not None
    assert twice.grad is not None
    torch.testing.assert_close(scores.grad.double(), twice.grad, rtol=1e-6, atol=1e-9)
    for own, other in zip(exact.parameters(), crf.parameters(), strict=True):
        assert own.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(other.grad.double(), own.grad, rtol=1e-5, atol=1e-7)
    # What the loss loses by another label at one timestep is its marginal there: an identity of its own.
    shares = exact.marginals(twice)
    expected = shares - torch.nn.functional.one_hot(tags, 5)
    torch.testing.assert_close(twice.grad, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(shares.sum(-1), torch.ones(LONG, 1, dtype=torch.float64), rtol=0, atol=1e-12)
