"""Labelled sequences as numbers: symbols or frames, labels, parts, batches. What files hold is read by `labelled`."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.data import subwords
from unrolled.data.batches import Ids, MixedBatches, in_order, padded, padding_share, spread
from unrolled.data.dates import DATES, made_dates
from unrolled.data.encoding import lowered
from unrolled.data.labelled import Example, Labelled, read_labelled
from unrolled.data.made import check_made, made_examples, made_name
from unrolled.data.settings import DEFAULT_BPE, DataSettings
from unrolled.data.splitting import PART_NAMES, Split
from unrolled.data.vectors import vector_words
from unrolled.data.vocabulary import UNK, Vocabulary
from unrolled.errors import UserError
from unrolled.files import atomic_write_text, is_number, read_json

FRAMES = "frames.json"
VOCABULARY = "vocabulary.json"
SMALLEST, FARTHEST = 1e-12, 1e39
"""Below the first a number is taken not to change at all; no mean or deviation of float32 is above the second."""
SAID = "; stratified split"
UNCOUNTED = -1
"""The target of a timestep past its sequence's end."""

LabelSymbols = TypeVar("LabelSymbols")


@dataclass(frozen=True)
class FrameScale:
    """How frames are standardised: less the mean, by the deviation, each of D numbers; both of the training part."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def of(cls, sequences: Iterable[NDArray[np.float32]]) -> FrameScale:
        """The scale of some frames; a number that never changes has deviation 1."""
        frames = np.concatenate(list(sequences)).astype(np.float64)
        deviation = frames.std(axis=0)
        return cls(tuple(frames.mean(axis=0)), tuple(np.where(deviation > SMALLEST, deviation, 1.0)))

    def scaled(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """(T, D) frames, standardised."""
        result: NDArray[np.float32] = ((frames - np.array(self.mean)) / np.array(self.deviation)).astype(np.float32)
        return result


Inputs = Vocabulary | FrameScale


@dataclass(frozen=True)
class Part(Generic[LabelSymbols]):
    """Examples as numbers.

    Attributes:
        name: for messages. examples: as they were read.
        inputs: (T,) ids or (T, D) frames of each example. spellings: (T, 16) of its words, where words are spelt.
        targets: what the task makes of the labels, one an example.
        counted: how many targets the loss is summed over.
    """

    name: str
    examples: tuple[Example, ...]
    inputs: list[NDArray[Any]]
    spellings: list[NDArray[np.int64]] | None
    targets: list[Any]
    counted: int

    def __len__(self) -> int:
        return self.counted

    @cached_property
    def lengths(self) -> Ids:
        """(N,) timesteps of each example."""
        return np.array([len(row) for row in self.inputs], dtype=np.int64)

    def batch(self, numbers: Ids) -> ExampleBatch:
        """Some examples side by side."""
        rows = numbers.tolist()
        inputs = torch.from_numpy(padded([self.inputs[row] for row in rows]))
        spellings = None
        if self.spellings is not None:
            spellings = torch.from_numpy(padded([self.spellings[row] for row in rows]))
        lengths = torch.from_numpy(self.lengths[numbers])
        return ExampleBatch(inputs, lengths, targets_of([self.targets[row] for row in rows]), spellings, numbers)

    def sample(self, share: float) -> Part[LabelSymbols]:
        """A share of the examples, evenly spread."""
        rows = spread(len(self.examples), share).tolist()
        targets = [self.targets[row] for row in rows]
        return Part(
            self.name, tuple(self.examples[row] for row in rows), [self.inputs[row] for row in rows],
            None if self.spellings is None else [self.spellings[row] for row in rows], targets, counted_of(targets),
        )  # fmt: skip

    def batches(self, *, batch: int, seed: int, rank: int = 0, world: int = 1) -> MixedBatches[ExampleBatch]:
        """What to train on."""
        return MixedBatches(self.lengths, self.batch, batch=batch, seed=seed, rank=rank, world=world)

    def whole(self, batch: int = 64, most: int = 20_000) -> Iterator[ExampleBatch]:
        """Every example once, for measuring: at most so many at once, and so many timesteps."""
        for numbers in in_order(self.lengths, batch, most):
            yield self.batch(numbers)


@dataclass(frozen=True)
class ExampleBatch:
    """Examples side by side.

    Attributes:
        inputs: (T, B) ids or (T, B, D) frames. lengths: (B,).
        targets: (B,) of whole sequences, or (T, B) of timesteps, `UNCOUNTED` past the end.
        spellings: (T, B, 16) or None. numbers: (B,) which examples of their part these are.
    """

    inputs: Tensor
    lengths: Tensor
    targets: Tensor
    spellings: Tensor | None
    numbers: Ids
    fresh: bool = True

    @property
    def counted(self) -> int:
        """How many targets there are."""
        return self.targets.shape[0] if self.targets.dim() == 1 else int((self.targets != UNCOUNTED).sum())

    def to(self, device: torch.device) -> ExampleBatch:
        """The same on a device."""
        spellings = None if self.spellings is None else self.spellings.to(device)
        return replace(
            self, inputs=self.inputs.to(device), lengths=self.lengths.to(device), targets=self.targets.to(device),
            spellings=spellings,
        )  # fmt: skip

    def arguments(self, state: object) -> tuple[Any, ...]:
        """What a classifier or tagger takes: it has no state to go on with."""
        return self.inputs, self.lengths, self.targets, self.spellings


def targets_of(rows: Sequence[Any]) -> Tensor:
    """Numbers of sequences, or a number a timestep each, padded with `UNCOUNTED`."""
    if not isinstance(rows[0], np.ndarray):
        return torch.tensor(rows)
    longest = max(map(len, rows), default=0)
    result = torch.full((longest, len(rows)), UNCOUNTED, dtype=torch.int64)
    for column, row in enumerate(rows):
        result[: len(row), column] = torch.from_numpy(row)
    return result


# -- from files to parts


@dataclass(frozen=True)
class Files:
    """The examples of each part as they were read, and what can be said of them.

    Attributes:
        parts: training, validation, test; None for those that there are not.
        fingerprint: changes with the content of any file. lines: for people.
    """

    parts: tuple[tuple[str, tuple[Example, ...]] | None, ...]
    fingerprint: str
    lines: tuple[str, ...]
    read: tuple[Labelled, ...]

    @property
    def training(self) -> tuple[str, tuple[Example, ...]]:
        """The training part's name and examples.

        Raises:
            UserError: there is none.
        """
        if self.parts[0] is None:
            raise UserError("data.split leaves nothing for training")
        return self.parts[0]


def read_files(settings: DataSettings, kind: str, base: Path) -> Files:
    """Read what the settings name, and split it.

    Raises:
        UserError: no file is named, one cannot be read, or a part would be empty.
    """
    if settings.made:
        check_made(settings.made, kind)
        name = made_name(settings.made, settings.made_length)
        return made_files(name, made_examples(settings.made, settings.made_length))
    if not settings.path and kind == "translate":
        return builtin_files(made_dates())
    if not settings.path:
        raise UserError("data.path is empty: this task has no built-in data; give --data FILE")
    split = Split.parse(settings.split, "rows").given(valid=bool(settings.valid), test=bool(settings.test))
    main = read_file(settings, kind, base / Path(settings.path).expanduser(), settings.beside, base)
    chosen = parts_of_rows(split, main.examples, kind)
    parts: list[tuple[str, tuple[Example, ...]] | None] = []
    for number, (share, name) in enumerate(zip(split.shares, PART_NAMES, strict=True)):
        own = tuple(example for example, part in zip(main.examples, chosen, strict=True) if part == number)
        if share and not own:
            raise UserError(f"{main.name} is too short to split: with {len(main.examples)} examples its {name} part is "
                            'empty; give more, or set data.split ("100": all of it is for training)')  # fmt: skip
        parts.append((f"{main.name} ({name} part)", own) if share else None)
    read = [main]
    others = ((settings.valid, settings.valid_beside), (settings.test, settings.test_beside))
    for number, (written, beside) in enumerate(others, start=1):
        if written:
            other = read_file(settings, kind, base / Path(written).expanduser(), beside, base)
            parts[number] = (other.name, other.examples)
            read.append(other)
    fingerprint = hashlib.sha256(" ".join(one.digest for one in read).encode()).hexdigest()
    rule = SAID if split.stratified and len(read) < 3 else ""
    return Files(tuple(parts), fingerprint, tuple(_lines(read, parts, rule)), tuple(read))


def builtin_files(parts: Sequence[Sequence[tuple[str, str]]]) -> Files:
    """Pairs that were made here, one list a part."""
    return made_files(
        DATES, [tuple(Example(x, y, line) for line, (x, y) in enumerate(part, start=1)) for part in parts]
    )  # fmt: skip


def made_files(name: str, parts: Sequence[tuple[Example, ...]]) -> Files:
    """Examples that were made here, a part each."""
    digest = hashlib.sha256(name.encode())
    for example in (example for part in parts for example in part):
        x = example.x.tobytes() if isinstance(example.x, np.ndarray) else json.dumps(example.x).encode()
        digest.update(x + json.dumps(example.y).encode())
    made = tuple((f"{name} ({own} part)", part) for own, part in zip(PART_NAMES, parts, strict=True))
    sizes = " / ".join(f"{own} {len(part):,}" for own, part in zip(PART_NAMES, parts, strict=True))
    return Files(made, digest.hexdigest(), (f"{name}; examples: {sizes}",), ())


def parts_of_rows(split: Split, examples: Sequence[Example], kind: str) -> NDArray[Any]:
    """(N,) which part each example is in. In translation a source that comes with several targets is in one part."""
    places: dict[Any, int] = {}
    if kind == "translate":
        numbers = np.array([places.setdefault(example.x, len(places)) for example in examples])
    else:
        numbers = np.arange(len(examples))
    first = [examples[row] for row in np.unique(numbers, return_index=True)[1].tolist()]
    order = stratified_order(first, by_class=kind != "translate") if split.stratified else np.arange(len(first))
    parts = np.empty(len(first), dtype=np.int8)
    parts[order] = split.parts(len(first))
    chosen: NDArray[Any] = parts[numbers]
    return chosen


def stratified_order(examples: Sequence[Example], *, by_class: bool) -> Ids:
    """Numbers of the examples, class after class, each class in an order that its texts or frames give.

    Where labels are no classes (numbers of which each is another, labels of timesteps) their content alone decides.
    """

    def digest(example: Example) -> bytes:
        x = example.x.tobytes() if isinstance(example.x, np.ndarray) else json.dumps(example.x).encode()
        return hashlib.sha256(x).digest()

    classes = [example.y if by_class and isinstance(example.y, str) else "" for example in examples]
    if len(set(classes)) > len(classes) // 2:
        classes = [""] * len(classes)
    keys = [(label, digest(example), row) for row, (label, example) in enumerate(zip(classes, examples, strict=True))]
    return np.array([row for _, _, row in sorted(keys)], dtype=np.int64)


def read_file(
    settings: DataSettings, kind: str, path: Path, beside: str, base: Path, *, labelled: bool = True
) -> Labelled:
    """One file, read as the settings say."""
    other = base / Path(beside).expanduser() if beside else None
    return read_labelled(
        path, kind, format=settings.format, text=settings.text, label=settings.label, beside=other,
        skip_bad_rows=settings.skip_bad_rows, labelled=labelled,
    )  # fmt: skip


def _lines(read: list[Labelled], parts: Sequence[tuple[str, tuple[Example, ...]] | None], rule: str) -> Iterator[str]:
    for one in read:
        yield f"{one.name}: {one.description}"
        for skipped in one.skipped:
            yield f"skipped: {skipped}"
    sizes = [f"{name} {len(part[1]):,}" for name, part in zip(PART_NAMES, parts, strict=True) if part]
    yield f"examples: {' / '.join(sizes)}{rule}"


# -- from texts to numbers


def inputs_of(settings: DataSettings, examples: Sequence[Example], base: Path) -> Inputs:
    """The vocabulary, or the scale of the frames, of the training part; and the words that there are vectors of."""
    first = examples[0].x
    if isinstance(first, np.ndarray):
        return FrameScale.of(example.x for example in examples if isinstance(example.x, np.ndarray))
    if settings.level in ("bpe", "byte") and not isinstance(first, str):
        raise UserError(f'data.level = "{settings.level}" cuts texts, and these are tokens already; use word')
    vocabulary = vocabulary_of(settings, [example.x for example in examples])
    if not settings.vectors:
        return vocabulary
    more = [word for word in vector_words(vectors_path(settings, base)) if word not in vocabulary.ids]
    return replace(vocabulary, symbols=(*vocabulary.symbols, *more))


def vectors_path(settings: DataSettings, base: Path) -> Path:
    """Where the word vectors are."""
    return base / Path(settings.vectors).expanduser()


def vocabulary_of(settings: DataSettings, texts: Sequence[Any]) -> Vocabulary:
    """The symbols of some texts, or of token sequences; of BPE learned from them."""
    tokenizer = ""
    if settings.level == "bpe":
        plain = (lowered(text) if settings.lowercase else text for text in texts)
        tokenizer = subwords.trained(plain, settings.vocabulary_size or DEFAULT_BPE)
    cut = Vocabulary.from_counts(
        {}, level=settings.level, words=settings.words, lowercase=settings.lowercase, tokenizer=tokenizer
    )
    counts = Counter(symbol for text in texts for symbol in pieces_of(cut, text))
    return Vocabulary.from_counts(
        counts, level=settings.level, size=settings.vocabulary_size, min_count=settings.min_count,
        words=settings.words, lowercase=settings.lowercase, unknown=settings.unknown, tokenizer=tokenizer,
    )  # fmt: skip


def pieces_of(vocabulary: Vocabulary, x: Any) -> list[str]:
    """The symbols of a text, or of tokens that are cut already, in their own spelling."""
    if isinstance(x, str):
        return vocabulary.split(x)
    return [token.lower() for token in x] if vocabulary.lowercase else list(x)


def encoded(inputs: Inputs, x: Any) -> NDArray[Any]:
    """(T,) ids of a text or of tokens, or (T, D) frames; a text of no symbol is one that is unknown."""
    if isinstance(inputs, FrameScale):
        return inputs.scaled(x)
    ids = [inputs.ids.get(symbol, UNK) for symbol in pieces_of(inputs, x)]
    return np.array(ids or [UNK], dtype=np.int64)


def spelt(inputs: Inputs, x: Any) -> NDArray[np.int64]:
    """(T, 16) the spellings of a text's words, or of tokens."""
    if isinstance(inputs, FrameScale):
        raise AssertionError("frames are not spelt")
    return np.array([inputs.spell(word) for word in pieces_of(inputs, x)] or [inputs.spell("")], dtype=np.int64)


