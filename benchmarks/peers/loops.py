"""The cells as a loop in Python over PyTorch's functions: what a user writes today for a cell that torch.nn has not.

Written well: the input is projected for all timesteps in one matrix product, the biases added there where they can be,
and every timestep does one fused product for all gates that it can. `torch.compile` gets the same step.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.peers.contestant import Contestant, Forward, Unavailable, in_torch
from benchmarks.peers.task import Task

Weights = Mapping[str, Tensor]
"""The recurrent weights transposed, and what else a step needs, by name."""


def rnn(w: Weights, projected: Tensor, a: Tensor) -> tuple[Tensor]:
    return (torch.tanh(torch.addmm(projected, a, w["recurrent"])),)


def gru_simplified(w: Weights, projected: Tensor, c: Tensor) -> tuple[Tensor]:
    update, candidate = torch.addmm(projected, c, w["recurrent"]).chunk(2, 1)
    return (torch.lerp(c, torch.tanh(candidate), torch.sigmoid(update)),)


def gru(w: Weights, projected: Tensor, c: Tensor) -> tuple[Tensor]:
    size = 2 * c.shape[1]
    gates = torch.sigmoid(torch.addmm(projected[:, :size], c, w["gates"]))
    relevance, update = gates.chunk(2, 1)
    candidate = torch.tanh(torch.addmm(projected[:, size:], relevance * c, w["candidate"]))
    return (torch.lerp(c, candidate, update),)


def gru_torch(w: Weights, projected: Tensor, c: Tensor) -> tuple[Tensor]:
    size = 2 * c.shape[1]
    hidden = torch.addmm(w["bias_hh"], c, w["recurrent"])
    relevance, keep = torch.sigmoid(projected[:, :size] + hidden[:, :size]).chunk(2, 1)
    candidate = torch.tanh(torch.addcmul(projected[:, size:], relevance, hidden[:, size:]))
    return (torch.lerp(candidate, c, keep),)


def lstm(w: Weights, projected: Tensor, a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    update, forget, candidate, output = torch.addmm(projected, a, w["recurrent"]).chunk(4, 1)
    c = torch.sigmoid(forget) * c + torch.sigmoid(update) * torch.tanh(candidate)
    return torch.sigmoid(output) * torch.tanh(c), c


def lstm_peephole(w: Weights, projected: Tensor, a: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    update, forget, candidate, output = torch.addmm(projected, a, w["recurrent"]).chunk(4, 1)
    on_update, on_forget, on_output = w["peephole"].chunk(3)
    update, forget = torch.addcmul(update, on_update, c), torch.addcmul(forget, on_forget, c)
    c = torch.sigmoid(forget) * c + torch.sigmoid(update) * torch.tanh(candidate)
    return torch.sigmoid(torch.addcmul(output, on_output, c)) * torch.tanh(c), c


def minimal(w: Weights, projected: Tensor, h: Tensor) -> tuple[Tensor]:
    size = h.shape[1]
    forget = torch.sigmoid(torch.addmm(projected[:, :size], h, w["gates"]))
    candidate = torch.tanh(torch.addmm(projected[:, size:], forget * h, w["candidate"]))
    return (torch.lerp(h, candidate, forget),)


STEPS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "rnn": rnn,
    "gru-simplified": gru_simplified,
    "gru": gru,
    "gru-torch": gru_torch,
    "lstm": lstm,
    "lstm-peephole": lstm_peephole,
    "minimal": minimal,
}


def prepared(cell: str, weights: Weights) -> tuple[Tensor, Weights]:
    """The bias that goes into the projection, and what the step needs."""
    recurrent = weights["weight_hh"].t()
    if cell in ("gru", "minimal"):
        size = recurrent.shape[0]
        parts = {"gates": recurrent[:, :-size], "candidate": recurrent[:, -size:]}
        return weights["bias"], parts
    if cell == "gru-torch":
        return weights["bias_ih"], {"recurrent": recurrent, "bias_hh": weights["bias_hh"]}
    if cell == "lstm-peephole":
        return weights["bias"], {"recurrent": recurrent, "peephole": weights["weight_peephole"]}
    bias = weights["bias"] if "bias" in weights else weights["bias_ih"] + weights["bias_hh"]
    return bias, {"recurrent": recurrent}


def loop_of(cell: str, weights: Weights, step: Callable[..., tuple[Tensor, ...]]) -> Forward:
    """The whole sequence, a step at a time."""

    def forward(x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        bias, parts = prepared(cell, weights)
        current = tuple(state[0] for state in states)
        outputs = []
        for projected in functional.linear(x, weights["weight_ih"], bias).unbind(0):
            current = step(parts, projected, *current)
            outputs.append(current[0])
        return torch.stack(outputs), tuple(state.unsqueeze(0) for state in current)

    return forward


def _contestant(task: Task, step: Callable[..., tuple[Tensor, ...]], **details: Any) -> Contestant:
    return in_torch(task, loop_of(task.cell, task.weights, step), list(task.weights.values()), **details)


def eager(task: Task) -> Contestant:
    """The loop as it stands."""
    return _contestant(task, STEPS[task.cell])


def compiled(task: Task) -> Contestant:
    """The loop around a step that torch.compile made, for just this shape."""
    torch.compiler.reset()  # the steps of earlier shapes count towards a limit, past which nothing is compiled
    made = _contestant(task, torch.compile(STEPS[task.cell], fullgraph=True, dynamic=False))
    try:
        made.run()
    except Exception as problem:
        raise Unavailable(
            f"torch.compile failed: {type(problem).__name__}: {str(problem).splitlines()[0]}"
        ) from problem
    return made
