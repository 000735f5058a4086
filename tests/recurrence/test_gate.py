"""Whatever records or replaces tensors gets right numbers or one clear error, and never an address."""

import copy
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as drawn
from hypothesis import strategies
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import (
    functional_call,
    functionalize,
    grad,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    stack_module_state,
    vjp,
    vmap,
)  # fmt: skip
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from cell_table import tuple_of
from tolerances import assert_equal
from unrolled.errors import ShapeError, UserError
from unrolled.nn import GRU, LSTM, RNN, Recurrent
from unrolled.recurrence import gate
from unrolled.recurrence.keys import key_of, recurrence_of

KINDS: dict[str, Callable[..., Recurrent]] = {
    "LSTM": LSTM,
    "GRU": GRU,
    "RNN": RNN,
    "minimal": lambda *sizes, **options: GRU(*sizes, reset="before", **options),
}


@pytest.fixture(params=KINDS)
def layer(request: pytest.FixtureRequest) -> Recurrent:
    torch.manual_seed(1)
    return KINDS[request.param](4, 5, dtype=torch.float64)


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(2)
    return torch.randn(4, 3, 4, dtype=torch.float64)


def out(layer: Recurrent) -> Callable[[Tensor], Tensor]:
    return lambda x: layer(x)[0]


def reference(layer: Recurrent) -> Callable[[Tensor], Tensor]:
    twin = copy.deepcopy(layer)
    twin.engine = "eager"
    return out(twin)


def gradients(layer: Recurrent, x: Tensor, output: Callable[[Tensor], Tensor] | None = None) -> list[Tensor]:
    """Of the input and the weights."""
    y = x.detach().clone().requires_grad_()
    total = (output or out(layer))(y).sin().sum()
    return list(torch.autograd.grad(total, [y, *layer.parameters()]))


# -- recording


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}])
@pytest.mark.parametrize("kind", KINDS)
def test_jit_trace_gives_the_layer_at_any_length_and_batch(kind: str, options: dict[str, Any]) -> None:
    layer = KINDS[kind](4, 5, **options)
    with torch.jit.optimized_execution(False):
        for traced in (traced_of(layer), traced_of(layer, gradients=False)):
            for shape in ((4, 3, 4), (9, 3, 4), (2, 7, 4)):
                x = torch.randn(shape)
                assert torch.equal(traced(x)[0], layer(x)[0])
                found = gradients(layer, x, lambda v, traced=traced: traced(v)[0])  # type: ignore[misc]
                assert_equal(found, gradients(layer, x))


def traced_of(layer: Recurrent, gradients: bool = True) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)  # and no others: none of shapes
        with torch.set_grad_enabled(gradients):
            return torch.jit.trace(layer, (torch.randn(4, 3, 4),))


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_make_fx(layer: Recurrent, x: Tensor, mode: str) -> None:
    graph = make_fx(out(layer), tracing_mode=mode, _allow_non_fake_inputs=True)(x)
    assert_equal(graph(2 * x), layer(2 * x)[0])
    whole = make_fx(
        lambda v: torch.autograd.grad(layer(v)[0].sum(), v)[0], tracing_mode=mode, _allow_non_fake_inputs=True
    )(x.clone().requires_grad_())
    y = (2 * x).requires_grad_()
    assert_equal(whole(y), torch.autograd.grad(layer(y)[0].sum(), y)[0])


def test_fake_tensors_have_shapes_forwards_and_backwards() -> None:
    with FakeTensorMode():
        for make in KINDS.values():
            for options in ({}, {"num_layers": 2, "bidirectional": True}):
                layer, x = make(4, 5, **options), torch.randn(7, 3, 4, requires_grad=True)
                output = layer(x, lengths=torch.tensor([7, 2, 3]))[0]
                assert output.shape == (7, 3, 5 * layer.num_directions)
                output.sum().backward()
                assert x.grad is not None
                assert x.grad.shape == x.shape


