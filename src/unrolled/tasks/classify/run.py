"""A classifier that is trained, to be used: predict texts or frames, evaluate on labelled ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unrolled.arguments import checked_sequence, several
from unrolled.data.examples import ExampleBatch, Inputs, Part, part_of, read_file
from unrolled.data.labelled import Example, Labelled
from unrolled.data.vocabulary import Vocabulary
from unrolled.decoding.scores import Score, SymbolScore
from unrolled.errors import UserError
from unrolled.inspecting.attention import AttentionMap
from unrolled.inspecting.gradients import Watched
from unrolled.inspecting.saliency import Saliency, saliency
from unrolled.models.classifier import Classifier
from unrolled.models.encoder import reading
from unrolled.nn.recurrent import Recurrent
from unrolled.run import Run
from unrolled.tasks.backwards import encoder_inputs, likeliest_loss, refuse_label
from unrolled.tasks.classify.figures import ClassFigures
from unrolled.tasks.classify.task import ClassSymbols, part_for

Sequence_ = str | NDArray[np.float32]


@dataclass(frozen=True)
class ClassPrediction:
    """What a classifier makes of one sequence.

    Attributes:
        x: the sequence.
        label: the most probable class; of a predictor of numbers the number, as text.
        probabilities: of all classes, the most probable first; empty for numbers.
        value: the number; of stars the mean under the probabilities; None for classes.
    """

    x: Any
    label: str
    probabilities: dict[str, float]
    value: float | None

    @property
    def probability(self) -> float:
        """That of the label; 1 for numbers."""
        return self.probabilities.get(self.label, 1.0)


class ClassifyRun(Run):
    """A run of the task classify.

    run = unrolled.load("runs/polarity")
    run.predict("a gorgeous , witty , seductive movie .").label
    run.predict(["one text", "another"])
    """

    verbs = ("predict", "score", "evaluate", "inspect")
    model: Classifier
    symbols: ClassSymbols

    @overload
    def predict(self, x: Sequence_, /) -> ClassPrediction: ...  # type: ignore[overload-overlap]  # a str is one text
    @overload
    def predict(self, x: Iterable[Sequence_], /) -> list[ClassPrediction]: ...
    def predict(self, x: Sequence_ | Iterable[Sequence_], /) -> ClassPrediction | list[ClassPrediction]:
        """The class of a text or of frames (T, D), or a list of them, read in batches of similar length.

        A list has as many answers as sequences: an empty text in it is answered as a text of one unknown symbol.

        Raises:
            UserError: an empty text alone, frames of another width, or text where frames are read.
            TypeError: what is given is neither.
        """
        if isinstance(x, str | np.ndarray):
            _refuse_blank(x)
            return self._predicted([Example(checked_sequence(x), None, 1)], "the sequence given")[0]
        given = enumerate(several(x, "a text, frames"), start=1)
        return self._predicted(
            [Example(checked_sequence(one), None, line) for line, one in given], "the sequences given"
        )

    def score(self, x: Sequence_, /, *, label: str) -> Score:
        """log P(label | x), of a text or of frames.

        Raises:
            UserError: there is no such class; numbers have no probability.
        """
        _refuse_blank(checked_sequence(x))
        return self.score_all([x], label=label)[0]

    def score_all(self, texts: Sequence[Sequence_], *, label: str) -> list[Score]:  # type: ignore[override]
        """See `Run`."""
        return [self._score(found, label) for found in self.predict(list(texts))]

    def _score(self, found: ClassPrediction, label: str) -> Score:
        if label not in found.probabilities:
            known = ", ".join(self.symbols.labels.names)
            raise UserError(
                f"{self.folder} has no class {label!r}; " + (f"its classes: {known}" if known else "numbers")
            )
        log = math.log(max(found.probabilities[label], 1e-300))
        return Score(found.x if isinstance(found.x, str) else "frames", (SymbolScore(label, log, label),), 0)

    def predict_file(self, path: str | Path) -> list[ClassPrediction]:
        """The same for the sequences of a file, with labels or without: any format that training reads."""
        read = self._file(path)
        return self._predicted(read.examples, read.name)

    def sequences(self, path: str | Path) -> list[Any]:
        """The sequences of a file, read as `predict_file` reads them."""
        return [example.x for example in self._file(path).examples]

    def _file(self, path: str | Path) -> Labelled:
        return read_file(self.recipe.data, "classify", Path(path), "", Path(), labelled=False)

    def _part(self, examples: Sequence[Example], name: str) -> Part[Any]:
        spell = self.recipe.model.characters > 0
        return part_of(name, examples, self.symbols.inputs, lambda example: 0, spell=spell)

    def _predicted(self, examples: Sequence[Example], name: str) -> list[ClassPrediction]:
        part = self._part(examples, name)
        if not examples:
            return []
        scores = np.zeros((len(examples), max(1, self.model.classes)))
        for numbers, found in self._scores(part):
            scores[numbers] = found
        return [self._prediction(example, row) for example, row in zip(examples, scores, strict=True)]

    def _watched(self, model: Any, text: Any, length: int, label: str | None) -> Iterator[Watched]:
        """See `Run`: the loss is -log P of the class that is most probable, or half the square of a number."""
        refuse_label(self, label)
        given = None if text is None else [Example(checked_sequence(text), None, 1)]

        def loss(step: int, outputs: Sequence[Tensor]) -> Tensor:
            scores = model.output(model.head(model.pooling(torch.stack(list(outputs)))))
            return likeliest_loss(scores) if model.classes else 0.5 * scores.square().sum(-1)

        for inputs, spellings in encoder_inputs(self, given, length):
            yield Watched(model.encoder.vectors(inputs, spellings), None, loss, ends=True)

    def _reading(self, x: Sequence_) -> tuple[list[str], Recurrent | None, Callable[[], object]]:
        """See `Run`."""
        shown, here = self._one(x)
        return shown, *reading(self.model.encoder, here)

    def _one(self, x: Sequence_) -> tuple[list[str], ExampleBatch]:
        """The symbols of one sequence as people see them (of frames their numbers), and it as a batch of one."""
        _refuse_blank(checked_sequence(x))
        here = self._part([Example(x, None, 1)], "the sequence given").batch(np.array([0])).to(self.device)
        inputs: Inputs = self.symbols.inputs
        steps = int(here.lengths[0])
        if isinstance(inputs, Vocabulary):
            return [inputs.symbol(id) for id in here.inputs[:steps, 0].tolist()], here
        return [str(step) for step in range(1, steps + 1)], here

    @torch.no_grad()
    def attention(self, x: Sequence_) -> AttentionMap:
        """How much each timestep counted when the sequence became one vector, where the model pools by attention: a map
        of one row, the class that was predicted.

        Raises:
            UserError: the model pools in another way; otherwise as for `predict`.
        """
        pooling = self.model.pooling
        if pooling.kind != "attention":
            raise UserError(
                f'{self.folder}: the model pools by "{pooling.kind}", which has no weights; train with '
                'model.pooling = "attention"'
            )
        shown, here = self._one(x)
        outputs, _ = self.model.encoder(here.inputs, here.lengths, here.spellings)
        weights = pooling.weights(outputs, here.lengths)[: len(shown)].t().cpu()
        return AttentionMap(shown, [self.predict(x).label], weights)

    def saliency(self, x: Sequence_, *, label: str | None = None) -> Saliency:
        """How much each timestep speaks for a class (of numbers: raises the number): by the gradient, and by leaving it
        out.

            run.saliency("a gorgeous , witty movie").occlusion

        Args:
            label: the class; None for the predicted one.

        Raises:
            UserError: there is no such class; otherwise as for `predict`.
        """
        labels = self.symbols.labels
        if label is not None and label not in labels.names:
            known = f"its classes: {', '.join(labels.names)}" if labels.names else "it predicts numbers"
            raise UserError(f"{self.folder} has no class {label!r}; {known}")
        shown, here = self._one(x)
        if labels.kind == "number":
            return saliency(self.model, shown, here, "", 0, scale=labels.deviation)
        name = label or self.predict(x).label
        return saliency(self.model, shown, here, name, labels.names.index(name))

    @torch.no_grad()
    def _scores(self, part: Part[Any]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        for batch in part.whole():
            here = batch.to(self.device)
            scores = self.model.scores(here.inputs, here.lengths, here.spellings)
            found = self.model.log_probabilities(scores).exp() if self.model.classes else scores
            yield batch.numbers, found.double().cpu().numpy()

    def _prediction(self, example: Example, row: NDArray[np.float64]) -> ClassPrediction:
        labels = self.symbols.labels
        if labels.kind == "number":
            value = float(row[0] * labels.deviation + labels.mean)
            return ClassPrediction(example.x, f"{value:.6g}", {}, value)
        order = np.argsort(-row, kind="stable")
        probabilities = {labels.names[place]: float(row[place]) for place in order}
        stars = labels.kind == "stars"
        mean = math.fsum(p * v for p, v in zip(row, labels.values, strict=True)) if stars else None
        return ClassPrediction(example.x, labels.names[int(order[0])], probabilities, mean)

    def part(self, path: str | Path | None = None) -> Part[Any]:
        """A labelled file as examples; without one the run's own test part, or its validation part.

        Raises:
            UserError: the file cannot be read, or there is no such part.
        """
        if path is not None:
            read = read_file(self.recipe.data, "classify", Path(path), "", Path())
            return part_for(self.recipe, self.symbols, read.name, read.examples)
        own: Part[Any] = self.own_part()
        return own

    def evaluate(self, path: str | Path | None = None) -> ClassFigures:
        """Accuracy, F1, confusions and calibration on what `part` gives."""
        found = self.task.measure(self.recipe, self.symbols, self.model, self.part(path), full=True)
        assert isinstance(found, ClassFigures)
        return found


def _refuse_blank(x: Sequence_) -> None:
    if isinstance(x, str) and not x.strip():
        raise UserError("the text is empty: there is nothing to predict from")


RUN = ClassifyRun
