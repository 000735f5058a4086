"""Two directions without the wait: the backward one starts a fixed number of timesteps ahead, chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Unpack

import torch
from torch import Tensor
from torch.nn import functional

from unrolled.cells import Cell
from unrolled.nn.recurrent import Recurrent, RecurrentOptions, State
from unrolled.nn.shapes import InputForm
from unrolled.recurrence.engines import choose
from unrolled.recurrence.request import Answer, Direction, Request


@dataclass(frozen=True)
class Windows:
    """Where the backward direction runs: windows of chunk + lookahead timesteps, one a chunk, as rows of one batch.

    The chunks whose windows would all begin at the sequence's end share one: it is the same run. So a sequence that a
    single window covers is run as by an ordinary layer, and no window is empty but that of an empty sequence.

    Attributes:
        sequence: (R,) whose window it is.
        first: (B,) each sequence's first window.
        lengths: (R,) timesteps in each window.
        reads: (W, R) which timestep of a flattened (T · B, ...) each window reads, the last one first.
        writes: (T, B) where in a flattened (W · R, ...) each timestep's answer stands.
        past: (T, B) true past each sequence's end.
    """

    sequence: Tensor
    first: Tensor
    lengths: Tensor
    reads: Tensor
    writes: Tensor
    past: Tensor

    @classmethod
    def of(cls, lengths: Tensor, steps: int, chunk: int, lookahead: int) -> Windows:
        """The windows of sequences of these `lengths`, (B,), in a batch of T = `steps`."""
        chunk, lookahead, batch = min(chunk, steps), min(lookahead, steps), lengths.shape[0]
        wide = chunk + lookahead
        t = torch.arange(steps, device=lengths.device).unsqueeze(1)
        counts = 1 + (lengths - wide + chunk - 1).clamp(min=0) // chunk
        first = counts.cumsum(0) - counts
        sequence = torch.arange(batch, device=lengths.device).repeat_interleave(counts)
        start = chunk * (torch.arange(sequence.shape[0], device=lengths.device) - first[sequence])
        own = (lengths[sequence] - start).clamp(max=wide)
        reads = (start + own - 1 - t[: min(wide, steps)]).clamp(min=0) * batch + sequence
        window = torch.minimum(t // chunk, counts - 1)
        rows = first + window
        writes = (own[rows] - 1 - (t - chunk * window)).clamp(min=0) * sequence.shape[0] + rows
        return cls(sequence, first, own, reads, writes, t >= lengths)

    def read(self, values: Tensor) -> Tensor:
        """(T, B, ...) to (W, R, ...)."""
        return _taken(values, self.reads)

    def write(self, values: Tensor) -> Tensor:
        """(W, R, H) to (T, B, H), zero past each sequence's end."""
        return _taken(values, self.writes).masked_fill(self.past.unsqueeze(-1), 0)


def _taken(values: Tensor, places: Tensor) -> Tensor:
    # index_select: its gradient adds whole rows, which is much faster than what indexing by tensors does
    flat = values.flatten(0, 1).index_select(0, places.flatten())
    return flat.view(*places.shape, *values.shape[2:])


@dataclass(frozen=True)
class Stream:
    """A stream between two pieces of its input: a value, as every state is.

    Attributes:
        states: in the cell's order, each (2 · layers, B, H). The forward directions' go on with the stream; in the
            backward directions' every chunk begins.
        waiting: for each layer, the part of its input that it has not answered, (fewer than chunk + lookahead, B, ·).
        read: how many timesteps have come in.
        lengths: (B,) how many of them were true; None as long as no sequence has ended.
    """

    states: tuple[Tensor, ...]
    waiting: tuple[Tensor, ...]
    read: int = 0
    lengths: Tensor | None = None


