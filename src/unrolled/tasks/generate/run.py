"""A generator that is trained, to be used: sample by class, score under a class, find the class, evaluate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.arguments import checked_text, several
from unrolled.data.examples import read_file
from unrolled.data.labelled import Example
from unrolled.data.vocabulary import BOS, UNK, Vocabulary
from unrolled.decoding.scores import Score, SymbolScore
from unrolled.errors import UserError
from unrolled.inspecting.gradients import Watched
from unrolled.inspecting.observation import Observation, observation, observing
from unrolled.models.generator import Generator
from unrolled.models.packing import while_packed
from unrolled.nn.recurrent import Recurrent, State
from unrolled.run import Run
from unrolled.tasks.backwards import PIECES, next_symbol_loss
from unrolled.tasks.classify.run import ClassPrediction
from unrolled.tasks.drawing import How, check_count, drawn, generator_of, rows_of, sampler_of, text_of
from unrolled.tasks.generate.figures import GenerationFigures
from unrolled.tasks.generate.task import GenerateSymbols, SequencePart, likelihoods_by_step, part_for


class GenerateRun(Run):
    """A run of the task generate.

    run = unrolled.load("runs/surnames")
    run.samples(5, label="Italian", temperature=0.8, seed=1)
    run.score("Rossi", label="Italian").log_probability
    run.predict("Rossi").label
    """

    verbs = ("sample", "score", "predict", "evaluate", "inspect")
    model: Generator
    symbols: GenerateSymbols

    @property
    def vocabulary(self) -> Vocabulary:
        """The symbols that sequences are made of."""
        return self.symbols.vocabulary

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, none if it was trained without."""
        return () if self.symbols.labels is None else self.symbols.labels.names

    def label_id(self, label: str | None) -> int | None:
        """A class's id.

        Raises:
            UserError: there is no such class, or there are none.
        """
        if label is None:
            return None
        if self.symbols.labels is None:
            raise UserError(f"{self.folder} was trained without classes: leave the class out")
        if label not in self.symbols.labels.ids:
            raise UserError(f"{self.folder} has no class {label!r}; its classes: {', '.join(self.classes)}")
        return self.symbols.labels.ids[label]

    # -- seeing inside

    def observe(self, x: str, *, label: str | None = None) -> Observation:
        """Every gate and state while the model reads a text as one of a class; see `Run.observe`.

        Raises:
            UserError: the text is empty, there is no such class, or the model has classes and none is given.
        """
        if label is None and self.classes:
            raise UserError(f"{self.folder} reads a text as one of a class: say which; {', '.join(self.classes)}")
        _refuse_empty(x)
        wanted = self.label_id(label)
        batch = self._part([Example(x, None, 1)], "the text given").batch(np.array([0])).to(self.device)
        labels = None if wanted is None else torch.tensor([wanted], device=self.device)
        with observing(self.model.recurrent) as found, torch.no_grad():
            self.model.features_of(batch.inputs, labels)
        inputs = batch.inputs[:, 0].tolist()[1:]
        shown = [label or self.vocabulary.symbol(BOS), *map(self.vocabulary.symbol, inputs)]
        return observation(shown, self.model.recurrent, found)

    def _watched(self, model: Any, text: str | None, length: int, label: str | None) -> Iterator[Watched]:
        """See `Run`: the loss is -log P(y⟨t⟩)."""
        if text is not None and label is None and self.classes:
            raise UserError(f"{self.folder} reads a text as one of a class: say which; {', '.join(self.classes)}")
        if text is not None:
            _refuse_empty(text)
        part = self.part() if text is None else self._part([Example(text, label, 1)], "the text given")
        wanted = self.label_id(label)
        for number in np.argsort(-part.lengths, kind="stable")[:PIECES].tolist():
            targets = torch.from_numpy(part.targets[number][:length]).reshape(-1, 1)
            own = wanted if wanted is not None or part.labels is None else int(part.labels[number])
            first, state = model.begin(1, None if own is None else torch.tensor([own]))
            inputs = torch.cat([first.unsqueeze(0), targets[:-1]])
            yield Watched(model.vectors(inputs), state, next_symbol_loss(model, targets))

    def _embedding(self, target: bool) -> tuple[Any, Any, Recurrent | None]:
        """See `Run`."""
        _, layer, recurrent = super()._embedding(target)
        return self.vocabulary, layer, recurrent

    # -- novel sequences

    def stream(self, prefix: str = "", *, label: str | None = None, **how: Unpack[How]) -> Iterator[str]:
        """Draw one novel sequence and give its text piece by piece, as it is drawn.

        Args:
            prefix: what the sequence begins with (not given again).
            label: its class; None draws one, as often as training saw it.
            how: temperature, top_k, top_p, min_p, repetition, length, seed, reject_unknown: see `tasks.drawing.How`.
        """
        columns = self._drawn(prefix, 1, label, how)
        return text_of(self.vocabulary, prefix, (int(symbols[0]) for symbols in columns))

    def sample(self, prefix: str = "", *, label: str | None = None, **how: Unpack[How]) -> str:
        """One novel sequence, prefix included; arguments as for `stream`."""
        return self.samples(1, prefix, label=label, **how)[0]

    def samples(self, count: int, prefix: str = "", *, label: str | None = None, **how: Unpack[How]) -> list[str]:
        """`count` novel sequences drawn side by side, prefix included; arguments as for `stream`."""
        check_count(count)
        rows = rows_of(self._drawn(prefix, count, label, how))
        return [prefix + "".join(text_of(self.vocabulary, prefix, row)) for row in rows]

    @torch.no_grad()
    def _drawn(self, prefix: str, count: int, label: str | None, how: How) -> Iterator[Tensor]:
        settings = sampler_of(True, how)  # what is wrong with it is said before anything is read
        generator = generator_of(how)
        prefix, wanted = checked_text(prefix, "prefix"), self.label_id(label)
        labels: Tensor | None = None
        if self.symbols.labels is not None:
            drawn_labels = self._drawn_labels(count, generator)
            labels = (drawn_labels if wanted is None else torch.full((count,), wanted)).to(self.device)
        first, state = self.model.begin(count, labels)
        for id in self.vocabulary.encode(prefix):
            _, state = self.model.step(first, state)
            first = torch.full((count,), id, device=self.device)

        def step(symbols: Tensor, before: State | None) -> tuple[Tensor, State]:
            return self.model.step(symbols, before)

        columns = drawn(step, state, first, settings=settings, how=how, ends=True, generator=generator)
        return while_packed(self.model, columns)

    def _drawn_labels(self, count: int, generator: torch.Generator) -> Tensor:
        shares = torch.from_numpy(np.exp(self.symbols.priors))
        return torch.multinomial(shares, count, replacement=True, generator=generator)

    def draw_label(self, generator: torch.Generator) -> str:
        """A class, as often as training saw it."""
        return self.classes[int(self._drawn_labels(1, generator)[0])]

    # -- how probable sequences are

    def targets_of(self, text: str) -> list[int]:
        """The symbols that a text is predicted as, <eos> at the end."""
        found: list[int] = self._part([Example(text, None, 1)], "the text given").targets[0].tolist()
        return found

    @overload
    def score(self, text: str, /, *, label: str | None = None) -> Score: ...
    @overload
    def score(self, text: str, another: str, /, *more: str, label: str | None = None) -> list[Score]: ...
    def score(self, text: str, /, *more: str, label: str | None = None) -> Score | list[Score]:
        """How probable the model finds a text, symbol by symbol.

        Args:
            label: under this class; None for P(text) = Σ P(class) P(text | class).

        Returns:
            The score; of several texts a list, in the order given.

        Raises:
            UserError: the text, given alone, is empty, or there is no such class.
        """
        if more:
            return self.score_all([text, *more], label=label)
        _refuse_empty(text)
        return self._score(text, label)

    def score_all(self, texts: Sequence[str], *, label: str | None = None) -> list[Score]:  # type: ignore[override]
        """See `Run`: an empty text is as probable as that a sequence ends at once."""
        return [self._score(text, label) for text in texts]

    def _score(self, text: str, label: str | None) -> Score:
        wanted = self.label_id(label)
        part = self._part([Example(text, None, 1)], "the text given")
        ids = part.targets[0].tolist()
        if not self.classes:
            batch = part.batch(np.array([0])).to(self.device)
            with torch.no_grad():
                logs = self.model.target_log_probabilities(batch.inputs, batch.targets, None)[:, 0].double().tolist()
        elif wanted is not None:
            logs = self._steps(part)[:, wanted].tolist()
        else:
            reached = np.logaddexp.reduce(self.symbols.priors + np.cumsum(self._steps(part), axis=0), axis=1)
            logs = np.diff(reached, prepend=0.0).tolist()
        named = zip(ids, logs, strict=True)
        symbols = (SymbolScore(self.vocabulary.text(id), log, self.vocabulary.symbol(id)) for id, log in named)
        return Score(text, tuple(symbols), ids.count(UNK))

    def scores_by_class(self, text: str) -> dict[str, float]:
        """log P(text | class) for every class, the most probable first."""
        if not self.classes:
            raise UserError(f"{self.folder} was trained without classes")
        totals = self._steps(self._part([Example(text, None, 1)], "the text given")).sum(axis=0)
        return {self.classes[place]: float(totals[place]) for place in np.argsort(-totals, kind="stable")}

    def _steps(self, part: SequencePart) -> NDArray[np.float64]:
        """(T, classes) of the first sequence."""
        return likelihoods_by_step(self.model, part.batch(np.array([0])).to(self.device))[:, 0]

    def _part(self, examples: Sequence[Example], name: str) -> SequencePart:
        for example in examples:
            checked_text(example.x)
        return part_for(self.symbols, name, examples)

    # -- the class, by Bayes' rule

    @overload
    def predict(self, x: str, /) -> ClassPrediction: ...  # type: ignore[overload-overlap]  # a str is one text
    @overload
    def predict(self, x: Iterable[str], /) -> list[ClassPrediction]: ...
    def predict(self, x: str | Iterable[str], /) -> ClassPrediction | list[ClassPrediction]:
        """The class of a text, or of a list of them: P(class | text) is as P(class) P(text | class).

        A list has as many answers as texts: an empty text in it is a sequence that ends at once.

        Raises:
            UserError: an empty text alone, or the run was trained without classes.
        """
        if isinstance(x, str):
            _refuse_empty(x)
            return self._predicted([Example(x, None, 1)], "the text given")[0]
        given = enumerate(several(x, "a text"), start=1)
        return self._predicted([Example(checked_text(one), None, n) for n, one in given], "the texts given")

    def predict_file(self, path: str | Path) -> list[ClassPrediction]:
        """The same for the texts of a file, with labels or without: any format that training reads."""
        read = read_file(self.recipe.data, "generate", Path(path), "", Path(), labelled=False)
        return self._predicted([Example(one.x, None, one.line) for one in read.examples], read.name)

    def _predicted(self, examples: Sequence[Example], name: str) -> list[ClassPrediction]:
        if not self.classes:
            raise UserError(f"{self.folder} was trained without classes: there is none to predict")
        part = self._part(examples, name)
        order = np.argsort(part.lengths, kind="stable")
        found: dict[int, ClassPrediction] = {}
        for start in range(0, len(order), 64):
            numbers = order[start : start + 64]
            joint = likelihoods_by_step(self.model, part.batch(numbers).to(self.device)).sum(axis=0)
            joint = joint + self.symbols.priors
            shares = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
            for number, row in zip(numbers.tolist(), shares, strict=True):
                ranked = {self.classes[place]: float(row[place]) for place in np.argsort(-row, kind="stable")}
                found[number] = ClassPrediction(examples[number].x, next(iter(ranked)), ranked, None)
        return [found[number] for number in range(len(examples))]

    # -- figures

    def part(self, path: str | Path | None = None) -> SequencePart:
        """A file of sequences; without one the run's own test part, or its validation part.

        Raises:
            UserError: the file cannot be read, its classes are missing, or there is no such part.
        """
        if path is not None:
            read = read_file(self.recipe.data, "generate", Path(path), "", Path())
            part = part_for(self.symbols, read.name, read.examples)
            if self.classes and part.labels is None:
                raise UserError(f"{read.name}: it has no classes, and the run was trained with them")
            return part
        own: SequencePart = self.own_part()
        return own

    def evaluate(self, path: str | Path | None = None) -> GenerationFigures:
        """Perplexity, and how often Bayes' rule finds the class, on what `part` gives."""
        found: Any = self.task.measure(self.recipe, self.symbols, self.model, self.part(path), full=True)
        assert isinstance(found, GenerationFigures)
        return found


def _refuse_empty(text: str) -> None:
    if not checked_text(text):
        raise UserError("the text is empty: there is nothing to read")


RUN = GenerateRun
