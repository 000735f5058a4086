"""What a layer computed on the way: every gate and state of every timestep, layer and direction, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor


class Seen(Mapping[str, Tensor]):
    """Gates and states by name.

    For one layer in one direction, `seen["update"]` is the update gate, (T, B, H), in the layout of the layer's input
    and zero past each sequence's end. With several layers or directions, take one first:
    `seen.layer(1, reverse=True)["update"]`.
    """

    def __init__(self, layers: list[list[Mapping[str, Tensor]]]) -> None:
        self._layers = layers

    @property
    def num_layers(self) -> int:
        """How many layers were run."""
        return len(self._layers)

    def layer(self, layer: int, *, reverse: bool = False) -> Mapping[str, Tensor]:
        """One layer and direction.

        Raises:
            IndexError: there is no such layer or direction.
        """
        if not 0 <= layer < len(self._layers):
            raise IndexError(f"layer={layer}: there are {len(self._layers)} layers, counted from 0")
        if reverse and len(self._layers[layer]) == 1:
            raise IndexError("reverse=True: this layer runs in one direction")
        return self._layers[layer][reverse]

    def _only(self) -> Mapping[str, Tensor]:
        if len(self._layers) > 1 or len(self._layers[0]) > 1:
            raise KeyError(
                f"{len(self._layers)} layers of {len(self._layers[0])} direction(s) were seen: "
                "take one with .layer(0), .layer(0, reverse=True), ..."
            )
        return self._layers[0][0]

    def __getitem__(self, name: str) -> Tensor:
        only = self._only()
        if name not in only:
            raise KeyError(f'nothing is called "{name}"; there are {", ".join(only)}')
        return only[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._only())

    def __len__(self) -> int:
        return len(self._only())
