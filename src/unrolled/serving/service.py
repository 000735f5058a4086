"""What can be asked of a model: requests become rows, what the rows found becomes answers."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from unrolled.data.vocabulary import UNK
from unrolled.decoding.scores import Score, perplexity_of
from unrolled.files import finite
from unrolled.serving import bodies
from unrolled.serving.desk import Desk
from unrolled.serving.given import (
    check_encodable,
    check_length,
    length_of,
    prefix_of,
    sequence_of,
    spellings_of,
    start_of,
)
from unrolled.serving.limits import Limits
from unrolled.serving.loaded import Loaded
from unrolled.serving.refusals import Refused, wrong
from unrolled.serving.scheduler import Row, Scheduler
from unrolled.serving.work.drawing import Drawing
from unrolled.serving.work.reading import Reading
from unrolled.serving.work.whole import Whole
from unrolled.tasks.drawing import Spoken, generator_of, sampler_of
from unrolled.tasks.translate.answers import longest

LOWEST = -1e30
NODE = 8
"""Numbers that a node of a search tree counts for."""


class Service:
    """Answers what is asked of models; streams are `Streaming`'s."""

    def __init__(self, scheduler: Scheduler, desk: Desk, limits: Limits) -> None:
        self._scheduler, self._desk, self._limits = scheduler, desk, limits

    # -- verbs: each reads a request at the desk, runs rows in the lanes, and writes the answer, JSON, at the desk

    async def predict(self, loaded: Loaded, body: bodies.PredictBody) -> bytes:
        """Classes, tags, or translations."""
        rows = await self._desk.run(lambda: self._predict_rows(loaded, body.inputs))
        found = await self._scheduler.answers(rows)
        return await self._desk.written(lambda: bodies.Predictions(answers=[_prediction(loaded, one) for one in found]))

    async def score(self, loaded: Loaded, body: bodies.ScoreBody) -> bytes:
        """How probable sequences are."""
        rows = await self._desk.run(lambda: self._score_rows(loaded, body))
        found = await self._scheduler.answers(rows)
        return await self._desk.written(
            lambda: bodies.Scores(answers=[_score(loaded, one, body.symbols) for one in found])
        )

    async def next(self, loaded: Loaded, body: bodies.NextBody) -> bytes:
        """What may follow prefixes."""
        rows = await self._desk.run(lambda: self._next_rows(loaded, body))
        found = await self._scheduler.answers(rows)
        return await self._desk.written(
            lambda: bodies.NextAnswers(
                answers=[[candidate_of(one) for one in row.candidates[-1]] if body.top else [] for row in found]
            )
        )

    async def drawing(self, loaded: Loaded, body: bodies.SampleBody) -> tuple[Drawing, int]:
        """The row of one novel sequence, and its seed.

        Raises:
            Refused: a setting is out of its range.
        """
        (row,), seed = await self._desk.run(lambda: self._drawings(loaded, body))
        return row, seed

    def _drawings(self, loaded: Loaded, body: bodies.SampleBody) -> tuple[list[Drawing], int]:
        """The rows of novel sequences, and the seed of the first."""
        check_can(loaded, "sample")
        if body.count > self._limits.sequences or body.length > self._limits.symbols:
            raise Refused(
                413, f"at most {self._limits.sequences} sequences of {self._limits.symbols} symbols are drawn"
            )
        if body.stream and body.count > 1:
            raise wrong("stream: one sequence at a time; leave count at 1")
        seed = secrets.randbits(48) if body.seed is None else body.seed
        return [self._drawing(loaded, body, seed + number) for number in range(body.count)], seed

    async def sample(self, loaded: Loaded, body: bodies.SampleBody) -> bytes:
        """Novel sequences."""
        rows, seed = await self._desk.run(lambda: self._drawings(loaded, body))
        found = await self._scheduler.answers(rows)
        return await self._desk.written(
            lambda: bodies.Samples(texts=[body.prefix + row.text for row in found], seed=seed)
        )

    async def translate(self, loaded: Loaded, body: bodies.TranslateBody) -> bytes:
        """Translations, and where they looked."""
        rows = await self._desk.run(lambda: self._translation_rows(loaded, body))
        found = await self._scheduler.answers(rows)
        return await self._desk.written(lambda: bodies.Translations(answers=found))

    async def gates(self, loaded: Loaded, body: bodies.GatesBody) -> bytes:
        """Every gate and state of a sequence."""
        row = await self._desk.run(lambda: self._gates_row(loaded, body))
        (found,) = await self._scheduler.answers([row])
        return await self._desk.written(lambda: bodies.Gates(**found))

    # -- rows

    def _predict_rows(self, loaded: Loaded, inputs: Sequence[Any]) -> list[Whole]:
        check_can(loaded, "predict")
        self._count(inputs)
        _check_something(loaded, inputs)
        run: Any = loaded.run
        ask = run.predict_all if loaded.task == "tag" else run.predict
        return [self._whole(loaded, "predict", ask, sequence_of(loaded, x, self._limits)) for x in inputs]

    def _next_rows(self, loaded: Loaded, body: bodies.NextBody) -> list[Reading]:
        if loaded.task not in ("language-model", "generate"):
            check_can(loaded, "next")
        self._count(body.prefixes)
        rows = []
        for prefix in body.prefixes:
            symbols, spellings, state = prefix_of(loaded, self._text(prefix), body.label)
            rows.append(Reading(loaded, symbols, state, spellings, top=body.top))
        return rows

    def _translation_rows(self, loaded: Loaded, body: bodies.TranslateBody) -> list[Whole]:
        if loaded.task != "translate":
            raise wrong(f"{loaded.name} is of the task {loaded.task}: it does not translate")
        self._count(body.texts)
        _check_something(loaded, body.texts)
        run: Any = loaded.run
        wishes = {
            "beam": body.beam,
            "alpha": body.alpha,
            "coverage": body.coverage,
            "block_repeats": body.block_repeats,
        }
        given = {key: value for key, value in wishes.items() if value is not None} | {"best": body.best}
        if body.attention and getattr(loaded.model, "attention", None) is None:
            raise wrong(f"{loaded.name} has no attention to show: leave attention out")
        if body.tree and len(body.texts) > 1:
            raise wrong("tree: of one text at a time; give one, or leave tree out")
        width = run.search(**given).width
        texts = [self._text(text) for text in body.texts]
        if body.attention or body.tree:
            lengths = [len(run.symbols.source.encode(text)) for text in texts]
            numbers = sum(own * own for own in lengths) if body.attention else 0
            numbers += NODE * width * int(longest(torch.tensor(lengths[0]))) if body.tree else 0
            self._check_numbers(numbers, "show less of it, or shorter texts")

        def ask(texts: list[str]) -> list[bodies.Translation]:
            if body.tree:
                searched = [run.watched(text, **given) for text in texts]
            else:
                searched = [(one, None) for one in run.predict(texts, **given)]
            return [_translation(run, one, tree, body.attention) for one, tree in searched]

        key = ("translate", body.attention, body.tree, *sorted(given.items()))
        return [self._whole(loaded, key, ask, text) for text in texts]

    def _gates_row(self, loaded: Loaded, body: bodies.GatesBody) -> Whole:
        if body.label is not None and loaded.task != "generate":
            raise wrong(f"label is for generators, and {loaded.name} is of the task {loaded.task}")
        if body.label is not None:
            check_encodable(body.label)
        x = sequence_of(loaded, body.input, self._limits)
        run: Any = loaded.run

        def ask(given: list[Any]) -> list[Any]:
            if body.label is not None:
                return [run.observe(one, label=body.label).as_dict() for one in given]
            return [run.observe(one).as_dict() for one in given]

        steps = length_of(loaded, x)
        self._check_numbers(steps * loaded.seen_numbers, "show the gates of a shorter piece")
        return Whole(object(), ask, x, steps)

    def _whole(self, loaded: Loaded, key: Any, ask: Any, x: Any) -> Whole:
        return Whole((loaded.key, key), ask, x, length_of(loaded, x))

    def _score_rows(self, loaded: Loaded, body: bodies.ScoreBody) -> list[Row]:
        check_can(loaded, "score")
        self._count(body.inputs)
        if loaded.task != "translate":  # there the empty text is a translation like others
            _check_something(loaded, body.inputs)
        _check_wishes(loaded, body)
        run: Any = loaded.run
        if loaded.task == "language-model" or (loaded.task == "generate" and (body.label or not run.classes)):
            return [self._scored_reading(loaded, x, body.label) for x in body.inputs]
        rows: list[Row] = []
        for number, given in enumerate(body.inputs):
            x = sequence_of(loaded, given, self._limits)
            wish: dict[str, Any] = {"label": body.label}
            if body.labels is not None:
                wish = {"labels": body.labels[number]}
            elif loaded.task == "translate":
                wish = {"source": body.source}
            rows.append(Whole(object(), partial(_score_each, run, wish), x, length_of(loaded, x)))
        return rows

    def _scored_reading(self, loaded: Loaded, x: Any, label: str | None) -> Row:
        text = self._text(x)
        run: Any = loaded.run
        targets = run.targets_of(text)
        start, state = start_of(loaded, label)
        if not targets:  # an empty text among others, of a model whose sequences have no end
            return self._whole(loaded, "score", run.score_all, text)
        symbols = [start, *targets[:-1]]
        spellings = spellings_of(loaded, text, len(symbols))
        return Reading(loaded, symbols, state, spellings, targets=targets)

    def _drawing(self, loaded: Loaded, body: bodies.SampleBody, seed: int) -> Drawing:
        run: Any = loaded.run
        ends = loaded.task == "generate" or run.ends
        how: Any = {
            "temperature": body.temperature, "top_k": body.top_k, "top_p": body.top_p, "min_p": body.min_p,
            "repetition": body.repetition, "length": body.length, "seed": seed,
        }  # fmt: skip
        settings = sampler_of(ends, how)
        generator = generator_of(how)
        label = body.label
        if loaded.task == "generate" and run.classes:
            drawn = run.draw_label(generator)  # drawn in any case, so that the seed means the same symbols
            label = drawn if label is None else label
        symbols, spellings, state = prefix_of(loaded, self._text(body.prefix), label)
        return Drawing(
            loaded, symbols[:-1], state, None if spellings is None else spellings[:-1],
            settings=settings, generator=generator, length=body.length, ends=ends, alternatives=body.alternatives,
            spoken=Spoken(loaded.vocabulary, body.prefix), last=symbols[-1],
            last_spelling=None if spellings is None else spellings[-1],
        )  # fmt: skip

    def _count(self, sequences: Sequence[Any]) -> None:
        if len(sequences) > self._limits.sequences:
            raise Refused(413, f"{len(sequences)} sequences in one request: at most {self._limits.sequences} are taken")

    def _check_numbers(self, numbers: int, remedy: str) -> None:
        if numbers > self._limits.answer_numbers:
            raise Refused(
                413,
                f"that would be some {numbers:,} numbers, and an answer has {self._limits.answer_numbers:,}; {remedy}",
            )

    def _text(self, x: Any) -> str:
        if not isinstance(x, str):
            raise wrong("this model reads texts: give strings")
        check_encodable(x)
        check_length(len(x), self._limits)
        return x


