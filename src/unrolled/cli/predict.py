"""`unrolled predict`: what a run makes of texts, of the rows of a file, or of what comes on standard input."""

import csv
import io
import json as json_format
import math
import sys
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer

from unrolled.cli.common import Common, RunFolder, bar, table, verb
from unrolled.cli.rows import Blank, answered, check_no_file_names, file_named, lines_of, standard_input
from unrolled.cli.search import AlphaOption, BeamOption, search_of
from unrolled.errors import UserError

EXAMPLES = (
    "unrolled predict runs/reviews 'a lovely film'",
    "unrolled predict runs/reviews reviews.tsv --output tsv",
    "echo 'a dull film' | unrolled predict runs/reviews - --json",
    "unrolled predict runs/dates '3. november 1999' --beam 10 --best 3",
)
BLANK = "(a blank line)"
SHOWN = 5
"""Of more classes than that, a single text's table shows the most probable ones."""


class Output(StrEnum):
    """How predictions are written."""

    auto = "auto"
    pretty = "pretty"
    tsv = "tsv"
    jsonl = "jsonl"


@verb
def predict(
    common: Common,
    run: RunFolder,
    what: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT...|FILE|-]", help="Texts in quotes, a file, or - for lines.")
    ] = None,
    output: Annotated[Output, typer.Option(help="auto: pretty on a terminal, otherwise tsv.")] = Output.auto,
    beam: BeamOption = None,
    alpha: AlphaOption = None,
    best: Annotated[
        int | None, typer.Option(min=1, help="Translations: how many answers; the beam is at least as wide.")
    ] = None,
) -> None:
    """Labels or translations, with their probabilities.

    A file is read like training data (labels are ignored); a .txt file holds one text per line. Every line gets an
    answer, a blank one too.
    """
    opened = common.load(run, "predict")
    search = search_of(opened, beam=beam, alpha=alpha, best=best)
    found = predictions(opened, what or [], **search)
    if common.json or output is Output.jsonl:
        for one in found:
            print(json_format.dumps(as_dict(one, opened.recipe.task), ensure_ascii=False))
    elif output is Output.pretty or (output is Output.auto and sys.stdout.isatty()):
        print(pretty(found))
    else:
        print(as_tsv(found), end="")


def predictions(run: Any, what: list[str], **search: Any) -> list[Any]:
    """What the run makes of texts, of a file, or of standard input."""
    path = file_named(what[0]) if len(what) == 1 and what[0] != "-" else None
    if path is not None:
        if path.suffix == ".txt":
            return answered(lines_of(path.read_bytes(), str(path)), partial(_all, run, search))
        return [Blank(one.x) if _is_blank(one.x) else one for one in run.predict_file(path, **search)]
    piped = not what and not sys.stdin.isatty()
    texts = [text for text in what if text != "-"]
    check_no_file_names(texts)
    for number, text in enumerate(texts, start=1):
        if not text.strip():  # a shell's unset variable, most likely
            raise UserError(f"text {number} is empty: there is nothing to predict; leave it out")
    lines = standard_input() if "-" in what or piped else []
    if not texts and not lines:
        raise UserError("there is nothing to predict: give texts in quotes, a file, or lines on standard input")
    return [*(_all(run, search, texts) if texts else ()), *answered(lines, partial(_all, run, search))]


def _is_blank(x: Any) -> bool:
    """Whether a row held nothing; its answer says that, as that to a blank line does."""
    return isinstance(x, str) and not x.strip()


def _all(run: Any, search: dict[str, Any], texts: list[str]) -> list[Any]:
    found: list[Any] = run.predict_all(texts) if run.recipe.task == "tag" else run.predict(texts, **search)
    return found


