"""How many callers can one server answer, how soon, and what does a stream cost?

    python -m benchmarks.serving                 # some 5 minutes
    python -m benchmarks.serving --quick

A character LSTM and a tagger are served by `unrolled serve`, with batching and without, and the LSTM by a plain FastAPI
handler around torch.nn.LSTM with the same weights, in both ways that people write one. All of them run at the same time
and are loaded by turns; medians over the rounds. Then 10,000 streams are opened and appended to.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

import unrolled
from benchmarks.load import Ask, Connection, Load, load
from benchmarks.measuring import machine, table, write_json
from unrolled.data.builtin import builtin_text

HOST = "127.0.0.1"
CLIENTS = (1, 16, 256)
LENGTH = 200
"""Characters of a scored text, and of the prefix that a stream spares."""


@dataclass(frozen=True)
class Contestant:
    """A server that runs: its name, its port, its process, and whether it speaks our API."""

    name: str
    port: int
    process: int
    ours: bool


def trained(folder: Path, hidden: int) -> dict[str, Path]:
    """A character LSTM and a tagger, trained for a moment: what they say does not matter here, only what it costs."""
    text = folder / "text.txt"
    text.write_text(builtin_text()[:400_000], encoding="utf-8")
    rows = "\n\n".join("\n".join(f"{word}\t{'N' if len(word) > 4 else 'O'}" for word in line.split()[:30])
                       for line in builtin_text().splitlines()[:600] if len(line.split()) > 3)  # fmt: skip
    (folder / "tags.conll").write_text(rows + "\n", encoding="utf-8")
    (folder / "characters.toml").write_text('task = "language-model"\n[data]\npath = "text.txt"\n', encoding="utf-8")
    (folder / "tagger.toml").write_text('task = "tag"\n[data]\npath = "tags.conll"\n', encoding="utf-8")
    small = {"training.steps": 3, "training.batch": 8}
    runs = {}
    for name, settings in (("characters", {"model.hidden": hidden, "model.layers": 1}), ("tagger", {})):
        runs[name] = folder / "runs" / name
        unrolled.train(folder / f"{name}.toml", {**small, **settings}, folder=runs[name], quiet=True)
    return runs


@contextmanager
def server(name: str, command: list[str], *, ours: bool) -> Iterator[Contestant]:
    """A server in a process of its own, until the block ends."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", *command, "--port", str(port)], stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex((HOST, port)) == 0:
                    break
            if process.poll() is not None:
                raise SystemExit(f"{name} ended with {process.returncode}")
            time.sleep(0.1)
        yield Contestant(name, port, process.pid, ours)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def texts() -> list[str]:
    """Pieces of the manual of one length."""
    corpus = builtin_text()
    return [corpus[start : start + LENGTH] for start in range(0, 997 * LENGTH, LENGTH)]


def scoring(contestant: Contestant, pieces: list[str]) -> Ask:
    """Each request scores one text."""
    path = "/v1/models/characters/score" if contestant.ours else "/score"

    def ask(client: int, count: int) -> tuple[str, Any]:
        text = pieces[(client * 31 + count) % len(pieces)]
        return path, {"inputs": [text], "symbols": False} if contestant.ours else {"inputs": [text]}

    return ask


def tagging(pieces: list[str]) -> Ask:
    """Each request labels one text."""
    return lambda client, count: (
        "/v1/models/tagger/predict", {"inputs": [pieces[(client * 31 + count) % len(pieces)]]}
    )  # fmt: skip


def loaded(contestant: Contestant, clients: int, seconds: float, ask: Ask) -> Load:
    """One turn of one contestant."""
    found = asyncio.run(load(HOST, contestant.port, clients, seconds, ask))
    if set(found.statuses) != {200}:
        raise SystemExit(f"{contestant.name}: statuses {found.statuses}")
    return found