def _score_each(run: Any, wish: dict[str, Any], given: list[Any]) -> list[Score]:
    found: list[Score] = run.score_all(given, **wish)
    return found


# -- what can be asked


def check_can(loaded: Loaded, verb: str) -> None:
    """Refuse a verb that the model's task has not."""
    if verb not in loaded.run.verbs:
        possible = ", ".join(served_verbs(loaded))
        raise wrong(f"{loaded.name} is of the task {loaded.task}: {verb} is not for it, but {possible}")


def _check_something(loaded: Loaded, inputs: Sequence[Any]) -> None:
    """Refuse a single text that is empty; among others it has an answer, so that answers and inputs belong together."""
    (x, *others) = inputs
    symbols = loaded.task in ("language-model", "generate")  # of which blanks may be some
    if not others and isinstance(x, str) and not (x if symbols else x.strip()):
        raise wrong("the text is empty: there is nothing to read")


def served_verbs(loaded: Loaded) -> list[str]:
    """What can be asked of a model here."""
    verbs = [verb for verb in loaded.run.verbs if verb in ("predict", "score", "next", "sample")]
    if loaded.task == "generate":
        verbs.append("next")
    if loaded.task == "translate":
        verbs.append("translate")
    return [*verbs, "gates"] if loaded.recurrent is not None else verbs


