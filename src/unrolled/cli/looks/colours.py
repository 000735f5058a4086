"""Texts on coloured grounds. A ground has its own colour of letters: it is read on dark and light screens."""

from collections.abc import Iterable

HEAT = ("", "#111111 on #fff3bf", "#111111 on #ffd08a", "#111111 on #ff9d5c", "#ffffff on #c9402a")
"""From nothing to a lot."""
FOR = ("", "#111111 on #fde0dc", "#111111 on #f6b3a8", "#111111 on #ec7c6c", "#ffffff on #c0392b")
AGAINST = ("", "#111111 on #dcebf7", "#111111 on #acd0ee", "#111111 on #6aaede", "#ffffff on #2166ac")


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
