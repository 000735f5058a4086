"""`unrolled sample`: novel sequences, shown as they are drawn."""

import sys
from collections.abc import Iterator
from itertools import chain
from typing import Annotated

import typer

from unrolled.cli.common import Common, RunFolder, say_json, verb

EXAMPLES = (
    "unrolled sample runs/demo --temperature 0.6 --length 800",
    "unrolled sample runs/demo --prefix 'The class ' --seed 1 --count 3 --length 80",
    "unrolled sample runs/demo --top-p 0.9 --json",
)


@verb
def sample(
    common: Common,
    run: RunFolder,
    prefix: Annotated[str, typer.Option(help="What the sequence begins with.")] = "",
    temperature: Annotated[float, typer.Option(help="Below 1 safer, above 1 bolder; 0: always the likeliest.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Only the K likeliest symbols; 0: all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Only the likeliest symbols that have this much together.")] = 1.0,
    length: Annotated[int, typer.Option(help="At most so many symbols; ends at <eos> before that.")] = 500,
    count: Annotated[int, typer.Option(help="How many sequences.")] = 1,
    seed: Annotated[int | None, typer.Option(help="The same seed draws the same; without one, always new.")] = None,
    reject_unk: Annotated[bool, typer.Option("--reject-unk/--allow-unk", help="Draw again instead of <unk>.")] = True,
) -> None:
    """Draw novel sequences from what the run has learned; one is shown as it is drawn."""
    opened = common.load(run, "sample")
    if count == 1 and not common.json:
        pieces = opened.stream(
            prefix, temperature=temperature, top_k=top_k, top_p=top_p, length=length, seed=seed,
            reject_unknown=reject_unk,
        )  # fmt: skip
        show_pieces(prefix, pieces)
        return
    texts = opened.samples(
        count, prefix, temperature=temperature, top_k=top_k, top_p=top_p, length=length, seed=seed,
        reject_unknown=reject_unk,
    )  # fmt: skip
    if common.json:
        say_json(texts)
    else:
        print(listed(texts))


def show_pieces(prefix: str, pieces: Iterator[str]) -> None:
    """Write each piece the moment it is there, and end the line whatever happens."""
    last = ""
    try:
        for piece in chain([prefix], pieces):
            sys.stdout.write(piece)
            sys.stdout.flush()
            last = piece[-1:] or last
    finally:
        if last != "\n":
            print(flush=True)


def listed(texts: list[str]) -> str:
    """One sequence a line; where some have lines of their own, each below its number."""
    if not any("\n" in text for text in texts):
        return "\n".join(texts)
    return "\n".join(f"--- {number} ---\n{text.rstrip()}" for number, text in enumerate(texts, start=1))
