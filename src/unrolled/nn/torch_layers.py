"""RNN, GRU and LSTM with torch.nn's arguments in torch.nn's order, and everything that `Recurrent` adds."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from unrolled.cells.rnn import rnn
from unrolled.nn.recurrent import Recurrent, RecurrentOptions, State
from unrolled.nn.torch_names import mixed_precision


class TorchLayer(Recurrent):
    """What RNN, GRU and LSTM have of torch.nn's beyond `Recurrent`.

    They are not instances of torch.nn.RNNBase: its methods, and tools that look for it, manage the one block of weights
    of cuDNN's kernels, which these layers do not have.
    """

    proj_size = 0

    @property
    def mode(self) -> str:
        """What torch.nn calls the layer: "LSTM", "GRU", "RNN_TANH", "RNN_RELU"."""
        return next(kind.__name__ for kind in type(self).__mro__ if kind.__base__ is TorchLayer)

    def _answer_types(self, x: Tensor, given: State | None) -> tuple[torch.dtype, torch.dtype] | None:
        half = self._half()
        return None if half is None else (half, half)

    def _half(self) -> torch.dtype | None:
        """The type that autocast computes in, if it is at work on float32 weights."""
        like = self._like()
        if like is None or like.dtype is not torch.float32 or not mixed_precision(like):
            return None
        return torch.get_autocast_dtype(like.device.type)


class RNN(TorchLayer):
    """The plain recurrent network, a⟨t⟩ = g(W_a[a⟨t-1⟩, x⟨t⟩] + b_a): torch.nn.RNN, with any of the activations.

    `state_dict` is interchangeable with torch.nn.RNN's. Options: see `Recurrent`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        **options: Unpack[RecurrentOptions],
    ) -> None:
        super().__init__(
            rnn(nonlinearity), input_size, hidden_size, num_layers,
            bias=bias, batch_first=batch_first, dropout=dropout, bidirectional=bidirectional, **options,
        )  # fmt: skip
        self.nonlinearity = nonlinearity

    @property
    def mode(self) -> str:
        """ "RNN_TANH", "RNN_RELU", or the like of another activation."""
        return f"RNN_{self.nonlinearity.upper()}"


class GRU(TorchLayer):
    """The gated recurrent unit, in both forms.

    Args:
        reset: "after" (the default) is torch.nn.GRU, state_dict and all: the relevance gate acts after the product.
            "before" is the original one and that of the course notes: it acts before, and Γ_u = 1 means update.

    Options: see `Recurrent`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        reset: str = "after",
        **options: Unpack[RecurrentOptions],
    ) -> None:
        if reset not in ("before", "after"):
            raise ValueError(f'reset="{reset}" is neither "before" nor "after"')
        super().__init__(
            "gru-torch" if reset == "after" else "gru", input_size, hidden_size, num_layers,
            bias=bias, batch_first=batch_first, dropout=dropout, bidirectional=bidirectional, **options,
        )  # fmt: skip

    def _answer_types(self, x: Tensor, given: State | None) -> tuple[torch.dtype, torch.dtype] | None:
        # torch's GRU answers in the type of its state, or of x where none is given
        if self._half() is None:
            return None
        carried = given if isinstance(given, Tensor) else x
        dtype = carried.dtype if carried.is_floating_point() else torch.float32
        return dtype, dtype


class LSTM(TorchLayer):
    """Long short-term memory: torch.nn.LSTM, state_dict and all; its state is (a, c), which torch calls (h, c).

    Args:
        proj_size: refused: projections of the state are not offered.
        peephole: False; True, the gates also see the cell state, the output gate the new one; or "previous", all
            three see c⟨t-1⟩, as the course notes say.

    Options: see `Recurrent`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        peephole: bool | str = False,
        **options: Unpack[RecurrentOptions],
    ) -> None:
        cells = {False: "lstm", True: "lstm-peephole", "previous": "lstm-peephole-previous"}
        if peephole not in cells:
            raise ValueError(f'peephole={peephole!r} is none of False, True, "previous"')
        if proj_size:
            raise ValueError(
                f"proj_size={proj_size}: projections of the state are not offered; put a linear layer above, "
                "or keep torch.nn.LSTM for this one"
            )
        super().__init__(
            cells[peephole], input_size, hidden_size, num_layers,
            bias=bias, batch_first=batch_first, dropout=dropout, bidirectional=bidirectional, **options,
        )  # fmt: skip
