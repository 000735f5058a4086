"""How many characters a second does a language model train on, with ours and with a plain PyTorch script?

    python -m benchmarks.language_model --cell lstm --layers 1 --targets
    python -m benchmarks.language_model --cell gru --layers 2 --data input.txt --json language-model.json

The script is `plain_language_model`. Ours is the same script with two lines changed: the layer, and that it takes the
characters as they are instead of one-hot vectors of them. Both start with the same weights, see the same windows in the
same order, and take steps by turns; their losses stay together, or nothing is reported.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import unrolled.nn
from benchmarks.measuring import PAUSE, Neighbours, busy_mark, machine, table, write_json
from benchmarks.peers.task import engine
from benchmarks.plain_language_model import CharacterModel, encode, optimiser_of, train_step, windows
from benchmarks.targets import LANGUAGE_MODEL, THREADS
from unrolled.data.builtin import NAME, builtin_text

Record = dict[str, Any]
OURS = {"lstm": unrolled.nn.LSTM, "gru": unrolled.nn.GRU}

TOGETHER = 0.02
"""How far the two losses may be apart, in nats: roundings grow as training goes on, mistakes show at once."""


class OurCharacterModel(CharacterModel):
    """The same model on our layer, which takes the numbers of characters for one-hot vectors."""

    def __init__(self, cell: str, vocabulary: int, hidden: int, layers: int, embedding: int = 0) -> None:
        super().__init__(cell, vocabulary, hidden, layers, embedding)
        self.recurrent = OURS[cell](embedding or vocabulary, hidden, layers, engine=engine()[0])

    def vectors(self, characters: Tensor) -> Tensor:
        return characters if self.embedding is None else self.embedding(characters)


@dataclass
class Trainee:
    """A model in training, what it cost so far, and what it lost."""

    model: CharacterModel
    state: Any = None
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.optimiser = optimiser_of(self.model)

    def step(self, inputs: Tensor, targets: Tensor) -> None:
        """One window, timed."""
        if torch.get_num_threads() > 1:
            time.sleep(PAUSE)
        start = time.perf_counter()
        loss, self.state = train_step(self.model, self.optimiser, inputs, targets, self.state)
        self.seconds.append(time.perf_counter() - start)
        self.losses.append(loss.item())


def trainees(arguments: argparse.Namespace, layers: int, vocabulary: int) -> dict[str, Trainee]:
    """Both models, with the same weights."""
    torch.manual_seed(1)
    kinds: dict[str, Callable[..., CharacterModel]] = {"ours": OurCharacterModel, "plain": CharacterModel}
    sizes = (arguments.cell, vocabulary, arguments.hidden, layers, arguments.embedding)
    models = {name: kind(*sizes) for name, kind in kinds.items()}
    models["ours"].load_state_dict(models["plain"].state_dict())
    return {name: Trainee(model) for name, model in models.items()}


def measure(arguments: argparse.Namespace, layers: int, symbols: Tensor, vocabulary: int) -> Record:
    """Train both by turns; symbols a second by the median step."""
    both = trainees(arguments, layers, vocabulary)
    source = windows(symbols, arguments.batch, arguments.window)
    with Neighbours() as others:
        for number in range(arguments.warm_up + arguments.steps):
            inputs, targets = next(source)
            for name in ("ours", "plain") if number % 2 else ("plain", "ours"):
                both[name].step(inputs, targets)
    count = arguments.batch * arguments.window
    record: Record = {"cell": arguments.cell, "layers": layers, "others' cores": others.cores}
    for name, trainee in both.items():
        median = statistics.median(trainee.seconds[arguments.warm_up :])
        record[name] = {"seconds a step": median, "symbols a second": count / median, "losses": trainee.losses}
    apart = max(abs(a - b) for a, b in zip(both["ours"].losses, both["plain"].losses, strict=True))
    if apart > TOGETHER:
        raise SystemExit(f"{arguments.cell}, {layers} layer(s): the losses are {apart:.3f} nats apart; no figure")
    ratio = record["ours"]["symbols a second"] / record["plain"]["symbols a second"]
    least = LANGUAGE_MODEL[arguments.cell] if arguments.threads == THREADS else None
    word = "" if least is None else f"{'met' if ratio >= least else 'missed'} ({least})"
    return record | {"ratio": ratio, "verdict": word, "largest difference of losses": apart}


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", choices=list(OURS), default="lstm")
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--embedding", type=int, default=0, help="numbers a character; 0 for one-hot vectors")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--window", type=int, default=100)
    parser.add_argument("--steps", type=int, default=21, help="steps of each that count, after those that warm up")
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--data", type=Path, help=f"a text file; otherwise {NAME}")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--targets", action="store_true", help="say which targets are met")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    text = arguments.data.read_text(encoding="utf-8") if arguments.data else builtin_text()
    symbols, vocabulary = encode(text)
    print(f"{arguments.data or NAME}: {len(symbols):,} characters, {vocabulary} different; {arguments.threads} threads")
    print(engine()[1] or f'ours is engine="{engine()[0]}"')
    records = [measure(arguments, layers, symbols, vocabulary) for layers in arguments.layers]
    headings = ["model", "ours, symbols/s", "plain, symbols/s", "ratio", "loss", *(["target"] * arguments.targets)]
    lines = []
    for record in records:
        rates = [f"{record[name]['symbols a second']:,.0f}" for name in ("ours", "plain")]
        name = f"{record['layers']} x {record['cell']} {arguments.hidden}" + busy_mark(record["others' cores"])
        line = [name, *rates, f"{record['ratio']:.2f}"]
        lines.append([*line, f"{record['ours']['losses'][-1]:.3f}", *([record["verdict"]] * arguments.targets)])
    print(table(headings, lines), "* marks lines during which other processes were busy.", sep="\n")
    if arguments.json:
        about = {"arguments": {name: str(value) for name, value in vars(arguments).items()}, "machine": machine()}
        write_json(arguments.json, about | {"records": records})


if __name__ == "__main__":
    main()
