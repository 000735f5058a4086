"""Any script in a picture: the installed fonts that have a text's characters."""

from __future__ import annotations

from collections.abc import Iterable

BASE = "DejaVu Sans Mono"
"""Comes with Matplotlib."""


def fonts_for(texts: Iterable[str]) -> tuple[list[str], str]:
    """Families that together write the texts, in the order to try them; and the characters that none here has."""
    from matplotlib.font_manager import findfont, fontManager, get_font

    missing = set("".join(texts)) - {"\n"}
    missing -= set(map(chr, get_font(findfont(BASE)).get_charmap()))
    families = [BASE]
    for entry in fontManager.ttflist if missing else ():
        if entry.name.startswith("Last Resort"):
            continue  # it has a box for every character
        try:
            has = missing & set(map(chr, get_font(entry.fname).get_charmap()))
        except (OSError, RuntimeError):
            continue  # a font that was uninstalled since Matplotlib listed it, or that is damaged
        if has:
            families.append(entry.name)
            missing -= has
        if not missing:
            break
    return families, "".join(sorted(missing))


def written(symbol: str, missing: str) -> str:
    """A symbol as a picture can write it: what no font has by its code point, and no formula begun by a dollar."""
    return "".join(f"U+{ord(one):04X}" if one in missing else one for one in symbol).replace("$", r"\$")
