"""The translator: an encoder reads one sequence, a decoder writes another, of its own length.

    encoder   h⟨1⟩ ... h⟨S⟩, usually from both ends
    bridge    the decoder's first state: tanh(W [encoder's final states] + b), for each of its states and layers
    decoder   a language model of the target: s⟨t⟩ from y⟨t-1⟩ and s⟨t-1⟩
    attention c⟨t⟩ = Σ α⟨t,s⟩ h⟨s⟩, looked up with s⟨t⟩ (Luong et al. 2015), and joined to it: tanh(W [c⟨t⟩, s⟨t⟩])

Attention looks up after the recurrence, not before it as in Bahdanau et al. 2015: while training, the decoder's whole
loop is then one call of its layer, and all its queries are one product. `input_feeding` hands the joined vector to the
next timestep, as Luong et al. do, and so costs a call a timestep.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from unrolled.cells import Cell
from unrolled.errors import UserError
from unrolled.models.encoder import Encoder, InputKind, recurrent_of
from unrolled.models.settings import ModelSettings
from unrolled.nn import Attention, AttentionKeys, Softmax, SymbolInput
from unrolled.nn.recurrent import State

LEAST = 1e-6
"""The attention that a timestep of the source has had, at least: its logarithm stays finite."""


class TranslationLoss(NamedTuple):
    """What a batch cost: the summed loss in nats. A sequence begins anew, so there is no state to go on with."""

    total: Tensor
    state: None = None


class DecoderState(NamedTuple):
    """Where a translation is, of B sequences, as a value.

    Attributes:
        recurrent: the decoder's state.
        keys: the encoded source; None without attention.
        fed: (B, H) what `input_feeding` hands on; None without.
        attended: (B, S) the attention that each timestep of the source has had so far; None without attention.
    """

    recurrent: State
    keys: AttentionKeys | None
    fed: Tensor | None
    attended: Tensor | None

    def select(self, rows: Tensor) -> DecoderState:
        """The sequences of these numbers, (N,) integers in any order, repeats allowed."""
        parts = self.recurrent if isinstance(self.recurrent, tuple) else (self.recurrent,)
        chosen = tuple(part.index_select(1, rows) for part in parts)
        return DecoderState(
            chosen if isinstance(self.recurrent, tuple) else chosen[0],
            None if self.keys is None else self.keys.select(rows),
            None if self.fed is None else self.fed.index_select(0, rows),
            None if self.attended is None else self.attended.index_select(0, rows),
        )

    def coverage(self) -> Tensor:
        """(B,) Σ log min(attention had, 1) over the source's timesteps: 0 when all were looked at (Wu et al. 2016)."""
        if self.attended is None or self.keys is None:
            raise ValueError("a coverage penalty needs a model with attention")
        had = self.attended.clamp(LEAST, 1.0).log()
        return (had if self.keys.past is None else had.masked_fill(self.keys.past, 0.0)).sum(-1)


class Bridge(nn.Module):
    """The encoder's final states to the decoder's first: one affine map and tanh for each state and layer.

    Shapes: states (layers · directions, B, H) to states (layers, B, H).
    """

    def __init__(self, states: int, layers: int, directions: int, hidden: int) -> None:
        super().__init__()
        self.layers, self.directions = layers, directions
        self.maps = nn.ModuleList([nn.Linear(directions * hidden, hidden) for _ in range(states * layers)])

    def forward(self, final: State) -> State:
        """Map every state and layer."""
        parts = final if isinstance(final, tuple) else (final,)
        made = []
        for number, part in enumerate(parts):
            joined = (
                part.view(self.layers, self.directions, *part.shape[1:]).transpose(1, 2).flatten(2)
            )  # (layers, B, D · H)
            maps = self.maps[number * self.layers : (number + 1) * self.layers]
            made.append(torch.stack([one(layer).tanh() for one, layer in zip(maps, joined, strict=True)]))
        return tuple(made) if isinstance(final, tuple) else made[0]


