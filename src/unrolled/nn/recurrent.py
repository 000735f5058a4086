"""The recurrent layer: any cell, any depth, one direction or two."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, overload

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from unrolled.cells import Cell, cell_named
from unrolled.errors import ShapeError
from unrolled.nn.initialisers import initialise
from unrolled.nn.seen import Seen
from unrolled.nn.shapes import InputForm
from unrolled.nn.torch_names import (
    TorchNames,
    as_leaf,
    check_place,
    is_probability,
    mixed_precision,
    one_of,
    warn_of_dropout,
    whole,
)
from unrolled.recurrence.engines import Engine, check_name, choose
from unrolled.recurrence.keeping import keeping_of
from unrolled.recurrence.keys import key_of
from unrolled.recurrence.layout import layout_of
from unrolled.recurrence.packed import Stepper
from unrolled.recurrence.program import outline
from unrolled.recurrence.request import PACKED_WEIGHTS, Answer, Direction, PackedWeights, Request
from unrolled.recurrence.vendor import kernel_of

State = Tensor | tuple[Tensor, ...]
"""(layers · directions, B, H): one tensor, or a tuple in the cell's order if it has several states."""

INITIAL_STATES = ("zeros", "learned", "random")


class RecurrentOptions(TypedDict, total=False):
    """What every recurrent layer takes beyond torch.nn's arguments; see `Recurrent`."""

    engine: str
    initial_state: str
    input_dropout: float
    recurrent_dropout: float
    weight_drop: float
    zoneout: float
    initialiser: str
    forget_bias: float | None
    chrono: int
    residual: bool
    checkpoint: int | bool
    device: torch.device | str | None
    dtype: torch.dtype | None


_PACKING = threading.Lock()
"""Blocks of `packed()` are entered and left one at a time. It is no layer's own: layers can be copied and pickled."""


@dataclass(eq=False)
class Packed:
    """What a layer keeps inside `packed()`.

    Attributes:
        weights: by layer and direction. half: whether they are stored half as wide.
        table: the vectors that ids mean, (V, I); None: one-hot ones.
        products: by direction, the first layer's weights on those vectors, as if they were one-hot, (·, V).
        before: what the block around this one keeps. blocks: how many blocks share it; they may be several threads'.
        steppers: what steps one timestep, by batch.
    """

    weights: dict[str, PackedWeights]
    half: bool
    table: Tensor | None
    before: Packed | None
    blocks: int = 1
    products: dict[str, Tensor] = field(default_factory=dict)
    steppers: dict[tuple[int, bool, bool, bool], Stepper | None] = field(default_factory=dict)


