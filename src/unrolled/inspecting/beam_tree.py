"""A beam search as a tree: what was open at each step, what was pruned, what ended. The search is watched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from unrolled.decoding.beam import Beam, BeamStep, Hypothesis

FATES = {
    "continued": "other symbols were put after it",
    "finished": "<eos> came",
    "cut": "the longest length ended it",
    "pruned": "none of what could follow was among the best",
    "stopped": "it could no longer become the answer",
}
"""What becomes of a hypothesis."""


@dataclass(frozen=True)
class BeamNode:
    """One hypothesis at one step: a symbol after those of its parents.

    Attributes:
        number: its place in the tree. parent: that of the hypothesis it continues; None for the root.
        step: how many symbols it has. symbol: the last of them; "" for the root.
        log_probability: natural, of all its symbols. score: what it was ranked by, see `decoding.Beam`.
        rank: its place among the hypotheses of its step, the best is 0.
        fate: what became of it, one of `FATES`.
    """

    number: int
    parent: int | None
    step: int
    symbol: str
    log_probability: float
    score: float
    rank: int
    fate: str

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return dict(vars(self))


@dataclass(frozen=True)
class BeamTree:
    """A search of one source.

    Attributes:
        source: what was answered to. beam: how it was searched.
        nodes: the hypotheses by number, so step by step; the root first.
        answer: the number of the one that won.
    """

    source: str
    beam: Beam
    nodes: tuple[BeamNode, ...]
    answer: int

    @cached_property
    def children(self) -> dict[int, list[BeamNode]]:
        """The continuations of each node, the best first."""
        found: dict[int, list[BeamNode]] = {node.number: [] for node in self.nodes}
        for node in self.nodes[1:]:
            assert node.parent is not None
            found[node.parent].append(node)
        return found

    def path(self, number: int) -> list[BeamNode]:
        """The nodes from the first symbol to a node."""
        return list(self._upwards(number))[::-1]

    def _upwards(self, number: int) -> Iterator[BeamNode]:
        node = self.nodes[number]
        while node.parent is not None:
            yield node
            node = self.nodes[node.parent]

    @property
    def steps(self) -> int:
        """How many steps the search took."""
        return self.nodes[-1].step

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "source": self.source,
            "width": self.beam.width,
            "alpha": self.beam.alpha,
            "answer": self.answer,
            "nodes": [node.as_dict() for node in self.nodes],
        }


class BeamRecorder:
    """Watches the search of one sentence: `beam_search(..., watch=recorder)`.

    shown: an id as people see it.
    """

    def __init__(self, shown: Callable[[int], str]) -> None:
        self._shown = shown
        self._nodes = [BeamNode(0, None, 0, "", 0.0, 0.0, 0, "continued")]
        self._symbols: list[tuple[int, ...]] = [()]
        self._going = [0]

    def __call__(self, step: BeamStep) -> None:
        """Note one step."""
        going = []
        columns = (step.parents, step.symbols, step.log_probabilities, step.scores, step.ended, step.cut, step.going)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for rank, (row, symbol, log, score, ended, cut, goes) in enumerate(rows):
            parent = self._nodes[self._going[row]]
            number = len(self._nodes)
            fate = "finished" if ended else "cut" if cut else "continued" if goes else "stopped"
            node = BeamNode(number, parent.number, parent.step + 1, self._shown(symbol), log, score, rank, fate)
            self._nodes.append(node)
            self._symbols.append((*self._symbols[parent.number], symbol))
            if goes:
                going.append(number)
        self._going = going

    def tree(self, source: str, beam: Beam, answer: Hypothesis) -> BeamTree:
        """The tree of a search that is over."""
        parents = {node.parent for node in self._nodes}
        nodes = tuple(
            replace(node, fate="pruned") if node.fate == "continued" and node.number not in parents else node
            for node in self._nodes
        )
        ends = [
            node.number for node in nodes
            if node.fate == ("finished" if answer.ended else "cut") and self._answered(node) == answer.symbols
        ]  # fmt: skip
        return BeamTree(source, beam, nodes, ends[0])

    def _answered(self, node: BeamNode) -> tuple[int, ...]:
        """A hypothesis without its <eos>."""
        symbols = self._symbols[node.number]
        return symbols[:-1] if node.fate == "finished" else symbols