class Translator(nn.Module):
    """P(y⟨1⟩, ..., y⟨T_y⟩ | x⟨1⟩, ..., x⟨T_x⟩).

    Args:
        settings: sizes and regularisation; `attention`, `input_feeding`, `scheduled_sampling` are this model's own.
        kind: what the source is.
        vocabulary: target symbols, special ones included.
        cell: the recurrence of both sides.

    Shapes: see `Encoder`; inputs and targets are (T, B) target ids, 0 past the end.
    """

    def __init__(self, settings: ModelSettings, kind: InputKind, vocabulary: int, cell: Cell) -> None:
        super().__init__()
        self.vocabulary, self.dropout, self.smoothing = vocabulary, settings.dropout, settings.label_smoothing
        self.feeding, self.sampling = settings.input_feeding, settings.scheduled_sampling
        hidden = settings.hidden
        self.encoder = Encoder(settings, kind, cell, bidirectional=settings.bidirectional)
        self.target = SymbolInput(
            vocabulary, settings.embedding, dropout=settings.embedding_dropout, symbol_dropout=settings.symbol_dropout,
            scale=settings.embedding_scale,
        )  # fmt: skip
        if settings.input_feeding and (settings.attention == "none" or not settings.embedding):
            raise UserError("model.input_feeding needs attention and an embedding: set both, or input_feeding = false")
        width = self.target.output_size + hidden * settings.input_feeding
        self.decoder = recurrent_of(settings, width, cell)
        self.bridge = Bridge(len(cell.states), settings.layers, 1 + settings.bidirectional, hidden)
        self.attention: Attention | None = None
        if settings.attention != "none":
            self.attention = Attention(hidden, self.encoder.output_size, hidden, kind=settings.attention)
            self.join = nn.Linear(self.encoder.output_size + hidden, hidden)
        self.output = self._output(settings, vocabulary)

    def _output(self, settings: ModelSettings, vocabulary: int) -> Softmax:
        self.narrow: nn.Module = nn.Identity()
        if not settings.tied:
            return Softmax(settings.hidden, vocabulary)
        nn.init.uniform_(self.target.weight, -0.1, 0.1)  # it is the softmax's weight too: scores have to start small
        if settings.hidden != settings.embedding:
            self.narrow = nn.Linear(settings.hidden, settings.embedding)
        return Softmax(settings.embedding, vocabulary, weight=self.target.weight)

    def forward(
        self, source: Tensor, lengths: Tensor, inputs: Tensor, targets: Tensor, spellings: Tensor | None = None
    ) -> TranslationLoss:
        """The loss of one batch, summed. The decoder reads the true symbols (teacher forcing), or with
        `scheduled_sampling`, while training, at each timestep its own draw with that probability."""
        start = self.start(source, lengths, spellings)
        if self.training and self.sampling:
            inputs = self._with_draws(inputs, start)
        features, _ = self.features(inputs, start)
        smoothing = self.smoothing if self.training else 0.0
        return TranslationLoss(self.output.loss(features.flatten(0, 1), targets.flatten(), smoothing=smoothing))

    @torch.no_grad()
    def _with_draws(self, inputs: Tensor, start: DecoderState) -> Tensor:
        """Some of the true symbols replaced by what the model draws after the true ones before them.

        All timesteps are drawn from one reading of the true sequence, not one after the other (Duckworth et al. 2019):
        so the loop stays one call. The original is Bengio et al. 2015.
        """
        logs = self.output.log_probabilities(self.features(inputs, start)[0])
        drawn = torch.multinomial(logs.exp().flatten(0, 1), 1).view(inputs.shape)
        previous = torch.cat([inputs[:1], drawn[:-1]])
        chosen = torch.rand(inputs.shape, device=inputs.device) < self.sampling
        chosen[0] = False
        return torch.where(chosen & (inputs != 0), previous, inputs)

    def start(self, source: Tensor, lengths: Tensor, spellings: Tensor | None = None) -> DecoderState:
        """Read the source: the state before the first target symbol."""
        memory, final = self.encoder(source, lengths, spellings)
        assert final is not None
        keys = None if self.attention is None else self.attention.prepare(memory, lengths)
        batch = source.shape[1]
        fed = memory.new_zeros(batch, self.decoder.hidden_size) if self.feeding else None
        attended = memory.new_zeros(batch, source.shape[0]) if keys is not None else None
        return DecoderState(self.bridge(final), keys, fed, attended)

    def features(self, inputs: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """(T, B) target symbols to the (T, B, F) features that the softmax reads, and the state after them."""
        joined, state, _ = self._decoded(inputs, state)
        features: Tensor = self.narrow(functional.dropout(joined, self.dropout, self.training))
        return features, state

    def _decoded(self, inputs: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor | None]:
        """The joined vectors (T, B, H), the state after them, and the attention's weights (T, B, S)."""
        vectors = self.target(inputs)
        if not self.feeding:
            output, recurrent = self.decoder(vectors, state.recurrent)
            joined, weights = self._joined(output, state.keys)
            return joined, _after(state, recurrent, None, weights), weights
        found, looked = list[Tensor](), list[Tensor]()
        for vector in vectors:
            assert state.fed is not None
            output, recurrent = self.decoder(torch.cat([vector, state.fed], -1).unsqueeze(0), state.recurrent)
            joined, weights = self._joined(output, state.keys)
            state = _after(state, recurrent, joined[0], weights)
            assert weights is not None
            found.append(joined)
            looked.append(weights)
        return torch.cat(found), state, torch.cat(looked)

    def _joined(self, output: Tensor, keys: AttentionKeys | None) -> tuple[Tensor, Tensor | None]:
        if self.attention is None or keys is None:
            return output, None
        context, weights = self.attention(output, keys)
        return self.join(torch.cat([context, output], -1)).tanh(), weights

    def _narrowed(self, joined: Tensor) -> Tensor:
        features: Tensor = self.narrow(functional.dropout(joined, self.dropout, self.training))
        return features

    @torch.no_grad()
    def step(self, symbols: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """(B,) symbols to the (B, V) log-probabilities of the next ones, and the state: what `decoding` asks for."""
        features, state = self.features(symbols.unsqueeze(0), state)
        return self.output.log_probabilities(features[0]), state

    def log_probabilities(
        self, source: Tensor, lengths: Tensor, inputs: Tensor, targets: Tensor, spellings: Tensor | None = None
    ) -> Tensor:
        """(T, B) log P(y⟨t⟩ | x, y⟨1⟩, ..., y⟨t-1⟩), 0 past the end."""
        features, _ = self.features(inputs, self.start(source, lengths, spellings))
        logs = self.output.log_probabilities(features).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        return logs.masked_fill(targets == 0, 0.0)

    def attention_weights(
        self, source: Tensor, lengths: Tensor, inputs: Tensor, spellings: Tensor | None = None
    ) -> Tensor:
        """(T, B, S) where each target symbol's timestep looked.

        Raises:
            ValueError: the model has no attention.
        """
        _, _, weights = self._decoded(inputs, self.start(source, lengths, spellings))
        if weights is None:
            raise ValueError("this model has no attention")
        return weights


def _after(state: DecoderState, recurrent: State, fed: Tensor | None, weights: Tensor | None) -> DecoderState:
    had = state.attended
    if had is not None and weights is not None:
        had = had + weights.detach().sum(0)
    return DecoderState(recurrent, state.keys, fed, had)
