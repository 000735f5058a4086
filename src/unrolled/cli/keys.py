"""`unrolled train --keys`: every key of a recipe, with its default and what it is for."""

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
    from unrolled.decoding.settings import DecodingSettings
    from unrolled.models.settings import ModelSettings
    from unrolled.training.settings import TrainingSettings

    sections: dict[str, Any] = {
        "data": DataSettings, "model": ModelSettings, "training": TrainingSettings, "decoding": DecodingSettings,
    }  # fmt: skip
    return {name: _keys_of(schema) for name, schema in sections.items()}


def _keys_of(schema: Any) -> dict[str, dict[str, Any]]:
    from unrolled.settings import limits_of

    keys = {}
    for declared in fields(schema):
        limits = limits_of(declared)
        choices = f" ({', '.join(limits.choices)})" if limits.choices else ""
        keys[declared.name] = {"default": declared.default, "help": limits.help + choices}
    return keys


def toml(value: object) -> str:
    """A default as a recipe writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) or value is None:
        return f'"{"none" if value is None else value}"'
    return str(list(value)) if isinstance(value, tuple) else str(value)
