"""ONNX Runtime on a graph of one recurrent operator, the weights constants of the graph: it packs them beforehand."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.peers.contestant import Contestant, Unavailable, named
from benchmarks.peers.task import Task

OPERATORS = {"rnn": "RNN", "gru": "GRU", "gru-torch": "GRU", "lstm": "LSTM", "lstm-peephole": "LSTM"}
"""ONNX's operator for a cell."""

ORDER = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}
"""Where ONNX's gates stand among ours: update and reset and hidden; input and output and forget and cell."""

OPSET, IR_VERSION = 14, 8
"""Old enough for every ONNX Runtime of the last years, new enough for all that is used here."""


def contestant(task: Task) -> Contestant:
    """A session on as many threads as the task has."""
    if task.training:
        raise Unavailable("ONNX Runtime's package for inference does not train")
    if task.cell not in OPERATORS:
        raise Unavailable("ONNX has no operator for this cell")
    try:
        import onnx
        import onnxruntime
    except ImportError as missing:
        raise Unavailable(f"{missing.name} is not installed") from missing
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = task.threads, 1
    model = graph(onnx, task).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given = {name: array.numpy() for name, array in _inputs(task).items()}
    return Contestant(
        lambda: session.run(None, given), lambda result: named(task, result[0].squeeze(1), result[1:], [])
    )


def _inputs(task: Task) -> dict[str, Any]:
    return {"x": task.x.detach(), **{f"state{place}": state.detach() for place, state in enumerate(task.states)}}


def constants(task: Task) -> dict[str, np.ndarray]:
    """The operator's weights: (1, G · H, ·) with the gates in ONNX's order, the two biases in one."""
    weights = {name: tensor.detach().numpy() for name, tensor in task.weights.items()}
    order, hidden = ORDER[OPERATORS[task.cell]], task.shape.hidden
    one_bias = weights.get("bias")
    both = [weights["bias_ih"], weights["bias_hh"]] if one_bias is None else [one_bias, np.zeros_like(one_bias)]
    stacks = [_reordered(stack, order, hidden) for stack in (weights["weight_ih"], weights["weight_hh"], *both)]
    if task.cell == "gru":  # ONNX's gate keeps the old value, ours takes the new one: σ(-v) = 1 - σ(v)
        for stack in stacks:
            stack[:hidden] *= -1
    found = {"W": stacks[0], "R": stacks[1], "B": np.concatenate(stacks[2:])}
    if task.cell == "lstm-peephole":  # ours: update, forget, output
        found["P"] = _reordered(weights["weight_peephole"], (0, 2, 1), hidden)
    return {name: array[None] for name, array in found.items()}


def _reordered(stack: np.ndarray, order: Sequence[int], hidden: int) -> np.ndarray:
    return np.concatenate([stack[place * hidden : (place + 1) * hidden] for place in order])


def graph(onnx: Any, task: Task) -> Any:
    """The model: x and the initial states in, the output and the final states out."""
    helper, shape, operator = onnx.helper, task.shape, OPERATORS[task.cell]
    arrays, finals = constants(task), [f"final{place}" for place in range(len(task.states))]
    state_inputs = [f"state{place}" for place in range(len(task.states))]
    inputs = ["x", "W", "R", "B", "", *state_inputs, *(["P"] if "P" in arrays else [])]
    forms = {"linear_before_reset": int(task.cell == "gru-torch")} if operator == "GRU" else {}
    node = helper.make_node(operator, inputs, ["y", *finals], hidden_size=shape.hidden, **forms)

    def value(name: str, *sizes: int) -> Any:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes)

    state = (1, shape.batch, shape.hidden)
    made = helper.make_graph(
        [node],
        task.cell,
        [value("x", shape.steps, shape.batch, shape.input), *(value(name, *state) for name in state_inputs)],
        [value("y", shape.steps, *state), *(value(name, *state) for name in finals)],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model
