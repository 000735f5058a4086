"""A whole model whose weights are promised to stay: its recurrent layers pack them once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from torch import nn

from unrolled.nn import Recurrent

Item = TypeVar("Item")


@contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Inside, the weights stay as they are: see `Recurrent.packed`."""
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, Recurrent):
                stack.enter_context(module.packed())
        yield


def while_packed(model: nn.Module, items: Iterator[Item]) -> Iterator[Item]:
    """What a model makes one after the other, its weights packed until the last is made."""
    with packed(model):
        yield from items
