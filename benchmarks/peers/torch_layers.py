"""torch.nn's own layers: oneDNN's LSTM, and PyTorch's GRU and RNN."""

from torch import Tensor, nn

from benchmarks.peers.contestant import Contestant, Unavailable, in_torch
from benchmarks.peers.task import Task

LAYERS = {"rnn": nn.RNN, "gru-torch": nn.GRU, "lstm": nn.LSTM}


def contestant(task: Task) -> Contestant:
    """The layer of the same name, with ours' weights: their names and order are the same."""
    if task.cell not in LAYERS:
        raise Unavailable("torch.nn has no such cell")
    layer = LAYERS[task.cell](task.shape.input, task.shape.hidden)
    layer.load_state_dict(task.layer.state_dict())
    single = len(task.states) == 1

    def forward(x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        output, final = layer(x, states[0] if single else states)
        return output, (final,) if single else final

    parameters = dict(layer.named_parameters())
    return in_torch(task, forward, [parameters[name + "_l0"] for name in task.weights])