class LookaheadBidirectional(Recurrent):
    """A bidirectional stack that answers before the sequence ends: latency-controlled, as speech recognisers need it.

        layer = nn.LookaheadBidirectional("lstm", 80, 256, num_layers=3, chunk=20, lookahead=20)
        output, state = layer(x, lengths=lengths)          # to train: whole sequences

        output, stream = layer.step_chunk(piece)           # live: pieces of any size
        output, stream = layer.step_chunk(another, stream)
        output = layer.finish(stream)

    The forward direction runs through the sequence as ever. The backward direction runs in each chunk of `chunk`
    timesteps by itself: from `lookahead` timesteps past the chunk's end, or the sequence's end if that comes first,
    down to the chunk's first timestep. What it computes ahead of the chunk only warms its state up. With a look-ahead
    that covers the rest of the sequence, this is the ordinary bidirectional layer.

    Each layer is chunked on the outputs of the layer below, so an output depends on input at most `latency` timesteps
    after its own: layers · lookahead + chunk - 1 where the chunk divides the look-ahead. (The papers run all layers
    inside one window: less latency, but there the timesteps ahead of a chunk have other values than in their own.)

    Sources: Zhang, Chen, Yu, Yao, Khudanpur and Glass 2016, "Highway long short-term memory RNNs for distant speech
    recognition"; Xue and Yan 2017, "Improving latency-controlled BLSTM acoustic models for online speech recognition".

    Args:
        chunk: timesteps answered together, at least 1.
        lookahead: timesteps that the backward direction sees past a chunk's end, 0 or more.

    The other arguments, the shapes and the parameters' names are those of `Recurrent(..., bidirectional=True)`, so
    state dicts go both ways. Of a state that is given, the backward half is where every chunk begins; of the one that
    is returned, it is that after the first timestep.

    Raises:
        ValueError: an argument out of its range, named.
    """

    def __init__(
        self,
        cell: str | Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        chunk: int,
        lookahead: int,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        **options: Unpack[RecurrentOptions],
    ) -> None:
        super().__init__(
            cell, input_size, hidden_size, num_layers,
            bias=bias, batch_first=batch_first, dropout=dropout, bidirectional=True, **options,
        )  # fmt: skip
        if not isinstance(chunk, int) or chunk < 1:
            raise ValueError(f"chunk={chunk!r} must be a whole number of timesteps, at least 1")
        if not isinstance(lookahead, int) or lookahead < 0:
            raise ValueError(f"lookahead={lookahead!r} must be a whole number of timesteps, 0 or more")
        self.chunk, self.lookahead = chunk, lookahead

    @property
    def latency(self) -> int:
        """How many timesteps after its own the last input comes that an output depends on, at most.

        A layer answers whole chunks, so each layer above the first waits for its look-ahead rounded up to chunks.
        """
        rounded = -(-self.lookahead // self.chunk) * self.chunk
        return (self.num_layers - 1) * rounded + self.lookahead + self.chunk - 1

    def _run_layer(
        self, layer: int, inputs: Tensor, states: tuple[Tensor, ...], form: InputForm, observe: bool
    ) -> Answer:
        request = self._request(layer, inputs, states, form.lengths, observe)
        return self._run_chunks(request, inputs.shape[0])

    def _run_chunks(self, request: Request, answered: int) -> Answer:
        """The first `answered` timesteps of a layer in two directions; the backward one sees all that are there."""
        steps, batch = request.x.shape[:2]
        lengths = request.lengths
        if lengths is None:
            lengths = torch.full((batch,), steps, device=request.x.device)
        windows = Windows.of(lengths.long(), steps, self.chunk, self.lookahead)
        if windows.sequence.shape[0] == batch and answered == steps:
            return choose(self.engine, request).run(request)
        forward = self._run_one(_forward_part(request, answered))
        backward = self._run_one(_backward_part(request, windows))
        seen: tuple[Mapping[str, Tensor], ...] = ()
        if request.observe:
            seen = forward.seen[0], {name: windows.write(value) for name, value in backward.seen[0].items()}
        output = torch.cat([forward.output, windows.write(backward.output)[:answered]], -1)
        last = tuple(state.index_select(0, windows.first) for state in backward.states[0])
        return Answer(output, (forward.states[0], last), seen)

    def _run_one(self, request: Request) -> Answer:
        return choose(self.engine, request).run(request)

    def step(self, x: Tensor, state: State | None = None) -> State:
        """Refused: see `step_chunk`.

        Raises:
            ValueError: always.
        """
        raise ValueError("step: this layer answers chunk by chunk; use step_chunk")

    def step_chunk(
        self, x: Tensor, state: Stream | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Tensor, Stream]:
        """The next timesteps of a stream, and what can be answered now. All answers, joined, are those of the whole.

        In training, dropout masks that belong to a sequence are drawn anew for every piece.

        Args:
            x: (S, B, I) or (S, B) ids, any number of timesteps; (B, S, ·) if batch_first.
            state: None for the first piece.
            lengths: (B,) how many of x's timesteps are true. A sequence with fewer than S ends here; later it gets 0.

        Returns:
            The outputs of the next timesteps that were waiting for these, (a multiple of chunk, B, 2 · H), perhaps
            none; and the state.

        Raises:
            ValueError: shapes that do not fit, named; a sequence that goes on after its end.
        """
        form = self._form(x, lengths)
        if form.unbatched:
            raise ValueError(f"step_chunk: x has shape {tuple(x.shape)}, and a stream needs a batch, if only of one")
        before = self._begun(form) if state is None else state
        if before.states[0].shape[1] != form.x.shape[1]:
            raise ValueError(f"step_chunk: x has {form.x.shape[1]} sequences, the state {before.states[0].shape[1]}")
        output, after = self._advance(before, form.x, _true_timesteps(before, form), ended=False)
        return form.restore_padded(output), after

    def finish(self, state: Stream) -> Tensor:
        """The outputs of all timesteps that still wait, (·, B, 2 · H): the stream has ended."""
        output, _ = self._advance(state, state.waiting[0][:0], state.lengths, ended=True)
        return output.transpose(0, 1) if self.batch_first else output

    def _begun(self, form: InputForm) -> Stream:
        states = self._given_states(None, form)
        above = [self._nothing(form.x.shape[1])] * (self.num_layers - 1)
        return Stream(states, (form.x[:0], *above))

    def _nothing(self, batch: int) -> Tensor:
        """An output of no timesteps, of the type that one of some would have."""
        like = next(self.parameters())
        mixed = like.dtype == torch.float32 and torch.is_autocast_enabled(like.device.type)
        dtype = torch.get_autocast_dtype(like.device.type) if mixed else like.dtype
        return like.new_empty((0, batch, 2 * self.hidden_size), dtype=dtype)

    def _advance(self, stream: Stream, fresh: Tensor, lengths: Tensor | None, *, ended: bool) -> tuple[Tensor, Stream]:
        """Give `fresh` input to the first layer, its answers to the second, and so on."""
        read, start = stream.read + fresh.shape[0], stream.read
        rows = [list(state.unbind(0)) for state in stream.states]
        waiting = []
        for layer, held in enumerate(stream.waiting):
            start -= held.shape[0]  # the timestep at which this layer's waiting input begins
            inputs = torch.cat([held, fresh]) if held.shape[0] else fresh
            steps = inputs.shape[0]
            answered = steps if ended else max(0, (steps - self.lookahead) // self.chunk * self.chunk)
            waiting.append(inputs[answered:].clone())  # a caller may fill the same buffer again
            fresh = self._nothing(inputs.shape[1])
            if answered:
                seen = inputs if ended else inputs[: answered + self.lookahead]
                own = None if lengths is None else (lengths - start).clamp(min=0, max=seen.shape[0])
                fresh, after = self._stream_layer(layer, seen, stream.states, own, answered)
                for row, value in zip(rows, after, strict=True):
                    row[2 * layer] = value
        return fresh, Stream(tuple(map(torch.stack, rows)), tuple(waiting), read, lengths)

    def _stream_layer(
        self, layer: int, inputs: Tensor, states: tuple[Tensor, ...], lengths: Tensor | None, answered: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One layer's next outputs, and the state of its forward direction after them."""
        answer = self._run_chunks(self._request(layer, inputs, states, lengths, False), answered)
        output, below = answer.output, inputs[:answered]
        if self.residual and below.shape == output.shape:
            output = output + InputForm(below, lengths).inside(below)
        drops = self.dropout and self.training and layer < self.num_layers - 1
        return functional.dropout(output, self.dropout) if drops else output, answer.states[0]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, chunk={self.chunk}, lookahead={self.lookahead}"


def _forward_part(request: Request, answered: int) -> Request:
    way = request.directions[0]
    keep = None if way.keep is None else way.keep[:answered]
    lengths = None if request.lengths is None else request.lengths.clamp(max=answered)
    return replace(request, x=request.x[:answered], lengths=lengths, directions=(replace(way, keep=keep),))


def _backward_part(request: Request, windows: Windows) -> Request:
    """All windows as one batch. They are read last timestep first, so no engine needs to turn them round."""
    way = request.directions[1]
    turned = Direction(
        way.parameters,
        tuple(state.index_select(0, windows.sequence) for state in way.states),
        mask=None if way.mask is None else way.mask.index_select(0, windows.sequence),
        keep=None if way.keep is None else windows.read(way.keep),
        packed=way.packed,
    )
    return replace(request, x=windows.read(request.x), lengths=windows.lengths, directions=(turned,))


def _true_timesteps(before: Stream, form: InputForm) -> Tensor | None:
    """(B,) true timesteps of a stream after the next piece; None as long as no sequence has ended."""
    if before.lengths is None and form.lengths is None:
        return None
    like = torch.zeros(form.x.shape[1], dtype=torch.long, device=form.x.device)
    known = like + before.read if before.lengths is None else before.lengths
    fresh = like + form.x.shape[0] if form.lengths is None else form.lengths
    resumed = ((known < before.read) & (fresh > 0)).nonzero().flatten().tolist()
    if resumed:
        raise ValueError(f"step_chunk: sequences {resumed} have ended before; their lengths are 0 from then on")
    return known + fresh
