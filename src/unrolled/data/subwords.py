"""Byte-level BPE: learning it from text, and what its tokens stand for."""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

WINDOW = 1 << 16
"""Characters handed to `tokenizers` at once."""
LONGEST = 1 << 24
"""A stretch of so many characters without a blank is cut where it is."""


def trained(pieces: Iterable[str], size: int) -> str:
    """Learn a byte-level BPE of ``size`` tokens, the 256 bytes among them; returns its JSON."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(pieces, trainer)
    return str(tokenizer.to_str())


@cache
def loaded(written: str) -> Any:
    """The `tokenizers.Tokenizer` of its JSON."""
    from tokenizers import Tokenizer

    return Tokenizer.from_str(written)


def tokens(written: str) -> list[str]:
    """A tokenizer's tokens in the order of its own numbers."""
    numbers: dict[str, int] = loaded(written).get_vocab()
    return sorted(numbers, key=numbers.__getitem__)


def token_bytes(token: str) -> bytes:
    """The bytes that a byte-level token stands for.

    >>> token_bytes("Ġthe")
    b' the'
    """
    back = _byte_of_character()
    return bytes(back[character] for character in token)


def pieces(chunks: Iterable[str], size: int = WINDOW) -> Iterator[str]:
    """The same text in pieces of about ``size`` characters, cut only where words and BPE tokens are cut anyway.

    That is before a blank or line end that follows something else: no token reaches over it, and none looks back.
    """
    text = ""
    for chunk in chunks:
        text += chunk
        while len(text) > size:
            cut = _safe_cut(text, size) or _safe_cut(text, len(text)) or (LONGEST if len(text) > LONGEST else 0)
            if not cut:
                break
            yield text[:cut]
            text = text[cut:]
    if text:
        yield text


def _safe_cut(text: str, end: int) -> int:
    """The last place up to ``end`` before which the text may be cut; 0 if there is none."""
    place = max(text.rfind(" ", 0, end), text.rfind("\n", 0, end))
    while place > 0 and text[place - 1].isspace():
        place = max(text.rfind(" ", 0, place), text.rfind("\n", 0, place))
    return max(place, 0)


@cache
def _byte_of_character() -> dict[str, int]:
    """Byte-level BPE writes printable Latin-1 bytes as themselves and the others, in order, from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}
