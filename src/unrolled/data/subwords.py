"""Byte-level BPE: learning it from text, rebuilding it from its tokens and merges, and what its tokens stand for."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

from unrolled.errors import UserError

WINDOW = 1 << 16
"""Characters handed to `tokenizers` at once."""
LONGEST = 1 << 24
"""A stretch of so many characters without a blank is cut where it is."""


class UnknownTokenizer(UserError):
    """A tokenizer's JSON that is not one of ours; the message says which of its parts is not known."""


def trained(pieces: Iterable[str], size: int) -> str:
    """Learn a byte-level BPE of ``size`` tokens, the 256 bytes among them; returns its JSON."""
    from tokenizers import models, pre_tokenizers, trainers

    tokenizer = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    with guarded():
        tokenizer.train_from_iterator(pieces, trainer)
    return str(tokenizer.to_str())


@lru_cache(maxsize=32)
def loaded(written: str) -> Any:
    """The `tokenizers.Tokenizer` of a JSON that ``trained`` wrote.

    A JSON may come from anybody, and a tokenizer's JSON can hold regular expressions that never end, paddings of any
    length, and cuts that nobody notices. So only its tokens and merges are read, and the rest is what we always use.

    Raises:
        UnknownTokenizer: the JSON says more than that, or its tokens and merges do not fit together.
    """
    from tokenizers import models

    vocabulary, merges = _parts(written)
    with guarded():
        return _byte_level(models.BPE(vocab=vocabulary, merges=merges))


def tokens(written: str) -> list[str]:
    """A tokenizer's tokens in the order of its own numbers.

    Raises:
        UnknownTokenizer: as ``loaded``.
    """
    numbers: dict[str, int] = loaded(written).get_vocab()
    return sorted(numbers, key=numbers.__getitem__)


@contextmanager
def guarded() -> Iterator[None]:
    """Around calls of `tokenizers`: a panic of its Rust code, which is no ``Exception``, becomes a UserError."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise UserError("the library `tokenizers` gave up on this text; try without its unusual parts") from None


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


def _byte_level(model: Any) -> Any:
    from tokenizers import Tokenizer, decoders, pre_tokenizers

    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


_OURS: Mapping[str, Any] = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "post_processor": None,
    "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
}  # fmt: skip
"""What the JSON of a tokenizer of ours holds beside its model; releases of `tokenizers` may leave some of it out."""
_OUR_MODEL: Mapping[str, Any] = {
    "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
    "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
}  # fmt: skip


def _parts(written: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """The tokens with their numbers, and the merges, of a JSON that holds nothing else that matters."""
    try:
        tokenizer = json.loads(written)
    except (ValueError, RecursionError):
        raise UnknownTokenizer("the tokenizer is not JSON") from None
    if not isinstance(tokenizer, dict) or not isinstance(tokenizer.get("model"), dict):
        raise UnknownTokenizer("the tokenizer is not a JSON object with a model")
    model = dict(tokenizer.pop("model"))
    vocabulary, merges = model.pop("vocab", None), model.pop("merges", None)
    _check_ours(tokenizer, _OURS, "")
    _check_ours(model, _OUR_MODEL, "model.")
    return _checked_tokens(vocabulary), _checked_merges(merges, vocabulary)


def _check_ours(part: Mapping[str, Any], ours: Mapping[str, Any], place: str) -> None:
    for key, value in part.items():
        known = ours.get(key, ...)
        if isinstance(known, Mapping) and isinstance(value, dict):
            _check_ours(value, known, f"{place}{key}.")
        elif type(value) is not type(known) or value != known:
            raise UnknownTokenizer(
                f"the tokenizer's {(place + key)[:60]!r} is {_brief(value)}, which is not known here"
            )
    for key in ("type", "pre_tokenizer"):  # without these the text would be cut otherwise
        if key in ours and key not in part:
            raise UnknownTokenizer(f"the tokenizer's {place + key!r} is missing")


def _brief(value: object) -> str:
    kind = value.get("type") if isinstance(value, dict) else value
    return json.dumps(kind if isinstance(kind, str | int | float | None) else "...")[:60]


def _checked_tokens(vocabulary: object) -> dict[str, int]:
    if not isinstance(vocabulary, dict) or not _numbered(vocabulary.values()):
        raise UnknownTokenizer("the tokenizer's tokens are not numbered from 0 on, each once")
    letters = _byte_of_character()
    if not letters.keys() <= vocabulary.keys():
        raise UnknownTokenizer("the tokenizer's tokens are not byte-level: some of the 256 bytes are missing")
    strange = next((token for token in vocabulary if not token or not letters.keys() >= set(token)), None)
    if strange is not None:
        raise UnknownTokenizer(f"the tokenizer's token {strange[:60]!r} is not byte-level")
    return vocabulary


def _numbered(values: Collection[object]) -> bool:
    return all(type(value) is int for value in values) and set(values) == set(range(len(values)))


def _checked_merges(merges: object, vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    if not isinstance(merges, list):
        raise UnknownTokenizer("the tokenizer's merges are not a list")
    pairs: list[tuple[str, str]] = []
    for number, merge in enumerate(merges):
        pair = merge.split(" ") if isinstance(merge, str) else merge  # tokenizers before 0.20 wrote "a b"
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            raise UnknownTokenizer(f"the tokenizer's merge {number} is not a pair of tokens")
        left, right = pair
        if not {left, right, left + right} <= vocabulary.keys():
            raise UnknownTokenizer(f"the tokenizer's merge {number} is of tokens that it does not have")
        pairs.append((left, right))
    return pairs
