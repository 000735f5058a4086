"""`unrolled evaluate`: how well a run predicts a text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.common import Common, RunFolder, path_of, say_json, verb
from unrolled.cli.figures import COUNTING, by_class, by_length, figures_table, part_text
from unrolled.cli.search import AlphaOption, BeamOption, BlockOption, CoverageOption, search_of
from unrolled.errors import UserError

if TYPE_CHECKING:
    from unrolled.tasks.language_model.run import LanguageModelRun

EXAMPLES = (
    "unrolled evaluate runs/demo",
    "unrolled evaluate runs/demo README.md",
    "unrolled evaluate runs/reviews --picture confusions.png",
)
MANY_UNKNOWN = 0.2
"""From this share of unknown symbols on, the figures say more about <unk> than about the text."""


@verb
def evaluate(
    common: Common,
    run: RunFolder,
    file: Annotated[
        Path | None, typer.Argument(parser=path_of, help="A file of what it learned from; otherwise its test part.")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(parser=path_of, metavar="FILE", help="Classes: draw the confusion matrix, .png or .svg."),
    ] = None,
    beam: BeamOption = None,
    alpha: AlphaOption = None,
    coverage: CoverageOption = None,
    block_repeats: BlockOption = None,
) -> None:
    """How good a run is.

    Perplexity beside an n-gram's; accuracy, F1 and confusions of every class; or BLEU and chrF.
    """
    opened = common.load(run, "evaluate")
    search = search_of(opened, beam=beam, alpha=alpha, coverage=coverage, block_repeats=block_repeats)
    if opened.recipe.task == "language-model":
        _language_model(common, opened, file)
    elif opened.recipe.task == "translate":
        _translations(common, opened, file, search)
    else:
        _labels(common, opened, file, picture)


def _labels(common: Common, run: Any, file: Path | None, picture: Path | None) -> None:
    part = run.part(file)
    figures = run.task.measure(run.recipe, run.symbols, run.model, part, full=True).as_dict()
    if picture is not None and "confusions" in figures:
        from unrolled.tasks.classify.picture import draw_confusions

        names = [row["class"] for row in figures["classes"]]
        draw_confusions(figures["confusions"], names, picture, title=part.name)
    if common.json:
        say_json({"data": part.name, **figures})
        return
    print(f"{part.name}\n\n{part_text(run.recipe.task, figures)}")
    if "classes" in figures or "spans" in figures:
        print(f"\n{by_class(figures)}")
    if picture is not None:
        print(f"\nconfusions  {picture}")


def _translations(common: Common, run: Any, file: Path | None, search: dict[str, Any]) -> None:
    name, figures = run.part(file).name, run.evaluate(file, **search).as_dict()
    if common.json:
        say_json({"data": name, **figures})
        return
    print(f"{name}\n\n{part_text('translate', figures)}\n\n{by_length(figures)}")


def _language_model(common: Common, opened: "LanguageModelRun", file: Path | None) -> None:
    stream = opened.text(file)

    from unrolled.tasks.language_model.evaluation import evaluate_stream

    spell = opened.recipe.model.characters > 0
    figures = evaluate_stream(opened.model, stream, accuracy=True, spell=spell).as_dict()
    ngram, reason = ngram_of(opened, file)
    if common.json:
        say_json({"text": stream.name, **figures, "ngram": ngram, **({"no_ngram": reason} if reason else {})})
    else:
        print(evaluation_text(stream.name, figures, ngram, reason))


def evaluation_text(name: str, figures: dict[str, Any], ngram: dict[str, Any] | None, reason: str) -> str:
    """The figures as people read them."""
    missing = f"\nno n-gram: the training text cannot be read: {reason}" if ngram is None else ""
    sizes = f"{figures['symbols']:,} predicted symbols, {figures['characters']:,} characters"
    return f"{name}: {sizes}\n\n{figures_table(figures, ngram)}\n\n{COUNTING}{_warning(figures)}{missing}"


def _warning(figures: dict[str, Any]) -> str:
    if figures["unknown_share"] < MANY_UNKNOWN:
        return ""
    return (
        f"\nwarning: {figures['unknown_share']:.0%} of the symbols are unknown to the run's vocabulary; <unk> stands "
        "for all of them at once and is easy to predict, so these figures compare with no other text's"
    )


def ngram_of(run: "LanguageModelRun", file: Path | None) -> tuple[dict[str, Any] | None, str]:
    """What the n-gram of the run's training text makes of a text, or None and why there is none."""
    try:
        return run.ngram(file), ""
    except UserError as error:
        return None, str(error)
