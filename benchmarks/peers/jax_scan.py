"""The cells in JAX: `lax.scan` over timesteps under `jit`, the input projected beforehand in one matrix product.

JAX takes its number of threads when it starts, from the environment: see `environment`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.peers.contestant import Contestant, Numbers, Unavailable, named
from benchmarks.peers.task import Task

Arrays = Mapping[str, Any]


def environment(threads: int) -> dict[str, str]:
    """What has to be set before a process imports JAX, so that it computes on so many threads."""
    settings = {"NPROC": str(threads), "PJRT_NPROC": str(threads), "JAX_PLATFORMS": "cpu"}
    if threads == 1:
        settings["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    return settings


def contestant(task: Task) -> Contestant:
    """The whole sequence, and in training its vector-Jacobian product, compiled as one."""
    try:
        import jax
    except ImportError as missing:
        raise Unavailable("jax is not installed") from missing
    given = jax.tree.map(
        lambda tensor: jax.numpy.array(tensor.detach().numpy()),
        (task.weights, task.x, task.states, tuple(task.cotangents)),
    )
    forward = forward_of(task.cell)

    def train(weights: Arrays, x: Any, states: Any, cotangents: Any) -> Any:
        results, pull_back = jax.vjp(forward, weights, x, states)
        return results, pull_back((cotangents[0], cotangents[1:]))

    function = jax.jit(train if task.training else forward)
    arguments = given if task.training else given[:3]
    return Contestant(lambda: jax.block_until_ready(function(*arguments)), lambda result: _numbers(task, result))


def _numbers(task: Task, result: Any) -> Numbers:
    gradients = []
    if task.training:
        result, (weights, x, states) = result
        gradients = [x, *states, *(weights[name] for name in task.weights)]
    output, finals = result
    return named(task, np.asarray(output), [*map(np.asarray, finals)], [*map(np.asarray, gradients)])


def forward_of(cell: str) -> Callable[..., Any]:
    """(weights, x, states) to the output and the final states."""
    from jax import lax

    step = _steps()[cell]

    def forward(weights: Arrays, x: Any, states: Any) -> Any:
        biases = [name for name in ("bias", "bias_ih", "bias_hh") if name in weights]
        if cell == "gru-torch":
            biases.remove("bias_hh")  # inside the reset gate's product
        projected = x @ weights["weight_ih"].T + sum(weights[name] for name in biases)

        def body(current: Any, row: Any) -> Any:
            current = step(weights, row, *current)
            return current, current[0]

        finals, output = lax.scan(body, tuple(state[0] for state in states), projected)
        return output, tuple(state[None] for state in finals)

    return forward


def _steps() -> dict[str, Callable[..., Any]]:
    """The cells' steps: weights, the projected input and the states to the new states."""
    from jax import numpy as jnp
    from jax.nn import sigmoid

    def rnn(w: Arrays, projected: Any, a: Any) -> Any:
        return (jnp.tanh(projected + a @ w["weight_hh"].T),)

    def gru_simplified(w: Arrays, projected: Any, c: Any) -> Any:
        update, candidate = jnp.split(projected + c @ w["weight_hh"].T, 2, axis=1)
        update = sigmoid(update)
        return (update * jnp.tanh(candidate) + (1 - update) * c,)

    def gru(w: Arrays, projected: Any, c: Any) -> Any:
        size = 2 * c.shape[1]
        relevance, update = jnp.split(sigmoid(projected[:, :size] + c @ w["weight_hh"][:size].T), 2, axis=1)
        candidate = jnp.tanh(projected[:, size:] + (relevance * c) @ w["weight_hh"][size:].T)
        return (update * candidate + (1 - update) * c,)

    def gru_torch(w: Arrays, projected: Any, c: Any) -> Any:
        size = 2 * c.shape[1]
        hidden = c @ w["weight_hh"].T + w["bias_hh"]
        relevance, keep = jnp.split(sigmoid(projected[:, :size] + hidden[:, :size]), 2, axis=1)
        candidate = jnp.tanh(projected[:, size:] + relevance * hidden[:, size:])
        return ((1 - keep) * candidate + keep * c,)

    def lstm(w: Arrays, projected: Any, a: Any, c: Any) -> Any:
        update, forget, candidate, output = jnp.split(projected + a @ w["weight_hh"].T, 4, axis=1)
        c = sigmoid(forget) * c + sigmoid(update) * jnp.tanh(candidate)
        return sigmoid(output) * jnp.tanh(c), c

    def lstm_peephole(w: Arrays, projected: Any, a: Any, c: Any) -> Any:
        update, forget, candidate, output = jnp.split(projected + a @ w["weight_hh"].T, 4, axis=1)
        on_update, on_forget, on_output = jnp.split(w["weight_peephole"], 3)
        c = sigmoid(forget + on_forget * c) * c + sigmoid(update + on_update * c) * jnp.tanh(candidate)
        return sigmoid(output + on_output * c) * jnp.tanh(c), c

    def minimal(w: Arrays, projected: Any, h: Any) -> Any:
        size = h.shape[1]
        forget = sigmoid(projected[:, :size] + h @ w["weight_hh"][:size].T)
        candidate = jnp.tanh(projected[:, size:] + (forget * h) @ w["weight_hh"][size:].T)
        return ((1 - forget) * h + forget * candidate,)

    steps = (rnn, gru_simplified, gru, gru_torch, lstm, lstm_peephole, minimal)
    return {step.__name__.replace("_", "-"): step for step in steps}
