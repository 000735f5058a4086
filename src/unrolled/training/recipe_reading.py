"""From loose keys and values to checked settings objects, with every mistake collected on the way."""

import difflib
import math
import os
import re
import tomllib
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from unrolled.errors import UserError, short
from unrolled.settings import limits_of

EXPECTED = {int: "a whole number", float: "a number", str: "text in quotes", bool: "true or false"}


MOST_COMPLAINTS = 50
"""Nobody reads more at once, and a file that is no recipe could have any number."""


class Mismatch(Exception):
    """A value is not of the type its key wants; the message says what is expected."""


class Reading:
    """One recipe being read: turns loose values into the sections of ``schema`` and keeps every complaint.

    >>> reading = Reading(Recipe, source="a.toml")              # doctest: +SKIP
    >>> values = reading.top_level({"model": {"hidden": 9}})    # doctest: +SKIP
    >>> reading.raise_complaints()                              # doctest: +SKIP
    """

    def __init__(self, schema: type, *, source: str, lines: Mapping[str, int] | None = None) -> None:
        self._hints: dict[str, Any] = get_type_hints(schema)
        self._hints.pop("chosen", None)  # says where values come from, and is none
        self._sections: dict[str, Any] = {name: hint for name, hint in self._hints.items() if is_dataclass(hint)}
        self._section_hints = {name: get_type_hints(hint) for name, hint in self._sections.items()}
        self._source = source
        self._lines = lines or {}
        self._overridden: frozenset[str] = frozenset()
        self._complaints: list[tuple[str, str]] = []

    def complain(self, name: str, text: str) -> None:
        """Keep a complaint about the key ``name`` ("section.key", "section" or a key of the top level)."""
        self._complaints.append((name, text))
        if len(self._complaints) >= MOST_COMPLAINTS:
            self.raise_complaints()

    def disagree(self, names: Sequence[str], text: str) -> None:
        """Complain that keys do not go together, unless one of them is wrong already: then this only follows."""
        if not {name for name, _ in self._complaints} & set(names):
            marked = [name for name in names if self.is_override(name) or name in self._lines]
            self.complain((marked or list(names))[-1], text)

    def is_override(self, name: str) -> bool:
        """Say whether the value of ``name`` was given over the recipe's own."""
        return name in self._overridden

    def raise_complaints(self) -> None:
        """Raise one UserError that lists every complaint, or return when there is none."""
        complaints = [self._placed(name, text) for name, text in self._complaints]
        if len(complaints) == 1:
            raise UserError(complaints[0])
        if complaints:
            raise UserError(f"{self._source}: {len(complaints)} mistakes\n  " + "\n  ".join(complaints))

    def overrides(self, given: Mapping[str, object] | Sequence[str]) -> dict[str, object]:
        """Read ``{"section.key": value}`` or ``["section.key=value"]``; of a key given twice the last value counts."""
        if isinstance(given, str):
            given = [given]
        values = dict(given) if isinstance(given, Mapping) else self._parsed(given)
        self._overridden = frozenset(values)
        return values

    def merge(self, mapping: Mapping[str, object], overrides: Mapping[str, object]) -> dict[str, object]:
        """Put ``overrides`` over ``mapping`` without changing either."""
        merged = {name: dict(value) if isinstance(value, Mapping) else value for name, value in mapping.items()}
        for name, value in overrides.items():
            section, dot, key = name.partition(".")
            if dot and section in self._sections:
                target = merged.setdefault(section, {})
                if isinstance(target, dict):  # anything else is complained about when the section is read
                    target[key] = value
            elif name in self._hints and name not in self._sections:
                merged[name] = value
            else:
                self._complain_about_override(name)
        return merged

    def top_level(self, merged: Mapping[str, object]) -> dict[str, object]:
        """Give the constructor's arguments for the schema: checked values and section objects."""
        values: dict[str, object] = {}
        for name, value in merged.items():
            if name in self._sections:
                values[name] = self._section(name, value)
            elif name in self._hints:
                self._convert(name, self._hints[name], value, values, name)
            else:
                self.complain(name, f"{name} is no section of a recipe{nearest(name, self._hints)}")
        return values

    def _section(self, name: str, value: object) -> object:
        schema, hints = self._sections[name], self._section_hints[name]
        if not isinstance(value, Mapping):
            self.complain(name, f"{name} must be a section [{name}], not {shown(value)}")
            return schema()
        values: dict[str, object] = {}
        for key, item in value.items():
            if key in hints:
                self._convert(f"{name}.{key}", hints[key], item, values, key)
            else:
                self.complain(f"{name}.{key}", self._unknown_key(name, key))
        self._check_limits(name, schema, values)
        section = schema(**values)
        self._check_problems(section)
        return section

    def _check_problems(self, section: Any) -> None:
        """Ask a section that knows more rules than its fields say; each problem opens with the key it is about."""
        for problem in section.problems() if hasattr(section, "problems") else []:
            self.disagree([problem.split(maxsplit=1)[0]], problem)

    def _convert(self, name: str, hint: Any, value: object, into: dict[str, object], key: str) -> None:
        try:
            into[key] = converted(value, hint)
        except Mismatch as mismatch:
            self.complain(name, f"{name} must be {mismatch}, not {shown(value)}")

    def _check_limits(self, section: str, schema: Any, values: dict[str, object]) -> None:
        for declared in fields(schema):
            if declared.name in values:
                complaint = limits_of(declared).complaint(values[declared.name])
                if complaint:
                    self.complain(f"{section}.{declared.name}", f"{section}.{declared.name} {complaint}")
                    del values[declared.name]  # so that what is checked later sees the default

    def _unknown_key(self, section: str, key: str) -> str:
        homes = [other for other, hints in self._section_hints.items() if key in hints]
        if homes:
            return f"{section}.{key} is no key of [{section}]; it belongs to [{homes[0]}]"
        return f"{section}.{key} is no key of [{section}]{nearest(key, self._section_hints[section])}"

    def _complain_about_override(self, name: str) -> None:
        homes = [f"{section}.{name}" for section, hints in self._section_hints.items() if name in hints]
        if name in self._sections:
            text = f"{name} is a section; set one of its keys, as in {name}.{next(iter(self._section_hints[name]))}"
        elif homes:
            text = f"{name} needs its section; write {' or '.join(homes)}"
        else:
            text = f"{name} is no key of a recipe{nearest(name, self._every_name())}"
        self._overridden |= {name}
        self.complain(name, text)

    def _every_name(self) -> list[str]:
        keys = [f"{section}.{key}" for section, hints in self._section_hints.items() for key in hints]
        return [name for name in self._hints if name not in self._sections] + keys

    def _parsed(self, given: Sequence[str]) -> dict[str, object]:
        values: dict[str, object] = {}
        for item in given:
            name, equals, text = item.partition("=")
            if equals and name.strip():
                values[name.strip()] = self._value(name.strip(), text.strip())
            else:
                raise UserError(f"{item!r} is no override; write section.key=value, as in model.hidden=256")
        return values

    def _value(self, name: str, text: str) -> object:
        """Read what follows ``=`` as TOML; a bare word, or anything for a key that holds text, stays as it is."""
        section, _, key = name.partition(".")
        wants_text = self._section_hints.get(section, {}).get(key, self._hints.get(name)) is str
        try:
            document = tomllib.loads(f"value = {text}")
        except (ValueError, RecursionError):  # no TOML; or a number of too many digits, which is none either
            return text
        value = document["value"]
        return text if len(document) > 1 or (wants_text and not isinstance(value, str)) else value

    def _placed(self, name: str, text: str) -> str:
        if name in self._overridden:
            return f"override: {text}"
        line = self._lines.get(name, self._lines.get(name.partition(".")[0]))
        return f"{self._source}:{line}: {text}" if line else f"{self._source}: {text}"


