"""Both softmaxes: probabilities that sum to one, two symbols that never come, and a loss that is -log P."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tolerances import assert_equal
from unrolled.nn import AdaptiveSoftmax, FeedForward, Softmax

PAD, BOS = 0, 2
VOCABULARY, FEATURES = 23, 5

Output = Softmax | AdaptiveSoftmax
OUTPUTS: dict[str, Callable[..., Output]] = {
    "full": lambda **options: Softmax(FEATURES, VOCABULARY, **options),
    "one cluster": lambda **options: AdaptiveSoftmax(FEATURES, VOCABULARY, (7,), **options),
    "three clusters": lambda **options: AdaptiveSoftmax(FEATURES, VOCABULARY, (5, 11, 22), **options),
}
every_output = pytest.mark.parametrize("kind", OUTPUTS)


def made(kind: str, seed: int = 71) -> Output:
    torch.manual_seed(seed)
    output = OUTPUTS[kind]()
    nn.init.normal_(output.bias)
    return output


@every_output
@given(st.integers(0, 999), st.floats(0, 50))
def test_probabilities_sum_to_one_and_two_symbols_have_none(kind: str, seed: int, size: float) -> None:
    logs = made(kind, seed).log_probabilities(size * torch.randn(2, 3, FEATURES))
    assert logs.shape == (2, 3, VOCABULARY)
    torch.testing.assert_close(logs.exp().sum(-1), torch.ones(2, 3))
    never = torch.zeros(VOCABULARY, dtype=torch.bool)
    never[[PAD, BOS]] = True
    assert (logs[..., never] == -math.inf).all()
    assert logs[..., ~never].isfinite().all()


possible = st.integers(0, VOCABULARY - 1).filter(lambda symbol: symbol != BOS)


@every_output
@given(st.lists(possible, min_size=1, max_size=12), st.integers(0, 99))
def test_the_loss_is_minus_the_log_probability_of_what_counts(kind: str, symbols: list[int], seed: int) -> None:
    output, targets = made(kind, seed), torch.tensor(symbols)
    features = torch.randn(len(symbols), FEATURES)
    logs = output.log_probabilities(features).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    expected = -logs[targets != PAD].sum()
    loss = output.loss(features, targets)
    assert loss.shape == ()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)


@every_output
def test_targets_that_do_not_count_change_nothing(kind: str) -> None:
    output, features = made(kind), torch.randn(6, FEATURES)
    targets = torch.tensor([3, 0, 8, 21, 0, 22])
    counted = targets != PAD
    torch.testing.assert_close(output.loss(features, targets), output.loss(features[counted], targets[counted]))
    nothing = output.loss(features, torch.zeros_like(targets))
    assert nothing.item() == 0
    nothing.backward()
    assert all(value.grad is None or (value.grad == 0).all() for value in output.parameters())


@every_output
def test_gradients_are_finite_and_those_of_the_log_probabilities(kind: str) -> None:
    output, features = made(kind), torch.randn(8, FEATURES, requires_grad=True)
    targets = torch.tensor([1, 3, 6, 0, 12, 22, 21, 4])
    inputs = [features, *output.parameters()]
    gradients = torch.autograd.grad(output.loss(features, targets), inputs)
    picked = output.log_probabilities(features).gather(-1, targets.unsqueeze(-1)).squeeze(-1)[targets != PAD]
    expected = torch.autograd.grad(-picked.sum(), inputs)
    for one, other in zip(gradients, expected, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert (gradients[1][[PAD, BOS]] == 0).all()  # the weight's rows


def enumerated(output: AdaptiveSoftmax, features: Tensor) -> Tensor:
    """P(symbol) = P(cluster) P(symbol | cluster), symbol by symbol."""
    scores = features @ output.weight.T + output.bias
    scores[[PAD, BOS]] = -math.inf
    clusters = features @ output.clusters.weight.T + output.clusters.bias
    head = torch.cat([scores[: output.bounds[0]], clusters]).softmax(0)
    result = []
    for symbol in range(VOCABULARY):
        if symbol < output.bounds[0]:
            result.append(head[symbol])
            continue
        cluster = max(i for i, start in enumerate(output.bounds) if symbol >= start)
        start, stop = output.bounds[cluster], output.bounds[cluster + 1]
        inside = scores[start:stop].softmax(0)
        result.append(head[output.bounds[0] + cluster] * inside[symbol - start])
    return torch.stack(result)


@pytest.mark.parametrize("kind", ["one cluster", "three clusters"])
def test_the_adaptive_softmax_is_its_definition(kind: str) -> None:
    output = made(kind)
    assert isinstance(output, AdaptiveSoftmax)
    for _ in range(5):
        features = torch.randn(FEATURES)
        assert_equal(output.log_probabilities(features).exp(), enumerated(output, features))


def test_the_full_softmax_is_its_definition() -> None:
    output, features = made("full"), torch.randn(4, FEATURES)
    scores = (features @ output.weight.T + output.bias).exp()
    scores[:, [PAD, BOS]] = 0
    assert_equal(output.log_probabilities(features).exp(), scores / scores.sum(-1, keepdim=True))


@every_output
def test_a_tied_weight_is_the_embeddings_own(kind: str) -> None:
    embedding = nn.Parameter(torch.randn(VOCABULARY, FEATURES))
    output = OUTPUTS[kind](weight=embedding)
    assert output.weight is embedding
    output.loss(torch.randn(3, FEATURES), torch.tensor([4, 9, 22])).backward()
    assert embedding.grad is not None
    assert (embedding.grad != 0).any()
    with pytest.raises(ValueError, match=r"the tied weight has shape \(23, 4\), and must have \(23, 5\)"):
        OUTPUTS[kind](weight=nn.Parameter(torch.zeros(VOCABULARY, 4)))


@every_output
def test_only_weights_are_saved(kind: str) -> None:
    assert set(made(kind).state_dict()) - {"clusters.weight", "clusters.bias"} == {"weight", "bias"}


@every_output
def test_half_precision_features_give_a_finite_loss(kind: str) -> None:
    output = made(kind)
    with torch.autocast("cpu", torch.bfloat16):
        loss = output.loss(torch.randn(6, FEATURES), torch.tensor([1, 3, 6, 0, 12, 22]))
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in output.parameters())


@pytest.mark.parametrize("cutoffs", [(), (4,), (11, 7), (7, 7), (7, 23), (30,)])
def test_wrong_cutoffs_are_told(cutoffs: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must rise and lie between 5 and the vocabulary's 23 symbols"):
        AdaptiveSoftmax(FEATURES, VOCABULARY, cutoffs)


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu"])
def test_feed_forward_layers_act_on_every_timestep_by_itself(activation: str) -> None:
    head = FeedForward(5, [4, 3], activation=activation)
    x = torch.randn(6, 2, 5)
    y = head(x)
    assert (y.shape, head.output_size) == ((6, 2, 3), 3)
    functions = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "gelu": nn.functional.gelu}
    first, second = (layer for layer in head.layers if isinstance(layer, nn.Linear))
    g = functions[activation]
    for t in range(6):
        hidden = g(x[t] @ first.weight.T + first.bias)
        assert_equal(y[t], g(hidden @ second.weight.T + second.bias))


def test_feed_forward_layers_may_be_none_at_all() -> None:
    head, x = FeedForward(5, []), torch.randn(2, 5)
    assert head.output_size == 5
    assert head(x).equal(x)


def test_feed_forward_dropout_and_names() -> None:
    head, x = FeedForward(5, [400], dropout=0.5, activation="sigmoid"), torch.randn(50, 5)
    assert (head(x) == 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert (head.eval()(x) > 0).all()
    with pytest.raises(ValueError, match='activation="swish" is none of relu, tanh, sigmoid, gelu'):
        FeedForward(5, [4], activation="swish")
