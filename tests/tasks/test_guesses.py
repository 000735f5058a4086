"""Right guesses are those of the whole distribution, however few of its parts were computed."""

import pytest
import torch

from unrolled.nn import AdaptiveSoftmax, Softmax
from unrolled.tasks.language_model.guesses import right_guesses


@pytest.mark.parametrize("scale", [2.0, 10.0, 50.0])
@pytest.mark.parametrize("kind", ["full", "adaptive", "three"])
def test_equal_to_the_argmax_of_all(kind: str, scale: float) -> None:
    torch.manual_seed(1)
    cutoffs = {"adaptive": (20, 60), "three": (9, 20, 30)}
    output = AdaptiveSoftmax(8, 100, cutoffs[kind]) if kind in cutoffs else Softmax(8, 100)
    with torch.no_grad():
        output.bias += torch.randn(100)  # so that rare symbols win somewhere
        if isinstance(output, AdaptiveSoftmax):
            output.clusters.bias += 4
    features = scale * torch.randn(700, 8)
    logs = output.log_probabilities(features)
    ranked = logs.topk(3).indices
    targets = torch.where(torch.rand(700) < 0.5, ranked[:, 0], ranked[torch.arange(700), torch.randint(3, (700,))])
    expected = int((logs.argmax(-1) == targets).sum())
    assert 400 < expected < 600
    assert len({sum(symbol >= cut for cut in cutoffs.get(kind, (50,))) for symbol in ranked[:, 0].tolist()}) > 1
    assert right_guesses(output, features, targets) == expected
    assert right_guesses(output, features[:0], targets[:0]) == 0


def test_of_equals_the_first_is_the_guess() -> None:
    output = AdaptiveSoftmax(4, 12, (6, 9))
    with torch.no_grad():
        for parameter in output.parameters():
            parameter.zero_()
        output.bias[:6] = -50
        # each cluster has half of the probability, and three symbols
    features = torch.zeros(12, 4)
    targets = torch.arange(12)
    logs = output.log_probabilities(features)
    assert (targets == logs.argmax(-1)).nonzero().flatten().tolist() == [6]
    assert [right_guesses(output, features[:1], targets[place : place + 1]) for place in range(12)] == [
        int(place == 6) for place in range(12)
    ]
