"""Sequences too long for memory: what checkpoints of the states save, and what they cost.

    python -m benchmarks.long_sequences
    python -m benchmarks.long_sequences --steps 10000 --batch 32 --hidden 256 --cell lstm

Trains one layer on one batch, in a process of its own for each setting, and prints the seconds of forward and backward
and the most memory that was held beyond inputs, outputs and their gradients.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time


def held() -> int:
    """The most memory that this process has held, in bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(arguments: argparse.Namespace, checkpoint: int) -> dict[str, float]:
    """Seconds of the quickest of some rounds, and bytes beyond inputs, outputs and their gradients."""
    import torch

    from unrolled.nn import Recurrent

    torch.set_num_threads(arguments.threads)
    shape = (arguments.steps, arguments.batch, arguments.hidden)
    layer = Recurrent(arguments.cell, arguments.hidden, arguments.hidden, checkpoint=checkpoint)
    short = torch.randn(8, *shape[1:], requires_grad=True)
    layer(short)[0].sum().backward()  # compiles
    x, gradient = torch.randn(shape, requires_grad=True), torch.randn(shape)
    before, seconds = held(), []
    for _ in range(arguments.rounds):
        x.grad = None
        start = time.perf_counter()
        layer(x)[0].backward(gradient)
        seconds.append(time.perf_counter() - start)
    own = 2 * x.numel() * x.element_size()  # the output and the gradient of x, which came after `before`
    return {"seconds": min(seconds), "bytes": held() - before - own}


def main() -> None:
    """Measure without checkpoints, with √T, and with the numbers given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("steps", 10_000), ("batch", 32), ("hidden", 256), ("rounds", 3), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--cell", default="lstm")
    parser.add_argument("--checkpoint", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.checkpoint is not None:
        print(json.dumps(measure(arguments, True if arguments.checkpoint == 1 else arguments.checkpoint)))
        return
    results = {}
    for name, checkpoint in (("everything is kept", 0), ("checkpoint=True", 1)):
        command = [sys.executable, "-m", "benchmarks.long_sequences", *sys.argv[1:], "--checkpoint", str(checkpoint)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        results[name] = json.loads(done.stdout)
        print(f"{name:20} {results[name]['seconds']:7.2f} s  {results[name]['bytes'] / 1e6:7.0f} MB")
    times = [result["seconds"] for result in results.values()]
    print(f"{times[1] / times[0]:.2f} times as long")


if __name__ == "__main__":
    main()
