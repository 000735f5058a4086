"""A tagger that is trained, to be used: label texts, tokens or frames, evaluate on labelled sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unrolled.arguments import checked_frames, checked_text, several
from unrolled.data.examples import ExampleBatch, Part, part_of, read_file
from unrolled.data.labelled import Example, Labelled
from unrolled.data.surfaces import split_words
from unrolled.data.tag_schemes import spans_of
from unrolled.decoding.scores import Score, SymbolScore
from unrolled.errors import UserError
from unrolled.inspecting.gradients import Watched
from unrolled.inspecting.labels import LabelTable, transitions_of
from unrolled.models.encoder import reading
from unrolled.models.tagger import Tagger
from unrolled.nn.recurrent import Recurrent
from unrolled.run import Run
from unrolled.tasks.backwards import encoder_inputs, likeliest_loss, refuse_label
from unrolled.tasks.tag.figures import TagFigures, whole_spans
from unrolled.tasks.tag.task import TagSymbols, part_for

Steps = Sequence[str] | NDArray[np.float32]


@dataclass(frozen=True)
class FoundSpan:
    """A span that was found: its text, its type, its tokens first to last (exclusive), and how probable its labels are
    together, as the least probable of them."""

    text: str
    type: str
    first: int
    last: int
    probability: float


@dataclass(frozen=True)
class TagPrediction:
    """What a tagger makes of one sequence.

    Attributes:
        x: the tokens, or the frames.
        labels: one a step, as the training files write them.
        probabilities: that of each label at its step.
        spans: where labels are spans, those.
    """

    x: Any
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    spans: tuple[FoundSpan, ...]


class TagRun(Run):
    """A run of the task tag.

    run = unrolled.load("runs/ewt")
    run.predict("He said , Teddy Roosevelt was a great president").labels
    run.predict([["one", "sentence"], ["another", "one"]])
    """

    verbs = ("predict", "score", "evaluate", "inspect")
    model: Tagger
    symbols: TagSymbols

    def predict(self, x: str | Steps | Iterable[str | Steps], /) -> Any:
        """The labels of a text, of its tokens (a tuple of words), or of frames (T, D); or of a list of these.

        A text is cut into words, and punctuation into tokens of its own. In a list each string is a text and each list
        or tuple the tokens of one, whatever is in them; it has as many answers as sequences: that of an empty text has
        no token and no label.

        Returns:
            A `TagPrediction`, or a list of them where a list was given.

        Raises:
            UserError: an empty text alone, frames of another width, or text where frames are read.
            TypeError: what is given is none of that.
        """
        if isinstance(x, str | np.ndarray) or (isinstance(x, tuple) and is_tokens(x)):
            return self._predicted([self._example(x, 1)], "the sequence given")[0]
        return self.predict_all(x)

    def predict_all(self, sequences: Iterable[Any]) -> list[TagPrediction]:
        """The labels of several texts, token lists or frames."""
        given = enumerate(several(sequences, "a text, tokens, frames"), start=1)
        return self._predicted([self._example(one, n, may_be_blank=True) for n, one in given], "the sequences given")

    def predict_file(self, path: str | Path) -> list[TagPrediction]:
        """The same for the sentences of a file, with labels or without: any format that training reads."""
        read = self._file(path)
        return self._predicted(read.examples, read.name)

    def sequences(self, path: str | Path) -> list[Any]:
        """The sequences of a file, read as `predict_file` reads them."""
        return [example.x for example in self._file(path).examples]

    def _file(self, path: str | Path) -> Labelled:
        return read_file(self.recipe.data, "tag", Path(path), "", Path(), labelled=False)

    def _example(self, x: Any, line: int, *, may_be_blank: bool = False) -> Example:
        if isinstance(x, np.ndarray):
            return Example(checked_frames(x), None, line)
        if is_tokens(x):
            return Example(tuple(checked_text(token, "a token") for token in x), None, line)
        tokens = tuple(word for word in split_words(checked_text(x), "punctuation") if word != "\n")
        if not tokens and not may_be_blank:
            raise UserError(f"text {line} is empty: there is nothing to label; leave it out")
        return Example(tokens, None, line)

    def _predicted(self, examples: Sequence[Example], name: str) -> list[TagPrediction]:
        found = {n: TagPrediction(one.x, (), (), ()) for n, one in enumerate(examples) if not len(one.x)}
        there = [number for number in range(len(examples)) if number not in found]
        spell = self.recipe.model.characters > 0
        own = [examples[number] for number in there]
        part = part_of(name, own, self.symbols.inputs, _no_labels, spell=spell)
        for batch in part.whole() if own else ():
            here = batch.to(self.device)
            with torch.no_grad():
                scores = self.model.scores(here.inputs, here.lengths, here.spellings)
                best = self.model.best(scores, here.lengths)
                shares = self.model.probabilities(scores, here.lengths).gather(-1, best.unsqueeze(-1)).squeeze(-1)
            for column, number in enumerate(batch.numbers.tolist()):
                length = int(batch.lengths[column])
                ids, sure = best[:length, column].tolist(), shares[:length, column].tolist()
                found[there[number]] = self._prediction(own[number], ids, sure)
        return [found[number] for number in range(len(examples))]

    def _watched(self, model: Any, text: Any, length: int, label: str | None) -> Iterator[Watched]:
        """See `Run`: the loss is -log P of the label that the timestep's own scores find most probable."""
        refuse_label(self, label)
        given = None if text is None else [self._example(text, 1)]
        for inputs, spellings in encoder_inputs(self, given, length):
            yield Watched(
                model.encoder.vectors(inputs, spellings), None,
                lambda step, outputs: likeliest_loss(model.output(model.head(outputs[-1]))),
            )  # fmt: skip

    def _reading(self, x: str | Steps) -> tuple[list[str], Recurrent | None, Callable[[], object]]:
        """See `Run`."""
        shown, here = self._one(x)
        return shown, *reading(self.model.encoder, here)

    def _one(self, x: str | Steps) -> tuple[list[str], ExampleBatch]:
        """The tokens of one sequence (of frames their numbers), and it as a batch of one."""
        example = self._example(x, 1)
        spell = self.recipe.model.characters > 0
        part = part_of("the sequence given", [example], self.symbols.inputs, _no_labels, spell=spell)
        frames = isinstance(example.x, np.ndarray)
        shown = [str(step) for step in range(1, len(example.x) + 1)] if frames else list(example.x)
        return shown, part.batch(np.array([0])).to(self.device)

    @torch.no_grad()
    def label_table(self, x: str | Steps) -> LabelTable:
        """The probability of every label at every timestep; with a CRF also how it scores neighbouring labels.

            run.label_table("He sat").ranked(0)[:2]

        Raises:
            UserError: as for `predict`.
        """
        shown, here = self._one(x)
        scores = self.model.scores(here.inputs, here.lengths, here.spellings)
        shares = self.model.probabilities(scores, here.lengths)[:, 0].double().cpu().numpy()
        chosen = tuple(self.model.best(scores, here.lengths)[:, 0].tolist())
        transitions = None if self.model.crf is None else transitions_of(self.model.crf)
        return LabelTable(tuple(shown), self.symbols.labels.names, shares, chosen, transitions)

    def _prediction(self, example: Example, ids: list[int], shares: list[float]) -> TagPrediction:
        tags = whole_spans(self.symbols.labels, ids)
        labels = self.symbols.labels.spelled(tags)
        spans = []
        if self.symbols.labels.scheme and not isinstance(example.x, np.ndarray):
            for span in spans_of(tags, self.symbols.labels.written):
                text = " ".join(example.x[span.first : span.last])
                spans.append(FoundSpan(text, span.type, span.first, span.last, min(shares[span.first : span.last])))
        return TagPrediction(example.x, labels, tuple(shares), tuple(spans))

    @torch.no_grad()
    def score(self, x: str | Steps, /, *, labels: Sequence[str]) -> Score:
        """How probable labels are, together, for a text, its tokens or frames: log P(y⟨1⟩, ..., y⟨T⟩ | x).

            run.score("They sat", labels=["PRON", "VERB"]).log_probability

        Raises:
            UserError: another number of labels than of timesteps, or one that training never saw.
        """
        example = self._example(x, 1)
        if len(labels) != len(example.x):
            raise UserError(f"{len(labels)} labels for {len(example.x)} timesteps; give one each")
        targets = self.symbols.labels.targets(tuple(labels), "the labels given")
        spell = self.recipe.model.characters > 0
        part = part_of("the sequence given", [example], self.symbols.inputs, lambda _: targets, spell=spell)
        batch = part.batch(np.array([0])).to(self.device)
        scores = self.model.scores(batch.inputs, batch.lengths, batch.spellings)
        log = -float(self.model.loss(scores, batch.targets, batch.lengths))
        text = x if isinstance(x, str) else " ".join(map(str, x)) if not isinstance(x, np.ndarray) else "frames"
        return Score(text, (SymbolScore(" ".join(labels), log, " ".join(labels)),), 0)

    def score_all(self, texts: Sequence[str | Steps], *, labels: Sequence[str]) -> list[Score]:  # type: ignore[override]
        """See `Run`: an empty text has no timestep to be labelled."""
        blank = [isinstance(x, str) and not self._example(x, 1, may_be_blank=True).x for x in texts]
        return [
            Score(str(x), (), 0) if empty else self.score(x, labels=labels)
            for x, empty in zip(texts, blank, strict=True)
        ]

    def part(self, path: str | Path | None = None) -> Part[Any]:
        """A labelled file as examples; without one the run's own test part, or its validation part.

        Raises:
            UserError: the file cannot be read, or there is no such part.
        """
        if path is not None:
            read = read_file(self.recipe.data, "tag", Path(path), "", Path())
            return part_for(self.recipe, self.symbols, read.name, read.examples)
        own: Part[Any] = self.own_part()
        self.symbols = replace(self.symbols, known=self.material.symbols.known)
        return own

    def evaluate(self, path: str | Path | None = None) -> TagFigures:
        """Accuracy, or span F1, on what `part` gives."""
        found = self.task.measure(self.recipe, self.symbols, self.model, self.part(path), full=True)
        assert isinstance(found, TagFigures)
        return found


def is_tokens(x: object) -> bool:
    """Whether something is the tokens of one sentence."""
    return isinstance(x, list | tuple) and len(x) > 0 and all(isinstance(one, str) for one in x)


def _no_labels(example: Example) -> NDArray[np.int64]:
    return np.zeros(len(example.x), dtype=np.int64)


RUN = TagRun