class Recurrent(TorchNames, nn.Module):
    """A stack of recurrent layers over any cell.

        layer = nn.Recurrent("gru", 64, 128, num_layers=2, bidirectional=True)
        output, state = layer(x, lengths=lengths)
        output, state, seen = layer(x, observe=True)

    Args:
        cell: a cell's name (`unrolled.cells.CELLS`), or a cell of your own (`@unrolled.cell`).
        input_size, hidden_size: I and H.
        num_layers: layers on top of each other, each fed with the outputs of the one below.
        bias: whether affine maps have biases.
        batch_first: x and output are (B, T, ·) instead of (T, B, ·). States are not affected, as in torch.
        dropout: dropout on the outputs of each layer but the last, drawn anew for every number, as in torch.
        bidirectional: a second stack runs from the end to the beginning; outputs are joined.
        engine: "auto", or one by name (`layer.engine_for(x)` says which runs, and why).
        initial_state: of sequences whose state is not given. "zeros"; "learned", one vector a layer and direction;
            "random", drawn from N(0, 0.1²) at every call.
        input_dropout: on the input of every layer, one mask a sequence, the same at every timestep (Gal and
            Ghahramani 2016).
        recurrent_dropout: the same, on the recurrent vectors that enter affine maps.
        weight_drop: dropout on the recurrent weights, one mask a call (Merity et al. 2018).
        zoneout: the probability that a unit keeps its old value, the same draw for all of a cell's states (after
            Krueger et al. 2017); outside training, that share of the old value is mixed in.
        initialiser: "torch", "xavier", "he", "orthogonal" or "identity".
        forget_bias: the forget gate's bias at the start; 1 helps an LSTM to remember (Jozefowicz et al. 2015).
        chrono: the longest memory that is expected, in timesteps: the biases of the gates that keep a state are drawn
            so that units forget within 1 to so many (Tallec and Ollivier 2018); 0 leaves them to the initialiser.
        residual: each layer's input is added to its output where they are equally wide.
        checkpoint: for sequences too long for memory: only the states of every k-th timestep are kept for the gradient,
            and what lies between is computed again (compiled engine; the others keep everything). True for k = √T, a
            number for k, False to keep everything.

    Shapes: x is (T, B, I), or (T, B) integer ids, which mean one-hot vectors of I numbers (-1: zero); without a batch,
    (T, I) or (T,); or a PackedSequence. The output is (T, B, directions · H), packed if x was.

    Raises:
        ValueError: an argument out of its range, named.
    """

    _place: Tensor | None

    def __init__(
        self,
        cell: str | Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        engine: str = "auto",
        initial_state: str = "zeros",
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_drop: float = 0.0,
        zoneout: float = 0.0,
        initialiser: str = "torch",
        forget_bias: float | None = None,
        chrono: int = 0,
        residual: bool = False,
        checkpoint: int | bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.cell = cell_named(cell) if isinstance(cell, str) else cell
        if not isinstance(self.cell, Cell):
            raise TypeError(
                f"cell is a {type(cell).__name__}; give a cell's name, or a step made a cell by @unrolled.cell"
            )
        self.input_size, self.hidden_size = whole("input_size", input_size), whole("hidden_size", hidden_size)
        self.num_layers = whole("num_layers", num_layers)
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.dropout, self.input_dropout, self.recurrent_dropout = dropout, input_dropout, recurrent_dropout
        self.weight_drop, self.zoneout, self.residual = weight_drop, zoneout, residual
        self.checkpoint = checkpoint
        self.engine, self.initial_state = check_name(engine, "engine"), initial_state
        self.initialiser, self.forget_bias, self.chrono = initialiser, forget_bias, chrono
        self._packed: Packed | None = None
        self._check_arguments()
        warn_of_dropout(dropout, self.num_layers)
        self._write_down()
        for layer in range(self.num_layers):
            for suffix in self._suffixes(layer):
                self._add_parameters(layer, suffix, device, dtype)
        # without parameters a layer has nothing else that says its type and device, and that .to() moves
        place = None if any(True for _ in self.parameters()) else torch.empty(0, device=device, dtype=dtype)
        self.register_buffer("_place", place, persistent=False)
        self.reset_parameters()

    def _write_down(self) -> None:
        """What follows from the cell and `bias`: computed once, so that tools that trace `forward` find it made."""
        self._program = outline(self.cell)
        self._layout = layout_of(self._program, self.bias)
        self._key, self._vendor = key_of(self._program, self.bias), kernel_of(self._program)
        widths = {self._input_width(layer) for layer in range(self.num_layers)}
        if self._program.pointwise_input and widths != {self.hidden_size}:
            raise ValueError(
                f'cell "{self.cell.name}" uses x outside its affine maps, so every layer\'s input must be as wide '
                f"as its state: {self.hidden_size}, not {sorted(widths)}"
            )

    def __getstate__(self) -> dict[str, Any]:
        """Without what follows from the cell, and without what belongs to a block of `packed()`."""
        derived = {"_program", "_layout", "_key", "_vendor"}
        state = {name: value for name, value in self.__dict__.items() if name not in derived}
        return state | {"_packed": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._write_down()

    def _check_arguments(self) -> None:
        for name in ("dropout", "input_dropout", "recurrent_dropout", "weight_drop", "zoneout"):
            value = getattr(self, name)
            if not is_probability(value):
                raise ValueError(f"{name}={value!r} must be a probability, between 0 and 1")
        if not isinstance(self.checkpoint, int) or self.checkpoint < 0:
            raise ValueError(f"checkpoint={self.checkpoint!r} must be True, False or a number of timesteps")
        if self.initial_state not in INITIAL_STATES:
            raise ValueError(f'initial_state="{self.initial_state}" is none of {", ".join(INITIAL_STATES)}')

    @property
    def num_directions(self) -> int:
        """1, or 2 if bidirectional."""
        return 1 + self.bidirectional

    def _input_width(self, layer: int) -> int:
        return self.input_size if layer == 0 else self.hidden_size * self.num_directions

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self.num_directions]

    def _add_parameters(
        self, layer: int, suffix: str, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> None:
        columns = {"weight_ih": (self._input_width(layer),), "weight_hh": (self.hidden_size,)}
        shapes = {
            name: (count * self.hidden_size, *columns.get(name, ())) for name, count in self._layout.parameters.items()
        }
        if self.initial_state == "learned":
            shapes |= {f"initial_{name}": (self.hidden_size,) for name in self.cell.states}
        for name, shape in shapes.items():
            self.register_parameter(name + suffix, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))

    def reset_parameters(self) -> None:
        """Draw all weights anew, by the initialiser."""
        for layer in range(self.num_layers):
            for suffix in self._suffixes(layer):
                initialise(
                    self._tensors(suffix), self._layout, self.hidden_size, self.initialiser,
                    forget_bias=self.forget_bias, chrono=self.chrono, keeping=keeping_of(self._program),
                )  # fmt: skip
        if self.initial_state == "learned":
            for name, parameter in self.named_parameters():
                if name.startswith("initial_"):
                    nn.init.zeros_(parameter)

    def _suffixed(self) -> list[list[str]]:
        suffixes = [suffix for layer in range(self.num_layers) for suffix in self._suffixes(layer)]
        return [[name + suffix for name in self._layout.parameters] for suffix in suffixes]

    def _tensors(self, suffix: str) -> dict[str, Tensor]:
        """The parameters of one layer and direction, by the layout's names."""
        return {name: getattr(self, name + suffix) for name in self._layout.parameters}

    def parameters_of(self, gate: str, *, layer: int = 0, reverse: bool = False) -> dict[str, Tensor]:
        """The parameters of one gate, as its equation has them: writable views, detached from autograd.

        Args:
            gate: a gate's name, or that of a vector that belongs to no gate.
            layer, reverse: which layer and direction.

        Returns:
            "x": (H, I); one (H, H) for each recurrent vector under its name (the full GRU's candidate has "c");
            "bias": (H,), "bias_hidden" where torch keeps a second one; "peephole" and other vectors: (H,).

        Raises:
            KeyError: the cell has no such gate; the message lists those there are.
            IndexError: no such layer or direction.
        """
        if not 0 <= layer < self.num_layers or (reverse and not self.bidirectional):
            raise IndexError(
                f"layer={layer}, reverse={reverse}: there are {self.num_layers} layers of "
                f"{self.num_directions} direction(s)"
            )
        tensors = self._tensors(f"_l{layer}_reverse" if reverse else f"_l{layer}")
        blocks = [block for block in self._layout.blocks if (block.gate or block.entry) == gate]
        if not blocks:
            names = dict.fromkeys(block.gate or block.entry for block in self._layout.blocks)
            raise KeyError(f'cell "{self.cell.name}" has no gate "{gate}"; there are {", ".join(names)}')
        return {block.entry: block.rows(tensors[block.parameter].detach()) for block in blocks}

    @overload
    def forward(
        self, x: Tensor, state: State | None = None, *, lengths: Tensor | None = None, observe: Literal[False] = False
    ) -> tuple[Tensor, State]: ...
    @overload
    def forward(
        self, x: Tensor, state: State | None = None, *, lengths: Tensor | None = None, observe: Literal[True]
    ) -> tuple[Tensor, State, Seen]: ...
    @overload
    def forward(
        self, x: PackedSequence, state: State | None = None, *, observe: Literal[False] = False
    ) -> tuple[PackedSequence, State]: ...
    @overload
    def forward(
        self, x: PackedSequence, state: State | None = None, *, observe: Literal[True]
    ) -> tuple[PackedSequence, State, Seen]: ...
    def forward(
        self,
        x: Tensor | PackedSequence | None = None,
        state: State | None = None,
        *,
        lengths: Tensor | None = None,
        observe: bool = False,
        input: Tensor | PackedSequence | None = None,
        hx: State | None = None,
    ) -> tuple[Tensor | PackedSequence, State] | tuple[Tensor | PackedSequence, State, Seen]:
        """Run whole sequences.

        Args:
            x: see the class.
            state: (layers · directions, B, H), one tensor or a tuple in the cell's order; None for the initial state.
            lengths: (B,) integers in any order, 0 allowed: outputs past a sequence's end are zero, and its final
                state is that after its last true timestep.
            observe: also return every gate and state of every timestep.
            input, hx: torch.nn's names of x and state.

        Raises:
            ShapeError: shapes, types or devices that do not fit, named. It is a ValueError and a RuntimeError.
        """
        x, state = one_of(x, input, "x and input"), one_of(state, hx, "state and hx")
        if x is None:
            raise TypeError(f"{type(self).__name__} needs an input: x=, or torch.nn's name for it, input=")
        leaf = as_leaf(self, x, (x, state), {"lengths": lengths, "observe": observe})
        if leaf is not None:
            return leaf  # type: ignore[no-any-return]
        form = self._form(x, lengths)
        states = self._given_states(state, form)
        if (like := self._like()) is not None:
            check_place(form.x, states, like)
        types = self._answer_types(form.x, state)
        output, after, seen = self._run_stack(form, states, observe)
        result = form.restore(output if types is None else output.to(types[0]))
        final = self._as_given(after, form, None if types is None else types[1])
        if not observe:
            return result, final
        return (
            result,
            final,
            Seen([[{n: form.restore_padded(v) for n, v in way.items()} for way in layer] for layer in seen]),
        )

    def _form(self, x: Tensor | PackedSequence, lengths: Tensor | None) -> InputForm:
        values = x.data if isinstance(x, PackedSequence) else x
        packed = self._packed
        table = None if packed is None or values.is_floating_point() else packed.table
        return InputForm.of(x, self.batch_first, self.input_size if table is None else len(table), lengths)

    def _run_stack(
        self, form: InputForm, states: tuple[Tensor, ...], observe: bool
    ) -> tuple[Tensor, tuple[tuple[Tensor, ...], ...], list[tuple[Mapping[str, Tensor], ...]]]:
        """The output, the final states (for each state, one of each layer and direction), and what was observed."""
        inputs = form.x
        finals: list[tuple[Tensor, ...]] = []
        seen: list[tuple[Mapping[str, Tensor], ...]] = []
        for layer in range(self.num_layers):
            answer = self._run_layer(layer, inputs, states, form, observe)
            finals += answer.states
            seen.append(answer.seen)
            output = answer.output
            if self.residual and inputs.shape == output.shape:
                output = output + form.inside(inputs)
            drops = self.dropout and self.training and layer < self.num_layers - 1
            inputs = functional.dropout(output, self.dropout) if drops else output
        return inputs, tuple(zip(*finals, strict=True)), seen

    def _run_layer(
        self, layer: int, inputs: Tensor, states: tuple[Tensor, ...], form: InputForm, observe: bool
    ) -> Answer:
        request = self._request(layer, inputs, states, form.lengths, observe)
        return choose(self.engine, request).run(request)

    def _request(
        self, layer: int, inputs: Tensor, states: tuple[Tensor, ...], lengths: Tensor | None, observe: bool
    ) -> Request:
        first = layer * self.num_directions
        directions = tuple(
            self._direction(suffix, tuple(state[first + way] for state in states), inputs, bool(way))
            for way, suffix in enumerate(self._suffixes(layer))
        )
        return Request(
            self.cell,
            self._program,
            self._layout,
            self._drop_input(inputs),
            directions,
            lengths,
            observe,
            self.training,
            self.checkpoint,
            self._key,
            self._vendor,
        )

    def _drop_input(self, inputs: Tensor) -> Tensor:
        """Variational dropout on a layer's input. Symbol ids stay: dropping a symbol is the embedding's business."""
        if not (self.training and self.input_dropout and inputs.is_floating_point()):
            return inputs
        return inputs * functional.dropout(torch.ones_like(inputs[0]), self.input_dropout)

    def _direction(self, suffix: str, states: tuple[Tensor, ...], inputs: Tensor, reverse: bool) -> Direction:
        tensors, packed = self._tensors(suffix), self._packed
        if packed is not None and packed.table is not None and not inputs.is_floating_point():
            tensors["weight_ih"] = self._products(packed, suffix)
        mask = keep = None
        if self.training and self.weight_drop and "weight_hh" in tensors:
            tensors["weight_hh"] = functional.dropout(tensors["weight_hh"], self.weight_drop)
        if self.training and self.recurrent_dropout:
            mask = functional.dropout(torch.ones_like(states[0]), self.recurrent_dropout)
        if self.zoneout:
            keep = states[0].new_full((inputs.shape[0], *states[0].shape), self.zoneout)
            keep = torch.bernoulli(keep) if self.training else keep
        return Direction(tensors, states, reverse, mask, keep, None if packed is None else packed.weights[suffix])

    def _products(self, packed: Packed, suffix: str) -> Tensor:
        if suffix not in packed.products:
            assert packed.table is not None
            with torch.no_grad():
                packed.products[suffix] = self._tensors(suffix)["weight_ih"] @ packed.table.t()
        return packed.products[suffix]

    def _given_states(self, state: State | None, form: InputForm) -> tuple[Tensor, ...]:
        """The states of every layer and direction, (layers · directions, B, H): the given ones or the initial ones."""
        rows, batch = self.num_layers * self.num_directions, form.x.shape[1]
        if state is None:
            if self.initial_state == "zeros":
                return (self._initial("", batch),) * len(self.cell.states)
            return tuple(self._initial(name, batch) for name in self.cell.states)
        states = state if isinstance(state, tuple | list) else (state,)
        if len(states) != len(self.cell.states):
            raise ShapeError(
                f"state: {self.cell.name} has {len(self.cell.states)} state(s), {', '.join(self.cell.states)}; "
                f"{len(states)} were given"
            )
        expected = (rows, self.hidden_size) if form.unbatched else (rows, batch, self.hidden_size)
        for name, given in zip(self.cell.states, states, strict=True):
            if given.dim() != len(expected) or given.shape != expected:
                raise ShapeError(
                    f"state {name} has shape {tuple(given.shape)}, and must have {expected}: "
                    "layers x directions, batch, hidden size"
                )
        return tuple(self._in_own_type(form.state_in(given)) for given in states)

    def _like(self) -> Tensor | None:
        """A tensor of the device and type that the layer computes in: its first weight, if it has any."""
        name = next(iter(self._layout.parameters), None)
        like: Tensor | None = None if name is None else getattr(self, f"{name}_l0")
        return like

    def _in_own_type(self, state: Tensor) -> Tensor:
        """Under autocast a state may come in half precision; what is computed with is not."""
        like = self._like()
        mixed = like is not None and state.is_floating_point() and mixed_precision(like)
        return state.to(like.dtype) if like is not None and mixed else state

    def _initial(self, name: str, batch: int) -> Tensor:
        like = self._like()
        like = next(self.parameters(), self._place) if like is None else like
        assert like is not None
        rows = [suffix for layer in range(self.num_layers) for suffix in self._suffixes(layer)]
        if self.initial_state == "learned":
            learned = torch.stack([getattr(self, f"initial_{name}{suffix}") for suffix in rows])
            return learned.unsqueeze(1).expand(-1, batch, -1)
        zeros = like.new_zeros((len(rows), batch, self.hidden_size))
        return 0.1 * torch.randn_like(zeros) if self.initial_state == "random" else zeros

    def begin(self, batch: int) -> State:
        """The state that sequences begin in whose state is not given, (layers · directions, B, H) each."""
        zeros = self.initial_state == "zeros"
        states = tuple(self._initial("" if zeros else name, batch) for name in self.cell.states)
        return states if len(states) > 1 else states[0]

    def _as_given(self, states: tuple[tuple[Tensor, ...], ...], form: InputForm, dtype: torch.dtype | None) -> State:
        """States as the caller has them: fresh tensors, which may be changed and detached in place."""
        restored = tuple(torch.stack([form.state_out(part) for part in parts]) for parts in states)
        restored = restored if dtype is None else tuple(state.to(dtype) for state in restored)
        return restored if len(restored) > 1 else restored[0]

    def _answer_types(self, x: Tensor, given: State | None) -> tuple[torch.dtype, torch.dtype] | None:
        """The types of output and states, where they are not to stay as the engine gives them: what is carried is in
        the type of the weights, under autocast too. `given`: what the caller gave as a state."""
        return None

    def step(self, x: Tensor, state: State | None = None) -> State:
        """One timestep: the state after x⟨t⟩. Its first part holds the output of every layer (without residual sums).

        Args:
            x: (B, I), or (B,) ids; without a batch (I,), or an id without dimensions.
            state: as for the whole sequence.

        Raises:
            ValueError: the layer is bidirectional, and so needs the whole sequence.
        """
        if self.bidirectional:
            raise ValueError("step: a bidirectional layer needs the whole sequence before it can answer")
        if self._packed is not None and state is not None and not torch.is_grad_enabled():
            quick = self._quick_step(x, state)
            if quick is not None:
                return quick
        unbatched = x.dim() == (1 if x.is_floating_point() else 0)
        whole = x.unsqueeze(0) if unbatched or not self.batch_first else x.unsqueeze(1)
        after: State = self(whole, state)[1]
        return after

    @contextmanager
    def packed(self, *, weights: str | None = None, table: Tensor | None = None) -> Iterator[Recurrent]:
        """A promise that the weights stay as they are inside the block, so that the compiled engine packs them once.

            with torch.no_grad(), layer.packed():
                for x_t in stream:
                    state = layer.step(x_t, state)

        Args:
            weights: "bfloat16" stores them half as wide, for inference alone: sums and states stay as they are, and
                weights lose their last 16 bits. It pays where reading the weights takes the time: small batches.
            table: (V, I) vectors, promised too. Ids then mean its rows (-1: zero) in the place of one-hot vectors, and
                no row is multiplied by the weights more than once.

        A block in a block that asks for nothing else shares what the outer one packed.

        Raises:
            ValueError: another type of weights, or a table that this layer cannot look its input up in.
        """
        if weights not in PACKED_WEIGHTS:
            raise ValueError(f'weights="{weights}" is none of {", ".join(map(str, PACKED_WEIGHTS))}')
        self._check_table(table)
        with _PACKING:
            own, half = self._packed, weights is not None
            if own is not None and table is None and own.half == half:
                own.blocks += 1
            else:
                suffixes = [suffix for layer in range(self.num_layers) for suffix in self._suffixes(layer)]
                table = own.table if table is None and own is not None else table
                own = self._packed = Packed({name: PackedWeights(half) for name in suffixes}, half, table, own)
        try:
            yield self
        finally:
            with _PACKING:
                own.blocks -= 1
                while self._packed is not None and not self._packed.blocks:
                    self._packed = self._packed.before

    @property
    def only_multiplies(self) -> bool:
        """Whether the input is only multiplied by weights, and so can be looked up: see `packed`."""
        summed = self.residual and self.input_size == self.hidden_size * self.num_directions
        return not self._program.pointwise_input and not summed

    def _check_table(self, table: Tensor | None) -> None:
        if table is None:
            return
        if not self.only_multiplies:
            raise ValueError("table: this layer uses its input outside of affine maps, so it needs the vectors")
        if table.dim() != 2 or table.shape[1] != self.input_size:
            raise ValueError(f"table has shape {tuple(table.shape)}, and must be (V, {self.input_size})")

    def _quick_step(self, x: Tensor, state: State) -> State | None:
        """A step by what was prepared at the first one; None where something goes on that takes the long way."""
        packed, states = self._packed, state if isinstance(state, tuple) else (state,)
        vectors = x.is_floating_point()
        if packed is None or x.dim() != 1 + vectors or torch.compiler.is_compiling():
            return None
        key = x.shape[0], vectors, self.training, torch.is_autocast_enabled("cpu")
        if key not in packed.steppers:
            packed.steppers[key] = self._stepper(x, states)
        stepper = packed.steppers[key]
        after = stepper(x, states) if stepper is not None else None
        return None if after is None else after if len(after) > 1 else after[0]

    def _stepper(self, x: Tensor, states: tuple[Tensor, ...]) -> Stepper | None:
        dropped = self.training and (self.dropout or self.input_dropout or self.recurrent_dropout or self.weight_drop)
        if self.residual or self.zoneout or dropped or torch.is_autocast_enabled("cpu"):
            return None
        if self._program.pointwise_input and not x.is_floating_point():
            return None
        form = self._form(x.unsqueeze(1 if self.batch_first else 0), None)
        given, inputs, requests = self._given_states(states, form), form.x, []
        for layer in range(self.num_layers):
            requests.append(self._request(layer, inputs, given, None, False))
            inputs = given[0][layer : layer + 1]
        compiled = all(choose(self.engine, request).name == "compiled" for request in requests)
        return Stepper(requests) if compiled else None

    def engine_for(self, x: Tensor | PackedSequence, *, lengths: Tensor | None = None, observe: bool = False) -> Engine:
        """The engine that would run this input now (training or not), and why.

        With several layers it is that of the first: the ones above differ only where x is symbol ids.
        """
        form = self._form(x, lengths)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            states = tuple(self._initial(name, form.x.shape[1]) for name in self.cell.states)
            return choose(self.engine, self._request(0, form.x, states, form.lengths, observe))

    def extra_repr(self) -> str:
        shown = [f'"{self.cell.name}", {self.input_size}, {self.hidden_size}']
        defaults = {
            "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False,
            "engine": "auto", "initial_state": "zeros", "input_dropout": 0.0, "recurrent_dropout": 0.0,
            "weight_drop": 0.0, "zoneout": 0.0, "initialiser": "torch", "forget_bias": None, "chrono": 0,
            "residual": False, "checkpoint": False,
        }  # fmt: skip
        shown += [f"{name}={getattr(self, name)!r}" for name, value in defaults.items() if getattr(self, name) != value]
        return ", ".join(shown)
