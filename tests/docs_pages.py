"""Reading the pages: their code blocks, and what a page says about running them.

A page is a story: its blocks run in order, Python in one namespace, all in one temporary folder. Three marks, HTML
comments that no reader sees, may stand before a block, and one at the top of the page:

    <!-- needs: ../shared/data -->         skipped, with this reason, where that folder is absent
    <!-- not run: takes an hour -->        for the reader only
    <!-- tested with: A instead of B -->   the test puts A in the place of B, so that it takes seconds
    <!-- begins with: runs/first -->       the page goes on from a file or run that the test lays out beforehand
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

RESULT = "# → "
"""Stands before the result of the expression on the same line or of the lines above."""

_BLOCK = re.compile(
    r"(?P<marks>(?:^<!-- [^\n]*? -->\n)*)^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_NUMBER = r"-?(?:[\d,]*\d)(?:\.\d+)?(?:e-?\d+)?[kM]?"
_MARK = re.compile(r"<!-- (needs|not run|tested with|begins with): (.*?) -->")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, its line in the page, and its marks."""

    language: str
    text: str
    line: int
    marks: dict[str, str] = field(default_factory=dict)

    @property
    def tested_text(self) -> str:
        """The text as the test runs it."""
        if "tested with" not in self.marks:
            return self.text
        new, old = self.marks["tested with"].split(" instead of ")
        assert old in self.text, f"line {self.line}: {old!r} is not in the block"
        return self.text.replace(old, new)


@dataclass(frozen=True)
class Command:
    """A line `$ ...` of a console block, and the output shown beneath it."""

    words: str
    shown: tuple[str, ...]


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page that name a language."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            match["language"],
            match["text"],
            text[: match.start("text")].count("\n") + 1,
            dict(_MARK.findall(match["marks"])),
        )
        for match in _BLOCK.finditer(text)
    ]


def begins_with(page: Path) -> list[str]:
    """What has to lie in the folder before the page's first block runs."""
    return [name for kind, name in _MARK.findall(page.read_text(encoding="utf-8")) if kind == "begins with"]


def commands_of(block: Block) -> list[Command]:
    """The commands of a console block; a line that ends with a backslash goes on in the next."""
    commands: list[Command] = []
    for line in block.tested_text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            commands.append(Command(line.removeprefix("$ "), ()))
        elif line.strip():
            commands[-1] = Command(commands[-1].words, (*commands[-1].shown, line))
    return commands


def statements_of(block: Block) -> Iterator[tuple[ast.stmt, list[str]]]:
    """The block's statements, and the results that the comments say: on the last line, or on lines after it."""
    lines = block.tested_text.splitlines()
    tree = ast.parse(block.tested_text)
    for statement in tree.body:
        assert statement.end_lineno is not None
        last = statement.end_lineno
        results = [lines[last - 1].partition(RESULT)[2]] if RESULT in lines[last - 1] else []
        for line in lines[last:]:
            if not line.startswith(RESULT.rstrip()):
                break
            results.append(line.removeprefix(RESULT.rstrip()).removeprefix(" "))
        ast.increment_lineno(statement, block.line)
        yield statement, results


def same_result(shown: str, actual: str) -> bool:
    """Whether a Python result is the one shown, where … stands for anything."""
    pattern = ".*".join(map(re.escape, shown.split("…")))
    return re.fullmatch(pattern, actual, re.DOTALL) is not None


def same_line(shown: str, actual: str) -> bool:
    """Whether a line of a command's output is the one shown: words alike, a number wherever a number is shown.

    Figures differ from machine to machine, and the test's models are smaller than the page's. … stands for anything.
    """
    stretches = " ".join(shown.split()).split("…")
    return re.fullmatch(".*".join(map(_worded, stretches)), " ".join(actual.split())) is not None


def _worded(text: str) -> str:
    pieces = re.split(f"({_NUMBER})", text)
    return "".join(_NUMBER if index % 2 else re.escape(piece) for index, piece in enumerate(pieces))


def missing_lines(shown: tuple[str, ...], output: str) -> list[str]:
    """The shown lines that the output does not have, in this order."""
    rest = iter(output.splitlines())
    return [line for line in shown if line.strip() != "…" and not any(same_line(line, actual) for actual in rest)]
