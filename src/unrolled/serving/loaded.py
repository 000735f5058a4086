"""A run that is served: its model with weights packed once, and how the rows of each task begin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from unrolled.data.vocabulary import Vocabulary
from unrolled.decoding.scores import Candidate
from unrolled.models.packing import packed
from unrolled.models.translator import Translator
from unrolled.nn import LookaheadBidirectional, Recurrent, SymbolInput
from unrolled.recurrence.program import outline
from unrolled.run import Run

Rows = tuple[Tensor, ...]
"""One sequence's state: for each of the cell's states (layers, H)."""


class Loaded:
    """One generation of a model.

    Args:
        name: what it is called in addresses. run: the run. generation: 1, and one more for each reload.
        fingerprint: of its weights: a state belongs to these and no others.
        read: told how many timesteps were read or drawn.
    """

    def __init__(
        self, name: str, run: Run, generation: int, fingerprint: str, read: Callable[[int], None] = lambda count: None
    ) -> None:
        self.name, self.run, self.generation, self.fingerprint, self.read = name, run, generation, fingerprint, read
        self.task = run.recipe.task
        self.model = run.model
        self._packed = ExitStack()
        self._packed.enter_context(packed(self.model))
        for words, layer in _inputs_of(self.model):
            self._packed.enter_context(words.looked_up(layer))

    @property
    def key(self) -> tuple[str, int]:
        """Rows of two generations do not run together."""
        return self.name, self.generation

    @cached_property
    def recurrent(self) -> Recurrent | None:
        """The stack whose state a stream is; of a translator the encoder's."""
        holder = self.model if self.task in ("language-model", "generate") else self.model.encoder
        found: Recurrent | None = holder.recurrent
        return found

    @cached_property
    def latency(self) -> int:
        """How many timesteps an answer of a stream may wait for."""
        return self.recurrent.latency if isinstance(self.recurrent, LookaheadBidirectional) else 0

    @cached_property
    def why_no_streams(self) -> str | None:
        """Why this model cannot be streamed, or None where it can."""
        layer = self.recurrent
        if self.task == "translate":
            return f"{self.name} translates: it reads the whole source before its first word; use /translate"
        if layer is None:
            return f"{self.name} has no recurrence, so no state to go on with; use /predict"
        if isinstance(layer, LookaheadBidirectional):
            if self.task == "classify" and self.model.pooling.kind == "last":
                return f'{self.name} reads from both ends and pools by "last": only the whole has a class; use /predict'
            return None
        if layer.bidirectional:
            return f"{self.name} reads from both ends, so it needs the whole sequence first; use /predict"
        return None

    @cached_property
    def seen_numbers(self) -> int:
        """How many numbers the gates and states of a timestep are."""
        layer = self.recurrent
        if layer is None:
            return 0
        program = outline(layer.cell)
        names = len(program.observed) + len(program.states)
        return names * layer.hidden_size * layer.num_layers * layer.num_directions

    @property
    def vocabulary(self) -> Vocabulary:
        """The symbols that a language model or a generator reads and predicts."""
        found: Vocabulary = cast(Any, self.run).vocabulary
        return found

    @property
    def inputs(self) -> Any:
        """What the model reads: a vocabulary, or the scale of frames."""
        symbols: Any = self.run.symbols
        return getattr(symbols, "inputs", getattr(symbols, "vocabulary", getattr(symbols, "source", symbols)))

    def shown(self, symbol: int) -> str:
        """A symbol as people see it."""
        return self.vocabulary.symbol(symbol)

    def candidates(self, pairs: Iterable[tuple[int, float]]) -> list[Candidate]:
        """Symbols and their probabilities, without those that cannot come."""
        vocabulary = self.vocabulary
        return [Candidate(vocabulary.text(id), share, vocabulary.symbol(id)) for id, share in pairs if share > 0]

    def begin_state(self) -> Rows:
        """A sequence's state before it begins; nobody may change it."""
        assert self.recurrent is not None
        if self.recurrent.initial_state == "random":
            return unstacked(self.recurrent.begin(1), 1)[0]
        return self._begun

    @cached_property
    def _begun(self) -> Rows:
        assert self.recurrent is not None
        with torch.no_grad():
            return unstacked(self.recurrent.begin(1), 1)[0]

    def card(self) -> dict[str, Any]:
        """What clients and pages need to know."""
        run, layer = self.run, self.recurrent
        settings = run.recipe.model
        symbols, inputs = run.symbols, self.inputs
        frame = len(inputs.mean) if hasattr(inputs, "mean") else None
        labels = getattr(getattr(symbols, "labels", None), "names", ())
        program = None if layer is None else outline(layer.cell)
        return {
            "cell": settings.cell if layer is None else layer.cell.name,
            "hidden": settings.hidden, "layers": settings.layers,
            "bidirectional": layer is not None and layer.bidirectional,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "level": None if frame else inputs.level, "symbols": None if frame else len(inputs), "frame": frame,
            "labels": list(labels),
            "gates": [] if program is None else list(program.observed),
            "states": [] if program is None else list(program.states),
            "attention": getattr(self.model, "attention", None) is not None,
            "latency": self.latency, "metrics": run.metrics,
        }  # fmt: skip


def _inputs_of(model: nn.Module) -> Iterator[tuple[SymbolInput, Recurrent]]:
    """What embeds symbols for a recurrence and nothing else."""
    for module in model.modules():
        words, layer = getattr(module, "input", None), getattr(module, "recurrent", None)
        if isinstance(module, Translator) and not module.feeding:
            words, layer = module.target, module.decoder
        if isinstance(words, SymbolInput) and isinstance(layer, Recurrent):
            yield words, layer


ALONE = 8
"""Batches up to which steps are prepared for each size: they keep their buffers."""


def stepped(layer: Recurrent, vectors: Tensor, state: Any, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
    """The outputs (T, B, H) and the state after them; of one timestep of few sequences by the quickest way.

    vectors: (T, B, I), or (T, B) ids.
    """
    if vectors.shape[0] == 1 and vectors.shape[1] <= ALONE and not layer.residual:
        after = layer.step(vectors[0], state)
        first = after[0] if isinstance(after, tuple) else after
        return first[-1:], after
    output, after = layer(vectors, state, lengths=lengths)
    return output, after


def stacked(rows: list[Rows]) -> Any:
    """The states of several sequences as the layer takes them, (layers, B, H) each."""
    parts = tuple(torch.stack(part, 1) for part in zip(*rows, strict=True))
    return parts if len(parts) > 1 else parts[0]


def unstacked(state: Any, batch: int) -> list[Rows]:
    """The states of each sequence by itself. They lie in one copy of all: who keeps one for longer copies it."""
    parts = state if isinstance(state, tuple) else (state,)
    # a copy even of a single row: a prepared step writes the next state into the same memory
    columns = [part.transpose(0, 1).clone(memory_format=torch.contiguous_format).unbind(0) for part in parts]
    return [tuple(column[row] for column in columns) for row in range(batch)]
