"""From the recipe's section [data] to training, validation and test streams over one vocabulary."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from unrolled.data import subwords
from unrolled.data.builtin import NAME, builtin_path
from unrolled.data.cache import kept
from unrolled.data.encoding import EncodedText, Scheme, documents, encode_file, encode_text, prepared
from unrolled.data.made import made_name, made_text
from unrolled.data.reading import Progress, TextFile
from unrolled.data.settings import DEFAULT_BPE, DataSettings
from unrolled.data.splitting import PART_NAMES, TRAIN, Split
from unrolled.data.streams import Part, Stream, ends_of_lines, training_counts
from unrolled.data.vocabulary import SPECIALS, Vocabulary
from unrolled.errors import UserError

_UNITS = {"character": "characters", "byte": "bytes", "word": "words", "bpe": "BPE symbols"}


@dataclass(frozen=True)
class Corpus:
    """The streams to learn from and to measure on.

    fingerprint: changes whenever the content of one of the files does.
    description: one line for people.
    """

    train: Stream
    valid: Stream | None
    test: Stream | None
    vocabulary: Vocabulary
    fingerprint: str
    description: str

    @property
    def symbols(self) -> Vocabulary:
        """What the texts became numbers by."""
        return self.vocabulary


def open_corpus(
    settings: DataSettings,
    *,
    vocabulary: Vocabulary | None = None,
    base: Path = Path(),
    progress: Progress | None = None,
) -> Corpus:
    """Encode what the settings name (or find it in the cache), split it, and choose the vocabulary.

    The vocabulary is that of the training part, unless one is given. Relative paths are relative to ``base``;
    ``progress(done, total)`` hears of bytes read. UserError for every mistake in the settings or the files.

    >>> open_corpus(DataSettings()).description     # doctest: +SKIP
    'the Python language reference (built in): 496,201 characters, 102 distinct; train 446,580 / ...'
    """
    _check(settings, vocabulary)
    split = Split.parse(settings.split, settings.format).given(valid=bool(settings.valid), test=bool(settings.test))
    if settings.path:
        path = base / Path(settings.path).expanduser()
    else:
        path = made_text(settings.made) if settings.made else builtin_path()
    file = TextFile(path)
    scheme = scheme_of(settings, vocabulary.tokenizer if vocabulary else "")
    if settings.level == "bpe" and not vocabulary:
        scheme = replace(scheme, tokenizer=_learned_bpe(file, settings, scheme, split))
    own = made_name(settings.made, settings.made_length) if settings.made else NAME
    name = _short_name(path) if settings.path else own
    main = replace(encode_file(file, scheme, progress), name=name)
    parts = _parts(main, split)
    for index, written in enumerate((settings.valid, settings.test), start=1):
        if written:
            parts[index] = _whole(_opened(base / Path(written).expanduser(), scheme, progress))
    vocabulary = vocabulary or _chosen_vocabulary(parts[TRAIN], settings, scheme)
    return _joined(main, parts, vocabulary)


def stream_of(
    source: Path | str, vocabulary: Vocabulary, *, format: str = "text", progress: Progress | None = None
) -> Stream:
    """Another text under a vocabulary that exists: a file when ``source`` is a Path, the text itself when it is a str.

    UserError as for any file, and when the vocabulary knows none of the text's symbols.

    >>> vocabulary = Vocabulary.from_counts({"a": 2, "b": 1}, level="character")
    >>> stream_of("abc", vocabulary).ids(0, 3)
    array([4, 5, 1])
    """
    scheme = Scheme(vocabulary.level, format, vocabulary.words, vocabulary.lowercase, tokenizer=vocabulary.tokenizer)
    encoded = encode_text(source, scheme) if isinstance(source, str) else _opened(source, scheme, progress)
    stream = Stream(_whole(encoded), vocabulary, encoded.name)
    stream.check_known()
    return stream


def scheme_of(settings: DataSettings, tokenizer: str = "") -> Scheme:
    """What of the settings decides how a text is encoded."""
    return Scheme(settings.level, settings.format, settings.words, settings.lowercase, settings.unique, tokenizer)


def _check(settings: DataSettings, vocabulary: Vocabulary | None) -> None:
    problems = settings.problems()
    if problems:
        raise UserError("\n".join(problems))
    if vocabulary and _cutting(vocabulary) != _cutting(settings):
        raise UserError(
            f"the vocabulary cuts text into {_cutting(vocabulary)}, the recipe's [data] into {_cutting(settings)}; "
            "set data.level, data.words, data.lowercase and data.unknown as they were, or train anew"
        )


def _cutting(source: DataSettings | Vocabulary) -> str:
    """How text becomes symbols, in words: what must not change while a vocabulary is in use."""
    parted = f" parted by {source.words}" if source.level == "word" else ""
    folded = ", lower case" if source.lowercase else ""
    unknown = f", {source.unknown} unknown" if source.unknown else ""
    return f"{_UNITS[source.level]}{parted}{folded}{unknown}"


def _opened(path: Path, scheme: Scheme, progress: Progress | None) -> EncodedText:
    return replace(encode_file(TextFile(path), scheme, progress), name=_short_name(path))


def _whole(encoded: EncodedText) -> Part:
    if encoded.scheme.format == "lines":
        return Part.of_documents(encoded)
    return Part.between(encoded, 0, len(encoded.surfaces))


def _parts(encoded: EncodedText, split: Split) -> list[Part | None]:
    """Train, validation and test part; None for a part that the rule leaves out."""
    if encoded.scheme.format == "lines":
        chosen = split.parts(len(ends_of_lines(encoded)))
        parts = [Part.of_documents(encoded, chosen == part) for part in range(3)]
    else:
        valid, test = _borders(encoded, split)
        spans = [(0, valid), (valid, test), (test, len(encoded.surfaces))]
        parts = [Part.between(encoded, start, stop) for start, stop in spans]
    return [_filled(*of) for of in zip(parts, split.shares, PART_NAMES, strict=True)]


def _filled(part: Part, share: Any, name: str) -> Part | None:
    if not share:
        return None
    if not len(part):
        amount = f"{len(part.encoded.surfaces):,} symbols"
        raise UserError(
            f"{part.encoded.name} is too short to split: with {amount} its {name} part is empty; give more text, "
            'or set data.split (to "100", all of it is for training)'
        )
    return part


def _borders(encoded: EncodedText, split: Split) -> tuple[int, int]:
    """Where validation and test begin: by symbols, and for BPE by characters, since these bounded what it learned."""
    if encoded.scheme.level != "bpe":
        return split.borders(len(encoded.surfaces))
    valid, test = split.borders(encoded.characters)
    return _symbols_within(encoded, valid), _symbols_within(encoded, test)


def _symbols_within(encoded: EncodedText, characters: int) -> int:
    """How many symbols from the start lie wholly within the first so many characters."""
    size, before = 1 << 20, 0
    for start in range(0, len(encoded.surfaces), size):
        reached = before + np.cumsum(encoded.widths[encoded.surfaces[start : start + size]])
        if reached[-1] > characters:
            return start + int(np.searchsorted(reached, characters, side="right"))
        before = int(reached[-1])
    return len(encoded.surfaces)


def _chosen_vocabulary(part: Part | None, settings: DataSettings, scheme: Scheme) -> Vocabulary:
    assert part is not None, "a split always has a training share"
    vocabulary = Vocabulary.from_counts(
        training_counts(part),
        level=settings.level,
        size=settings.vocabulary_size,
        min_count=settings.min_count,
        words=settings.words,
        lowercase=settings.lowercase,
        unknown=settings.unknown,
        tokenizer=scheme.tokenizer,
    )
    if len(vocabulary) == len(SPECIALS):
        raise UserError(
            f"{part.encoded.name}: every symbol is unknown: none of the training part's {len(part):,} symbols occurs "
            f"data.min_count = {settings.min_count} times; lower it or give more text"
        )
    return vocabulary


def _joined(main: EncodedText, parts: list[Part | None], vocabulary: Vocabulary) -> Corpus:
    streams = [
        Stream(part, vocabulary, _part_name(part, main, index)) if part else None for index, part in enumerate(parts)
    ]
    train, valid, test = streams
    assert train is not None, "a split always has a training share"
    for stream in streams:
        if stream:
            stream.check_known()
    contents = [stream.part.encoded.content if stream else "" for stream in streams]
    fingerprint = hashlib.sha256(" ".join(contents).encode()).hexdigest()
    return Corpus(train, valid, test, vocabulary, fingerprint, _description(main, streams, vocabulary))


def _part_name(part: Part, main: EncodedText, index: int) -> str:
    return f"{main.name} ({PART_NAMES[index]} part)" if part.encoded is main else part.encoded.name


def _description(main: EncodedText, streams: list[Stream | None], vocabulary: Vocabulary) -> str:
    unit = _UNITS[main.scheme.level]
    with_ends = " (with line ends)" if main.scheme.line_ends else ""
    sizes = [f"{name} {_size(stream)}" for name, stream in zip(PART_NAMES, streams, strict=True) if stream is not None]
    lines = " lines" if main.scheme.format == "lines" else ""
    return (
        f"{main.name}: {len(main.surfaces):,} {unit}{with_ends}, {len(main.lexicon) - 1:,} distinct; "
        f"{' / '.join(sizes)}{lines}; vocabulary {len(vocabulary):,}"
    )


def _size(stream: Stream) -> str:
    return f"{len(stream.offsets) - 1 if stream.documents else len(stream):,}"


def _short_name(path: Path) -> str:
    """A file's name with its folder's: data sets often lie in a file called input.txt or train.txt."""
    return "/".join(path.absolute().parts[-2:]).lstrip("/")


def _learned_bpe(file: TextFile, settings: DataSettings, scheme: Scheme, split: Split) -> str:
    """The JSON of a BPE learned from the training part alone; kept in the cache."""
    size = settings.vocabulary_size or DEFAULT_BPE
    key = {"bpe": size, "content": file.digest(), "scheme": repr(scheme), "split": repr(split)}

    def make(path: Path) -> dict[str, Any]:
        path.write_text(subwords.trained(_training_text(file, scheme, split), size), encoding="utf-8")
        return {}

    return kept(key, make, _is_bpe)[0].read_text(encoding="utf-8")


def _is_bpe(path: Path, about: dict[str, Any]) -> bool:
    """Whether an entry of the cache is a byte-level BPE."""
    try:
        subwords.loaded(path.read_text(encoding="utf-8"))
    except (subwords.UnknownTokenizer, UnicodeDecodeError):  # somebody changed what was kept
        return False
    return True


def _training_text(file: TextFile, scheme: Scheme, split: Split) -> Iterator[str]:
    if scheme.format == "lines":
        read = partial(documents, scheme=scheme)
        chosen = split.parts(sum(1 for _ in read(file.chunks()))) == TRAIN
        return compress(read(file.chunks()), chosen)
    length = sum(map(len, prepared(file.chunks(), scheme)))
    return subwords.pieces(_first(split.borders(length)[0], prepared(file.chunks(), scheme)))


def _first(characters: int, chunks: Iterator[str]) -> Iterator[str]:
    left = characters
    for chunk in chunks:
        yield chunk[:left]
        left -= len(chunk)
        if left <= 0:
            return