class Log(TorchDispatchMode):
    """Writes down what is called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def test_dispatch_modes_see_the_operator(layer: Recurrent, x: Tensor) -> None:
    with Log() as log:
        found = gradients(layer, x)
    assert {"unrolled.recurrence.default", "unrolled.recurrence_backward.default"} <= set(log.names)
    assert_equal(found, gradients(layer, x))
    layer.zero_grad()
    with FlopCounterMode(display=False):
        layer(x)[0].sin().sum().backward()
    assert_equal([value.grad for value in layer.parameters()], found[1:])


# -- what the gradient needs, kept by others


def moved(value: Tensor) -> Tensor:
    """The same numbers at an address that is a multiple of nothing."""
    raw = np.zeros(value.numel() * value.element_size() + 1, dtype=np.uint8)
    return (
        torch.frombuffer(raw, dtype=value.dtype, offset=1, count=value.numel()).view(value.shape).copy_(value.detach())
    )


PACKINGS: dict[str, tuple[Any, Any]] = {
    "elsewhere": (moved, lambda value: value),
    "NumPy": (lambda value: value.detach().numpy().copy(), torch.from_numpy),
    "on its side": (
        lambda value: value.detach().t().contiguous().t() if value.dim() == 2 else value,
        lambda value: value,
    ),
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_hooks_on_saved_tensors(layer: Recurrent, x: Tensor, packing: str) -> None:
    def hooked(y: Tensor) -> Tensor:
        with torch.autograd.graph.saved_tensors_hooks(*PACKINGS[packing]):
            return layer(y, lengths=torch.tensor([4, 1, 2]))[0]  # type: ignore[no-any-return]

    expected = gradients(layer, x, lambda y: layer(y, lengths=torch.tensor([4, 1, 2]))[0])
    assert_equal(gradients(layer, x, hooked), expected)
    with torch.autograd.graph.save_on_cpu():
        assert_equal(gradients(layer, x), gradients(layer, x))


@pytest.mark.parametrize(
    "broken", [lambda v: v.detach().half(), lambda v: v.detach()[:1], lambda v: v.detach()[..., :1]]
)
def test_hooks_that_return_something_else_are_refused(layer: Recurrent, x: Tensor, broken: Any) -> None:
    with torch.autograd.graph.saved_tensors_hooks(lambda value: broken(value.detach()), lambda value: value):
        output = layer(x)[0]
    with pytest.raises(RuntimeError):
        output.sum().backward()


def test_tensors_that_are_changed_after_saving(layer: Recurrent, x: Tensor) -> None:
    expected = gradients(layer, x)
    weights = [value.detach().clone() for value in layer.parameters()]
    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        y = x.clone().requires_grad_()
        total = layer(y)[0].sin().sum()
        with torch.no_grad():
            for value in layer.parameters():
                value.add_(1)
        found = torch.autograd.grad(total, [y, *layer.parameters()])
    with torch.no_grad():
        for value, before in zip(layer.parameters(), weights, strict=True):
            value.copy_(before)
    assert_equal(found, tuple(expected))
    output = layer(x)[0]
    with torch.no_grad():
        next(layer.parameters()).add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpoints(layer: Recurrent, x: Tensor, reentrant: bool) -> None:
    found = []
    for run in (out(layer), lambda y: checkpoint(out(layer), y, use_reentrant=reentrant)):
        y = x.clone().requires_grad_()
        layer.zero_grad()
        run(y).sum().backward()
        found.append([y.grad, *(value.grad for value in layer.parameters())])
    assert_equal(found[1], found[0])


# -- torch.func, forward mode, higher derivatives


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch itself, for its forward mode
def test_forward_mode(layer: Recurrent, x: Tensor) -> None:
    expected = jvp(reference(layer), (x,), (x.cos(),))[1]
    assert expected.abs().sum() > 0
    assert_equal(jvp(out(layer), (x,), (x.cos(),))[1], expected)
    with torch.no_grad(), torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x.cos())
        assert_equal(torch.autograd.forward_ad.unpack_dual(layer(dual)[0]).tangent, expected)
    assert_equal(jacfwd(out(layer))(x), jacrev(out(layer))(x))
    layer.engine = "compiled"
    with pytest.raises(ValueError, match='no forward-mode derivatives; engine="auto" or "eager" runs it'):
        jvp(out(layer), (x,), (x,))


def test_gradients_of_torch_func(layer: Recurrent, x: Tensor) -> None:
    weights = {name: value.detach() for name, value in layer.named_parameters()}

    def loss(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(layer, weights, (x,))[0].sin().sum()  # type: ignore[no-any-return]

    expected = gradients(layer, x)
    assert_equal(list(grad(loss)(weights, x).values()), expected[1:])
    assert_equal(grad(loss, argnums=1)(weights, x), expected[0])
    each = vmap(grad(loss), in_dims=(None, 1))(weights, x.unsqueeze(2))  # one for each sequence
    for row in range(3):
        assert_equal([value[row] for value in each.values()], gradients(layer, x[:, row : row + 1])[1:])
    cotangent = torch.randn(4, 3, 5, dtype=torch.float64)
    assert_equal(vjp(out(layer), x)[1](cotangent), vjp(reference(layer), x)[1](cotangent))
    assert_equal(functionalize(out(layer))(x), layer(x)[0])


def test_batches_of_layers_inputs_and_gradients(layer: Recurrent, x: Tensor) -> None:
    twins = [layer, copy.deepcopy(layer)]
    with torch.no_grad():
        next(twins[1].parameters()).mul_(2)
    weights, _ = stack_module_state(twins)  # type: ignore[arg-type]
    found = vmap(lambda weights: functional_call(layer, weights, (x,))[0])(weights)
    assert_equal(found, torch.stack([twin(x)[0] for twin in twins]))
    assert_equal(vmap(out(layer))(torch.stack([x, -x])), torch.stack([layer(x)[0], layer(-x)[0]]))
    small = x[:2, :1]
    expected = jacrev(reference(layer))(small)
    assert_equal(jacrev(out(layer))(small), expected)
    for vectorize in (True, False):
        assert_equal(torch.autograd.functional.jacobian(out(layer), small, vectorize=vectorize), expected)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch itself, for its forward mode
def test_second_and_third_derivatives(layer: Recurrent, x: Tensor) -> None:
    small = x[:2, :1]

    def total(run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda x: run(x).sin().sum()

    expected = hessian(total(reference(layer)))(small)
    assert_equal(hessian(total(out(layer)))(small), expected)
    assert_equal(jacrev(jacrev(total(out(layer))))(small), expected)
    for vectorize in (True, False):
        assert_equal(torch.autograd.functional.hessian(total(out(layer)), small, vectorize=vectorize), expected)
    scale = torch.ones((), dtype=torch.float64)
    third = [
        grad(grad(grad(lambda s, run=run: total(run)(small * s))))(scale) for run in (out(layer), reference(layer))
    ]
    assert_equal(*third)
    y = small.clone().requires_grad_()
    assert torch.autograd.gradcheck(out(layer), y, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(out(layer), y)


def test_second_derivatives_of_ids(layer: Recurrent) -> None:
    ids, found = torch.tensor([[0, 1], [3, -1], [2, 2]]), []
    for engine in ("compiled", "eager"):
        layer.engine = engine
        first = torch.autograd.grad(layer(ids)[0].sin().sum(), list(layer.parameters()), create_graph=True)
        found.append(torch.autograd.grad(sum(value.square().sum() for value in first), list(layer.parameters())))
    assert_equal(*found)


# -- memory


def test_tensors_that_are_not_their_memory(layer: Recurrent, x: Tensor) -> None:
    expected = layer(x)[0]
    negated = torch.imag(torch.complex(x, -x).conj())
    assert negated.is_neg()
    assert_equal(layer(negated)[0], expected)
    assert_equal(layer(moved(x))[0], expected)
    zero = torch._efficientzerotensor(x.shape, dtype=x.dtype)  # type: ignore[attr-defined]
    assert_equal(layer(zero)[0], layer(torch.zeros_like(x))[0])
    with torch.no_grad(), layer.packed():
        state = layer.step(x[0])
        negated_state = tuple(torch.imag(torch.complex(s, -s).conj()) for s in tuple_of(state))
        given = negated_state if len(negated_state) > 1 else negated_state[0]
        assert_equal(layer.step(negated[0], given), layer.step(x[0], state))


def test_memory_that_was_given_back_is_refused(layer: Recurrent, x: Tensor) -> None:
    x.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match=r"x has shape .*, but its memory was given back"):
        layer(x)
    next(layer.parameters()).data.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match=r"weight_ih has shape .*, but its memory was given back"):
        layer(torch.zeros(4, 3, 4, dtype=torch.float64))


def test_weights_of_another_shape_are_refused(layer: Recurrent, x: Tensor) -> None:
    layer.weight_hh_l0 = nn.Parameter(torch.zeros(3, 3, dtype=torch.float64))
    with pytest.raises(ShapeError, match=r"weight_hh has shape \(3, 3\)"):
        layer(x)


@pytest.fixture
def default_device_meta() -> Iterator[None]:
    torch.set_default_device("meta")
    yield
    torch.set_default_device("cpu")


@pytest.mark.usefixtures("default_device_meta")
def test_the_default_device_is_not_where_kernels_read() -> None:
    layer = LSTM(4, 5, device="cpu")
    x = torch.ones(13, 3, 4, device="cpu")
    output = layer(x, lengths=torch.tensor([2, 13, 5], device="cpu"))[0]
    assert output.device.type == layer(x)[0].device.type == "cpu"
    output.sum().backward()


@drawn(strategies.data())
def test_the_operator_refuses_what_it_would_read_past(data: strategies.DataObject) -> None:
    """Whatever a graph that came from elsewhere calls it with, an error is raised or the numbers are finite."""
    layer = GRU(4, 5)
    size = strategies.integers(0, 6)
    x = torch.zeros(data.draw(size), data.draw(size), data.draw(size))
    if data.draw(strategies.booleans()):
        x = torch.full(x.shape[:2], data.draw(strategies.integers(-3, 6)))
    parameters = [value.detach() for value in layer.parameters()]
    place = data.draw(strategies.integers(0, len(parameters) - 1))
    parameters[place] = torch.zeros([data.draw(strategies.integers(0, 16)) for _ in range(parameters[place].dim())])
    state = torch.zeros(
        data.draw(size), data.draw(size), dtype=data.draw(strategies.sampled_from([torch.float32, torch.float64]))
    )
    lengths = (
        torch.full((data.draw(size),), data.draw(strategies.integers(-2, 9)))
        if data.draw(strategies.booleans())
        else None
    )
    keep = torch.zeros(data.draw(size), data.draw(size), 5) if data.draw(strategies.booleans()) else None
    checkpoint = data.draw(strategies.integers(-1, 3))
    arguments = (layer._key, x, parameters, [state], None, keep, lengths, False, True, True, checkpoint)
    try:
        found = torch.ops.unrolled.recurrence(*arguments)
    except (ShapeError, UserError):
        return
    assert all(value.isfinite().all() for value in found[:-1])


def test_direct_is_only_for_plain_tensors(x: Tensor) -> None:
    assert gate.direct((x, nn.Parameter(x), None))
    assert not gate.direct((x.as_subclass(type("Own", (Tensor,), {})),))
    with FakeTensorMode():
        assert not gate.direct((x,))
    assert not vmap(lambda row: row + 0 * gate.direct((row,)))(x).equal(x + 1)


# -- graphs in other processes


def test_a_key_is_the_whole_cell(layer: Recurrent) -> None:
    known = recurrence_of(layer._key)
    assert (known.program, known.layout) == (layer._program, layer._layout)
    assert key_of(known.program, True) == layer._key
    for wrong in ("", "lstm", "[]", "{}", json.dumps({"bias": True, "program": {}}), "[" * 100_000):
        with pytest.raises(UserError):
            recurrence_of(wrong)


@pytest.mark.parametrize("strict", [True, False])
def test_an_exported_layer_runs_in_a_new_process(tmp_path: Path, strict: bool) -> None:
    layer, x = KINDS["minimal"](4, 5), torch.randn(7, 3, 4)
    shapes = {"x": {0: torch.export.Dim("steps", min=2, max=50), 1: torch.export.Dim("rows", min=2, max=50)}}
    program = torch.export.export(layer, (x,), strict=strict, dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "layer.pt2")
    torch.save((torch.randn(9, 2, 4),), tmp_path / "x.pt")
    for imports in ("torch, unrolled", "unrolled, torch"):
        code = (
            f"import {imports}\nfolder = {str(tmp_path)!r}\nx, = torch.load(folder + '/x.pt')\n"
            "layer = torch.export.load(folder + '/layer.pt2').module()\ntorch.save(layer(x)[0], folder + '/y.pt')"
        )
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert_equal(torch.load(tmp_path / "y.pt"), layer(torch.load(tmp_path / "x.pt")[0])[0])
    assert "unrolled.recurrence.default" in str(program.graph)


FRESH = """
import torch, unrolled.nn as nn
graphs = []
def backend(graph, inputs):
    graphs.append(graph)
    return graph
