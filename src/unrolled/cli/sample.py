"""`unrolled sample`: novel sequences, shown as they are drawn."""

import sys
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Any

import typer

from unrolled.cli.common import Common, RunFolder, refuse_unless, say_json, verb

EXAMPLES = (
    "unrolled sample runs/demo --temperature 0.6 --length 800",
    "unrolled sample runs/demo --prefix 'The class ' --seed 1 --count 3 --length 80",
    "unrolled sample runs/demo --top-p 0.9 --json",
    "unrolled sample runs/surnames --class Italian --count 5",
)


@verb
def sample(
    common: Common,
    run: RunFolder,
    prefix: Annotated[str, typer.Option(help="What the sequence begins with.")] = "",
    temperature: Annotated[float, typer.Option(help="Below 1 safer, above 1 bolder; 0: always the likeliest.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Only the K likeliest symbols; 0: all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Only the likeliest symbols that have this much together.")] = 1.0,
    min_p: Annotated[
        float, typer.Option(help="Only symbols at least this many times as likely as the likeliest.")
    ] = 0.0,
    repetition: Annotated[float, typer.Option(help="Above 1: symbols that were drawn are drawn less.")] = 1.0,
    length: Annotated[int, typer.Option(help="At most so many symbols; ends at <eos> before that.")] = 500,
    count: Annotated[int, typer.Option(help="How many sequences.")] = 1,
    seed: Annotated[int | None, typer.Option(help="The same seed draws the same; without one, always new.")] = None,
    label: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="Of a generator: the class; otherwise one is drawn.")
    ] = None,
    reject_unk: Annotated[bool, typer.Option("--reject-unk/--allow-unk", help="Draw again instead of <unk>.")] = True,
) -> None:
    """Draw novel sequences from what the run has learned; one is shown as it is drawn."""
    opened = common.load(run, "sample")
    refuse_unless(opened, label is not None, "--class", generate="generators")
    given: dict[str, Any] = {} if label is None else {"label": label}
    given |= {
        "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "repetition": repetition,
        "length": length, "seed": seed, "reject_unknown": reject_unk,
    }  # fmt: skip
    if count == 1 and not common.json:
        show_pieces(prefix, opened.stream(prefix, **given))
        return
    texts = opened.samples(count, prefix, **given)
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
