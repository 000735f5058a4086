"""A translator that is trained, to be used: translate, score translations, evaluate, find out who is to blame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import torch

from unrolled.arguments import checked_text, several, whole
from unrolled.data.examples import read_file
from unrolled.data.labelled import Example
from unrolled.data.pairs import PairPart
from unrolled.data.vocabulary import UNK
from unrolled.decoding.beam import Beam, Hypothesis, score_of
from unrolled.decoding.error_analysis import Analysis, Judged
from unrolled.decoding.scores import Score, SymbolScore
from unrolled.decoding.settings import WIDEST, DecodingSettings
from unrolled.errors import UserError
from unrolled.inspecting.attention import AttentionMap
from unrolled.inspecting.beam_tree import BeamRecorder, BeamTree
from unrolled.models.translator import Translator
from unrolled.nn.recurrent import Recurrent
from unrolled.run import Run
from unrolled.tasks.translate.answers import answers, batches_of, beam_of, log_probabilities, normal, references
from unrolled.tasks.translate.figures import Answered, TranslationFigures, quality
from unrolled.tasks.translate.task import PairSymbols, part_for


@dataclass(frozen=True)
class Candidate:
    """One answer that the search found: its text, its natural log-probability, and what it was ranked by."""

    text: str
    log_probability: float
    score: float


NOTHING = (Candidate("", 0.0, 0.0),)
"""What a blank text becomes, without a search."""


@dataclass(frozen=True)
class Translation:
    """What a translator makes of one text.

    Attributes:
        x: the text.
        candidates: the best answers, best first; at least one.
    """

    x: str
    candidates: tuple[Candidate, ...]

    @property
    def text(self) -> str:
        """The best answer."""
        return self.candidates[0].text

    @property
    def log_probability(self) -> float:
        """log P(best answer | x), natural, <eos> counted."""
        return self.candidates[0].log_probability

    @property
    def probability(self) -> float:
        """P(best answer | x)."""
        return math.exp(self.log_probability)


class TranslateRun(Run):
    """A run of the task translate.

    run = unrolled.load("runs/tatoeba")
    run.predict("I love you.").text
    run.predict(["One text.", "Another."], beam=10, best=3)
    run.score("Je t'aime.", source="I love you.").log_probability
    """

    verbs = ("predict", "score", "evaluate", "inspect")
    model: Translator
    symbols: PairSymbols

    def search(
        self, *, beam: int | None = None, alpha: float | None = None, coverage: float | None = None,
        block_repeats: int | None = None, best: int = 1,
    ) -> Beam:  # fmt: skip
        """The recipe's way to search, with other settings in the place of some."""
        return beam_of(self._decoding(beam, alpha, coverage, block_repeats), best=best)

    def _decoding(
        self, beam: int | None, alpha: float | None, coverage: float | None, block_repeats: int | None
    ) -> DecodingSettings:
        given: dict[str, Any] = {"beam": beam, "alpha": alpha, "coverage": coverage, "block_repeats": block_repeats}
        wanted = {key: value for key, value in given.items() if value is not None}
        if "beam" in wanted:
            whole("beam", wanted["beam"], 1, WIDEST, hint=": 1 is greedy search")
        return replace(self.recipe.decoding, **wanted)

    @overload
    def predict(self, x: str, /, **search: Any) -> Translation: ...
    @overload
    def predict(self, x: Iterable[str], /, **search: Any) -> list[Translation]: ...
    def predict(self, x: str | Iterable[str], /, **search: Any) -> Translation | list[Translation]:
        """The translation of a text, or of a list of them, read in batches of similar length.

        A list has as many answers as texts: a blank text in it is not searched for; its translation is the empty text.

        Args:
            search: beam, alpha, coverage, block_repeats, best (how many answers): see `decoding.Beam`; otherwise the
                recipe's.

        Raises:
            UserError: a blank text alone, or a setting out of its range.
            TypeError: what is given is no text.
        """
        beam = self.search(**search)
        if isinstance(x, str):
            _refuse_blank(x, "translate")
            return self._translated([Example(checked_text(x), None, 1)], "the text given", beam)[0]
        given = [Example(checked_text(one), None, n) for n, one in enumerate(several(x, "a text"), start=1)]
        return self._translated(given, "the texts given", beam)

    def predict_file(self, path: str | Path, **search: Any) -> list[Translation]:
        """The same for the sources of a file, with targets or without: any format that training reads."""
        read = read_file(self.recipe.data, "translate", Path(path), "", Path(), labelled=False)
        return self._translated(read.examples, read.name, self.search(**search))

    def _translated(self, examples: Sequence[Example], name: str, beam: Beam) -> list[Translation]:
        there = [number for number, one in enumerate(examples) if str(one.x).strip()]
        part = part_for(self.recipe, self.symbols, name, [examples[number] for number in there])
        found = self._answers(part, list(range(len(there))), beam)
        candidates = {number: self._candidates(found[place]) for place, number in enumerate(there)}
        return [Translation(str(one.x), candidates.get(n, NOTHING)) for n, one in enumerate(examples)]

    def _candidates(self, found: Sequence[Hypothesis]) -> tuple[Candidate, ...]:
        target = self.symbols.target
        return tuple(Candidate(target.decode(one.symbols), one.log_probability, one.score) for one in found)

    def _answers(self, part: PairPart, numbers: list[int], beam: Beam) -> dict[int, list[Hypothesis]]:
        found: dict[int, list[Hypothesis]] = {}
        for batch in batches_of(part, numbers):
            here = batch.to(self.device)
            best = answers(self.model, here.source, here.lengths, here.spellings, beam)
            found.update(zip(batch.numbers.tolist(), best, strict=True))
        return found

    @overload
    def score(self, text: str, /, *, source: str) -> Score: ...
    @overload
    def score(self, text: str, another: str, /, *more: str, source: str) -> list[Score]: ...
    def score(self, text: str, /, *more: str, source: str) -> Score | list[Score]:
        """How probable translations of a source are, symbol by symbol.

            run.score("Je t'aime.", source="I love you.").log_probability

        Returns:
            The score; of several texts a list, in the order given.

        Raises:
            UserError: the source is empty.
        """
        found = self.score_all([text, *more], source=source)
        return found if more else found[0]

    def score_all(self, texts: Sequence[str], *, source: str) -> list[Score]:  # type: ignore[override]
        """See `Run`: an empty text is as probable as that the translation ends at once."""
        if not checked_text(source, "source").strip():
            raise UserError("there is nothing to score: the source is empty")
        texts = tuple(map(checked_text, texts))
        part = part_for(self.recipe, self.symbols, "the texts given", [Example(source, one, 1) for one in texts])
        logs = self._logs(part, list(range(len(texts))))
        return [self._score(one, part.targets[n].tolist(), logs[n]) for n, one in enumerate(texts)]

    def _score(self, text: str, ids: list[int], logs: Sequence[float]) -> Score:
        target = self.symbols.target
        symbols = (SymbolScore(target.text(id), log, target.symbol(id)) for id, log in zip(ids, logs, strict=True))
        return Score(text, tuple(symbols), ids.count(UNK))

    def _logs(self, part: PairPart, numbers: list[int]) -> dict[int, tuple[float, ...]]:
        found: dict[int, tuple[float, ...]] = {}
        for batch in batches_of(part, numbers):
            found.update(zip(batch.numbers.tolist(), log_probabilities(self.model, batch.to(self.device)), strict=True))
        return found

    def _reading(self, x: str) -> tuple[list[str], Recurrent | None, Callable[[], object]]:
        """See `Run`; the decoder's steps are not among them."""
        _refuse_blank(x, "read")
        part = part_for(self.recipe, self.symbols, "the text given", [Example(x, "", 1)])
        here = next(batches_of(part, [0])).to(self.device)
        encoder = self.model.encoder
        shown = [self.symbols.source.symbol(id) for id in part.sources[0].tolist()]
        return shown, encoder.recurrent, lambda: encoder(here.source, here.lengths, here.spellings)

    def _embedding(self, target: bool) -> tuple[Any, Any, Recurrent | None]:
        """See `Run`."""
        if target:
            return self.symbols.target, self.model.target, self.model.decoder
        return self.symbols.source, self.model.encoder.input, self.model.encoder.recurrent

    @torch.no_grad()
    def attention(self, source: str, text: str | None = None, **search: Any) -> AttentionMap:
        """Where each symbol of a translation looked: source symbols, target symbols, and the weights (T, S).

        Args:
            text: the translation; None for the best one.
            search: how that is searched for, as for `predict`.

        Raises:
            UserError: the model has no attention, or the source is empty.
        """
        _refuse_blank(source, "read")
        if self.model.attention is None:
            raise UserError(f"{self.folder}: the model has no attention; train with model.attention")
        wanted = self.predict(source, **search).text if text is None else checked_text(text)
        part = part_for(self.recipe, self.symbols, "the text given", [Example(source, wanted, 1)])
        batch = next(batches_of(part, [0])).to(self.device)
        weights = self.model.attention_weights(batch.source, batch.lengths, batch.inputs, batch.spellings)[:, 0].cpu()
        shown = [self.symbols.source.symbol(id) for id in part.sources[0].tolist()]
        return AttentionMap(shown, [self.symbols.target.symbol(id) for id in part.targets[0].tolist()], weights)

    def search_tree(self, x: str, **search: Any) -> BeamTree:
        """The search for a text's translation as a tree: what was open at each step, what was pruned, what ended.

        Args:
            search: as for `predict`, whose answer is the tree's.

        Raises:
            UserError: the text is empty, or a setting is out of its range.
        """
        return self.watched(x, **search)[1]

    def watched(self, x: str, **search: Any) -> tuple[Translation, BeamTree]:
        """What `predict` and `search_tree` say of a text, of one search."""
        _refuse_blank(x, "translate")
        beam, recorder = self.search(**search), BeamRecorder(self.symbols.target.symbol)
        here = next(batches_of(part_for(self.recipe, self.symbols, "the text given", [Example(x, None, 1)]), [0]))
        here = here.to(self.device)
        found = answers(self.model, here.source, here.lengths, here.spellings, beam, watch=recorder)
        return Translation(x, self._candidates(found[0])), recorder.tree(x, beam, found[0][0])

    def part(self, path: str | Path | None = None) -> PairPart:
        """A file of pairs; without one the run's own test part, or its validation part.

        Raises:
            UserError: the file cannot be read, or there is no such part.
        """
        if path is not None:
            read = read_file(self.recipe.data, "translate", Path(path), "", Path())
            return part_for(self.recipe, self.symbols, read.name, read.examples)
        own: PairPart = self.own_part()
        return own

    def evaluate(
        self, path: str | Path | None = None, *, beam: int | None = None, alpha: float | None = None,
        coverage: float | None = None, block_repeats: int | None = None,
    ) -> TranslationFigures:  # fmt: skip
        """BLEU, chrF, exact answers and perplexity on what `part` gives."""
        recipe = replace(self.recipe, decoding=self._decoding(beam, alpha, coverage, block_repeats))
        found = self.task.measure(recipe, self.symbols, self.model, self.part(path), full=True)
        assert isinstance(found, TranslationFigures)
        return found

    def blame(
        self, path: str | Path | None = None, *, wider: int | None = None, most: int = 0, **search: Any
    ) -> Analysis:
        """Where answers are wrong: is the search to blame, or the model? See `decoding.error_analysis`.

        Args:
            path: a file of pairs; None for the run's own test part.
            wider: the width to compare with; None for four times the beam's. most: so many sources at most; 0: all.
            search: as for `predict`.
        """
        beam, part, most = self.search(**search), self.part(path), whole("most", most, 0)
        sources = list(references(part, self.symbols.target).items())
        if most:  # from everywhere: files are often sorted by length
            sources = sources[:: max(1, len(sources) // most)][:most]
        numbers = [number for _, (number, _) in sources]
        wide = replace(beam, width=min(4 * beam.width, WIDEST) if wider is None else wider)
        if wide.width <= beam.width:
            raise UserError(f"--wider {wide.width}: must be more than the beam's width, {beam.width}")
        narrow, better = self._answers(part, numbers, beam), self._answers(part, numbers, wide)
        best = self._best_references(part, {source for source, _ in sources}, beam)
        judged = []
        for source, (number, texts) in sources:
            reference, log, score = best[source]
            own, other = self._candidates(narrow[number])[0], self._candidates(better[number])[0]
            judged.append(
                Judged(
                    source, reference, log, score, own.text, own.log_probability, own.score, own.text in texts,
                    other.text, other.score, other.text in texts,
                )
            )  # fmt: skip
        texts_of = {source: tuple(texts) for source, (_, texts) in sources}
        figures = [
            quality([Answered(one.source, text, texts_of[one.source]) for one, text in zip(judged, said, strict=True)])
            for said in ([one.answer for one in judged], [one.wider_answer for one in judged])
        ]
        return Analysis(part.name, beam, wide.width, tuple(judged), figures[0]["bleu"], figures[1]["bleu"])

    def _best_references(self, part: PairPart, sources: set[str], beam: Beam) -> dict[str, tuple[str, float, float]]:
        """Of each source's references the one that the search would rank highest: text, log-probability, score."""
        if beam.coverage:
            raise UserError("the error analysis compares log-probabilities: leave the coverage penalty at 0")
        numbers = [n for n, one in enumerate(part.examples) if str(one.x) in sources]
        found: dict[str, tuple[str, float, float]] = {}
        for number, logs in self._logs(part, numbers).items():
            example, log = part.examples[number], math.fsum(logs)
            score = score_of(log, len(logs), beam)
            if str(example.x) not in found or score > found[str(example.x)][2]:
                found[str(example.x)] = normal(self.symbols.target, str(example.y)), log, score
        return found


def _refuse_blank(text: str, purpose: str) -> None:
    if not checked_text(text).strip():
        raise UserError(f"the text is empty: there is nothing to {purpose}")


RUN = TranslateRun
