"""Figures for people: how well a text was predicted, with the bigram baseline beside it."""

import math
from collections.abc import Mapping
from typing import Any

from unrolled.cli.common import table

COUNTING = "perplexity over predicted symbols, <eos> counted, <bos> not"


def figures_table(figures: Mapping[str, Any], bigram: Mapping[str, Any] | None) -> str:
    """What an `Evaluation.as_dict()` says, one figure a line, beside that of the bigram."""
    nats = figures["nats_per_symbol"]
    beside = bigram or {}
    bits = None
    if "nats_per_symbol" in beside:
        bits = beside["nats_per_symbol"] * figures["symbols"] / math.log(2) / max(1, figures["characters"])
    rows = [
        ["perplexity", number(figures["perplexity"]), number(beside.get("perplexity"))],
        ["nats a symbol", number(nats), number(beside.get("nats_per_symbol"))],
        ["bits a character", number(figures["bits_per_character"]), number(bits)],
    ]
    if "accuracy" in figures:
        rows.append(["next symbol right", f"{figures['accuracy']:.1%}", "-"])
    if figures.get("unknown_share"):
        rows.append(["unknown symbols", f"{figures['unknown_share']:.1%}", "-"])
    part = f"\nbigram of the training text's first {beside['counted']:,} symbols" if "counted" in beside else ""
    return table(rows, header=["", "this run", "bigram"], right="-rr") + part


def number(value: float | None) -> str:
    """A figure with the digits that matter; "-" where there is none.

    >>> number(4.8512), number(182.31), number(None)
    ('4.851', '182.3', '-')
    """
    if value is None or math.isnan(value):
        return "-"
    if math.isinf(value) or value >= 1e6:
        return f"{value:.3g}"
    return f"{value:.3f}" if value < 100 else f"{value:,.1f}"


def size(count: float) -> str:
    """A number of bytes as people read it.

    >>> size(950), size(1_530_000)
    ('950 B', '1.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} B" if unit == "B" else f"{count:,.1f} {unit}"