def converted(value: object, hint: Any) -> object:
    """Give ``value`` as the type ``hint`` wants it: int for float, list for tuple, "none" for None.

    Raises:
        Mismatch: when it is not of that type; its message names what is expected.
    """
    if get_origin(hint) in (Union, types.UnionType):
        return None if value in (None, "none") else _optional(value, hint)
    if get_origin(hint) is tuple:
        return _numbers(value, get_args(hint)[0])
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf:
        return _as_float(value)
    if hint is str and isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, str) and "\0" in value:
        raise Mismatch("text without the character of number 0")
    if hint is int and type(value) is int and abs(value) >= 2**63:
        raise Mismatch("a whole number below 2^63")
    if hint is not float and type(value) is hint:
        return value
    raise Mismatch(EXPECTED[hint])


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of more than 308 digits
        raise Mismatch("a number below 1e308") from None


def _optional(value: object, hint: Any) -> object:
    inner = next(argument for argument in get_args(hint) if argument is not type(None))
    try:
        return converted(value, inner)
    except Mismatch as mismatch:
        raise Mismatch(f'{mismatch} or "none"') from None


def _numbers(value: object, inner: Any) -> tuple[object, ...]:
    if isinstance(value, list | tuple) and all(type(item) is inner for item in value):
        return tuple(converted(item, inner) for item in value)
    raise Mismatch("a list of whole numbers, as in [1000, 5000]")


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, or list them all."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; the nearest is {close[0]}" if close else f"; there are: {', '.join(names)}"


def shown(value: object) -> str:
    """Write a value as a recipe would, for a message; long ones are cut."""
    text = str(value).lower() if isinstance(value, bool) else short(value) if isinstance(value, int) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def line_numbers(text: str) -> dict[str, int]:
    """Find the line, from 1, of every section and key of a TOML text.

    tomllib keeps no places. This reads headers and keys only; inside a multi-line string it can be misled, which
    costs a wrong line number in a message and nothing else.
    """
    places: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*([\w.\"'-]+)\s*\]", line):
            section = header[1].replace('"', "").replace("'", "")
            places.setdefault(section, number)
        elif key := re.match(r"\s*([\w\"'-]+(?:\s*\.\s*[\w\"'-]+)*)\s*=", line):
            name = re.sub(r"[\s\"']", "", key[1])
            places.setdefault(f"{section}.{name}" if section else name, number)
    return places
