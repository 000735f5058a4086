"""The one gate before every kernel: kernels take addresses, so what they are given must be memory.

Torch has many tensors that have no memory of their own, or other numbers in it than they show: fake and functional
ones, subclasses, batched and dual ones inside torch.func, negated views. And it may be recording what happens, to
happen again on other tensors. `direct` says whether kernels may be called at once, without torch's knowledge;
otherwise the operator is called, and torch sees to it that real tensors arrive at its end. There, `dense` and `checked`
let only memory of the expected shape and type in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from unrolled.errors import ShapeError
from unrolled.recurrence.keys import Recurrence

ALIGNMENT = 64
"""Bytes that the memory a kernel works in must be a multiple of: the width of the widest vector."""


def direct(tensors: Iterable[Tensor | None]) -> bool:
    """Whether kernels may run at once on these tensors: nothing records or replaces them."""
    if torch.compiler.is_compiling() or transformed():
        return False
    if torch._C._len_torch_dispatch_stack() or torch._C._get_tracing_state() is not None:
        return False
    return all(tensor is None or type(tensor) is Tensor or type(tensor) is Parameter for tensor in tensors)


def transformed() -> bool:
    """Whether a transform of torch.func is at work: grad, vmap, jvp, functionalize."""
    return torch._C._functorch.maybe_current_level() is not None


def functionalized() -> bool:
    """Whether torch.func.functionalize is at work, which knows no autograd Functions."""
    if not transformed():
        return False
    levels = torch._C._functorch.get_interpreter_stack() or []
    return any(level.key() == torch._C._functorch.TransformType.Functionalize for level in levels)


def traced() -> bool:
    """Whether torch.jit.trace is recording: comparisons of shapes would become constants of the trace."""
    return torch._C._get_tracing_state() is not None


def saving_is_hooked() -> bool:
    """Whether someone else keeps what the gradient needs: checkpointing, offloading, compressing."""
    return torch._C._autograd._top_saved_tensors_default_hooks(False) is not None


def forward_mode() -> bool:
    """Whether forward-mode derivatives are being computed."""
    return forward_ad._current_level >= 0


def dense(tensor: Tensor, name: str) -> Tensor:
    """The tensor as a kernel can read it: itself, or a copy where its memory does not hold its numbers as they are.

    Raises:
        RuntimeError: it has no memory.
    """
    kind = type(tensor)
    plain = kind is Tensor or kind is Parameter or kind.__torch_dispatch__ is torch._C._disabled_torch_dispatch_impl
    if not plain or not tensor.is_cpu or tensor.layout is not torch.strided:
        raise RuntimeError(
            f"{name} is a {kind.__name__} ({tensor.device}, {tensor.layout}) without memory that a compiled kernel can "
            'read; engine="eager" runs the layer on it'
        )
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    if tensor.numel() and tensor._is_zerotensor():
        return torch.zeros(tensor.shape, dtype=tensor.dtype, device="cpu")
    if _bytes_needed(tensor) > tensor.untyped_storage().nbytes():
        raise RuntimeError(f"{name} has shape {tuple(tensor.shape)}, but its memory was given back")
    return tensor.clone() if tensor.data_ptr() % tensor.itemsize else tensor


def _bytes_needed(tensor: Tensor) -> int:
    """How many bytes of its storage a tensor reaches into."""
    if not tensor.numel():
        return 0
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (int(tensor.storage_offset()) + last + 1) * tensor.itemsize


def kept(tensor: Tensor, like: Tensor, size: int) -> Tensor:
    """What the forward pass kept for the gradient, as it was: hooks on saved tensors may have stored it elsewhere.

    Raises:
        RuntimeError: it came back with another shape, type or device.
    """
    tensor = dense(tensor, "what was saved for the gradient")
    if tensor.dtype is not like.dtype or tensor.numel() != size:
        raise RuntimeError(
            f"what was saved for the gradient came back as {tensor.numel()} numbers of {tensor.dtype} instead of "
            f"{size} of {like.dtype}; hooks on saved tensors must return what they were given"
        )
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.data_ptr() % ALIGNMENT else tensor


def counted(tensors: Sequence[Tensor], count: int, name: str) -> None:
    """Refuse too many or too few tensors.

    Raises:
        ShapeError: the message says how many are needed.
    """
    if len(tensors) != count:
        raise ShapeError(f"{len(tensors)} {name} were given, and there must be {count}")


def checked(
    recurrence: Recurrence, x: Tensor, parameters: Mapping[str, Tensor], states: Sequence[Tensor],
    mask: Tensor | None, keep: Tensor | None, lengths: Tensor | None,
) -> None:  # fmt: skip
    """Refuse what a kernel would read past the end of, or read as another type.

    Raises:
        ShapeError: a shape or type does not fit the others.
    """
    counted(states, len(recurrence.program.states), "states")
    vectors, shape, dtype = x.is_floating_point(), states[0].shape, states[0].dtype
    if len(shape) != 2 or not shape[1] or x.dim() != 2 + vectors or not x.shape[0] or x.shape[1] != shape[0]:
        raise ShapeError(f"x has shape {tuple(x.shape)}, and a state has shape {tuple(shape)}")
    if x.dtype is not (dtype if vectors else torch.int64) or dtype not in (torch.float32, torch.float64):
        raise ShapeError(f"x is {x.dtype}, and a state is {dtype}")
    (batch, hidden), steps = shape, x.shape[0]
    if recurrence.pointwise_input and (not vectors or x.shape[2] != hidden):
        raise ShapeError(f"x has shape {tuple(x.shape)}, and must be as wide as the state: {hidden}")
    columns = parameters.get("weight_ih") if not vectors else None
    inputs = x.shape[-1] if vectors else 0 if columns is None or columns.dim() != 2 else columns.shape[1]
    fits(list(parameters.values()), recurrence.shapes(hidden, inputs), dtype, list(parameters))
    fits(states, [shape] * len(states), dtype)
    if mask is not None or keep is not None or lengths is not None:
        fits([value for value in (mask,) if value is not None], [(batch, hidden)], dtype)
        fits([value for value in (keep,) if value is not None], [(steps, batch, hidden)], dtype)
        if lengths is not None and (lengths.shape != (batch,) or lengths.is_floating_point()):
            raise ShapeError(f"lengths has shape {tuple(lengths.shape)} and type {lengths.dtype}, not {batch} integers")


def fits(
    tensors: Sequence[Tensor], shapes: Sequence[Sequence[int]], dtype: torch.dtype, names: Sequence[str] = ()
) -> None:
    """Refuse tensors of another shape or type.

    Raises:
        ShapeError: the message names the first.
    """
    for number, (tensor, shape) in enumerate(zip(tensors, shapes, strict=False)):
        if tensor.shape != shape or tensor.dtype is not dtype:
            name = names[number] if names else "a state, mask or gradient"
            raise ShapeError(
                f"{name} has shape {tuple(tensor.shape)} and type {tensor.dtype}; it must be {tuple(shape)}, {dtype}"
            )


def within(values: Tensor | None, low: int, high: int, name: str) -> None:
    """Refuse integers outside of low to high; kernels would use them as places in memory.

    Raises:
        ShapeError: the message names the smallest and the largest.
    """
    if values is None or not values.numel():
        return
    least, most = (int(value) for value in torch.aminmax(values))
    if least < low or most > high:
        raise ShapeError(f"{name} go from {least} to {most}, and must lie between {low} and {high}")