def as_dict(one: Any, task: str = "") -> dict[str, Any]:
    """One prediction for machines; to a blank line the task's answer with nothing in it."""
    if isinstance(one, Blank):
        return _nothing(one, task)
    if hasattr(one, "candidates"):
        return {"text": one.x, "translation": one.text, "candidates": [vars(answer) for answer in one.candidates]}
    if hasattr(one, "labels"):
        tokens = {"tokens": list(one.x)} if isinstance(one.x, tuple) else {}
        spans = [vars(span) for span in one.spans]
        return {
            **tokens,
            "labels": one.labels,
            "probabilities": one.probabilities,
            **({"spans": spans} if spans else {}),
        }
    text = {"text": one.x} if isinstance(one.x, str) else {}
    value = {} if one.value is None else {"value": one.value}
    return {**text, "label": one.label, "probability": one.probability, "probabilities": one.probabilities, **value}


def _nothing(one: Blank, task: str) -> dict[str, Any]:
    if task == "tag":
        return {"tokens": [], "labels": [], "probabilities": []}
    if task == "translate":
        return {"text": one.x, "translation": "", "candidates": []}
    return {"text": one.x, "label": None, "probability": None, "probabilities": {}}


def as_tsv(found: list[Any]) -> str:
    """label TAB probability TAB text, a prediction a line; the text's own TABs and line ends become blanks. Of a tagger
    token TAB label TAB probability, and an empty line after every sentence: CoNLL, which training reads. Of a
    translator translation TAB probability TAB text, a line for each of the best."""
    rows = io.StringIO()
    writer = csv.writer(rows, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
    tagged = any(hasattr(one, "labels") for one in found)
    for one in found:
        if isinstance(one, Blank):
            writer.writerow([] if tagged else ["", "", ""])
            continue
        if hasattr(one, "labels"):
            names = one.x if isinstance(one.x, tuple) else range(1, len(one.labels) + 1)
            writer.writerows([*zip(names, one.labels, [f"{p:.4f}" for p in one.probabilities], strict=True), []])
            continue
        if hasattr(one, "candidates"):
            writer.writerows(
                [_flat(own.text), f"{math.exp(own.log_probability):.4f}", _flat(one.x)] for own in one.candidates
            )
            continue
        text = " ".join(one.x.split()) if isinstance(one.x, str) else ""
        writer.writerow([one.label, f"{one.probability:.4f}", text])
    return rows.getvalue()


def _flat(text: str) -> str:
    return " ".join(text.split())


def pretty(found: list[Any]) -> str:
    """One text with all its classes, or a table of many; of a tagger every sentence with its labels beneath."""
    if all(isinstance(one, Blank) for one in found):
        return "\n".join(BLANK for _ in found)
    if any(hasattr(one, "labels") for one in found):
        return "\n\n".join(map(_sentence, found))
    if any(hasattr(one, "candidates") for one in found):
        return "\n\n".join(map(_translation, found))
    if len(found) == 1 and found[0].probabilities:
        pairs = list(found[0].probabilities.items())
        rows = [[name, f"{share:.1%}", bar(share)] for name, share in pairs[:SHOWN]]
        return table(rows, right="-r-")
    rows = [
        ["", "", BLANK]
        if isinstance(one, Blank)
        else [one.label, f"{one.probability:.1%}", one.x if isinstance(one.x, str) else ""]
        for one in found
    ]
    return table(rows, header=["label", "probability", "text"], right="-r-")


def _translation(one: Any) -> str:
    """A text and beneath it its translations with their probabilities."""
    if isinstance(one, Blank):
        return BLANK
    rows = [[answer.text, f"{math.exp(answer.log_probability):.1%}"] for answer in one.candidates]
    return f"{one.x}\n{table(rows, right='-r')}"


def _sentence(one: Any) -> str:
    """The spans of a sentence, or its tokens above their labels."""
    if isinstance(one, Blank):
        return BLANK
    if not isinstance(one.x, tuple):
        return " ".join(one.labels)
    if one.spans or all(label == "O" for label in one.labels):
        rows = [[span.type, f"{span.probability:.1%}", span.text] for span in one.spans]
        return " ".join(one.x) + "\n" + (table(rows, right="-r-") if rows else "(nothing found)")
    widths = [max(len(word), len(label)) for word, label in zip(one.x, one.labels, strict=True)]
    pairs = [zip(parts, widths, strict=True) for parts in (one.x, one.labels)]
    return "\n".join("  ".join(part.ljust(width) for part, width in pair).rstrip() for pair in pairs)
