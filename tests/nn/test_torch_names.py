"""Programs written for torch.nn: its names of arguments and attributes, its errors, warnings and types."""

import copy
import io
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import nn as torch_nn
from torch.nn.utils import parameters_to_vector, parametrizations
from torch.nn.utils.rnn import pack_padded_sequence

from cell_table import tuple_of
from tolerances import assert_equal
from unrolled import nn
from unrolled.errors import ShapeError

KINDS = ("RNN", "GRU", "LSTM")
every_kind = pytest.mark.parametrize("kind", KINDS)


def pair(kind: str, *sizes: int, **options: Any) -> tuple[Any, Any]:
    """torch's layer and ours, with the same weights."""
    theirs, ours = (getattr(module, kind)(*(sizes or (4, 5)), **options) for module in (torch_nn, nn))
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def zeros(kind: str, *shape: int, **options: Any) -> Any:
    state = torch.zeros(shape, **options)
    return (state, state.clone()) if kind == "LSTM" else state


@every_kind
def test_torchs_names_of_arguments(kind: str) -> None:
    _, ours = pair(kind)
    x = torch.randn(3, 2, 4)
    state = ours(x)[1]
    assert_equal(ours(input=x, hx=state), ours(x, state))
    assert_equal(ours(x=x, state=state), ours(x, hx=state))
    with pytest.raises(TypeError, match="x and input are two names of one argument"):
        ours(x, input=x)
    with pytest.raises(TypeError, match="state and hx are two names"):
        ours(x, state, hx=state)
    with pytest.raises(TypeError, match="needs an input"):
        ours()


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "bias": False}])
@every_kind
def test_torchs_attributes(kind: str, options: dict[str, Any]) -> None:
    theirs, ours = pair(kind, **options)
    for name in ("mode", "proj_size", "bias", "batch_first", "dropout", "bidirectional", "num_layers"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in ("_all_weights", "_flat_weights_names"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for mine, other in zip(ours.all_weights, theirs.all_weights, strict=True):
        assert [value.shape for value in mine] == [value.shape for value in other]
    assert all(one is other for one, other in zip(ours._flat_weights, ours.parameters(), strict=True))
    assert ours.flatten_parameters() is None
    assert nn.RNN(4, 5, nonlinearity="relu").mode == torch_nn.RNN(4, 5, nonlinearity="relu").mode
    assert nn.RNN(4, 5).nonlinearity == "tanh"


@pytest.mark.parametrize("engine", ["compiled", "eager", "vendor"])
@pytest.mark.parametrize("shape", [(3, 2, 4), (3, 4)])
@every_kind
def test_states_may_be_detached_and_changed_in_place(kind: str, shape: tuple[int, ...], engine: str) -> None:
    layer = getattr(nn, kind)(4, 5, engine=engine)
    output, state = layer(torch.randn(shape))
    for value in tuple_of(state):
        value.detach_().zero_()
    output.sum().backward()


WRONG: dict[str, Any] = {
    "width": lambda layer, kind: layer(torch.randn(3, 2, 9)),
    "state's batch": lambda layer, kind: layer(torch.randn(3, 2, 4), zeros(kind, 1, 9, 5)),
    "state's dimensions": lambda layer, kind: layer(torch.randn(3, 2, 4), zeros(kind, 1, 5)),
    "state of a batch": lambda layer, kind: layer(torch.randn(3, 4), zeros(kind, 1, 2, 5)),
    "no timesteps": lambda layer, kind: layer(torch.randn(0, 2, 4)),
    "dimensions": lambda layer, kind: layer(torch.randn(2, 2, 2, 4)),
    "type": lambda layer, kind: layer(torch.randn(3, 2, 4).double()),
    "type of a state": lambda layer, kind: layer(torch.randn(3, 2, 4), zeros(kind, 1, 2, 5, dtype=torch.float64)),
    "device": lambda layer, kind: layer(torch.randn(3, 2, 4, device="meta")),
    "device of a state": lambda layer, kind: layer(torch.randn(3, 2, 4), zeros(kind, 1, 2, 5, device="meta")),
}


@pytest.mark.parametrize("case", WRONG)
@every_kind
def test_what_torch_refuses_is_refused_in_a_way_that_its_programs_catch(kind: str, case: str) -> None:
    theirs, ours = pair(kind)
    with pytest.raises((RuntimeError, ValueError)) as expected:
        WRONG[case](theirs, kind)
    with pytest.raises(expected.type) as found:
        WRONG[case](ours, kind)
    assert isinstance(found.value, ShapeError)


@every_kind
def test_sizes(kind: str) -> None:
    make = getattr(nn, kind)
    layer = make(np.int64(4), np.int32(5), np.int64(2))
    assert [type(size) for size in (layer.input_size, layer.hidden_size, layer.num_layers)] == [int] * 3
    for sizes in ((4.0, 5), (4, 5.0), (4, 5, 1.5), ("4", 5)):
        with pytest.raises(TypeError, match="must be a whole number"):
            make(*sizes)
    for dropout in (True, "0.1", 2):
        with pytest.raises(ValueError, match="must be a probability"):
            make(4, 5, 2, dropout=dropout)


@every_kind
def test_dropout_with_one_layer_warns_as_torch_does(kind: str) -> None:
    messages = []
    for module in (torch_nn, nn):
        with pytest.warns(UserWarning, match="dropout option adds dropout") as seen:
            getattr(module, kind)(4, 5, dropout=0.5)
        messages.append(str(seen[0].message))
    assert messages[0] == messages[1]
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        getattr(nn, kind)(4, 5, 2, dropout=0.5)


def test_dropout_of_packed_sequences_is_that_of_padded_ones() -> None:
    layer, x, lengths = nn.LSTM(4, 5, 3, dropout=0.5, bidirectional=True), torch.randn(6, 3, 4), torch.tensor([2, 6, 3])
    torch.manual_seed(1)
    packed = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
    torch.manual_seed(1)
    padded = layer(x, lengths=lengths)
    assert_equal(packed[1], padded[1])
    assert_equal(torch.nn.utils.rnn.pad_packed_sequence(packed[0])[0], padded[0])


@pytest.mark.parametrize("given", [None, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@every_kind
def test_types_under_autocast_are_torchs(kind: str, dtype: torch.dtype, given: torch.dtype | None) -> None:
    theirs, ours = pair(kind, num_layers=2)
    x = torch.randn(3, 2, 4).to(dtype)
    state = None if given is None else zeros(kind, 2, 2, 5, dtype=given)
    with torch.autocast("cpu", torch.bfloat16):
        try:
            output, after = theirs(x, state)
        except RuntimeError:
            pytest.skip("torch's kernel does not run in bfloat16 on this processor")
        found, final = ours(x, state)
    assert found.dtype == output.dtype
    assert [value.dtype for value in tuple_of(final)] == [value.dtype for value in tuple_of(after)]
    assert_equal(found.bfloat16(), output.bfloat16())


@pytest.mark.parametrize("lengths", [[7, 3, 2], [3, 7, 2]])
@every_kind
def test_a_packed_sequence_on_meta(kind: str, lengths: list[int]) -> None:
    layer = getattr(nn, kind)(4, 5, 2, bidirectional=True, device="meta")
    x = torch.randn(7, 3, 4, device="meta")
    output, state = layer(pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=lengths[0] == 7))
    assert output.data.shape == (12, 10)
    assert output.data.is_meta
    assert all(value.shape == (4, 3, 5) for value in tuple_of(state))
    assert layer(x)[0].shape == (7, 3, 10)


@every_kind
def test_an_empty_batch(kind: str) -> None:
    theirs, ours = pair(kind)
    for expected, found in zip(
        tuple_of(theirs(torch.zeros(3, 0, 4))), tuple_of(ours(torch.zeros(3, 0, 4))), strict=True
    ):
        for one, other in zip(tuple_of(expected), tuple_of(found), strict=True):
            assert one.shape == other.shape


class Own(Tensor):
    """A subclass with torch's own __torch_function__."""


@every_kind
def test_tensor_subclasses_come_out_as_they_went_in(kind: str) -> None:
    _, ours = pair(kind)
    x = torch.randn(3, 2, 4)
    output, _ = ours(x.as_subclass(Own))  # type: ignore[arg-type]
    assert type(output) is Own
    assert_equal(output.as_subclass(Tensor), ours(x)[0])
    y = x.clone().requires_grad_()
    ours(y.as_subclass(Own))[0].sum().backward()  # type: ignore[arg-type]
    z = x.clone().requires_grad_()
    ours(z)[0].sum().backward()
    assert y.grad is not None
    assert_equal(y.grad.as_subclass(Tensor), z.grad)


LAYERS: dict[str, Any] = {
    "LSTM": lambda: nn.LSTM(3, 4, 2, bidirectional=True),
    "GRU": lambda: nn.GRU(3, 4, reset="before", zoneout=0.1),
    "RNN": lambda: nn.RNN(3, 4, nonlinearity="relu"),
    "Recurrent": lambda: nn.Recurrent("lstm-peephole", 3, 4, initial_state="learned"),
    "lookahead": lambda: nn.LookaheadBidirectional("gru", 3, 4, chunk=2, lookahead=1),
    "LSTMCell": lambda: nn.LSTMCell(3, 4),
    "GRUCell": lambda: nn.GRUCell(3, 4, bias=False),
    "RNNCell": lambda: nn.RNNCell(3, 4, nonlinearity="relu"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_whole_layers_are_saved_and_loaded_without_trusting_the_file(name: str) -> None:
    layer = LAYERS[name]().eval()
    x = torch.randn(5, 3) if name.endswith("Cell") else torch.randn(5, 2, 3)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for twin in (torch.load(file, weights_only=True), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert type(twin) is type(layer)
        assert_equal(tuple_of(twin(x))[0], tuple_of(layer(x))[0])
    assert b"unrolled.recurrence" not in file.getvalue()  # what follows from the cell is not in the file


def test_a_copy_made_inside_packed_is_not_packed() -> None:
    layer, x = nn.LSTM(3, 4), torch.randn(5, 2, 3)
    with torch.no_grad(), layer.packed():
        layer(x)
        twin = copy.deepcopy(layer)
        twin.weight_hh_l0.zero_()
        assert not torch.equal(twin(x)[0], layer(x)[0])


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, parametrizations.spectral_norm])
@every_kind
def test_parametrizations(kind: str, norm: Any) -> None:
    theirs, ours = pair(kind)
    for layer in (theirs, ours):
        torch.manual_seed(2)
        norm(layer, "weight_hh_l0")
    x, found = torch.randn(3, 2, 4), []
    for layer in (theirs, ours):
        layer.eval()
        output = layer(x)[0]
        output.sum().backward()
        found.append([output, parameters_to_vector([value.grad for value in layer.parameters()])])
    assert_equal(found[1][0], found[0][0])
    assert found[1][1].shape == found[0][1].shape


@every_kind
def test_what_torchs_tools_do_to_modules(kind: str) -> None:
    _, ours = pair(kind)
    x = torch.randn(3, 2, 4)
    replica = ours._replicate_for_data_parallel()
    for name, value in ours.named_parameters():
        setattr(replica, name, value)  # as DataParallel does: tensors, not parameters of the replica
    assert_equal(replica(x)[0], ours(x)[0])
    empty = copy.deepcopy(ours).to("meta").to_empty(device="cpu")
    empty.load_state_dict(ours.state_dict())
    assert_equal(empty(x)[0], ours(x)[0])
    with pytest.raises(RuntimeError, match="size mismatch"):
        ours.load_state_dict(getattr(nn, kind)(4, 6).state_dict())
    calls = []
    ours.register_forward_hook(lambda *_: calls.append(1))
    ours(x)
    assert calls == [1]


@every_kind
def test_symbolic_tracing_keeps_the_layer_whole(kind: str) -> None:
    model = torch_nn.Sequential(getattr(nn, kind)(4, 5))
    traced = torch.fx.symbolic_trace(model)
    x = torch.randn(3, 2, 4)
    assert [node.op for node in traced.graph.nodes] == ["placeholder", "call_module", "output"]
    assert_equal(traced(x)[0], model(x)[0])


@every_kind
def test_quantize_dynamic_leaves_the_layer(kind: str) -> None:
    model = torch_nn.Sequential(getattr(nn, kind)(4, 5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = torch.ao.quantization.quantize_dynamic(model, {torch_nn.LSTM, torch_nn.GRU})
    assert type(found[0]) is getattr(nn, kind)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("engine", ["auto", "eager"])
@pytest.mark.parametrize("kind", [f"{kind}Cell" for kind in KINDS])
def test_cells_equal_torchs(kind: str, engine: str, batched: bool, bias: bool) -> None:
    torch.manual_seed(3)
    theirs = getattr(torch_nn, kind)(4, 5, bias, dtype=torch.float64)
    ours = getattr(nn, kind)(4, 5, bias, dtype=torch.float64, engine=engine)
    assert ours.load_state_dict(theirs.state_dict()).missing_keys == []
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert repr(ours) == repr(theirs)
    x = torch.randn(3, 4).double() if batched else torch.randn(4).double()
    hidden = [torch.randn(*x.shape[:-1], 5).double() for _ in range(2)]
    state = tuple(hidden) if kind == "LSTMCell" else hidden[0]
    for given in (None, state):
        found = []
        for layer in (theirs, ours):
            y = x.clone().requires_grad_()
            after = tuple_of(layer(y, given))
            total = sum((value * torch.arange(value.numel()).view(value.shape)).sum() for value in after)
            found.append([*after, *torch.autograd.grad(total, [y, *layer.parameters()])])
        assert_equal(found[1], found[0])
    for value in tuple_of(ours(x)):
        value.detach_()
    assert_equal(tuple_of(ours(input=x, hx=state)), tuple_of(ours(x=x, state=state)))


@pytest.mark.parametrize("kind", [f"{kind}Cell" for kind in KINDS])
def test_cells_refuse_what_torchs_refuse(kind: str) -> None:
    def state(*shape: int) -> Any:
        return zeros(kind.removesuffix("Cell"), *shape)

    x = torch.randn(3, 4)
    wrong = [
        (torch.randn(2, 3, 4), None), (torch.randn(3, 9), None), (x, state(3, 9)), (x, state(2, 5)), (x, state(5)),
        (x, state(1, 3, 5)),
    ]  # fmt: skip
    for arguments in wrong:
        with pytest.raises((RuntimeError, ValueError)) as expected:
            getattr(torch_nn, kind)(4, 5)(*arguments)
        with pytest.raises(expected.type):
            getattr(nn, kind)(4, 5)(*arguments)
    assert tuple_of(getattr(nn, kind)(4, 5)(torch.zeros(0, 4)))[0].shape == (0, 5)


@pytest.mark.parametrize("kind", [f"{kind}Cell" for kind in KINDS])
def test_the_same_seed_draws_the_same_cells(kind: str) -> None:
    drawn = []
    for module in (torch_nn, nn):
        torch.manual_seed(4)
        drawn.append([*getattr(module, kind)(4, 5).parameters(), torch.rand(1)])
    assert all(one.equal(other) for one, other in zip(*drawn, strict=True))
