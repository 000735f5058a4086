"""How fast are recurrent layers on this processor, ours and everybody else's?

    python -m benchmarks.recurrence --targets --json recurrence.json
    python -m benchmarks.recurrence --threads 2 --cells lstm gru-torch --shapes 1,256,256,100 --peers torch.nn jax
    python -m benchmarks.recurrence --lengths --threads 2

A shape is batch, input, hidden, steps. Inference is the output and the final states, from x and the weights as they
are stored; training is that and the gradients of x, of the initial states and of all weights. Every contestant has to
return our numbers before it is timed. Each number of threads has a process of its own, since JAX asks once, when it
starts. The peak is a contestant too, so that a fraction compares what the machine did at the same time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks import peak
from benchmarks.measuring import ROUNDS, Plan, Timing, calmest, machine, write_json
from benchmarks.peers import PEERS, Contestant, Shape, Task, Unavailable
from benchmarks.peers.contestant import wrong
from benchmarks.peers.jax_scan import environment
from benchmarks.peers.task import CELLS, SHAPES, engine
from benchmarks.recurrence_report import lengths_table, ratio_table, skipped_text
from benchmarks.targets import LENGTHS, peak_verdict, verdict

Record = dict[str, Any]
PEAK = "peak"
DEFAULT_PEERS = [name for name in PEERS if name != "ours"]
QUICK = [Shape.of("1,64,64,100"), Shape.of("32,128,128,100")]


def contestants_of(task: Task, peers: list[str]) -> tuple[dict[str, Contestant], dict[str, float], dict[str, str]]:
    """Ours and those peers that do the task and return our numbers; how far they are off; why others are left out."""
    found, differences, skipped = {}, {}, {}
    reference = None
    for name in ["ours", *peers]:
        try:
            made = PEERS[name](task)
            if reference is None:
                reference = made.numbers(made.run())
            difference, fault = wrong(made, reference)
        except Unavailable as reason:
            skipped[name] = str(reason)
        except Exception as problem:  # said in the end; hours of other measurements are not lost to it
            skipped[name] = f"it failed: {type(problem).__name__}: {problem}"
        if name in skipped:
            if name == "ours":
                break
            continue
        if fault:
            skipped[name] = f"not timed, its numbers are not ours: {fault}"
        else:
            found[name], differences[name] = made, difference
    return found, differences, skipped


def measure(task: Task, peers: list[str], plan: Plan) -> Record:
    """One cell, shape and mode: everybody by turns, and the peak among them."""
    found, differences, skipped = contestants_of(task, peers)
    calls = {name: made.run for name, made in found.items()}
    timings, others = calmest(calls | {PEAK: peak.multiply_adds(task.threads)}, plan) if calls else ({}, 0.0)
    record = {**_about(task), "others' cores": others, "skipped": skipped, "contestants": {}}
    # The peak at its best: a moment in which a neighbour held the cores would make everybody else look good.
    top = peak.flops() / timings[PEAK].best if timings else 0.0
    for name, timing in timings.items():
        if name != PEAK:
            details = {"about": found[name].about, "difference": differences[name]}
            record["contestants"][name] = details | _figures(task, timing, timings["ours"], name, top)
    return record | {"peak GF/s": top / 1e9}


def _about(task: Task) -> Record:
    mode = "training" if task.training else "inference"
    return {"cell": task.cell, **asdict(task.shape), "mode": mode, "threads": task.threads, "flops": task.flops}


def _figures(task: Task, timing: Timing, ours: Timing, name: str, top: float) -> Record:
    """A contestant's time, rate, fraction of the peak, ratio to ours, and whether that is enough."""
    rate, ratio = task.flops / timing.seconds, timing.seconds / ours.seconds
    about = {"training": task.training, "threads": task.threads}
    if name == "ours":
        word, asked = peak_verdict(rate / top, task.shape, **about)
    else:
        word, asked = verdict(ratio, name, task.cell, task.shape, **about)
    figures = {"GF/s": rate / 1e9, "fraction of peak": rate / top, "their time / ours": ratio}
    return asdict(timing) | figures | {"verdict": word, "asked for": asked}


