"""`scripts/demo`: a character LSTM learns the Python manual that every Python carries, then writes and judges.

Run it as `python -m unrolled.cli.demo`. The budget is in steps, so that every machine ends with much the same model;
on two cores it takes about a minute and a half.
"""

from pathlib import Path

import typer

from unrolled.cli.common import Common, mistakes_told, verb
from unrolled.cli.ending import INTERRUPTED, tell
from unrolled.cli.figures import number
from unrolled.cli.sample import show_pieces
from unrolled.cli.score import ranking
from unrolled.cli.train import suggestions

MODEL = {"cell": "lstm", "hidden": 384, "layers": 1, "embedding": 64}
TRAINING = {"steps": 1200, "batch": 16, "window": 100, "learning_rate": 4e-3, "warmup": 50, "validate_every": 200}
HEADINGS = ("Generator classes", 'The "until" statement', "Class iterators")
"""What the samples begin with: headings as the manual has them, of pages that it does not have."""
SENTENCES = (
    "If the expression is not a sequence, an exception is raised.",
    "If the sequence is not raised, a expression is an exception.",
)


@verb
def demo(common: Common) -> None:
    """Train on the built-in text for a minute or two, draw a sample, score two sentences."""
    tell("A character LSTM learns the Python manual (the text of pydoc's help, which comes with Python).\n")
    folder = _trained(common)
    run = common.load(folder, "sample")
    figures = run.metrics["validation"]
    print(
        f"\nOn text that it has not seen: perplexity {number(figures['perplexity'])} a character "
        f"(a {figures['ngram']['order']}-gram: {number(figures['ngram']['perplexity'])}), "
        f"{figures['accuracy']:.0%} of characters predicted correctly.\n"
    )
    print("Pages that it makes up, as they are drawn, under headings that the manual does not have:", flush=True)
    for heading in HEADINGS:
        prefix = f"{heading}\n{'*' * len(heading)}\n\n"
        print()
        show_pieces(prefix, run.stream(prefix, temperature=0.6, length=320))
    print("\nWhich of two sentences is more like the manual?\n")
    print(ranking(sorted(map(run.score, SENTENCES), key=lambda score: -score.log_probability)))
    print(f"\nrun folder  {folder}\ncurves      {folder / 'curves.png'}\n")
    print("\n".join(suggestions(folder)))


def _trained(common: Common) -> Path:
    common.prepare()
    from unrolled.training.recipe import recipe_from_mapping
    from unrolled.training.session import begin

    recipe = recipe_from_mapping({"task": "language-model", "model": MODEL, "training": TRAINING}, source="demo")
    result = begin(recipe, base=Path(), name="demo", device=common.device.value, quiet=common.quiet)
    if not result.complete:
        tell(f"interrupted; everything is saved. Go on with: unrolled train --resume {result.folder}")
        raise typer.Exit(INTERRUPTED)
    return result.folder


def main() -> None:
    """Run the demonstration."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(demo)
    with mistakes_told():
        app(prog_name="scripts/demo")


if __name__ == "__main__":
    main()
