"""A character language model in plain PyTorch, as one writes it without a library: what `language_model` runs against.

python -m benchmarks.plain_language_model input.txt
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU}


class CharacterModel(nn.Module):
    """One-hot characters (or an embedding, if it has a size), a recurrent stack, and scores of the next character."""

    def __init__(self, cell: str, vocabulary: int, hidden: int, layers: int, embedding: int = 0) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(vocabulary, embedding) if embedding else None
        self.recurrent = LAYERS[cell](embedding or vocabulary, hidden, layers)
        self.output = nn.Linear(hidden, vocabulary)

    def vectors(self, characters: Tensor) -> Tensor:
        if self.embedding is not None:
            return self.embedding(characters)
        return functional.one_hot(characters, self.vocabulary).float()

    def forward(self, characters: Tensor, state: object) -> tuple[Tensor, object]:
        output, state = self.recurrent(self.vectors(characters), state)
        return self.output(output), state


def encode(text: str) -> tuple[Tensor, int]:
    """The text as numbers, and how many different ones there are."""
    ids = {character: number for number, character in enumerate(sorted(set(text)))}
    return torch.tensor([ids[character] for character in text]), len(ids)


def windows(symbols: Tensor, batch: int, window: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The text cut into `batch` streams that run side by side, (T, B) inputs and targets at a time, again and again."""
    length = (len(symbols) - 1) // batch
    streams, following = (part[: batch * length].view(batch, length).t() for part in (symbols[:-1], symbols[1:]))
    while True:
        for start in range(0, length - window + 1, window):
            yield streams[start : start + window].contiguous(), following[start : start + window].contiguous()


def optimiser_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=2e-3, fused=True)


def train_step(
    model: nn.Module, optimiser: torch.optim.Optimizer, inputs: Tensor, targets: Tensor, state: object
) -> tuple[Tensor, object]:
    """One window of truncated backpropagation through time: the loss, and the state to go on with."""
    scores, state = model(inputs, state)
    loss = functional.cross_entropy(scores.flatten(0, 1), targets.flatten())
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimiser.step()
    return loss.detach(), tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()


def main() -> None:
    torch.manual_seed(1)
    symbols, vocabulary = encode(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model = CharacterModel("lstm", vocabulary, 512, 1)
    optimiser, state = optimiser_of(model), None
    for step, (inputs, targets) in enumerate(windows(symbols, 50, 100)):
        loss, state = train_step(model, optimiser, inputs, targets, state)
        if step % 50 == 0:
            print(f"step {step}: {loss.item():.4f} nats a character", flush=True)


if __name__ == "__main__":
    main()
