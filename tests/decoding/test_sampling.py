"""Laws of sampling: greedy is greedy however it is asked for, truncation keeps what it says, ended rows stay ended."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unrolled.decoding.sampling import Sampler, distribution, draw, sample
from unrolled.errors import UserError


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logarithms(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


# Weights of 0 included (impossible symbols), and ties made likely by small integers.
tables = st.lists(st.lists(st.integers(0, 9), min_size=5, max_size=5).filter(any), min_size=1, max_size=4).map(
    lambda rows: torch.log_softmax(torch.tensor(rows, dtype=torch.float32).log(), dim=-1)
)


@given(tables, st.integers(0, 99))
@pytest.mark.parametrize(
    "greedy", [Sampler(temperature=0), Sampler(top_k=1), Sampler(top_p=1e-9), Sampler(temperature=1e-6, top_k=1)]
)
def test_every_greedy_setting_takes_the_likeliest(greedy: Sampler, table: Tensor, seed: int) -> None:
    assert draw(table, greedy, generator(seed)).equal(table.argmax(-1))


def test_a_tiny_temperature_comes_to_greedy() -> None:
    table = logarithms([0.3, 0.5, 0.2])
    assert distribution(table, Sampler(temperature=1e-300)).tolist() == [[0, 1, 0]]


@given(tables, st.floats(0.1, 5), st.integers(0, 6), st.floats(0.01, 1), st.integers(0, 99))
def test_draws_have_a_positive_probability_and_rows_sum_to_one(
    table: Tensor, temperature: float, top_k: int, top_p: float, seed: int
) -> None:
    settings = Sampler(temperature=temperature, top_k=top_k, top_p=top_p)
    probabilities = distribution(table, settings)
    drawn = draw(table, settings, generator(seed))
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(len(table), dtype=torch.float64))
    assert (probabilities.gather(-1, drawn[:, None]) > 0).all()
    assert (table.gather(-1, drawn[:, None]) > -math.inf).all()


@given(tables, st.integers(1, 5))
def test_top_k_keeps_the_k_likeliest_in_proportion(table: Tensor, top_k: int) -> None:
    kept = distribution(table, Sampler(top_k=top_k))
    for probabilities, row in zip(kept, table.double().exp(), strict=True):
        assert (probabilities > 0).sum() == min(top_k, int((row > 0).sum()))
        expected = torch.where(probabilities > 0, row, 0)
        torch.testing.assert_close(probabilities, expected / expected.sum())
        assert torch.equal(expected.sort(descending=True).values[:top_k], row.sort(descending=True).values[:top_k])


@given(tables, st.floats(0.01, 0.999))
def test_top_p_keeps_the_smallest_set_that_reaches_p(table: Tensor, top_p: float) -> None:
    whole = distribution(table, Sampler())
    for kept, row in zip(distribution(table, Sampler(top_p=top_p)) > 0, whole, strict=True):
        mass = float(row[kept].sum())
        assert mass >= top_p - 1e-12
        assert mass - float(row[kept].min()) < top_p + 1e-12, "without its least likely symbol the set is too small"
        likeliest = row.sort(descending=True).values[: int(kept.sum())]
        torch.testing.assert_close(row[kept].sort(descending=True).values, likeliest)


def test_top_p_on_figures_by_hand() -> None:
    table = logarithms([0.125, 0.5, 0.25, 0.125])
    torch.testing.assert_close(distribution(table, Sampler(top_p=0.6))[0], logarithms([0, 2 / 3, 1 / 3, 0]).exp()[0])
    torch.testing.assert_close(distribution(table, Sampler(top_p=0.4))[0], logarithms([0, 1, 0, 0]).exp()[0])


def chi_square(drawn: Tensor, expected: Tensor) -> float:
    """The statistic over the symbols that can come; the others must not have come."""
    counts = drawn.bincount(minlength=len(expected)).double()
    assert (counts[expected == 0] == 0).all()
    possible = expected > 0
    due = expected[possible] * len(drawn)
    return float(((counts[possible] - due) ** 2 / due).sum())


WEIGHTS = [0.0, 0.35, 0.0, 0.05, 0.25, 0.2, 0.15]


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        (Sampler(), WEIGHTS),
        (Sampler(temperature=2), [w**0.5 for w in WEIGHTS]),
        (Sampler(temperature=0.5), [w**2 for w in WEIGHTS]),
        (Sampler(top_k=3), [0, 0.35, 0, 0, 0.25, 0.2, 0]),
        (Sampler(top_p=0.75), [0, 0.35, 0, 0, 0.25, 0.2, 0]),
        (Sampler(forbidden=frozenset({1, 3})), [0, 0, 0, 0, 0.25, 0.2, 0.15]),
    ],
)
def test_frequencies_are_those_of_the_distribution(settings: Sampler, weights: list[float]) -> None:
    expected = torch.tensor(weights, dtype=torch.float64)
    expected /= expected.sum()
    torch.testing.assert_close(distribution(logarithms(WEIGHTS), settings)[0], expected)
    drawn = draw(logarithms(WEIGHTS).expand(40_000, -1), settings, generator(5))
    # At most four degrees of freedom: 18.5 is passed once in a thousand seeds.
    assert chi_square(drawn, expected) < 18.5


def test_forbidding_is_drawing_again_until_something_else_comes() -> None:
    """Rejection itself, played out, has the frequencies of the distribution that forbids."""
    source, again = generator(7), logarithms(WEIGHTS).expand(40_000, -1)
    drawn = draw(again, Sampler(), source)
    while (rejected := drawn == 1).any():
        drawn[rejected] = draw(again[: int(rejected.sum())], Sampler(), source)
    expected = distribution(logarithms(WEIGHTS), Sampler(forbidden=frozenset({1})))[0]
    assert chi_square(drawn, expected) < 16.3  # three degrees of freedom, one seed in a thousand


@pytest.mark.parametrize("settings", [Sampler(temperature=0), Sampler(top_k=1), Sampler(top_p=0.1)])
def test_forbidding_comes_before_truncation(settings: Sampler) -> None:
    """Otherwise top_k=1 would draw the forbidden symbol again for ever."""
    forbidding = Sampler(settings.temperature, settings.top_k, settings.top_p, frozenset({1}))
    assert draw(logarithms(WEIGHTS), forbidding, generator()).tolist() == [4]


def test_same_seed_same_draws_and_other_seed_others() -> None:
    table = logarithms(WEIGHTS).expand(200, -1)
    first, same, other = (draw(table, Sampler(), generator(seed)) for seed in (3, 3, 4))
    assert first.equal(same)
    assert not first.equal(other)


# A model whose next symbol is always the one after the symbol it is given: 4 -> 5 -> ... -> 8 -> <eos> (3).
# Its state counts the timesteps.
def counting(symbols: Tensor, state: int) -> tuple[Tensor, int]:
    following = torch.where(symbols >= 8, 3, symbols + 1)
    following[symbols == 0] = 7  # were an ended row read on, it would show
    return torch.nn.functional.one_hot(following, 9).log(), state + 1


def uniform(symbols: Tensor, state: None) -> tuple[Tensor, None]:
    table = torch.zeros(len(symbols), 9)
    table[:, [0, 2]] = -math.inf
    return table.log_softmax(-1), state


def test_ended_rows_stay_ended_and_sampling_stops_when_all_have() -> None:
    first = torch.tensor([7, 4, 8])
    drawn = torch.stack(list(sample(counting, 0, first, settings=Sampler(), length=20, generator=generator())))
    assert drawn.T.tolist() == [[8, 3, 0, 0, 0], [5, 6, 7, 8, 3], [3, 0, 0, 0, 0]]
    assert first.tolist() == [7, 4, 8]


@given(st.integers(0, 999), st.integers(1, 4), st.integers(1, 12))
def test_a_row_is_symbols_then_perhaps_eos_then_padding(seed: int, rows: int, length: int) -> None:
    start = torch.full((rows,), 2)
    drawn = list(sample(uniform, None, start, settings=Sampler(), length=length, generator=generator(seed)))
    assert len(drawn) <= length
    for row in torch.stack(drawn).T.tolist():
        ended = row.index(3) + 1 if 3 in row else len(row)
        assert 0 not in row[:ended]
        assert not any(row[ended:])
    if len(drawn) < length:
        assert all(3 in row for row in torch.stack(drawn).T.tolist())


def test_without_an_end_the_length_ends_it() -> None:
    start = torch.full((3,), 2)
    drawn = list(sample(uniform, None, start, settings=Sampler(), length=50, end=None, generator=generator()))
    assert len(drawn) == 50
    assert (torch.stack(drawn) != 0).all()
    assert (torch.stack(drawn) == 3).any()


def test_same_seed_same_sample() -> None:
    def text(seed: int) -> list[list[int]]:
        start = torch.full((2,), 2)
        drawn = sample(uniform, None, start, settings=Sampler(), length=30, end=None, generator=generator(seed))
        return [symbols.tolist() for symbols in drawn]

    assert text(1) == text(1)
    assert text(1) != text(2)


def test_symbols_come_one_at_a_time_without_gradients_in_the_step_only() -> None:
    calls = []

    def watched(symbols: Tensor, state: int) -> tuple[Tensor, int]:
        calls.append(torch.is_grad_enabled())
        return counting(symbols, state)

    drawn = sample(watched, 0, torch.tensor([4]), settings=Sampler(), length=3, generator=generator())
    assert calls == []
    next(drawn).fill_(99)  # what was yielded is the caller's own
    assert calls == [False]
    assert torch.is_grad_enabled()
    assert [int(symbols) for symbols in drawn] == [6, 7]
    assert len(calls) == 3, "no timestep is computed whose symbol nobody asked for"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -0.1}, "temperature -0.1"),
        ({"temperature": math.nan}, "temperature nan"),
        ({"temperature": math.inf}, "temperature inf"),
        ({"top_k": -1}, "top_k -1"),
        ({"top_p": 0.0}, "top_p 0.0"),
        ({"top_p": 1.5}, "top_p 1.5"),
        ({"top_p": math.nan}, "top_p nan"),
        ({"forbidden": frozenset({-1})}, "ids start at 0"),
    ],
)
def test_settings_out_of_range_name_the_flag(values: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Sampler(**values)  # type: ignore[arg-type]


def test_a_length_under_one_is_refused_at_once() -> None:
    with pytest.raises(UserError, match="length 0"):
        sample(uniform, None, torch.tensor([2]), settings=Sampler(), length=0, generator=generator())


@pytest.mark.parametrize(
    ("row", "forbidden", "message"),
    [
        ([0.0, 1.0, 0.0], {1}, "with 1 symbols forbidden, no symbol has a probability above 0"),
        ([0.0, 0.0, 0.0], set(), "Nothing is left to draw: no symbol"),
        ([0.5, 0.5, 0.0], {0, 1, 2}, "with 3 symbols forbidden"),
        ([math.nan, 0.5, 0.5], set(), "not finite numbers"),
        ([0.5, 0.5, 0.0], {3}, "Forbidden symbol 3: the vocabulary has only 3 symbols"),
    ],
)
@pytest.mark.parametrize("temperature", [0, 1])
def test_a_row_with_nothing_to_draw_says_so(
    row: list[float], forbidden: set[int], message: str, temperature: float
) -> None:
    settings = Sampler(temperature=temperature, forbidden=frozenset(forbidden))
    with pytest.raises(UserError, match=message):
        draw(logarithms([0.2, 0.3, 0.5], row) if 3 not in forbidden else logarithms(row), settings, generator())


@given(tables, st.floats(0, 1))
def test_min_p_keeps_what_is_near_the_likeliest(table: Tensor, min_p: float) -> None:
    kept = distribution(table, Sampler(min_p=min_p))
    for probabilities, row in zip(kept, table.double().exp(), strict=True):
        near = (row >= min_p * row.max() - 1e-12) & (row > 0)
        assert ((probabilities > 0) <= near).all()
        assert probabilities[row.argmax()] > 0
        expected = torch.where(probabilities > 0, row, 0)
        torch.testing.assert_close(probabilities, expected / expected.sum())


def test_a_repetition_penalty_makes_what_came_less_likely() -> None:
    table = logarithms([0.4, 0.3, 0.3], [0.4, 0.3, 0.3])
    found = distribution(table, Sampler(repetition=2.0), torch.tensor([[0], [2]]))
    torch.testing.assert_close(found[0], torch.tensor([0.16, 0.3, 0.3], dtype=torch.float64) / 0.76)
    torch.testing.assert_close(found[1], torch.tensor([0.4, 0.3, 0.09], dtype=torch.float64) / 0.79)
    torch.testing.assert_close(distribution(table, Sampler(repetition=2.0)), table.exp())


def test_a_strong_repetition_penalty_draws_every_symbol_once() -> None:
    def step(symbols: Tensor, state: None) -> tuple[Tensor, None]:
        return torch.tensor([0.0, 0, 0, 0, 0.4, 0.3, 0.2, 0.1]).log().expand(len(symbols), -1), None

    drawn = sample(
        step, None, torch.tensor([2, 2]), settings=Sampler(repetition=1e6), length=4, end=None, generator=generator()
    )
    assert torch.stack(list(drawn)).sort(0).values.tolist() == [[4, 4], [5, 5], [6, 6], [7, 7]]


@pytest.mark.parametrize(
    ("wrong", "message"), [({"min_p": 1.5}, "min_p 1.5: must be from 0"), ({"repetition": 0.5}, "repetition 0.5: must")]
)
def test_new_settings_out_of_range_are_named(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Sampler(**wrong)  # type: ignore[arg-type]
