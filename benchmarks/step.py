"""How long does one timestep take, called from Python: ours, packed, and torch.nn's cells?

    python -m benchmarks.step --targets --json step.json

One sequence, one timestep a call, the state handed on, as in sampling and on live streams. Most of that is not
arithmetic: a layer of 8 units does next to none, so the time of its step is called overhead, and what a larger layer
takes beyond it is called kernel.
"""

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.measuring import ROUNDS, Plan, busy_mark, calmest, machine, table, write_json
from benchmarks.peers import Shape, Task, Unavailable
from benchmarks.peers.loops import STEPS, prepared
from benchmarks.peers.ours import half_width, packed_layer
from benchmarks.peers.task import CELLS
from benchmarks.targets import STEP, THREADS
from unrolled.nn import Recurrent

Record = dict[str, Any]
Call = Callable[[], object]
TORCH_CELLS = {"rnn": nn.RNNCell, "gru-torch": nn.GRUCell, "lstm": nn.LSTMCell}
OVERHEAD = 8
"""The hidden size whose step is all overhead."""

OURS, HALF, TORCH, LOOP = "ours", "ours-bfloat16", "torch.nn", "eager-loop"


def ours(layer: Recurrent, task: Task) -> Call:
    """`layer.step`, the state handed on from call to call."""
    x, state = task.x[0], task.states if len(task.states) > 1 else task.states[0]

    def call() -> object:
        nonlocal state
        state = layer.step(x, state)
        return state

    return call


def torch_cell(task: Task) -> Call:
    """torch.nn's cell with the same weights."""
    cell = TORCH_CELLS[task.cell](task.shape.input, task.shape.hidden)
    cell.load_state_dict(task.weights)
    x, state = task.x[0], tuple(given[0] for given in task.states)
    state = state if len(state) > 1 else state[0]

    def call() -> object:
        nonlocal state
        state = cell(x, state)
        return state

    return call


def written_out(task: Task) -> Call:
    """The cell in PyTorch's functions, for those that torch.nn does not have."""
    step, x, state = STEPS[task.cell], task.x[0], tuple(given[0] for given in task.states)
    bias, parts = prepared(task.cell, task.weights)
    parts = {name: part.detach() for name, part in parts.items()}
    bias, weight = bias.detach(), task.weights["weight_ih"].detach().t()

    def call() -> object:
        nonlocal state
        state = step(parts, torch.addmm(bias, x, weight), *state)
        return state

    return call


def measure(cell: str, hidden: int, threads: int, plan: Plan) -> Record:
    """One cell and size: a step of each, by turns."""
    task = Task(cell, Shape(1, hidden, hidden, 1), training=False, threads=threads)
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        layer, block = packed_layer(task)
        stack.enter_context(block)
        peer = TORCH if cell in TORCH_CELLS else LOOP
        calls = {OURS: ours(layer, task), peer: torch_cell(task) if peer == TORCH else written_out(task)}
        errors = {peer: difference(calls[OURS](), calls[peer]())}
        try:
            narrow, block = half_width(task)
            stack.enter_context(block)
            calls[HALF] = ours(narrow, task)
            errors[HALF] = difference(ours(layer, task)(), calls[HALF]())
        except Unavailable:
            pass
        if errors[peer] > 1e-5:
            raise SystemExit(f"{cell}, hidden {hidden}: ours and {peer} differ by {errors[peer]:.1e}; not timed")
        timings, others = calmest(calls, plan)
    timed = {name: asdict(timing) | {"difference": errors.get(name, 0.0)} for name, timing in timings.items()}
    return {"cell": cell, "hidden": hidden, "threads": threads, "peer": peer, "others' cores": others} | timed


def difference(one: object, other: object) -> float:
    """The largest difference between two states, whatever their shapes."""
    left, right = (state if isinstance(state, tuple) else (state,) for state in (one, other))
    return max(float((a.flatten() - b.flatten()).abs().max()) for a, b in zip(left, right, strict=True))


def apart(records: list[Record]) -> None:
    """Tell overhead and kernel apart: into every record, the time of the smallest layer, and what is beyond."""
    smallest = {(record["cell"], record["threads"]): record for record in records if record["hidden"] == OVERHEAD}
    for record in records:
        base = smallest[record["cell"], record["threads"]]
        for name in (OURS, record["peer"], HALF):
            if name in record and name in base:
                overhead = base[name]["seconds"]
                kernel = max(0.0, record[name]["seconds"] - overhead)
                record[name] |= {"overhead": overhead, "kernel": kernel}
        record["ratio"] = record[record["peer"]]["seconds"] / record[OURS]["seconds"]
        asked = record["peer"] == TORCH and record["threads"] == THREADS and record["hidden"] >= 64
        record["verdict"] = ("met" if record["ratio"] >= STEP else "missed") if asked else ""


def report(records: list[Record], targets: bool) -> str:
    """A line a measurement, in microseconds."""
    headings = [
        "cell",
        "hidden",
        "threads",
        "ours",
        "= overhead",
        "+ kernel",
        "bfloat16",
        "its error",
        "peer",
        "theirs",
    ]
    headings += ["= overhead", "+ kernel", "ratio", *(["target"] if targets else [])]
    lines = []
    for record in records:
        half = record.get(HALF)
        line = [
            record["cell"] + busy_mark(record["others' cores"]),
            str(record["hidden"]),
            str(record["threads"]),
            *_microseconds(record[OURS]),
        ]
        line += [_microseconds(half)[0], f"{half['difference']:.0e}"] if half else ["-", "-"]
        line += [record["peer"], *_microseconds(record[record["peer"]]), f"{record['ratio']:.2f}"]
        lines.append(line + ([record["verdict"]] if targets else []))
    return table(headings, lines) + "\nMicroseconds a step. * marks lines during which other processes were busy."


def _microseconds(timed: Record) -> list[str]:
    return [f"{1e6 * timed[part]:.1f}" for part in ("seconds", "overhead", "kernel")]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cells", nargs="+", choices=list(CELLS), default=["rnn", "gru-torch", "lstm"])
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--budget", type=float, default=1.5, help="seconds a measurement for further rounds")
    parser.add_argument("--quiet", type=float, default=0, help="wait so many seconds for other processes to calm down")
    parser.add_argument("--again", type=int, default=0, help="measure so many times more where they were busy")
    parser.add_argument("--targets", action="store_true", help="say which targets are met")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    arguments = parser.parse_args()
    plan = Plan(rounds=arguments.rounds, budget=arguments.budget, quiet=arguments.quiet, again=arguments.again)
    records: list[Record] = []
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for cell in arguments.cells:
            sizes = dict.fromkeys([OVERHEAD, *arguments.hidden])
            records += [measure(cell, hidden, threads, plan) for hidden in sizes]
    apart(records)
    print(report(records, arguments.targets))
    if arguments.json:
        write_json(arguments.json, {"machine": machine(), "records": records})


if __name__ == "__main__":
    main()
