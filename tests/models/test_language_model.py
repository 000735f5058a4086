"""The language model: its loss is -log P, however the text is cut; and every setting builds and learns."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor

from cell_table import tuple_of
from tolerances import assert_equal
from unrolled.cells import affine, cell, cell_named, sigmoid, tanh
from unrolled.cells.operators import Value
from unrolled.data.vocabulary import Vocabulary
from unrolled.errors import UserError
from unrolled.models.build import build_model
from unrolled.models.language_model import LanguageModel
from unrolled.models.settings import ModelSettings

SYMBOLS = 13
SPELLINGS = torch.tensor([[0, 0, 0]] * 4 + [[2 + i % 5, 2 + i // 5, 0] for i in range(SYMBOLS - 4)])

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one-hot": {"embedding": 0},
    "tied": {"tied": True, "embedding": 8},
    "tied through a bridge": {"tied": True},
    "head layers": {"head_layers": 2},
    "head layers of another size, tied": {"head_layers": 2, "head_size": 7, "tied": True},
    "adaptive": {"softmax": "adaptive", "cutoffs": (6, 9)},
    "adaptive and tied": {"softmax": "adaptive", "cutoffs": (6,), "tied": True},
    "characters": {"characters": 4},
    "characters and tied": {"characters": 4, "tied": True},
    "residual": {"residual": True, "layers": 3},
    "learned state": {"initial_state": "learned"},
    "random state": {"initial_state": "random"},
    "dropout": {"dropout": 0.3, "head_layers": 1},
    "input dropout": {"input_dropout": 0.3},
    "embedding dropout": {"embedding_dropout": 0.3},
    "symbol dropout": {"symbol_dropout": 0.3},
    "recurrent dropout": {"recurrent_dropout": 0.3},
    "weight drop": {"weight_drop": 0.3},
    "zoneout": {"zoneout": 0.2},
    "orthogonal": {"initialiser": "orthogonal", "forget_bias": 1.0},
    "vendor": {"engine": "vendor"},
    "eager": {"engine": "eager"},
    **{
        name: {"cell": name}
        for name in ("rnn", "gru-simplified", "gru", "gru-torch", "lstm-peephole", "lstm-peephole-previous")
    },
}
every_setting = pytest.mark.parametrize("name", SETTINGS)


def model_of(name: str, seed: int = 81) -> LanguageModel:
    torch.manual_seed(seed)
    options = {"cell": "lstm", "hidden": 8, "layers": 2, "embedding": 6, **SETTINGS[name]}
    model_settings = ModelSettings(**options)
    return LanguageModel(model_settings, SYMBOLS, cell_named(model_settings.cell), spellings=SPELLINGS, alphabet=8)


def text(steps: int, batch: int, seed: int = 82) -> tuple[Tensor, Tensor]:
    """Inputs that start with <bos>, and targets of which some do not count."""
    generator = torch.Generator().manual_seed(seed)
    symbols = torch.randint(3, SYMBOLS, (steps + 1, batch), generator=generator)
    inputs, targets = symbols[:-1].clone(), symbols[1:].clone()
    inputs[0] = 2
    targets[torch.rand(targets.shape, generator=generator) < 0.2] = 0
    return inputs, targets


@every_setting
def test_the_loss_is_minus_the_log_probability(name: str) -> None:
    model = model_of(name).eval()
    inputs, targets = text(5, 3)
    torch.manual_seed(83)
    loss = model(inputs, targets, None)
    torch.manual_seed(83)
    logs, state = model.log_probabilities(inputs)
    assert logs.shape == (5, 3, SYMBOLS)
    picked = logs.gather(-1, targets.unsqueeze(-1)).squeeze(-1)[targets != 0]
    torch.testing.assert_close(loss.total, -picked.sum(), rtol=1e-5, atol=1e-5)
    assert loss.symbols.item() == int((targets != 0).sum())
    assert_equal(loss.state, state)
    assert (logs[..., [0, 2]] == -torch.inf).all()


@every_setting
def test_a_step_is_what_the_whole_says(name: str) -> None:
    if name == "random state":
        return  # a state of its own at every call
    model = model_of(name).eval()
    inputs, _ = text(5, 3)
    logs, final = model.log_probabilities(inputs)
    state = None
    for t in range(5):
        found, state = model.step(inputs[t], state)
        assert_equal(found, logs[t])
        assert not found.requires_grad
    assert_equal(state, final)


@examples(max_examples=20)
@given(st.sampled_from([name for name in SETTINGS if name != "random state"]), st.integers(2, 7), st.data())
def test_window_by_window_with_the_state_carried_is_the_whole(name: str, steps: int, data: st.DataObject) -> None:
    model = model_of(name).eval()
    inputs, targets = text(steps, 2)
    cut = data.draw(st.integers(1, steps - 1))
    whole = model(inputs, targets, None)
    first = model(inputs[:cut], targets[:cut], None)
    second = model(inputs[cut:], targets[cut:], first.state)
    torch.testing.assert_close(first.total + second.total, whole.total, rtol=1e-5, atol=1e-5)
    assert first.symbols + second.symbols == whole.symbols
    assert_equal(second.state, whole.state)


@every_setting
def test_a_model_learns_what_it_is_shown(name: str) -> None:
    model = model_of(name).train()
    inputs, targets = text(6, 4)
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    losses = []
    for _ in range(25):
        loss = model(inputs, targets, None)
        optimiser.zero_grad()
        (loss.total / loss.symbols).backward()
        for parameter_name, value in model.named_parameters():
            assert value.grad is not None, parameter_name
            assert value.grad.isfinite().all(), parameter_name
        optimiser.step()
        losses.append(loss.total.item())
    assert min(losses[-5:]) < 0.9 * losses[0]


def test_truncation_is_one_detach() -> None:
    """The state carries no gradient into the window before once it is detached, and does otherwise."""
    model = model_of("plain")
    inputs, targets = text(6, 2)
    for truncated in (True, False):
        first = model(inputs[:3], targets[:3], None)
        state = tuple(part.detach() if truncated else part for part in first.state)
        (gradient,) = torch.autograd.grad(
            model(inputs[3:], targets[3:], state).total, first.state[0], allow_unused=True
        )
        assert (gradient is None) == truncated


def test_the_future_is_not_seen() -> None:
    model = model_of("head layers").eval()
    inputs, _ = text(6, 1)
    changed = inputs.clone()
    changed[4] = 3 + (changed[4] - 2) % (SYMBOLS - 3)
    one, other = model.log_probabilities(inputs)[0], model.log_probabilities(changed)[0]
    assert_equal(one[:4], other[:4])
    assert not torch.allclose(one[4], other[4])


def test_the_first_symbol_has_a_probability_without_a_prefix() -> None:
    model = model_of("plain").eval()
    logs, _ = model.step(torch.tensor([2, 0]), None)
    assert_equal(logs[0], logs[1])  # x⟨1⟩ = 0
    torch.testing.assert_close(logs.exp().sum(-1), torch.ones(2))


def test_ties_and_bridges() -> None:
    tied, bridged = model_of("tied"), model_of("tied through a bridge")
    assert tied.output.weight is tied.input.weight
    assert isinstance(tied.bridge, torch.nn.Identity)
    assert isinstance(bridged.bridge, torch.nn.Linear)
    assert (bridged.bridge.in_features, bridged.bridge.out_features) == (8, 6)
    characters = model_of("characters and tied")
    assert characters.output.weight is characters.input.words.weight  # type: ignore[union-attr]
    assert sum(value.numel() for value in tied.parameters()) < sum(v.numel() for v in model_of("plain").parameters())


def test_spellings_reach_unknown_words() -> None:
    model = model_of("characters").eval()
    inputs = torch.tensor([[1], [1]])
    first, second = (torch.tensor([[[2, 3, 0]], [[letter, 2, 0]]]) for letter in (4, 5))
    one, other = (model.log_probabilities(inputs, spellings=spelt)[0] for spelt in (first, second))
    assert_equal(one[0], other[0])
    assert not torch.allclose(one[1], other[1])
    known = torch.tensor([[5], [6]])
    assert_equal(model.log_probabilities(known, spellings=SPELLINGS[known]), model.log_probabilities(known))


def test_a_model_of_characters_says_when_it_has_no_spellings() -> None:
    model = LanguageModel(ModelSettings(hidden=8, characters=4), SYMBOLS, cell_named("lstm"), alphabet=8)
    with pytest.raises(ValueError, match="give it the spellings of its symbols"):
        model.log_probabilities(torch.tensor([[4]]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bidirectional": True}, "model.bidirectional: a language model may not see the symbols that it predicts"),
        ({"tied": True, "embedding": 0}, "model.tied: there is no embedding to share"),
        ({"softmax": "adaptive"}, 'model.softmax = "adaptive": 13 symbols are too few for it'),
        ({"softmax": "adaptive", "cutoffs": (3,)}, "the model cannot be built: cutoffs"),
        ({"characters": 5}, "the model cannot be built: characters=5 must be even"),
        ({"characters": 4, "embedding": 0}, "the model cannot be built: characters: they are joined"),
        ({"cell": "lsmt"}, 'the model cannot be built: there is no cell "lsmt"'),
        ({"cell": "gru", "forget_bias": 1.0}, "the model cannot be built: forget_bias=1.0"),
        ({"cell": "gru", "engine": "vendor"}, "the model cannot be built: .*no kernel for the equations of gru"),
    ],
    ids=str,
)
def test_settings_that_do_not_go_together_are_told(options: dict[str, Any], message: str) -> None:
    vocabulary = Vocabulary.from_counts({chr(97 + i): 9 - i for i in range(SYMBOLS - 4)}, level="word")
    with pytest.raises(UserError, match=message):
        build_model(ModelSettings(hidden=8, **options), vocabulary)


def test_a_model_is_built_of_its_settings() -> None:
    vocabulary = Vocabulary.from_counts({"cab": 5, "bad": 4, "dab": 1}, level="word")
    model = build_model(ModelSettings(hidden=8, embedding=6, characters=4), vocabulary)
    assert model.vocabulary == len(vocabulary) == 7
    assert model.spellings is not None
    assert (model.spellings[:4] == 0).all()
    assert model.spellings[4, :4].tolist() == [*vocabulary.spell("cab")[:3], 0]
    relu = build_model(ModelSettings(cell="rnn", nonlinearity="relu", hidden=8), vocabulary)
    assert relu.recurrent.cell.name == "rnn-relu"


def test_a_model_runs_on_a_cell_of_ones_own() -> None:
    @cell
    def minimal(x: Value, h: Value) -> Value:
        forget = sigmoid(affine("forget", h, x))
        return (1 - forget) * h + forget * tanh(affine("candidate", forget * h, x))

    torch.manual_seed(84)
    model = LanguageModel(ModelSettings(hidden=8, embedding=0), SYMBOLS, minimal)
    inputs, targets = text(5, 2)
    loss = model(inputs, targets, None)
    loss.total.backward()
    assert len(tuple_of(loss.state)) == 1
    assert all(value.grad is not None for value in model.parameters())