def _check_wishes(loaded: Loaded, body: bodies.ScoreBody) -> None:
    task, name = loaded.task, loaded.name
    if body.labels is not None and task != "tag":
        raise wrong(f"labels are for taggers, and {name} is of the task {task}")
    if body.source is not None and task != "translate":
        raise wrong(f"source is for translators, and {name} is of the task {task}")
    if body.label is not None and task not in ("classify", "generate"):
        raise wrong(f"label is for classifiers and generators, and {name} is of the task {task}")
    if task == "tag" and (body.labels is None or len(body.labels) != len(body.inputs)):
        raise wrong("labels: give a list of labels for each input, one a timestep")
    if task == "translate" and not (body.source or "").strip():
        raise wrong("source: give the text that the inputs translate")
    if task == "classify" and body.label is None:
        raise wrong("label: give the class whose probability is asked for")
    for text in (body.source, body.label, *(label for own in body.labels or [] for label in own)):
        if text is not None:
            check_encodable(text)


# -- what is answered


def candidate_of(one: Any) -> bodies.Candidate:
    """A candidate as an answer."""
    return bodies.Candidate(symbol=one.symbol, shown=one.shown, probability=one.probability)


def logged(number: float) -> float:
    """A log-probability; minus infinity, which JSON does not have, as a number that is low enough."""
    return max(number, LOWEST)