layer = nn.{kind}(4, 5, 2, bidirectional=True).to(torch.{dtype})
compiled = torch.compile(layer, backend=backend, fullgraph=True, dynamic=True)
for steps, rows in ((7, 3), (9, 3), (4, 6)):
    x = torch.randn(steps, rows, 4).to(torch.{dtype})
    torch.testing.assert_close(compiled(x)[0], layer(x)[0], rtol=0.02, atol=0.02)
compiled(x)[0].sum().backward()
assert len(graphs) == 1, len(graphs)
assert sum("unrolled" in str(node.target) for node in graphs[0].graph.nodes) == 4
"""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_layer_that_never_ran_compiles_into_one_graph(kind: str, dtype: str) -> None:
    code = FRESH.format(kind=kind, dtype=dtype)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_compiled_under_autocast_and_on_ids() -> None:
    layer, x = LSTM(4, 5), torch.randn(7, 3, 4)
    torch._dynamo.reset()
    whole = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", torch.bfloat16):
        output = whole(x)[0]
        assert_equal(output, layer(x)[0])
    output.float().sum().backward()
    ids = torch.tensor([[0, 3], [1, -1]])
    assert_equal(whole(ids)[0], layer(ids)[0])
    with pytest.raises(ShapeError, match="ids go from 0 to 4"):
        whole(ids.clamp(min=0) + torch.tensor([[0, 1], [0, 0]]))


FORKED = """
import os, warnings, torch
from unrolled import nn
warnings.simplefilter("ignore")
torch.set_num_threads(2)
layer, x = nn.LSTM(64, 256), torch.randn(20, 8, 64)
layer(x)[0].sum().backward()
child = os.fork()
if not child:
    torch.set_num_threads(1)
    layer(x)[0].sum().backward()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""


def test_a_forked_child_runs_the_layer() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
