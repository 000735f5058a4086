"""`unrolled evaluate`: how well a run predicts a text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.common import Common, RunFolder, say_json, verb
from unrolled.cli.figures import COUNTING, figures_table
from unrolled.errors import UserError

if TYPE_CHECKING:
    from unrolled.data.corpus import Corpus
    from unrolled.data.streams import Stream
    from unrolled.run import Run

EXAMPLES = ("unrolled evaluate runs/demo", "unrolled evaluate runs/demo README.md")


@verb
def evaluate(
    common: Common,
    run: RunFolder,
    file: Annotated[Path | None, typer.Argument(help="A text file; without one, the run's own test part.")] = None,
) -> None:
    """Perplexity, bits a character and accuracy of the next symbol, beside a bigram of the same training text."""
    opened = common.load(run)
    corpus, reason = training_corpus(opened)
    stream = part_of(corpus, reason) if file is None else file_stream(opened, file)

    from unrolled.training.baseline import bigram_figures
    from unrolled.training.evaluation import evaluate_stream

    spell = opened.recipe.model.characters > 0
    figures = evaluate_stream(opened.model, stream, accuracy=True, spell=spell).as_dict()
    bigram = bigram_figures(corpus.train, stream) if corpus else None
    if common.json:
        say_json({"text": stream.name, **figures, "bigram": bigram, **({} if corpus else {"no_bigram": reason})})
    else:
        print(evaluation_text(stream.name, figures, bigram, reason))


def evaluation_text(name: str, figures: dict[str, Any], bigram: dict[str, float] | None, reason: str) -> str:
    """The figures as people read them."""
    missing = f"\nno bigram: the training text cannot be read: {reason}" if bigram is None else ""
    sizes = f"{figures['symbols']:,} predicted symbols, {figures['characters']:,} characters"
    return f"{name}: {sizes}\n\n{figures_table(figures, bigram)}\n\n{COUNTING}{missing}"


def training_corpus(run: "Run") -> "tuple[Corpus | None, str]":
    """The data that a run was trained on, or None and why not."""
    from unrolled.data.corpus import open_corpus

    try:
        return open_corpus(run.recipe.data, vocabulary=run.vocabulary, base=run.folder), ""
    except UserError as error:
        return None, str(error)


def part_of(corpus: "Corpus | None", reason: str) -> "Stream":
    """The run's own test part, or its validation part."""
    if corpus is None:
        raise UserError(f"the run's own data cannot be read, so give a FILE to evaluate on; {reason}")
    stream = corpus.test or corpus.valid
    if stream is None:
        raise UserError("the run's data were all for training: give a FILE to evaluate on")
    return stream


def file_stream(run: "Run", file: Path) -> "Stream":
    """A file, read as the training text was."""
    from unrolled.data.corpus import stream_of

    return stream_of(file, run.vocabulary, format=run.recipe.data.format)