def part_of(
    name: str, examples: Sequence[Example], inputs: Inputs, target: Callable[[Example], Any], *, spell: bool
) -> Part[Any]:
    """Examples as numbers; `target` makes one of an example's label."""
    check_frames(name, examples, inputs)
    targets = [target(example) for example in examples]
    spellings = [spelt(inputs, example.x) for example in examples] if spell else None
    inputs_each = [encoded(inputs, one.x) for one in examples]
    return Part(name, tuple(examples), inputs_each, spellings, targets, counted_of(targets))


def counted_of(targets: Sequence[Any]) -> int:
    """How many targets the loss of examples is summed over: one an example, or one a timestep."""
    return sum(len(one) if isinstance(one, np.ndarray) else 1 for one in targets)


def check_frames(name: str, examples: Sequence[Example], inputs: Inputs) -> None:
    """Refuse frames where the model reads symbols, the reverse, and frames of another width."""
    for example in examples:
        is_frames = isinstance(example.x, np.ndarray)
        if is_frames != isinstance(inputs, FrameScale):
            raise UserError(f"{name}: it holds {'frames' if is_frames else 'text'}, and the model reads the other")
        if isinstance(inputs, FrameScale) and example.x.shape[1] != len(inputs.mean):  # type: ignore[union-attr]
            width = example.x.shape[1]  # type: ignore[union-attr]
            raise UserError(
                f"{name}, line {example.line}: frames of {width} numbers, and the model reads {len(inputs.mean)}"
            )


