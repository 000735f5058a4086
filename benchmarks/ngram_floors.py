"""What must a model of this text beat? Witten-Bell n-grams over characters, on validation and test.

    python -m benchmarks.ngram_floors input.txt --split 90/10
    python -m benchmarks.ngram_floors names.txt --lines --unique

Running text is split in the order of its characters: train/validation[/test] in percent. Lines are each their own
sequence, ended by <eos>, which is counted; line number mod 10 says where a line goes: 8 validation, 9 test, else train,
numbered after repeats were dropped (--unique). The vocabulary is that of the training part; the rest is <unk>.
"""

import argparse  # Not Typer: --order takes several values.
import gzip
from pathlib import Path

import numpy as np

from unrolled.models.ngram import WittenBell

UNK, EOS, SPECIALS = 1, 3, 4
Parts = dict[str, list[str]]  # a part's name -> its documents; running text is one


def read(path: Path) -> str:
    """The whole file as text, unpacked where its name ends in .gz."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        return str(file.read())


def by_percent(text: str, split: str) -> Parts:
    """Running text in contiguous parts; "90/5/5" or "90/10"."""
    ends = np.cumsum([0, *map(int, split.split("/"))]) * len(text) // 100
    return {
        name: [text[ends[place] : ends[place + 1]]]
        for place, name in enumerate(["train", "validation", "test"][: len(ends) - 1])
    }


def by_line(text: str, unique: bool) -> Parts:
    """Lines by their number mod 10."""
    lines = text.removesuffix("\n").split("\n")
    if unique:
        lines = list(dict.fromkeys(lines))
    parts: Parts = {"train": [], "validation": [], "test": []}
    for number, line in enumerate(lines):
        parts[{8: "validation", 9: "test"}.get(number % 10, "train")].append(line)
    return parts


def encoded(documents: list[str], ids: dict[str, int], end: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The symbols of all documents, each followed by `end`, and where each begins."""
    symbols = [symbol for document in documents for symbol in [*(ids.get(c, UNK) for c in document), *end]]
    return np.array(symbols), np.cumsum([0, *(len(document) + len(end) for document in documents)])


def report(parts: Parts, orders: list[int], end: list[int]) -> None:
    """Prints a table of nats a symbol: one row an order."""
    ids = {character: place + SPECIALS for place, character in enumerate(sorted(set("".join(parts["train"]))))}
    streams = {name: encoded(documents, ids, end) for name, documents in parts.items()}
    for name, (symbols, offsets) in streams.items():
        print(f"{name}: {len(symbols):,} symbols, {len(offsets) - 1:,} sequences")
    held_out = [name for name in streams if name != "train"]
    print("nats a symbol", *(f"{name:>10}" for name in held_out))
    for order in orders:
        model = WittenBell(order, len(ids) + SPECIALS).fit(*streams["train"])
        print(f"order {order:<7}", *(f"{model.nats(*streams[name]):10.4f}" for name in held_out))


def main() -> None:
    """Reads the arguments, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--order", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--lines", action="store_true", help="every line is its own sequence")
    parser.add_argument("--unique", action="store_true", help="drop repeated lines before splitting")
    parser.add_argument("--split", help='percentages, "90/10" by default, or "mod10", the only one for lines')
    arguments = parser.parse_args()
    split = arguments.split or ("mod10" if arguments.lines else "90/10")
    if arguments.lines != (split == "mod10"):
        parser.error("--split mod10 goes with --lines, percentages with running text")
    if arguments.unique and not arguments.lines:
        parser.error("--unique goes with --lines")
    text = read(arguments.file)
    parts = by_line(text, arguments.unique) if arguments.lines else by_percent(text, split)
    report(parts, arguments.order, [EOS] if arguments.lines else [])


if __name__ == "__main__":
    main()
