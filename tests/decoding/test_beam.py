"""Laws of beam search: width 1 is greedy, one that holds all prefixes is exhaustive, an early stop is safe."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unrolled.decoding.beam import Beam, BeamStep, Hypothesis, beam_search, repeats, score_of
from unrolled.decoding.sampling import Sampler, sample
from unrolled.errors import UserError

END, SYMBOLS, LONGEST = 3, 6, 4
Prefix = tuple[int, ...]


def model(seed: int, sharp: float = 2.0) -> Callable[[Prefix], Tensor]:
    """A distribution over 3 (the end), 4 and 5 for every prefix: random, but always the same."""

    def logs(prefix: Prefix) -> Tensor:
        generator = torch.Generator().manual_seed(hash((seed, prefix)) % 2**31)
        scores = torch.full((SYMBOLS,), -math.inf, dtype=torch.float64)
        scores[END:] = torch.randn(SYMBOLS - END, generator=generator, dtype=torch.float64) * sharp
        return scores.log_softmax(-1)

    return logs


def stepping(*models: Callable[[Prefix], Tensor]) -> tuple[Callable[..., tuple[Tensor, Tensor]], Tensor]:
    """A step for several sentences, each with a model of its own: the state holds which one, and the prefix."""

    def step(symbols: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.cat([state, symbols.unsqueeze(1)], 1)
        rows = [models[row[0]](tuple(row[2:])) for row in state.tolist()]  # row[1] is <bos>
        return torch.stack(rows), state

    return step, torch.arange(len(models)).unsqueeze(1)


def select(state: Tensor, rows: Tensor) -> Tensor:
    return state.index_select(0, rows)


def search(models: list[Callable[[Prefix], Tensor]], beam: Beam, longest: int = LONGEST) -> list[list[Hypothesis]]:
    step, state = stepping(*models)
    first, lengths = torch.full((len(models),), 2), torch.full((len(models),), longest)
    return beam_search(step, state, first, select=select, settings=beam, lengths=lengths, end=END)


def log_probability(logs: Callable[[Prefix], Tensor], symbols: Prefix) -> float:
    return math.fsum(float(logs(symbols[:place])[symbol]) for place, symbol in enumerate(symbols))


def all_answers(logs: Callable[[Prefix], Tensor], beam: Beam) -> list[tuple[float, Prefix]]:
    """Every sequence that ends within the longest length, best first."""
    found = []
    for length in range(LONGEST):
        for symbols in itertools.product(range(END + 1, SYMBOLS), repeat=length):
            log = log_probability(logs, (*symbols, END))
            found.append((score_of(log, length + 1, beam), symbols))
    return sorted(found, key=lambda one: -one[0])


seeds = st.integers(0, 10_000)
alphas = st.sampled_from([0.0, 0.5, 0.7, 1.0, 1.5])


@given(seeds, alphas)
def test_width_1_is_greedy(seed: int, alpha: float) -> None:
    step, state = stepping(model(seed))
    greedy = sample(
        step, state, torch.tensor([2]), settings=Sampler(temperature=0), length=LONGEST, end=END,
        generator=torch.Generator(),
    )  # fmt: skip
    symbols = [int(one) for one in greedy]
    found = search([model(seed)], Beam(width=1, alpha=alpha))[0]
    assert len(found) == 1
    assert found[0].ended == (symbols[-1] == END)
    assert list(found[0].symbols) == [symbol for symbol in symbols if symbol != END]


@given(seeds, alphas)
@settings(max_examples=40)
def test_a_beam_that_holds_every_prefix_is_exhaustive(seed: int, alpha: float) -> None:
    beam = Beam(width=3**LONGEST, alpha=alpha, best=5)
    expected = all_answers(model(seed), beam)[:5]
    found = search([model(seed)], beam)[0]
    assert [one.symbols for one in found] == [symbols for _, symbols in expected]
    torch.testing.assert_close(
        torch.tensor([one.score for one in found]), torch.tensor([score for score, _ in expected])
    )


@given(seeds, alphas, st.integers(1, 6))
def test_the_score_is_that_of_the_sequence(seed: int, alpha: float, width: int) -> None:
    beam = Beam(width=width, alpha=alpha, best=width)
    for one in search([model(seed)], beam)[0]:
        symbols = (*one.symbols, END) if one.ended else one.symbols
        assert one.log_probability == pytest.approx(log_probability(model(seed), symbols))
        assert one.score == pytest.approx(score_of(one.log_probability, len(symbols), beam))


@given(seeds, alphas, st.integers(1, 6), st.integers(1, 3), st.sampled_from([0.3, 2.0, 5.0]))
def test_stopping_early_changes_no_answer(seed: int, alpha: float, width: int, best: int, sharp: float) -> None:
    answers = [
        search([model(seed, sharp)], Beam(width, alpha, best=min(best, width), early_stop=early), longest=7)[0]
        for early in (True, False)
    ]
    assert answers[0] == answers[1]


def test_stopping_early_saves_steps() -> None:
    """A model that is nearly sure of the end: nothing that goes on can catch up."""
    calls = []

    def logs(prefix: Prefix) -> Tensor:
        calls.append(prefix)
        return torch.tensor([0, 0, 0, 0.98, 0.01, 0.01], dtype=torch.float64).log()

    search([logs], Beam(width=3, alpha=0.7), longest=50)
    assert max(map(len, calls)) < 5


@given(st.lists(seeds, min_size=2, max_size=4, unique=True), st.integers(1, 5), alphas)
@settings(max_examples=40)
def test_sentences_side_by_side_are_as_alone(many: list[int], width: int, alpha: float) -> None:
    beam = Beam(width, alpha, best=min(2, width))
    together = search([model(seed) for seed in many], beam)
    assert together == [search([model(seed)], beam)[0] for seed in many]


@given(seeds, st.integers(1, 5))
def test_a_wider_beam_never_holds_fewer_answers_and_they_are_ranked(seed: int, width: int) -> None:
    found = search([model(seed)], Beam(width, best=width))[0]
    assert [one.score for one in found if one.ended] == sorted((one.score for one in found if one.ended), reverse=True)
    assert len({(one.symbols, one.ended) for one in found}) == len(found)


@given(seeds, st.integers(1, 3), st.integers(1, 4))
def test_no_run_comes_twice(seed: int, length: int, width: int) -> None:
    for one in search([model(seed)], Beam(width, block_repeats=length, best=width), longest=9)[0]:
        runs = [one.symbols[place : place + length] for place in range(len(one.symbols) - length + 1)]
        assert len(runs) == len(set(runs))


@given(st.lists(st.lists(st.integers(4, 6), min_size=6, max_size=6), min_size=1, max_size=3), st.integers(1, 4))
def test_repeats_bans_what_closes_a_run_that_was(rows: list[list[int]], length: int) -> None:
    banned = repeats(torch.tensor(rows), length, 8)
    for row, found in zip(rows, banned, strict=True):
        runs = {tuple(row[place : place + length]) for place in range(len(row) - length + 1)}
        expected = [tuple([*row, symbol][-length:]) in runs for symbol in range(8)]
        assert found.tolist() == expected


def test_forbidden_symbols_never_come() -> None:
    for one in search([model(5)], Beam(4, best=4, forbidden=frozenset([4])), longest=6)[0]:
        assert 4 not in one.symbols


def test_length_normalisation_likes_long_answers_better() -> None:
    """The end has 0.5 at once; three symbols, nearly sure, and then the end have 0.45 together."""

    def logs(prefix: Prefix) -> Tensor:
        shares = {0: [0.5, 0.5, 0.0], 1: [0.05, 0.95, 0], 2: [0.02, 0.98, 0], 3: [0.97, 0.03, 0]}[min(len(prefix), 3)]
        return torch.tensor([0, 0, 0, *shares], dtype=torch.float64).log()

    assert search([logs], Beam(4, alpha=0), longest=6)[0][0].symbols == ()
    assert search([logs], Beam(4, alpha=1), longest=6)[0][0].symbols == (4, 4, 4)


def test_an_answer_that_ends_comes_before_one_that_was_cut_off() -> None:
    def logs(prefix: Prefix) -> Tensor:
        return torch.tensor([0, 0, 0, 0.01, 0.99, 0], dtype=torch.float64).log()

    found = search([logs], Beam(3, best=3), longest=2)[0]
    assert [one.ended for one in found] == [True, True, False]
    assert found[2].symbols == (4, 4)


def test_the_coverage_penalty_prefers_what_has_seen_everything() -> None:
    """Two answers as probable as each other: the penalty decides between them."""
    step, state = stepping(lambda prefix: torch.tensor([0, 0, 0, 1 / 3, 1 / 3, 1 / 3], dtype=torch.float64).log())

    def coverage(state: Tensor) -> Tensor:
        return -(1.0 - (state[:, 2:] == 5).any(1).double())

    lengths = torch.tensor([3])
    for weight, wanted in ((0.0, ()), (10.0, (5,))):
        found = beam_search(
            step, state, torch.tensor([2]), select=select, settings=Beam(9, alpha=0, coverage=weight), lengths=lengths,
            end=END, coverage=coverage,
        )  # fmt: skip
        assert found[0][0].symbols == wanted


def test_lengths_are_each_sentences_own() -> None:
    step, state = stepping(model(1, 0.1), model(2, 0.1))
    beam = Beam(5, best=5)
    found = beam_search(
        step, state, torch.tensor([2, 2]), select=select, settings=beam, lengths=torch.tensor([2, 4]), end=END
    )
    assert max(len(one.symbols) + one.ended for one in found[0]) == 2
    assert max(len(one.symbols) + one.ended for one in found[1]) > 2


@pytest.mark.parametrize("early_stop", [True, False])
def test_a_watched_search_is_the_search(early_stop: bool) -> None:
    step, state = stepping(model(1), model(2), model(3))
    beam = Beam(3, best=3, early_stop=early_stop)
    seen: list[BeamStep] = []
    found = [
        beam_search(
            step, state, torch.tensor([2, 2, 2]), select=select, settings=beam, lengths=torch.tensor([2, 4, 5]),
            end=END, watch=watch,
        )
        for watch in (None, seen.append)
    ]  # fmt: skip
    assert found[0] == found[1]
    going = 3
    for one in seen:
        assert int(one.parents.max()) < going
        assert not (one.going & (one.ended | one.cut)).any()
        going = int(one.going.sum())
    assert going == 0
    ended = [float(one) for step in seen for one in step.scores[step.ended]]
    assert {answer.score for answers in found[0] for answer in answers if answer.ended} <= set(ended)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 0}, "beam width 0: must be from 1 to 1,000"),
        ({"alpha": -1.0}, "alpha -1.0: must be from 0 to 10"),
        ({"coverage": math.nan}, "coverage nan"),
        ({"block_repeats": -1}, "block_repeats -1"),
        ({"best": 6}, "best 6: must be from 1 to 5, the beam's width"),
    ],
)
def test_settings_out_of_range_are_named(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Beam(**wrong)  # type: ignore[arg-type]


def test_a_length_below_1_is_refused() -> None:
    with pytest.raises(UserError, match=r"lengths \[0\]: must be one for each of 1 sentences, 1 or more"):
        search([model(1)], Beam(), longest=0)
