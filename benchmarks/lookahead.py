"""How much of a sentence must a tagger have heard? Accuracy against look-ahead, with the weights of a trained run.

    python -m benchmarks.lookahead runs/ewt
    python -m benchmarks.lookahead runs/ewt --chunk 4 --lookahead 0 2 4 8 16

The recurrent layers of a run of the task tag are put into `nn.LookaheadBidirectional`: the forward direction is the
same, and the backward one starts so many words past the end of each chunk of words instead of at the sentence's end.
The weights were trained on whole sentences, so this is what a finished tagger loses; one that was trained for it loses
less. A CRF, where the run has one, still decodes over the whole sentence.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

import unrolled
from benchmarks.measuring import table, write_json
from unrolled.errors import UserError
from unrolled.nn import LookaheadBidirectional, Recurrent


def bounded(layer: Recurrent, chunk: int, lookahead: int) -> LookaheadBidirectional:
    """The same weights in a layer that waits for less."""
    made = LookaheadBidirectional(
        layer.cell, layer.input_size, layer.hidden_size, layer.num_layers, chunk=chunk, lookahead=lookahead,
        bias=layer.bias, residual=layer.residual, initial_state=layer.initial_state,
    )  # fmt: skip
    made.load_state_dict(layer.state_dict())
    return made.eval()


def measured(run: Any, part: Any, chunk: int, lookahead: int | None) -> dict[str, Any]:
    """The run's figures with so much look-ahead; None for the whole sentence."""
    encoder = run.model.encoder
    whole = encoder.recurrent
    try:
        if lookahead is not None:
            encoder.recurrent = bounded(whole, chunk, lookahead)
        figures: dict[str, Any] = run.task.measure(run.recipe, run.symbols, run.model, part, full=True).as_dict()
    finally:
        encoder.recurrent = whole
    return figures


def main() -> None:
    """Measure each look-ahead and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run of the task tag with model.bidirectional = true")
    parser.add_argument("--data", type=Path, help="labelled sentences; otherwise the run's test part")
    parser.add_argument("--chunk", type=int, default=1, help="words of a chunk")
    parser.add_argument("--lookahead", type=int, nargs="+", default=[0, 1, 2, 3, 4, 8, 16])
    parser.add_argument("--json", type=Path, help="write everything to this file")
    arguments = parser.parse_args()
    run: Any = unrolled.load(arguments.run)
    if run.recipe.task != "tag" or not isinstance(run.model.encoder.recurrent, Recurrent):
        raise UserError(f"{arguments.run} is no tagger with recurrent layers")
    if not run.model.encoder.bidirectional:
        raise UserError(f"{arguments.run} reads from one end only: it looks ahead at nothing")
    part = run.part(arguments.data)
    records, rows = [], []
    with torch.no_grad():
        for lookahead in [*arguments.lookahead, None]:
            figures = measured(run, part, arguments.chunk, lookahead)
            name, value = (
                ("span F1", figures["spans"]["f1"]) if "spans" in figures else ("accuracy", figures["accuracy"])
            )
            records.append({"chunk": arguments.chunk, "lookahead": lookahead, name: value})
            rows.append(["whole sentence" if lookahead is None else str(lookahead), f"{value:.2%}"])
    print(f"{part.name}, chunks of {arguments.chunk}\n")
    print(table(["words of look-ahead", name], rows))
    if arguments.json:
        write_json(arguments.json, records)


if __name__ == "__main__":
    main()
