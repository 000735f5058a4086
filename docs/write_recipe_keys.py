"""Writes the tables of docs/recipes.md from the dataclasses that are a recipe's sections: scripts/recipe-keys runs it.

With --check it changes nothing, and ends with 1 where the page is not up to date.
"""

import dataclasses
import sys
from typing import Any, get_args, get_type_hints

from generated import write

from unrolled.cli.keys import toml
from unrolled.data.settings import DataSettings
from unrolled.decoding.settings import DecodingSettings
from unrolled.models.settings import ModelSettings
from unrolled.settings import limits_of
from unrolled.training.settings import TrainingSettings

SECTIONS: dict[str, Any] = {
    "data": DataSettings, "model": ModelSettings, "training": TrainingSettings, "decoding": DecodingSettings,
}  # fmt: skip
KINDS = {str: "text", int: "whole number", float: "number", bool: "`true`, `false`"}


def table(name: str, section: Any) -> str:
    """A heading, and one row for every key; keys of one meaning follow each other and share a row."""
    hints = get_type_hints(section)
    rows: dict[str, list[str]] = {}
    for key in dataclasses.fields(section):
        help = limits_of(key).help
        if not help:
            sys.exit(f"recipe-keys: {section.__name__} says nowhere what {key.name} means")
        row = f" | `{toml(key.default)}` | {may_be(key, hints[key.name])} | {cell(help)} |\n"
        rows.setdefault(row, []).append(f"`{key.name}`")
    body = "".join(f"| {', '.join(names)}{row}" for row, names in rows.items())
    return f"### [{name}]\n\n| key | default | may be | meaning |\n|---|---|---|---|\n{body}"


def may_be(key: "dataclasses.Field[Any]", hint: Any) -> str:
    """The kind of value, and its limits."""
    limits = limits_of(key)
    if limits.choices:
        return ", ".join(f"`{choice}`" for choice in limits.choices)
    kinds = [kind for kind in get_args(hint) or (hint,) if kind in KINDS]
    kind = "list of whole numbers" if isinstance(key.default, tuple) else KINDS[kinds[0]]
    bounds = {"≥": limits.minimum, ">": limits.above, "<": limits.below, "≤": limits.maximum}
    signs = [f"{sign} {bound_text(bound)}" for sign, bound in bounds.items() if bound is not None]
    return ", ".join([kind, *signs, *(["`none`"] if key.default is None else [])])


def bound_text(bound: float) -> str:
    """A limit as people write it."""
    return "2⁶³ - 1" if bound == 2**63 - 1 else f"{bound:g}"


def cell(text: str) -> str:
    """Text inside a Markdown table."""
    return text.replace("|", "\\|").replace("<", "&lt;").rstrip(".")


if __name__ == "__main__":
    tables = "\n".join(table(name, section) for name, section in SECTIONS.items())
    write("recipes.md", "keys", tables, script="scripts/recipe-keys", source="the settings")
