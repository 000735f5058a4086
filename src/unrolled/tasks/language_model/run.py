"""A language model that is trained, to be used: sample from it, score with it, ask it what comes next, evaluate it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.arguments import checked_text, whole
from unrolled.data.corpus import Corpus, stream_of
from unrolled.data.streams import Stream
from unrolled.data.vocabulary import BOS, EOS, UNK, Vocabulary
from unrolled.decoding.scores import Candidate, Score, SymbolScore
from unrolled.errors import UserError
from unrolled.inspecting.cell_search import CellSearch
from unrolled.inspecting.gradients import Watched
from unrolled.inspecting.surprise import Surprise
from unrolled.models.language_model import LanguageModel
from unrolled.models.ngram import MOST_ORDER
from unrolled.models.packing import while_packed
from unrolled.nn.recurrent import Recurrent, State
from unrolled.run import Run
from unrolled.tasks.backwards import next_symbol_loss, pieces_of, refuse_label
from unrolled.tasks.drawing import How, check_count, drawn, generator_of, rows_of, sampler_of, text_of
from unrolled.tasks.language_model.baseline import NGram
from unrolled.tasks.language_model.evaluation import Evaluation, evaluate_stream
from unrolled.tasks.language_model.tracking import tracking_units

_Spelt = tuple[Tensor | None, State | None]
"""A model's state while drawing, and how the symbol to be read next is spelt where that is not the vocabulary's way."""

PIECE = 256
"""Symbols of a prefix or a scored text that are run at once: memory stays bounded, the state goes on."""


class LanguageModelRun(Run):
    """A run of the task language-model.

    run = unrolled.load("runs/shakespeare-quick")
    run.sample(prefix="ROMEO:", temperature=0.8, seed=1)
    run.score("To be or not to be").log_probability
    """

    verbs = ("sample", "score", "next", "evaluate", "inspect")
    model: LanguageModel
    symbols: Vocabulary

    @property
    def vocabulary(self) -> Vocabulary:
        """The symbols that the model knows."""
        return self.symbols

    @property
    def ends(self) -> bool:
        """Whether the model's sequences end with <eos>: lines of their own, and words line by line."""
        return self.recipe.data.format == "lines" or self.recipe.data.level == "word"

    def stream(self, prefix: str = "", **how: Unpack[How]) -> Iterator[str]:
        """Draw one novel sequence and give its text piece by piece, as it is drawn.

        Args:
            prefix: what the sequence begins with (not given again); without one, x⟨1⟩ = 0.
            how: temperature, top_k, top_p, min_p, repetition, length, seed, reject_unknown: see `tasks.drawing.How`.
        """
        columns = self._drawn(prefix, 1, how)
        return text_of(self.vocabulary, prefix, (int(symbols[0]) for symbols in columns))

    def sample(self, prefix: str = "", **how: Unpack[How]) -> str:
        """One novel sequence, prefix included; arguments as for `stream`."""
        return self.samples(1, prefix, **how)[0]

    def samples(self, count: int, prefix: str = "", **how: Unpack[How]) -> list[str]:
        """`count` novel sequences drawn side by side, prefix included; arguments as for `stream`."""
        check_count(count)
        rows = rows_of(self._drawn(prefix, count, how))
        return [prefix + "".join(text_of(self.vocabulary, prefix, row)) for row in rows]

    def _drawn(self, prefix: str, count: int, how: How) -> Iterator[Tensor]:
        """The symbols of each timestep; the prefix costs one pass whatever `count` is."""
        settings = sampler_of(self.ends, how)  # what is wrong with it is said before anything is read
        state, last, spelling = self._read(prefix)
        spelt = None if spelling is None else spelling.expand(count, -1)
        repeated = None if state is None else _repeated(state, count)

        def step(symbols: Tensor, before: _Spelt) -> tuple[Tensor, _Spelt]:
            logs, after = self.model.step(symbols, before[1], before[0])
            return logs, (None, after)  # what is drawn from now on is spelt as the vocabulary spells it

        columns = drawn(
            step, (spelt, repeated), last.expand(count), settings=settings, how=how, ends=self.ends,
            generator=generator_of(how),
        )  # fmt: skip
        return while_packed(self.model, columns)

    @torch.no_grad()
    def _read(self, prefix: str) -> tuple[State | None, Tensor, Tensor | None]:
        """The state before a sequence's last symbol so far, that symbol (1,), and how it is spelt (1, C)."""
        state: State | None = None
        pieces = list(self._pieces([BOS, *self.vocabulary.encode(prefix)], prefix))
        for symbols, spellings in pieces[:-1]:
            _, state = self.model.features(symbols, state, spellings)
        symbols, spellings = pieces[-1]
        if len(symbols) > 1:
            _, state = self.model.features(symbols[:-1], state, None if spellings is None else spellings[:-1])
        return state, symbols[-1], None if spellings is None else spellings[-1]

    def _pieces(self, inputs: Sequence[int], text: str) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The symbols that the model reads, (T, 1), and their spellings in the text (T, 1, C), `PIECE` at once."""
        spelt = self.recipe.model.characters > 0
        return self.pieces(inputs, ["\n", *self.vocabulary.split(text)] if spelt else [])  # <bos> is not spelt

    def pieces(self, inputs: Sequence[int], words: Sequence[str]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Symbols as the model reads them, `PIECE` at once; `words` is what each stands for, where words are spelt."""
        words = words if self.recipe.model.characters else ()
        for start in range(0, len(inputs), PIECE):
            symbols = torch.tensor(inputs[start : start + PIECE], device=self.device).unsqueeze(1)
            spelt = [self.vocabulary.spell(word) for word in words[start : start + len(symbols)]]
            yield symbols, torch.tensor(spelt, device=self.device).unsqueeze(1) if spelt else None

    @overload
    def score(self, text: str, /) -> Score: ...
    @overload
    def score(self, text: str, another: str, /, *more: str) -> list[Score]: ...
    def score(self, text: str, /, *more: str) -> Score | list[Score]:
        """How probable the model finds a text, symbol by symbol, as a sequence of its own.

            run.score("To be or not to be").log_probability
            best = max(run.score("one text", "another"), key=lambda score: score.log_probability)

        Returns:
            The score; of several texts a list, in the order given.

        Raises:
            UserError: the text, given alone, is empty.
            TypeError: what is given is no string, a list of strings for instance.
        """
        _check_texts(text, *more)
        if more:
            return self.score_all([text, *more])
        if not text:
            raise UserError("there is nothing to score: the text is empty")
        return self._score(text)

    def score_all(self, texts: Sequence[str]) -> list[Score]:  # type: ignore[override]
        """See `Run`: where the model's sequences end with <eos>, that is what it predicts of an empty text."""
        _check_texts(*texts)
        return [self._score(text) for text in texts]

    @torch.no_grad()
    def _score(self, text: str) -> Score:
        targets = self.targets_of(text)
        logs: list[float] = []
        state: State | None = None
        for symbols, spellings in self._pieces([BOS, *targets[:-1]], text) if targets else ():
            wanted = torch.tensor(targets[len(logs) : len(logs) + len(symbols)], device=self.device)
            found, state = self.model.log_probabilities(symbols, state, spellings)
            logs += found.squeeze(1).gather(-1, wanted.unsqueeze(-1)).squeeze(-1).tolist()
        scores = (SymbolScore(*self._named(id, log)) for id, log in zip(targets, logs, strict=True))
        return Score(text, tuple(scores), targets.count(UNK))

    def targets_of(self, text: str) -> list[int]:
        """The symbols that a text is predicted as, <eos> at the end where the model's sequences have one."""
        targets = self.vocabulary.encode(text)
        return [*targets, EOS] if self.ends and targets[-1:] != [EOS] else targets

    def _named(self, id: int, number: float) -> tuple[str, float, str]:
        """A symbol's text, its number, and how it is shown."""
        return self.vocabulary.text(id), number, self.vocabulary.symbol(id)

    @torch.no_grad()
    def surprises(self, text: str, *, top: int = 3) -> list[Surprise]:
        """What was expected at each symbol of a text, how surprising the symbol was, where the expectation moved.

            max(run.surprises("The functoin"), key=lambda one: one.bits).symbol

        Raises:
            UserError: the text is empty.
        """
        top = whole("top", top, 1)
        if not checked_text(text):
            raise UserError("there is nothing to read: the text is empty")
        targets = self.targets_of(text)
        found: list[Surprise] = []
        state: State | None = None
        before: Tensor | None = None
        for symbols, spellings in self._pieces([BOS, *targets[:-1]], text):
            logs, state = self.model.log_probabilities(symbols, state, spellings)
            logs = logs.squeeze(1).double()
            previous = torch.cat([logs[:1] if before is None else before, logs[:-1]])
            shares, before = logs.exp(), logs[-1:]
            entropies = -_weighted(shares, logs).sum(-1) / math.log(2)
            changes = _weighted(shares, logs - previous).sum(-1) / math.log(2)
            best = shares.topk(min(top, shares.shape[-1]))
            for place, id in enumerate(targets[len(found) : len(found) + len(symbols)]):
                pairs = zip(best.indices[place].tolist(), best.values[place].tolist(), strict=True)
                found.append(
                    Surprise(
                        self.vocabulary.text(id), self.vocabulary.symbol(id), float(logs[place, id]),
                        float(entropies[place]), float(changes[place].clamp(min=0)),
                        tuple(Candidate(*self._named(guess, probability)) for guess, probability in pairs),
                    )
                )  # fmt: skip
        return found

    @torch.no_grad()
    def next(self, prefix: str = "", *, top: int = 10) -> list[Candidate]:
        """The `top` most probable symbols after `prefix`, most probable first."""
        top = whole("top", top, 1)
        state, last, spelling = self._read(prefix)
        logs, _ = self.model.step(last, state, spelling)
        best = logs[0].exp().topk(min(top, logs.shape[-1]))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [Candidate(*self._named(id, probability)) for id, probability in pairs if probability > 0]

    def _reading(self, x: str) -> tuple[list[str], Recurrent, Callable[[], object]]:
        """See `Run`; the first timestep is that of <bos>."""
        inputs = [BOS, *self.vocabulary.encode(x)]

        def read() -> None:
            state: State | None = None
            for symbols, spellings in self._pieces(inputs, x):
                _, state = self.model.features(symbols, state, spellings)

        return [self.vocabulary.symbol(id) for id in inputs], self.model.recurrent, read

    def cell_search(self, path: str | Path | None = None, *, most: int = 20_000, top: int = 3) -> CellSearch:
        """The hidden units that track something simple: quotes, brackets, the length of the line and the like.

        Args:
            path: a file, read as the training text was; None for the run's own validation part.
            most: so many of its symbols at most; 0: all. top: units of each feature.

        Raises:
            UserError: as for `text`; or the text has fewer than two symbols.
        """
        most, top = whole("most", most, 0), whole("top", top, 1)
        stream = self.corpus.valid if path is None else self.text(path)
        return tracking_units(self, stream or self.text(path), most=most, top=top)

    def _watched(self, model: Any, text: str | None, length: int, label: str | None) -> Iterator[Watched]:
        """See `Run`: the loss is -log P(y⟨t⟩)."""
        refuse_label(self, label)
        for symbols, spellings in self._windows(text, length):
            ids = torch.from_numpy(symbols)
            inputs = torch.cat([torch.full_like(ids[:1], BOS), ids[:-1]])
            spelt = None if spellings is None else torch.from_numpy(spellings)
            yield Watched(model.vectors(inputs, spelt), None, next_symbol_loss(model, ids))

    def _windows(self, text: str | None, length: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64] | None]]:
        """(T, B) symbols, and how those that are read are spelt (T, B, C): of a text, or of pieces of the run's own."""
        spell = self.recipe.model.characters > 0
        if text is not None:
            ids = np.array(self.targets_of(text)[:length], dtype=np.int64).reshape(-1, 1)
            words = ["\n", *self.vocabulary.split(text)][: len(ids)] if spell else []
            yield ids, np.array([[self.vocabulary.spell(word)] for word in words]) if spell else None
            return
        stream = self.text()
        for places in pieces_of(stream.offsets, length):
            spelt = None
            if spell:
                own = stream.take_spellings(places)
                spelt = np.concatenate([np.zeros_like(own[:1]), own[:-1]]).astype(np.int64)
            yield stream.take(places), spelt

    @cached_property
    def corpus(self) -> Corpus:
        """The data that the run was trained on; see `material`."""
        corpus: Corpus = self.material
        return corpus

    def text(self, path: str | Path | None = None) -> Stream:
        """A file, read as the training text was; without one the run's own test part, or its validation part.

        Raises:
            UserError: the file cannot be read, or there is no such part.
        """
        if path is not None:
            return stream_of(Path(path), self.vocabulary, format=self.recipe.data.format)
        try:
            corpus = self.corpus
        except UserError as error:
            raise UserError(f"the run's own data cannot be used: {error}; give a file to evaluate on") from None
        stream = corpus.test or corpus.valid
        if stream is None:
            raise UserError("the run's data were all for training: give a file to evaluate on")
        return stream

    def evaluate(self, path: str | Path | None = None) -> Evaluation:
        """Perplexity, bits a character and next-symbol accuracy on what `text` gives: a file, or the run's own part."""
        return evaluate_stream(self.model, self.text(path), accuracy=True, spell=self.recipe.model.characters > 0)

    @cached_property
    def _ngram(self) -> NGram:
        known = self.metrics.get("validation", {}).get("ngram", {}).get("order")
        order = known if isinstance(known, int) and 1 <= known <= MOST_ORDER else 0
        return NGram(self.corpus.train, self.corpus.valid, order=order)

    def ngram(self, path: str | Path | None = None) -> dict[str, Any]:
        """What the n-gram of the run's training text makes of what `text` gives: a file, or the run's own part.

        Raises:
            UserError: the training text cannot be read.
        """
        return self._ngram.figures(self.text(path))

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: {self.recipe.task}, {self.recipe.model.cell}, {self.vocabulary.level} level)"


def _weighted(shares: Tensor, values: Tensor) -> Tensor:
    """p · v, and 0 where p is 0: symbols that never come have a log-probability of minus infinity."""
    return torch.where(shares > 0, shares * values, 0.0)


def _check_texts(*given: object) -> None:
    for one in given:
        if not isinstance(one, str):
            kind = type(one).__name__
            raise TypeError(f'score takes texts, not {kind}: run.score("one text", "another"), or *texts of a list')


def _repeated(state: State, count: int) -> State:
    """One sequence's state as that of `count` sequences."""
    if isinstance(state, Tensor):
        return state.expand(-1, count, -1).contiguous()
    return tuple(part.expand(-1, count, -1).contiguous() for part in state)


RUN = LanguageModelRun
