"""From pieces of text to surfaces: numbers of the file's own distinct symbols, whatever the vocabulary will be.

Surface 0 is the end of a line: in format "lines" at every level, and in running text at word level. In running text of
characters, bytes or BPE a line's end is a symbol like others. The other surfaces number the file's `lexicon`.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from unrolled.data import subwords

END_OF_LINE = "\n"
"""Stands at place 0 of every lexicon."""
BATCH = 16
"""Pieces that `tokenizers` gets at once: it shares them out over the processor's cores."""

Surfaces = NDArray[np.uint32]
Item = TypeVar("Item")
Result = TypeVar("Result")


class CodeTable:
    """Characters or bytes to surfaces: one lookup in a table that grows with every new code.

    Several threads may call it at once: the lookups, which are the work, run outside Python's lock.

    >>> table = CodeTable(byte=False, line_ends=True)
    >>> table("ab\\na").tolist(), table.lexicon
    ([1, 2, 0, 1], ['\\n', 'a', 'b'])
    """

    _UNSEEN = np.uint32(0xFFFFFFFF)

    def __init__(self, *, byte: bool, line_ends: bool) -> None:
        self.lexicon = [END_OF_LINE]
        self._byte = byte
        self._table = np.full(256 if byte else 0x110000, self._UNSEEN, dtype=np.uint32)
        if line_ends:
            self._table[ord("\n")] = 0
        self._growing = threading.Lock()

    def __call__(self, text: str) -> Surfaces:
        codes = self._codes(text)
        surfaces: Surfaces = self._table[codes]
        if surfaces.max(initial=0) == self._UNSEEN:
            with self._growing:
                self._add(codes)
            surfaces = self._table[codes]
        return surfaces

    def _codes(self, text: str) -> NDArray[Any]:
        if self._byte:
            return np.frombuffer(text.encode(), dtype=np.uint8)
        return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")

    def _add(self, codes: NDArray[Any]) -> None:
        for code in np.unique(codes[self._table[codes] == self._UNSEEN]).tolist():
            self._table[code] = len(self.lexicon)
            self.lexicon.append(chr(code))


def coded(chunks: Iterable[str], table: CodeTable, *, workers: int = 1) -> Iterator[Surfaces]:
    """Characters or bytes, in ``workers`` threads; the results come in the text's order."""
    if workers == 1:
        return map(table, chunks)
    return _in_order(table, chunks, workers)


def worded(chunks: Callable[[], Iterator[str]], words: str, lexicon: list[str]) -> Iterator[Surfaces]:
    """Words, and 0 after every line, the last one too; fills ``lexicon``. The text is read twice."""
    tokenizer = _word_tokenizer(words, chunks())
    numbers: dict[str, int] = tokenizer.get_vocab()
    lexicon.extend(sorted(numbers, key=numbers.__getitem__))
    line_is_open = False
    for batch in _batches(subwords.pieces(chunks())):
        segments = [segment for piece in batch for segment in _segments(piece)]
        yield _joined(tokenizer, segments, after_line=[END_OF_LINE])
        line_is_open = _ends_open(segments, line_is_open)
    if line_is_open:
        yield np.zeros(1, dtype=np.uint32)


def split_words(text: str, words: str) -> list[str]:
    r"""The words of a text, with "\n" for every line's end inside it.

    >>> split_words("to be,\nor not", "punctuation")
    ['to', 'be', ',', '\n', 'or', 'not']
    """
    splitter = _pre_tokenizer(words)
    found: list[str] = []
    with subwords.guarded():
        for segment in _segments(text):
            found += [END_OF_LINE] if segment == END_OF_LINE else [w for w, _ in splitter.pre_tokenize_str(segment)]
    return found


def subworded(chunks: Iterable[str], tokenizer: str, lexicon: list[str], *, line_ends: bool) -> Iterator[Surfaces]:
    """BPE; fills ``lexicon``. With ``line_ends`` every line is encoded by itself and followed by 0."""
    lexicon.extend(subwords.tokens(tokenizer))
    encoder = subwords.loaded(tokenizer)
    cut = (line for chunk in chunks for line in _segments(chunk)) if line_ends else subwords.pieces(chunks)
    for batch in _batches(cut, BATCH * 256 if line_ends else BATCH):
        yield _joined(encoder, batch, after_line=[END_OF_LINE] if line_ends else [])


def _word_tokenizer(words: str, chunks: Iterator[str]) -> Any:
    from tokenizers import Tokenizer, models, trainers

    tokenizer = Tokenizer(models.WordLevel())
    tokenizer.pre_tokenizer = _pre_tokenizer(words)
    # Nothing is special and nothing too rare: the lexicon is the file's, the vocabulary is chosen from it later.
    trainer = trainers.WordLevelTrainer(vocab_size=1 << 31, min_frequency=0, special_tokens=[], show_progress=False)
    segments = (segment for piece in subwords.pieces(chunks) for segment in piece.split("\n"))
    with subwords.guarded():
        tokenizer.train_from_iterator(segments, trainer)
    return tokenizer


def _pre_tokenizer(words: str) -> Any:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.WhitespaceSplit() if words == "whitespace" else pre_tokenizers.Whitespace()


def _segments(piece: str) -> list[str]:
    r"""A piece's stretches between line ends, each line end ("\n") an element by itself.

    >>> _segments("a b\n\nc")
    ['a b', '\n', '\n', 'c']
    """
    first, *others = piece.split("\n")
    parted = [first]
    for other in others:
        parted += [END_OF_LINE, other]
    return [segment for segment in parted if segment]


def _ends_open(segments: list[str], before: bool) -> bool:
    return segments[-1] != END_OF_LINE if segments else before


def _joined(tokenizer: Any, segments: list[str], *, after_line: list[str]) -> Surfaces:
    """Surfaces of all segments in a row; those that are in ``after_line`` become 0 and are not tokenized."""
    texts = [segment for segment in segments if segment not in after_line]
    with subwords.guarded():
        encodings = iter(tokenizer.encode_batch_fast(texts, add_special_tokens=False))
    numbers: list[int] = []
    for segment in segments:
        numbers.extend([-1] if segment in after_line else next(encodings).ids)
    return (np.array(numbers, dtype=np.int64) + 1).astype(np.uint32)


def _batches(items: Iterable[str], size: int = BATCH) -> Iterator[list[str]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """``map`` in threads, with only a few results waiting at any time."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
