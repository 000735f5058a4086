"""RNNCell, GRUCell and LSTMCell: one timestep, with torch.nn's arguments, names and results."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from unrolled.cells import Cell, cell_named
from unrolled.cells.rnn import rnn
from unrolled.errors import ShapeError
from unrolled.nn.torch_names import check_place, mixed_precision, one_of, whole
from unrolled.recurrence.engines import check_name, choose
from unrolled.recurrence.keys import key_of
from unrolled.recurrence.layout import layout_of
from unrolled.recurrence.program import outline
from unrolled.recurrence.request import Direction, Request
from unrolled.recurrence.vendor import kernel_of


class TorchCell(nn.Module):
    """What the three have in common. `state_dict` is interchangeable with that of torch.nn's cell.

    Shapes: the input is (B, I), or (I,) without a batch; each state is (B, H), or (H,).
    """

    def __init__(
        self, cell: Cell, input_size: int, hidden_size: int, bias: bool, device: torch.device | str | None,
        dtype: torch.dtype | None, engine: str,
    ) -> None:  # fmt: skip
        super().__init__()
        self.cell, self.bias, self.engine = cell, bool(bias), check_name(engine, "engine")
        self.input_size, self.hidden_size = whole("input_size", input_size), whole("hidden_size", hidden_size)
        self._write_down()
        columns = {"weight_ih": (self.input_size,), "weight_hh": (self.hidden_size,)}
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            blocks = self._layout.parameters.get(name)
            if blocks is None:
                self.register_parameter(name, None)
            else:
                empty = torch.empty(blocks * self.hidden_size, *columns.get(name, ()), device=device, dtype=dtype)
                self.register_parameter(name, nn.Parameter(empty))
        self.reset_parameters()

    def _write_down(self) -> None:
        self._program = outline(self.cell)
        self._layout = layout_of(self._program, self.bias)
        self._key, self._vendor = key_of(self._program, self.bias), kernel_of(self._program)

    def __getstate__(self) -> dict[str, object]:
        """Without what follows from the cell."""
        derived = {"_program", "_layout", "_key", "_vendor"}
        return {name: value for name, value in self.__dict__.items() if name not in derived}

    def __setstate__(self, state: dict[str, object]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._write_down()

    def reset_parameters(self) -> None:
        """Draw all weights anew, as torch does."""
        bound = 1 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)

    def _step(self, x: Tensor, given: tuple[Tensor, ...] | None) -> tuple[Tensor, ...]:
        """The states after one timestep."""
        name, like = type(self).__name__, self.weight_ih
        assert isinstance(like, Tensor)
        if x.dim() not in (1, 2):
            raise ShapeError(f"{name}: the input has shape {tuple(x.shape)}, and must be (B, I) or (I,)")
        if x.shape[-1] != self.input_size:
            raise ShapeError(f"{name}: the input has {x.shape[-1]} numbers, and must have input_size={self.input_size}")
        expected = (*x.shape[:-1], self.hidden_size)
        zeros = like.new_zeros(expected)
        states = (zeros,) * len(self.cell.states) if given is None else given
        for state in states:
            if state.dim() != x.dim() or state.shape != expected:
                raise ShapeError(f"{name}: a state has shape {tuple(state.shape)}, and must have {expected}")
        check_place(x, states, like)
        mixed = mixed_precision(like)
        states = tuple(state.to(like.dtype) if mixed else state for state in states)
        batched = x.dim() == 2
        rows = states if batched else tuple(state.unsqueeze(0) for state in states)
        parameters = {name: getattr(self, name) for name in self._layout.parameters}
        request = Request(
            self.cell, self._program, self._layout, (x if batched else x.unsqueeze(0)).unsqueeze(0),
            (Direction(parameters, rows),), training=self.training, key=self._key, vendor=self._vendor,
        )  # fmt: skip
        after = choose(self.engine, request).run(request).states[0]
        # fresh tensors, which may be detached in place
        return tuple((state if batched else state.squeeze(0)).clone() for state in after)

    def extra_repr(self) -> str:
        options = "" if self.bias else ", bias=False"
        return f"{self.input_size}, {self.hidden_size}{options}"


class RNNCell(TorchCell):
    """torch.nn.RNNCell, with any of the activations of `RNN`."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
        device: torch.device | str | None = None, dtype: torch.dtype | None = None, *, engine: str = "auto",
    ) -> None:  # fmt: skip
        super().__init__(rnn(nonlinearity), input_size, hidden_size, bias, device, dtype, engine)
        self.nonlinearity = nonlinearity

    def forward(
        self, input: Tensor | None = None, hx: Tensor | None = None, *, x: Tensor | None = None,
        state: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """The state after `input` (also called x); `hx` (also called state) is the one before, zero if not given.

        Raises:
            ShapeError: shapes, types or devices that do not fit.
        """
        return self._step(*_single(self, input, x, hx, state))[0]


class GRUCell(TorchCell):
    """torch.nn.GRUCell."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: torch.device | str | None = None,
        dtype: torch.dtype | None = None, *, engine: str = "auto",
    ) -> None:  # fmt: skip
        super().__init__(cell_named("gru-torch"), input_size, hidden_size, bias, device, dtype, engine)

    def forward(
        self, input: Tensor | None = None, hx: Tensor | None = None, *, x: Tensor | None = None,
        state: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """The state after `input` (also called x); `hx` (also called state) is the one before, zero if not given.

        Raises:
            ShapeError: shapes, types or devices that do not fit.
        """
        return self._step(*_single(self, input, x, hx, state))[0]


class LSTMCell(TorchCell):
    """torch.nn.LSTMCell; its state is (a, c), which torch calls (h, c)."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: torch.device | str | None = None,
        dtype: torch.dtype | None = None, *, engine: str = "auto",
    ) -> None:  # fmt: skip
        super().__init__(cell_named("lstm"), input_size, hidden_size, bias, device, dtype, engine)

    def forward(
        self, input: Tensor | None = None, hx: tuple[Tensor, Tensor] | None = None, *, x: Tensor | None = None,
        state: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The states after `input` (also called x); `hx` (also called state) are those before, zero if not given.

        Raises:
            ShapeError: shapes, types or devices that do not fit.
        """
        given = one_of(hx, state, "hx and state")
        if given is not None and (not isinstance(given, tuple | list) or len(given) != 2):
            raise ShapeError("LSTMCell: the state is a pair (h, c)")
        output, memory = self._step(_input(self, input, x), None if given is None else tuple(given))
        return output, memory


def _input(cell: TorchCell, input: Tensor | None, x: Tensor | None) -> Tensor:
    given: Tensor | None = one_of(input, x, "input and x")
    if given is None:
        raise TypeError(f"{type(cell).__name__} needs an input")
    return given


def _single(
    cell: TorchCell, input: Tensor | None, x: Tensor | None, hx: Tensor | None, state: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...] | None]:
    given = one_of(hx, state, "hx and state")
    return _input(cell, input, x), None if given is None else (given,)
