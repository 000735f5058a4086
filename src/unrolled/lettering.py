"""Any script in a picture: the installed fonts that have a text's characters, and what is written where none has."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

SANS, MONO = "DejaVu Sans", "DejaVu Sans Mono"
"""Both come with Matplotlib."""
LONGEST = 24
"""Characters of a name; of longer ones the beginning."""


@dataclass(frozen=True)
class Lettering:
    """How some texts are written: called with one of them, it gives what the picture shows.

    Attributes:
        families: fonts that together have their characters, in the order to try them.
        missing: characters that are written as their code points: in a PNG those that no font here has; in an SVG,
            whose viewer has fonts of its own, those that XML has no place for.
    """

    families: list[str]
    missing: str

    def __call__(self, text: str) -> str:
        return "".join(f"U+{ord(one):04X}" if one in self.missing else one for one in text)

    def short(self, text: str, longest: int = LONGEST) -> str:
        """The same, or of a long one the beginning."""
        return shortened(self(shortened(text, longest)), longest)


def lettering(texts: Iterable[str], base: str = SANS) -> Lettering:
    """The fonts that some texts need besides a base. Inside of `pictures.drawing`, which knows the kind of picture."""
    from matplotlib import rcParams

    every = set("".join(texts)) - {"\n"}
    families, missing = _fonts(frozenset(every), base)
    if rcParams["savefig.format"] == "svg":
        missing = frozenset(one for one in every if unicodedata.category(one) in ("Cc", "Cs") or one in "\ufffe\uffff")
    return Lettering(list(families), "".join(sorted(missing)))


@lru_cache(maxsize=64)
def _fonts(characters: frozenset[str], base: str) -> tuple[list[str], frozenset[str]]:
    """Families in the order to try them, and the characters that none of them has."""
    from matplotlib.font_manager import findfont, fontManager, get_font

    missing = set(characters) - set(map(chr, get_font(findfont(base)).get_charmap()))
    families = [base]
    for entry in fontManager.ttflist if missing else ():
        if entry.name.startswith("Last Resort"):
            continue  # it has a box for every character
        try:
            font = get_font(entry.fname)
            has = missing & set(map(chr, font.get_charmap())) if font.scalable else set()
        except (OSError, RuntimeError):
            continue  # a font that was uninstalled since Matplotlib listed it, or that is damaged
        if has:
            families.append(entry.name)
            missing -= has
        if not missing:
            break
    return families, frozenset(missing)


def shortened(text: str, longest: int = LONGEST) -> str:
    """A text, or of a long one the beginning.

    >>> shortened("internationalisation", 10)
    'internati…'
    """
    return text if len(text) <= longest else text[: longest - 1] + "…"
