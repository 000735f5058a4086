"""Memory for kernels: what they work in is kept from call to call, and what is large comes in large pages.

A fresh piece of memory costs a page fault for every 4 KiB of it, which for large batches takes longer than the kernel.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
from functools import cache
from typing import Any

from torch import Tensor

LARGE = 8 * 2**20
"""Bytes from which large pages are asked for."""

WORTH = 2**18
"""Bytes from which memory that is kept gets large pages of its own."""

KEPT = 256 * 2**20
"""Bytes up to which a thread keeps memory of one purpose."""

PAGE = 2 * 2**20

_kept = threading.local()


def scratch(like: Tensor, purpose: str, *shape: int) -> Tensor:
    """Memory of no value after the call: a thread has one piece for a purpose and type, as large as was ever needed."""
    size = 1
    for length in shape:
        size *= length
    pieces: dict[tuple[str, Any], Tensor] | None = getattr(_kept, "pieces", None)
    if pieces is None:
        pieces = _kept.pieces = {}
    piece = pieces.get((purpose, like.dtype))
    if piece is None or piece.shape[0] < size:
        piece = on_a_large_page(like, size)
        if size * like.element_size() <= KEPT:
            pieces[purpose, like.dtype] = piece
    return piece[:size].view(shape) if piece.shape[0] != size or len(shape) > 1 else piece


def on_a_large_page(like: Tensor, size: int) -> Tensor:
    """Fresh memory that begins with a large page, where it is worth one.

    The system puts small pages wherever it has room. Where many of them fall together in a processor's cache, weights
    that would fit are thrown out again and again, for as long as the memory is kept: a call then takes up to half as
    long again, in one process and not in the next.
    """
    bytes_ = size * like.element_size()
    if bytes_ < WORTH or _advise() is None:
        return like.new_empty(size)
    whole = -(-bytes_ // PAGE) * PAGE // like.element_size()
    room = like.new_empty(whole + PAGE // like.element_size())
    start = -room.data_ptr() % PAGE // like.element_size()
    piece = room[start : start + whole]
    _advise()(piece.data_ptr(), whole * like.element_size(), mmap.MADV_HUGEPAGE)
    return piece


def in_large_pages(tensor: Tensor) -> Tensor:
    """The same tensor; where it is large and fresh, the system is asked to back it with large pages (Linux)."""
    size = tensor.numel() * tensor.element_size()
    if size >= LARGE and (advise := _advise()) is not None:
        start = -(-tensor.data_ptr() // PAGE) * PAGE
        length = tensor.data_ptr() + size - start
        if length > 0:
            advise(start, length, mmap.MADV_HUGEPAGE)
    return tensor


@cache
def _advise() -> Any:
    """The system's madvise, or None."""
    if not sys.platform.startswith("linux") or not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    advise = getattr(ctypes.CDLL(None), "madvise", None)
    if advise is not None:
        advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return advise