def throughput(contestants: list[Contestant], pieces: list[str], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """All of them by turns, with each number of clients."""
    records = []
    for clients in CLIENTS:
        found: dict[str, list[Load]] = {one.name: [] for one in contestants}
        for _ in range(rounds):
            for one in contestants:
                found[one.name].append(loaded(one, clients, seconds, scoring(one, pieces)))
        for name, loads in found.items():
            records.append({"clients": clients, "server": name, **figures(loads)})
        _same_answers(contestants, pieces)
    return records


def figures(loads: list[Load]) -> dict[str, float]:
    """Medians over the rounds; milliseconds."""
    return {
        "requests a second": statistics.median(one.rate for one in loads),
        "p50 ms": 1e3 * statistics.median(one.latency(0.5) for one in loads),
        "p99 ms": 1e3 * statistics.median(one.latency(0.99) for one in loads),
    }


def _same_answers(contestants: list[Contestant], pieces: list[str]) -> None:
    """All servers must say the same."""

    async def answers() -> list[float]:
        found = []
        for one in contestants:
            connection = Connection(HOST, one.port)
            _, answer = await connection.post(*scoring(one, pieces)(0, 0))
            said = answer["answers"][0]
            found.append(said["log_probability"] if one.ours else said)
            connection.close()
        return found

    said = asyncio.run(answers())
    if not all(math.isclose(one, said[0], rel_tol=1e-4) for one in said):
        raise SystemExit(f"the servers do not agree: {said}")


def stepping(ours: Contestant, plains: list[Contestant], pieces: list[str], rounds: int) -> dict[str, float]:
    """What the next symbol costs, in milliseconds: an append to a stream, by POST or over a WebSocket, or reading the
    prefix of 200 again."""
    streams = "/v1/models/characters/streams"

    async def measure() -> dict[str, list[float]]:
        mine, others = Connection(HOST, ours.port), {one.name: Connection(HOST, one.port) for one in plains}
        _, opened = await mine.post(streams, {})
        path = f"{streams}/{opened['id']}"
        await mine.post(path, {"append": pieces[0]})
        async with connect(f"ws://{HOST}:{ours.port}{streams}/new") as socket:
            await _told(socket, pieces[0])
            found: dict[str, list[float]] = {}
            for turn in range(rounds):
                symbol, prefix = pieces[1][turn % LENGTH], {"inputs": [pieces[turn % 97]]}
                ways: dict[str, Callable[[], Awaitable[Any]]] = {
                    ours.name: partial(mine.post, path, {"append": symbol}),
                    f"{ours.name}, WebSocket": partial(_told, socket, symbol),
                    **{name: partial(other.post, "/next", prefix) for name, other in others.items()},
                }
                for name, ask in ways.items():
                    begun = time.perf_counter()
                    status, answer = await ask()
                    found.setdefault(name, []).append(time.perf_counter() - begun)
                    assert status == 200, answer
        return found

    return {name: 1e3 * statistics.median(times) for name, times in asyncio.run(measure()).items()}


async def _told(socket: ClientConnection, text: str) -> tuple[int, Any]:
    """An append over a WebSocket; the status that a POST would have, and the answer."""
    await socket.send(json.dumps({"append": text}))
    answer = json.loads(await socket.recv())
    return answer.get("status", 200), answer


def resident(process: int) -> int:
    """Bytes of memory that a process holds."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def streams(ours: Contestant, count: int, hidden: int, appends: int) -> dict[str, float]:
    """Open so many streams, append to all of them, and ask what they cost."""
    connections = [Connection(HOST, ours.port) for _ in range(64)]
    ids: list[str] = []

    async def opening(connection: Connection, number: int) -> None:
        for _ in range(number):
            status, opened = await connection.post("/v1/models/characters/streams", {"top": 0})
            assert status == 200, opened
            ids.append(opened["id"])

    await asyncio.gather(*(opening(one, 8) for one in connections))  # what the first ones need besides is not theirs
    before = resident(ours.process)
    each = -(-count // len(connections))
    await asyncio.gather(*(opening(one, each) for one in connections))
    opened = resident(ours.process)
    times: list[float] = []

    async def appending(connection: Connection, own: list[str], symbol: str) -> None:
        for id in own:
            begun = time.perf_counter()
            status, answer = await connection.post(f"/v1/models/characters/streams/{id}", {"append": symbol, "top": 0})
            times.append(time.perf_counter() - begun)
            assert status == 200, answer

    begun = time.perf_counter()
    for turn in range(appends):
        parts = [ids[number :: len(connections)] for number in range(len(connections))]
        await asyncio.gather(
            *(appending(one, own, "etaoin"[turn % 6]) for one, own in zip(connections, parts, strict=True))
        )
    seconds, after = time.perf_counter() - begun, resident(ours.process)
    for one in connections:
        one.close()
    state = 2 * hidden * 4
    return {
        "streams": len(ids), "state bytes": state,
        "bytes beyond the state, opened": (opened - before) / (each * len(connections)) - state,
        "bytes beyond the state, appended": (after - before) / (each * len(connections)) - state,
        "appends a second": len(times) / seconds, "p50 ms": 1e3 * statistics.median(times),
        "p99 ms": 1e3 * statistics.quantiles(times, n=100)[98],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small model and short turns: does it work?")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one turn")
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    if given.quick:
        given.hidden, given.rounds, given.seconds, given.streams = 32, 1, 0.5, 256
    found = measured(given.hidden, given.rounds, given.seconds, given.streams)
    if given.json:
        write_json(given.json, found)


def measured(hidden: int, rounds: int, seconds: float, count: int) -> dict[str, Any]:
    """All figures, printed as they come."""
    print(machine_line())
    with TemporaryDirectory() as place, ExitStack() as stack:
        runs = trained(Path(place), hidden)
        both = [str(runs["characters"]), str(runs["tagger"])]
        ours = stack.enter_context(server("unrolled", ["unrolled", "serve", *both, "--quiet"], ours=True))
        alone = ["unrolled", "serve", *both, "--quiet", "--batch", "1"]
        alone_server = stack.enter_context(server("unrolled, batching off", alone, ours=True))
        plain = ["benchmarks.peers.plain_server", both[0]]
        plains = [
            stack.enter_context(server("plain handler, async def", plain, ours=False)),
            stack.enter_context(server("plain handler, def", [*plain, "--threaded"], ours=False)),
        ]
        pieces = texts()
        records = throughput([ours, alone_server, *plains], pieces, rounds, seconds)
        print(report(records, f"score {LENGTH} characters, LSTM of {hidden}"))
        tags = []
        for clients in CLIENTS:
            for one in (ours, alone_server):
                loads = [loaded(one, clients, seconds, tagging(pieces)) for _ in range(rounds)]
                tags.append({"clients": clients, "server": one.name, **figures(loads)})
        print(report(tags, "label a sentence, bidirectional tagger of the default recipe"))
        steps = stepping(ours, plains, pieces, 60 * rounds)
        print("\nthe next symbol after 200, ms: " + "; ".join(f"{name} {ms:.2f}" for name, ms in steps.items()))
        again = min(steps[one.name] for one in plains)
        times = "; ".join(f"{name} {again / ms:.1f}" for name, ms in steps.items() if name.startswith(ours.name))
        print(f"a stream's step is so many times cheaper than reading the prefix again: {times}")
        held = asyncio.run(streams(ours, count, hidden, 3))
        print("\nstreams: " + "; ".join(f"{name} {value:,.1f}" for name, value in held.items()))
        best = max(r["requests a second"] for r in records if r["clients"] == 256 and r["server"].startswith("plain"))
        mine = next(r["requests a second"] for r in records if r["clients"] == 256 and r["server"] == "unrolled")
        print(f"\nat 256 clients {mine / best:.2f} times the throughput of the better plain handler")
    return {
        "machine": machine(),
        "scores": records,
        "tags": tags,
        "steps": steps,
        "streams": held,
        "ratio": mine / best,
    }


def machine_line() -> str:
    """Where this is measured."""
    found = machine()
    return ", ".join(f"{key}: {value}" for key, value in found.items() if isinstance(value, str | int | float))


def report(records: list[dict[str, Any]], title: str) -> str:
    """Records as a table."""
    rows = [
        [
            str(one["clients"]),
            one["server"],
            f"{one['requests a second']:.1f}",
            f"{one['p50 ms']:.1f}",
            f"{one['p99 ms']:.1f}",
        ]
        for one in records
    ]
    return f"\n{title}\n" + table(["clients", "server", "requests/s", "p50 ms", "p99 ms"], rows)


if __name__ == "__main__":
    main()
