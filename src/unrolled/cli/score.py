"""`unrolled score`: which of some texts is the most probable, and by how much."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.common import Common, RunFolder, bar, path_of, refuse_unless, say_json, table, verb
from unrolled.cli.figures import COUNTING, number
from unrolled.cli.rows import check_no_file_names, lines_of, read, standard_input
from unrolled.errors import UserError

if TYPE_CHECKING:
    from unrolled.decoding.scores import Score

EXAMPLES = (
    "unrolled score runs/demo 'It returns a list.' 'It list returns a.'",
    "unrolled score runs/demo --file README.md",
    "echo 'An expression is evaluated.' | unrolled score runs/demo - --symbols",
)

NOTHING = {"rank": None, "log_probability": None, "perplexity": None, "symbols": 0, "unknown": 0, "log_ratio": None}
"""What is said of a blank line."""


@verb
def score(
    common: Common,
    run: RunFolder,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts in quotes; - reads standard input.")] = None,
    file: Annotated[
        Path | None, typer.Option(parser=path_of, metavar="FILE", help="A file with one text a line.")
    ] = None,
    symbols: Annotated[bool, typer.Option("--symbols", help="Also the probability of every symbol.")] = False,
    source: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Of a translator: what the texts are translations of.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="Of a generator or classifier: under which class.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="LABELS", help="Of a tagger: the labels of the text's words, parted by blanks."),
    ] = None,
    by_class: Annotated[bool, typer.Option("--by-class", help="Of a generator: every text under every class.")] = False,
) -> None:
    """How probable texts are: log-probability, perplexity, and a ranking, best first."""
    wanted = all_texts(texts or [], file)
    opened = common.load(run, "score")
    given = given_of(opened, source, label, labels)
    if by_class:
        _by_class(common, opened, wanted)
        return
    numbered = [(number, text) for number, text in enumerate(wanted, start=1) if text.strip()]
    blank = sorted(set(range(1, len(wanted) + 1)) - {number for number, _ in numbered})
    scores = [(number, opened.score(text, **given)) for number, text in numbered]
    scores.sort(key=lambda found: -found[1].log_probability)
    ranked = [found for _, found in scores]
    if common.json:
        places = enumerate(scores, start=1)
        rows = [as_dict(found, place, ranked[0], symbols, number) for place, (number, found) in places]
        say_json([*rows, *({"number": number, "text": wanted[number - 1], **NOTHING} for number in blank)])
        return
    print(ranking(ranked))
    if blank:
        print(f"blank, so without a score: line{'s' * (len(blank) > 1)} {', '.join(map(str, blank))}")
    for found in ranked if symbols else ():
        print(f"\n{found.text}\n{symbol_table(found)}")


def _by_class(common: Common, run: Any, texts: list[str]) -> None:
    """Every text under every class."""
    refuse_unless(run, True, "--by-class", generate="generators")
    found = [(text, run.scores_by_class(text) if text.strip() else {}) for text in texts]
    if common.json:
        say_json([{"text": text, "log_probability": logs} for text, logs in found])
        return
    for place, (text, logs) in enumerate(found):
        rows = [[name, f"{log:.2f}"] for name, log in logs.items()]
        print("\n" * bool(place) + table(rows, header=[text, "log P(text | class)"], right="-r"))


def given_of(run: Any, source: str | None, label: str | None, labels: str | None) -> dict[str, Any]:
    """What a score depends on besides the text: a translator's source, a class, a tagger's labels.

    Raises:
        UserError: something is missing, or the run has no use for it.
    """
    task = run.recipe.task
    refuse_unless(run, source is not None, "--source", translate="translators")
    refuse_unless(run, label is not None, "--class", generate="generators", classify="classifiers")
    refuse_unless(run, labels is not None, "--labels", tag="taggers")
    if task == "classify" and label is None:
        raise UserError("a classifier says how probable a class is, given a text: give --class NAME")
    if task == "tag":
        if labels is None:
            raise UserError("a tagger says how probable labels are, given a text: give --labels 'ONE A WORD'")
        return {"labels": labels.split()}
    if task == "translate":
        if source is None:
            raise UserError("what are the texts translations of? Give --source TEXT")
        return {"source": source}
    return {} if label is None else {"label": label}


def all_texts(texts: list[str], file: Path | None) -> list[str]:
    """What to score, from the arguments, a file and standard input, blank lines too."""
    piped = not texts and file is None and not sys.stdin.isatty()
    wanted = [text for text in texts if text != "-"]
    if "" in texts:
        raise UserError(f"text {texts.index('') + 1} is empty: there is nothing to score; leave it out")
    check_no_file_names(wanted)
    if file is not None:
        wanted += lines_of(read(file), str(file))
    if "-" in texts or piped:
        wanted += standard_input()
    if not any(text.strip() for text in wanted):
        raise UserError("there is nothing to score: give texts in quotes, --file FILE, or lines on standard input")
    return wanted


def ranking(ranked: "list[Score]") -> str:
    """The texts as a table, best first, and in words where there are two."""
    best = ranked[0]
    rows = [
        [
            f"{place}.", f"{found.log_probability:.2f}", number(found.perplexity), str(len(found.symbols)),
            str(found.unknown), "" if place == 1 else times(best.log_probability - found.log_probability), found.text,
        ]
        for place, found in enumerate(ranked, start=1)
    ]  # fmt: skip
    header = ["", "log P", "perplexity", "symbols", "unknown", "less probable", "text"]
    return "\n".join([table(rows, header=header, right="rrrrrr-"), "", *remarks(ranked)])


def remarks(ranked: "list[Score]") -> list[str]:
    """What the table means, and where it must be read with care."""
    found = []
    if len(ranked) == 2:
        first, second = ranked
        ratio = first.log_probability - second.log_probability
        found.append(f'"{first.text}" is {times(ratio)} as probable as "{second.text}"')
    found.append(f"log P is the natural logarithm of the whole text's probability; {COUNTING}")
    if any(score.unknown for score in ranked):
        found.append(
            "<unk> stands for every unknown symbol at once: texts that have different numbers of it compare ill"
        )
    return found


def times(nats: float) -> str:
    """exp(nats) as a factor, however large.

    >>> times(0.7), times(11.0), times(2000.0)
    ('2.01 times', '59,874 times', '3.9e+868 times')
    """
    power = nats / math.log(10)
    if power < 6:
        factor = math.exp(nats)
        return f"{factor:.3g} times" if factor < 100 else f"{factor:,.0f} times"
    exponent = math.floor(power)
    return f"{10 ** (power - exponent):.1f}e+{exponent} times"


def symbol_table(found: "Score") -> str:
    """One symbol a line, with its probability given those before it."""
    rows = [
        [symbol.shown, f"{math.exp(symbol.log_probability):.4f}", bar(math.exp(symbol.log_probability))]
        for symbol in found.symbols
    ]
    return table(rows, right="rr-")


def as_dict(found: "Score", place: int, best: "Score", symbols: bool, number: int) -> dict[str, Any]:
    """Text number `number` for machines; `log_ratio` is log P(best) - log P(text)."""
    figures: dict[str, Any] = {
        "number": number,
        "rank": place,
        "text": found.text,
        "log_probability": found.log_probability,
        "perplexity": found.perplexity,
        "symbols": len(found.symbols),
        "unknown": found.unknown,
        "log_ratio": best.log_probability - found.log_probability,
    }
    if symbols:
        figures["each"] = [[symbol.symbol, symbol.log_probability] for symbol in found.symbols]
    return figures
