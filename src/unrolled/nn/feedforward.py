"""Feed-forward layers on every timestep: depth without recurrence."""

from __future__ import annotations

from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "gelu": nn.GELU}


class FeedForward(nn.Module):
    """g(W x + b), layer after layer, on every timestep by itself.

        head = nn.FeedForward(512, [256, 128], activation="relu", dropout=0.2)

    Args:
        input_size: numbers a timestep that come in.
        sizes: numbers a timestep that each layer gives.
        activation: "relu", "tanh", "sigmoid" or "gelu".
        dropout: on the output of every layer.

    Shapes: (..., input_size) to (..., sizes[-1]).
    """

    def __init__(self, input_size: int, sizes: list[int], *, activation: str = "relu", dropout: float = 0.0) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f'activation="{activation}" is none of {", ".join(ACTIVATIONS)}')
        layers: list[nn.Module] = []
        for before, after in zip([input_size, *sizes], sizes, strict=False):
            layers += [nn.Linear(before, after), ACTIVATIONS[activation](), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)
        self.output_size = sizes[-1] if sizes else input_size

    def forward(self, x: Tensor) -> Tensor:
        """All layers, one after the other."""
        result: Tensor = self.layers(x)
        return result
