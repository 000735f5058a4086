"""Simple things that a text has at every place, and that a hidden unit may keep track of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

OPENING, CLOSING = "([{", ")]}"
SENTENCE = ".!?"


@dataclass
class _Place:
    """Where a text is, character by character. Quotes and brackets that were never closed end with a paragraph."""

    text: int = 0
    line: int = 0
    line_words: int = 0
    word: int = 0
    sentence: int = 0
    indentation: int = 0
    indenting: bool = True
    quotes: bool = False
    brackets: int = 0
    comment: bool = False
    last: str = " "

    def read(self, character: str) -> None:
        """Go on by one character."""
        self.text += 1
        self.line += 1
        if character == "\n":
            self._end_line()
        elif not character.isspace():
            self.indenting = False
        elif self.indenting:
            self.indentation += 1
        self._mark(character)
        inside = character.isalnum() or character == "_"
        self.line_words += inside and not self.word
        self.word = self.word + 1 if inside else 0
        self.sentence = 0 if character in SENTENCE else self.sentence + 1
        self.last = character

    def _end_line(self) -> None:
        if self.last == "\n":
            self.quotes, self.brackets = False, 0
        self.line = self.line_words = self.indentation = 0
        self.indenting, self.comment = True, False

    def _mark(self, character: str) -> None:
        if character == '"':
            self.quotes = not self.quotes
        elif character in "“”":
            self.quotes = character == "“"
        elif character in OPENING:
            self.brackets += 1
        elif character in CLOSING:
            self.brackets = max(0, self.brackets - 1)
        elif character == "#":
            self.comment = True

    def features(self) -> dict[str, float]:
        """All that is tracked, after the last character."""
        last = self.last
        return {
            "characters of the line so far": self.line,
            "words of the line so far": self.line_words,
            "characters of the word so far": self.word,
            "characters of the sentence so far": self.sentence,
            "place in the text": self.text,
            "indentation of the line": self.indentation,
            "inside quotes": self.quotes,
            "depth of brackets": self.brackets,
            "after # in the line": self.comment,
            "a capital": last.isupper(),
            "a digit": last.isdigit(),
            "a blank or line end": last.isspace(),
            "a line end": last == "\n",
            "punctuation": not (last.isalnum() or last.isspace()),
        }


def text_features(pieces: Iterable[Sequence[str]]) -> dict[str, NDArray[np.float64]]:
    """Every feature after each symbol of some texts, each of which begins anew: name -> (symbols in all,).

    >>> found = text_features([list('a "b" c')])
    >>> found["inside quotes"].tolist()
    [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    """
    rows = []
    for text in pieces:
        place = _Place()
        for piece in text:
            for character in piece:
                place.read(character)
            rows.append(place.features())
    return {name: np.array([float(row[name]) for row in rows]) for name in _Place().features()}