def measure_lengths(task: Task, plan: Plan) -> Record:
    """Ours with half the batch half as long, and without lengths."""
    batch, steps = task.shape.batch, task.shape.steps
    lengths = torch.tensor([steps if row % 2 else steps // 2 for row in range(batch)])
    plain, shorter = (_layer_call(task, given) for given in (None, lengths))
    timings, others = calmest({"without": plain, "with": shorter}, plan)
    ratio = timings["with"].seconds / timings["without"].seconds
    word = "met" if ratio <= LENGTHS else "missed"
    timed = {name: asdict(timing) for name, timing in timings.items()}
    return {**_about(task), **timed, "ratio": ratio, "verdict": word, "others' cores": others}


def _layer_call(task: Task, lengths: torch.Tensor | None) -> Any:
    state = task.states[0] if len(task.states) == 1 else task.states
    inputs = [task.x.requires_grad_(task.training), *task.states, *task.weights.values()]

    def call() -> None:
        with torch.inference_mode(not task.training):
            output, final = task.layer(task.x, state, lengths=lengths)
            if task.training:
                results = [output, *(final if isinstance(final, tuple) else (final,))]
                torch.autograd.grad(results, inputs, task.cotangents)

    for given in task.states:
        given.requires_grad_(task.training)
    return call


def run(arguments: argparse.Namespace, threads: int) -> Record:
    """All measurements on one number of threads, in this process; written down after each."""
    torch.set_num_threads(threads)
    plan = Plan(rounds=arguments.rounds, budget=arguments.budget, quiet=arguments.quiet, again=arguments.again)
    result = {"machine": machine(), "engine": engine()[0], "threads": threads, "records": [], "lengths": []}
    for cell in arguments.cells:
        for mode in arguments.mode:
            for shape in arguments.shapes:
                if arguments.lengths and shape.batch < 32:
                    continue
                task = Task(cell, shape, training=mode == "training", threads=threads)
                if arguments.lengths:
                    result["lengths"].append(measure_lengths(task, plan))
                else:
                    result["records"].append(measure(task, arguments.peers, plan))
                print(f"{threads} thread(s), {cell}, {mode}, {shape}: done", file=sys.stderr, flush=True)
                write_json(arguments.json, result)
    return result | {"peak": peak.measure(threads, min(arguments.rounds, ROUNDS), 1 << (24 if arguments.quick else 30))}


def parsed(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--shapes", type=Shape.of, nargs="+", help="batch,input,hidden,steps")
    parser.add_argument("--cells", nargs="+", choices=list(CELLS), default=list(CELLS))
    parser.add_argument("--peers", nargs="*", choices=DEFAULT_PEERS, default=DEFAULT_PEERS)
    parser.add_argument("--mode", nargs="+", choices=["inference", "training"], default=["inference", "training"])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="at least so many; short ones get more")
    parser.add_argument("--budget", type=float, default=1.5, help="seconds a measurement for those further rounds")
    parser.add_argument("--quick", action="store_true", help="two shapes, few rounds: whether it works, not how fast")
    parser.add_argument("--quiet", type=float, default=0, help="wait so many seconds for other processes to calm down")
    parser.add_argument("--again", type=int, default=0, help="measure so many times more where they were busy")
    parser.add_argument("--lengths", action="store_true", help="only ours, with lengths and without; batches >= 32")
    parser.add_argument("--targets", action="store_true", help="say which targets are met")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args(given)
    arguments.shapes = arguments.shapes or (QUICK if arguments.quick else list(SHAPES))
    if arguments.quick:
        arguments.rounds, arguments.budget = min(arguments.rounds, 3), 0.0
    return arguments


def in_a_process(given: list[str], threads: int, path: Path) -> Record:
    """The result of a process of its own; what it had measured, if it ended before its time."""
    command = [sys.executable, "-m", "benchmarks.recurrence", *given, "--child"]
    command += ["--threads", str(threads), "--json", str(path)]
    ended = subprocess.run(command, env={**os.environ, **environment(threads)}, check=False)
    if not path.exists():
        raise SystemExit(f"the process for {threads} thread(s) ended with {ended.returncode}, and measured nothing")
    return {**json.loads(path.read_text(encoding="utf-8")), "exit status": ended.returncode}


def in_processes(arguments: argparse.Namespace) -> list[Record]:
    """The result for each number of threads. Until all are there, they lie beside the file that is asked for."""
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.json or Path(folder) / "result.json"
        parts = [path.with_suffix(f".{threads}.json") for threads in arguments.threads]
        for part in parts:
            part.unlink(missing_ok=True)
        results = [in_a_process(sys.argv[1:], *one) for one in zip(arguments.threads, parts, strict=True)]
        for part in parts:
            part.unlink()
    return results


def main() -> None:
    """One process for each number of threads; then the tables."""
    arguments = parsed()
    if arguments.child:
        write_json(arguments.json, run(arguments, arguments.threads[0]))
        return
    start = time.perf_counter()
    results = in_processes(arguments)
    records = [record for result in results for record in result["records"]]
    about = results[0]["machine"]
    print(f"{about['processor']}, {about['instruction set']}, {about['cores']} cores; {about['versions']}")
    print(engine()[1] or f'ours is engine="{engine()[0]}"')
    for result in results:
        if "peak" in result:
            print(f"{result['threads']} thread(s):", ", ".join(f"{k} {v:,.1f}" for k, v in result["peak"].items()))
    print()
    print(lengths_table(results) if arguments.lengths else ratio_table(records, arguments.targets))
    print(skipped_text(records))
    if arguments.json:
        write_json(arguments.json, {"seconds": time.perf_counter() - start, "results": results})


if __name__ == "__main__":
    main()
