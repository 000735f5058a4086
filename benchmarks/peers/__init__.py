"""Comes in: a task, which is a cell, a shape and weights. Goes out: a contestant that does it. One file a peer.

Every contestant gets the same numbers, and has to return the same: `wrong` says by how much it does not.
"""

from benchmarks.peers import jax_scan, loops, onnx_graph, ours, torch_layers
from benchmarks.peers.contestant import Contestant, Unavailable
from benchmarks.peers.task import Shape, Task

PEERS = {
    "ours": ours.contestant,
    "ours-packed": ours.packed,
    "ours-bfloat16": ours.bfloat16,
    "torch.nn": torch_layers.contestant,
    "eager-loop": loops.eager,
    "torch.compile": loops.compiled,
    "jax": jax_scan.contestant,
    "onnxruntime": onnx_graph.contestant,
}
"""Every contestant, ours first: a function of a task, which raises `Unavailable` with the reason."""

__all__ = ["PEERS", "Contestant", "Shape", "Task", "Unavailable"]
