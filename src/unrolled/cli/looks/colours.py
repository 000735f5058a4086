"""Texts on coloured grounds. A ground has its own colour of letters: it is read on dark and light screens."""

from collections.abc import Iterable

HEAT = ("", "black on #fff3bf", "black on #ffd08a", "black on #ff9d5c", "white on #c9402a")
"""From nothing to a lot."""
FOR = ("", "black on #fde0dc", "black on #f6b3a8", "black on #ec7c6c", "white on #c0392b")
AGAINST = ("", "black on #dcebf7", "black on #acd0ee", "black on #6aaede", "white on #2166ac")


def painted(pieces: Iterable[tuple[str, str]]) -> str:
    """Pieces of text, each with its style; plain where the screen has no colours."""
    from rich.console import Console
    from rich.text import Text

    text = Text()
    for piece, style in pieces:
        text.append(piece, style=style)
    console = Console(soft_wrap=True, highlight=False)
    with console.capture() as capture:
        console.print(text)
    return capture.get().rstrip("\n")


def signed(share: float) -> str:
    """The style of a number from -1 (cold) to 1 (warm)."""
    grade = sum(abs(share) >= bound for bound in (0.1, 0.3, 0.55, 0.8))
    return (FOR if share > 0 else AGAINST)[grade]
