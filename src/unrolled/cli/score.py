"""`unrolled score`: which of some texts is the most probable, and by how much."""

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.common import Common, RunFolder, bar, path_of, refuse_unless, say_json, table, verb
from unrolled.cli.figures import COUNTING, number
from unrolled.errors import UserError

if TYPE_CHECKING:
    from unrolled.decoding.scores import Score

EXAMPLES = (
    "unrolled score runs/demo 'It returns a list.' 'It list returns a.'",
    "unrolled score runs/demo --file README.md",
    "echo 'An expression is evaluated.' | unrolled score runs/demo - --symbols",
)


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
    scores = (opened.score(text, **given) for text in wanted)
    ranked = sorted(scores, key=lambda found: -found.log_probability)
    if common.json:
        say_json([as_dict(found, place, ranked[0], symbols) for place, found in enumerate(ranked, start=1)])
        return
    print(ranking(ranked))
    for found in ranked if symbols else ():
        print(f"\n{found.text}\n{symbol_table(found)}")


def _by_class(common: Common, run: Any, texts: list[str]) -> None:
    """Every text under every class."""
    refuse_unless(run, True, "--by-class", generate="generators")
    found = {text: run.scores_by_class(text) for text in texts}
    if common.json:
        say_json([{"text": text, "log_probability": logs} for text, logs in found.items()])
        return
    for place, (text, logs) in enumerate(found.items()):
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
    """What to score, from the arguments, a file and standard input; empty lines are left out."""
    piped = not texts and file is None and not sys.stdin.isatty()
    wanted = [text for text in texts if text != "-"]
    if file is not None:
        wanted += lines_of(read(file), str(file))
    if "-" in texts or piped:
        wanted += lines_of(sys.stdin.buffer.read(), "standard input")
    if "" in texts:
        raise UserError(f"text {texts.index('') + 1} is empty: there is nothing to score; leave it out")
    if not wanted:
        raise UserError("there is nothing to score: give texts in quotes, --file FILE, or lines on standard input")
    return wanted


def read(file: Path) -> bytes:
    """A file's bytes."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}; check the path and its permissions") from None


def lines_of(content: bytes, name: str) -> list[str]:
    """The lines of some UTF-8 that are not blank."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}: not UTF-8 at byte {error.start}, line {line}; save it as UTF-8") from None
    return [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]


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


def as_dict(found: "Score", place: int, best: "Score", symbols: bool) -> dict[str, Any]:
    """One text for machines; `log_ratio` is log P(best) - log P(text)."""
    figures: dict[str, Any] = {
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
