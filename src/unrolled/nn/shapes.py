"""The forms that a layer's input may have - batch first, without a batch, packed - and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from unrolled.errors import ShapeError
from unrolled.recurrence.gate import direct, traced


@dataclass(frozen=True)
class InputForm:
    """An input brought into the one form that engines take, (T, B, ...), and what is needed to go back.

    Attributes:
        x: (T, B, I) vectors or (T, B) ids.
        lengths: (B,) on x's device, or None.
        batch_first, unbatched: what the input was.
        packed: the PackedSequence that it was, or None.
    """

    x: Tensor
    lengths: Tensor | None
    batch_first: bool = False
    unbatched: bool = False
    packed: PackedSequence | None = None

    @classmethod
    def of(cls, x: Tensor | PackedSequence, batch_first: bool, input_size: int, lengths: Tensor | None) -> InputForm:
        """Bring `x` into form.

        Raises:
            ShapeError: its shape, or that of `lengths`, does not fit.
        """
        if isinstance(x, PackedSequence):
            if lengths is not None:
                raise ShapeError("lengths: a PackedSequence has its own")
            # On meta nothing is known of the order of sequences, and nothing depends on it.
            padded, own = pad_packed_sequence(PackedSequence(x.data, x.batch_sizes) if x.data.is_meta else x)
            # states keep the caller's order, which is that of the unsorted batch
            return cls(_checked(padded, input_size), own.to(padded.device), batch_first, packed=x)
        features = 1 if x.is_floating_point() else 0
        if x.dim() not in (1 + features, 2 + features):
            raise ShapeError(
                f"x has shape {tuple(x.shape)}, and must be (T, B, {input_size}) or (T, {input_size}) vectors, "
                "or (T, B) or (T,) ids"
            )
        unbatched = x.dim() == 1 + features
        if unbatched:
            x = x.unsqueeze(1)
        elif batch_first:
            x = x.transpose(0, 1)
        x = _checked(x, input_size)
        return cls(x, _lengths(lengths, x), batch_first and not unbatched, unbatched)

    def inside(self, values: Tensor) -> Tensor:
        """`values` (T, B, ...) up to each sequence's end, zero past it."""
        if self.lengths is None:
            return values
        past = torch.arange(values.shape[0], device=values.device).unsqueeze(1) >= self.lengths
        return values.masked_fill(past.unsqueeze(-1), 0)

    def restore(self, output: Tensor) -> Tensor | PackedSequence:
        """An output (T, B, ...) in the input's own form."""
        if self.packed is None:
            return self.restore_padded(output)
        batch_sizes, order = self.packed.batch_sizes, self.packed.sorted_indices
        rows = output if order is None else output.index_select(1, order)
        # The places are found where the sizes are, on the CPU: rows may be on a device where nothing can be looked at.
        inside = torch.arange(rows.shape[1], device=batch_sizes.device) < batch_sizes.unsqueeze(1)
        places = inside.flatten().nonzero().squeeze(1).to(rows.device)
        values = rows.flatten(0, 1).index_select(0, places)
        return PackedSequence(values, batch_sizes, order, self.packed.unsorted_indices)

    def restore_padded(self, output: Tensor) -> Tensor:
        """An output (T, B, ...) in the input's own form, padded if that was packed."""
        if self.unbatched:
            return output.squeeze(1)
        return output.transpose(0, 1) if self.batch_first else output

    def state_in(self, state: Tensor) -> Tensor:
        """A given state as (layers · directions, B, H)."""
        return state.unsqueeze(1) if self.unbatched else state

    def state_out(self, state: Tensor) -> Tensor:
        """A state (B, H) of one layer and direction as the caller has it."""
        return state.squeeze(0) if self.unbatched else state


def readable(values: Tensor) -> bool:
    """Whether numbers can be looked at now. Where they cannot, the kernels' operator looks at them when it runs."""
    return not values.is_meta and direct((values,))


def _checked(x: Tensor, input_size: int) -> Tensor:
    if traced():
        return x if x.is_floating_point() else x.long()  # a comparison of shapes would become a constant of the trace
    if x.shape[0] == 0:
        raise ShapeError("x has no timesteps; a sequence of length 0 is a row of a batch, with lengths= saying so")
    if x.is_floating_point():
        if x.shape[-1] != input_size:
            raise ShapeError(f"x has {x.shape[-1]} numbers a timestep, and the layer takes input_size={input_size}")
    elif readable(x) and x.numel() and not (int(x.min()) >= -1 and int(x.max()) < input_size):
        raise ShapeError(
            f"x holds ids from {int(x.min())} to {int(x.max())}, and the layer takes 0 to {input_size - 1} "
            "(-1: a zero vector)"
        )
    return x if x.is_floating_point() else x.long()


def _lengths(lengths: Tensor | None, x: Tensor) -> Tensor | None:
    if lengths is None:
        return None
    lengths = torch.as_tensor(lengths, device=x.device)
    if lengths.is_floating_point() or tuple(lengths.shape) != (x.shape[1],):
        raise ShapeError(
            f"lengths has shape {tuple(lengths.shape)} and type {lengths.dtype}, and must be {x.shape[1]} integers"
        )
    if readable(lengths) and lengths.numel() and not (int(lengths.min()) >= 0 and int(lengths.max()) <= x.shape[0]):
        raise ShapeError(
            f"lengths go from {int(lengths.min())} to {int(lengths.max())}, and must lie between 0 and {x.shape[0]}"
        )
    return lengths