def padding_text(lengths: Ids, batch: int, seed: int) -> str:
    """How much of the batches is padding, for training sequences of these lengths."""
    return f"padding {padding_share(lengths, batch, seed):.1%} of the batches"


# -- kept in a run folder


def save_inputs(inputs: Inputs, folder: Path) -> None:
    """Keep the vocabulary, or the scale of frames."""
    if isinstance(inputs, FrameScale):
        atomic_write_text(folder / FRAMES, json.dumps(asdict(inputs), indent=1) + "\n")
    else:
        inputs.save(folder / VOCABULARY)


def load_inputs(folder: Path) -> Inputs:
    """What `save_inputs` kept."""
    if not os.path.lexists(folder / FRAMES):
        return Vocabulary.load(folder / VOCABULARY)
    written = read_json(folder / FRAMES)
    mean, deviation = written.get("mean"), written.get("deviation")
    if not isinstance(mean, list) or not isinstance(deviation, list):
        raise UserError(f'{folder / FRAMES} is not whole: it needs lists "mean" and "deviation"')
    if len(mean) != len(deviation) or not mean:
        raise UserError(f"{folder / FRAMES} is not whole: its lists must be of one length")
    numbers = all(is_number(value, -FARTHEST, FARTHEST) for value in mean)
    if not numbers or not all(is_number(value, SMALLEST, FARTHEST) for value in deviation):
        raise UserError(f"{folder / FRAMES} is not whole: its lists must hold numbers, and no deviation 0")
    return FrameScale(tuple(map(float, mean)), tuple(map(float, deviation)))