def _prediction(loaded: Loaded, one: Any) -> bodies.Prediction:
    if loaded.task == "tag":
        frames = isinstance(one.x, np.ndarray)
        spans = [
            bodies.Span(text=s.text, type=s.type, first=s.first, last=s.last, probability=s.probability)
            for s in one.spans
        ]
        return bodies.Prediction(
            tokens=None if frames else list(one.x), labels=list(one.labels),
            label_probabilities=list(one.probabilities), spans=spans,
        )  # fmt: skip
    if loaded.task == "translate":
        return bodies.Prediction(text=one.text, log_probability=finite(one.log_probability))
    return bodies.Prediction(label=one.label, probabilities=one.probabilities, value=one.value)


def _score(loaded: Loaded, one: Any, symbols: bool) -> bodies.Score:
    if isinstance(one, Reading):
        return _read_score(loaded, one, symbols)
    each = [_symbol_score(s.symbol, s.shown, s.log_probability) for s in one.symbols] if symbols else None
    return bodies.Score(
        log_probability=logged(one.log_probability),
        perplexity=finite(one.perplexity),
        unknown=one.unknown,
        symbols=each,
    )


def _read_score(loaded: Loaded, row: Reading, symbols: bool) -> bodies.Score:
    known, total, each = loaded.vocabulary, math.fsum(row.logs), None
    if symbols:
        named = zip(row.targets, row.logs, strict=True)
        each = [_symbol_score(known.text(id), known.symbol(id), log) for id, log in named]
    return bodies.Score(
        log_probability=logged(total),
        perplexity=finite(perplexity_of(total, len(row.logs))),
        unknown=row.targets.count(UNK),
        symbols=each,
    )


def _symbol_score(symbol: str, shown: str, log_probability: float) -> bodies.SymbolScore:
    return bodies.SymbolScore(symbol=symbol, shown=shown, log_probability=logged(log_probability))


def _tree(found: Any) -> bodies.Tree:
    nodes = [bodies.Node(**node.as_dict()) for node in found.nodes]
    return bodies.Tree(answer=found.answer, nodes=nodes)


def _translation(run: Any, one: Any, tree: Any, attention: bool) -> bodies.Translation:
    candidates = [
        bodies.Hypothesis(text=c.text, log_probability=c.log_probability, score=c.score) for c in one.candidates
    ]
    seen = None
    if attention and one.x.strip():
        source, target, weights = run.attention(one.x, one.text)
        seen = bodies.AttentionMap(source=source, target=target, weights=weights.tolist())
    return bodies.Translation(candidates=candidates, attention=seen, tree=None if tree is None else _tree(tree))
