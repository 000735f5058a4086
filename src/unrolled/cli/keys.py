"""`unrolled train --keys`: every key of a recipe, with its default and what it is for."""

import re
from dataclasses import fields
from typing import Any

from unrolled.cli.common import say_json


def print_keys(as_json: bool) -> None:
    """Print all keys, as a recipe that could be trained or as JSON."""
    sections = all_keys()
    if as_json:
        say_json(sections)
        return
    lines = ['task = "language-model"']
    for section, keys in sections.items():
        lines += ["", f"[{section}]"]
        written = {name: f"{name} = {toml(key['default'])}" for name, key in keys.items()}
        width = max(len(text) for text in written.values())
        lines += [f"{text.ljust(width)}  # {keys[name]['help']}" for name, text in written.items()]
    print("\n".join(lines))


def all_keys() -> dict[str, dict[str, dict[str, Any]]]:
    """Section, key -> default and help, read from the settings themselves."""
    from unrolled.data.settings import DataSettings
    from unrolled.models.settings import ModelSettings
    from unrolled.training.settings import TrainingSettings

    sections: dict[str, Any] = {"data": DataSettings, "model": ModelSettings, "training": TrainingSettings}
    return {name: _keys_of(schema) for name, schema in sections.items()}


def _keys_of(schema: Any) -> dict[str, dict[str, Any]]:
    from unrolled.settings import limits_of

    told = documented(schema.__doc__ or "")
    keys = {}
    for declared in fields(schema):
        limits = limits_of(declared)
        choices = f" ({', '.join(limits.choices)})" if limits.choices else ""
        help = limits.help or told.get(declared.name, "")
        keys[declared.name] = {"default": declared.default, "help": help + choices}
    return keys


def documented(docstring: str) -> dict[str, str]:
    r"""Key -> help from paragraphs such as "path, valid: files (UTF-8)." that may go on in indented lines.

    >>> documented("What.\n\n    path, valid: files\n        (UTF-8).\n    level: what.")
    {'path': 'files (UTF-8)', 'valid': 'files (UTF-8)', 'level': 'what'}
    """
    found: dict[str, str] = {}
    names: list[str] = []
    for line in docstring.splitlines():
        opening = re.fullmatch(r" {0,4}(\w+(?:, \w+)*): (.+)", line)
        if opening:
            names = opening[1].split(", ")
            found |= dict.fromkeys(names, opening[2])
        elif line.startswith(" " * 8) and names:
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            names = []
    return {name: text.removesuffix(".") for name, text in found.items()}


def toml(value: object) -> str:
    """A default as a recipe writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) or value is None:
        return f'"{"none" if value is None else value}"'
    return str(list(value)) if isinstance(value, tuple) else str(value)
