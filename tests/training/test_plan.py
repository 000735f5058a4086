"""The length of a run: by the clock it ends in time, however fast it goes, and what was decided is repeated exactly."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sessions import interrupted_after, tiny, trained
from unrolled.training.plan import CLOSING_SECONDS, SHARES, Clock, ClockPlan, Costs, Plan, share_of_pace
from unrolled.training.recipe import Recipe, load_recipe
from unrolled.training.run_folder import load_state, load_weights, read_log
from unrolled.training.session import begin, resume

COSTS = Costs(validation=0.2, conclusion=0.0, figures=1.0)


class Time:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def run(plan: ClockPlan, time: Time, seconds: Iterator[float], *, start: int = 0, most: int = 10**6) -> list[float]:
    """Train until the plan ends, or for so many updates; the share of the schedule before each update."""
    done: list[float] = []
    step = start
    plan.began(step)
    while not plan.finished(step) and len(done) < most:
        done.append(plan.done(step))
        took = next(seconds)
        time.now += took
        step += 1
        plan.updated(step, took)
        if plan.due(step):
            time.now += COSTS.validation
            plan.validated(step, COSTS.validation)
    return done


# Speeds that last for some updates each, as on a machine that others use too.
PHASES = st.lists(st.tuples(st.floats(0.002, 0.8), st.integers(1, 60)), min_size=1, max_size=6)


def times_of(phases: Sequence[tuple[float, int]]) -> Iterator[float]:
    yield 3.0  # kernels are made
    yield from itertools.cycle(itertools.chain.from_iterable([each] * count for each, count in phases))


@given(phases=PHASES, seconds=st.sampled_from([18.0, 60.0, 300.0]), startup=st.floats(0.5, 6.0))
def test_it_ends_in_time_however_fast_it_goes(phases: list[tuple[float, int]], seconds: float, startup: float) -> None:
    time = Time()
    plan = ClockPlan(Clock(seconds, startup, time), lambda: COSTS)
    done = run(plan, time, times_of(phases))
    slowest = max(each for each, _ in phases)
    # an update that is slower than those before, a validation that was not due, and the first update, unknown to all
    late = plan.clock.spent + COSTS.figures + CLOSING_SECONDS - seconds
    assert late <= slowest + COSTS.validation + 1e-6 or len(done) <= 2
    assert late >= -max(slowest, 0.02 * seconds) - COSTS.validation
    assert done == sorted(done)
    assert done[0] == 0.0
    assert done[-1] <= 1.0
    assert done[-1] >= 0.9 or len(done) < 50


@given(phases=PHASES)
def test_a_repeat_by_steps_is_the_same(phases: list[tuple[float, int]]) -> None:
    time = Time()
    plan = ClockPlan(Clock(30.0, 1.0, time), lambda: COSTS, validations=7)
    due = []
    plan_due = plan.due
    plan.due = lambda step: due.append(plan_due(step)) or due[-1]  # type: ignore[method-assign, func-returns-value]
    done = run(plan, time, times_of(phases))
    steps = len(done)
    again = Plan(steps, validations=7, pace=tuple(plan.pace), validated=tuple(plan.validations_at))
    assert [again.done(step) for step in range(steps)] == done
    assert [again.due(step) for step in range(1, steps + 1)] == due
    assert again.finished(steps)
    assert not again.finished(steps - 1)


@given(phases=PHASES, before=st.integers(1, 80), pause=st.floats(0.0, 5.0))
def test_a_run_that_goes_on_has_what_is_left(phases: list[tuple[float, int]], before: int, pause: float) -> None:
    time = Time()
    plan = ClockPlan(Clock(30.0, 1.0, time), lambda: COSTS)
    done = run(plan, time, times_of(phases), most=before)
    if plan.finished(len(done)):
        return
    facts = plan.facts()
    on = ClockPlan(Clock(30.0, facts["spent"] + pause, time), lambda: COSTS, pace=facts["pace"])
    more = run(on, time, times_of(phases), start=len(done))
    assert (done + more) == sorted(done + more)
    assert on.clock.spent + COSTS.figures + CLOSING_SECONDS - 30.0 <= 4.0
    again = Plan(len(done) + len(more), pace=on.pace)
    assert [again.done(step) for step in range(again.steps)] == done + more


def test_a_pace_has_a_hundred_shares() -> None:
    pace = list(range(0, 10 * SHARES, 10))
    assert share_of_pace(pace, 0) == 0.0
    assert share_of_pace(pace, 505) == pytest.approx(0.5)
    assert share_of_pace(pace, 10_000) == pytest.approx(0.99)
    assert share_of_pace([0, 4, 4, 4, 9], 4) == pytest.approx(0.03)


def test_parts_that_are_too_large_are_measured_in_part() -> None:
    clock = Clock(60.0)
    assert Costs(0.1, 0.0, 3.0).figures_share(clock) == 1.0
    large = Costs(0.5, 0.5, 60.0)
    assert large.figures_share(clock) == pytest.approx(0.1)
    assert large.reserve(clock) == pytest.approx(0.5 + 0.5 + 6.0 + CLOSING_SECONDS)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go by a clock that moves a little whenever it is looked at: on every machine they have the same length."""
    time = itertools.count(0.0, 0.02)
    monkeypatch.setattr("unrolled.training.session.Clock", partial(Clock, now=lambda: next(time)))


def by_the_clock(story: Path, **overrides: object) -> Recipe:
    return tiny(story, **{"training__minutes": 0.1, "training__validate_every": 0, "model__dropout": 0.2, **overrides})


def assert_repeats(folder: Path, again: Path) -> None:
    recipe = load_recipe(folder / "recipe.toml")
    kept = recipe.training
    assert kept.budget == ("steps", float(kept.steps))
    assert kept.minutes == 0
    assert kept.steps == load_state(folder)[1]["step"] >= 20
    assert begin(recipe, base=folder, name="again", folder=again, quiet=True, device="cpu").complete
    for load in (load_weights, load_state):
        ours, theirs = load(folder)[0], load(again)[0]
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    first, second = (
        [(entry["step"], entry["loss"]) for entry in read_log(place) if entry["kind"] == "valid"]
        for place in (folder, again)
    )
    assert first == second


@pytest.mark.usefixtures("ticking")
def test_a_run_by_the_clock_is_repeated_by_its_recipe(story: Path, tmp_path: Path) -> None:
    result = trained(by_the_clock(story), tmp_path / "run")
    assert result.complete
    assert result.metrics["minutes"] == 0.1
    assert result.metrics["validations"] >= 3
    assert_repeats(tmp_path / "run", tmp_path / "again")


@pytest.mark.usefixtures("ticking")
def test_interrupted_it_goes_on_with_the_time_that_is_left(story: Path, tmp_path: Path) -> None:
    with interrupted_after(9):
        assert not trained(by_the_clock(story), tmp_path / "run").complete
    facts = load_state(tmp_path / "run")[1]
    assert 0 < facts["spent"] < 6
    assert load_recipe(tmp_path / "run" / "recipe.toml").training.minutes == 0.1
    assert resume(tmp_path / "run", quiet=True, device="cpu").complete
    assert_repeats(tmp_path / "run", tmp_path / "again")


def test_with_no_time_left_it_ends_and_is_measured(story: Path, tmp_path: Path) -> None:
    result = trained(by_the_clock(story, training__minutes=0.001), tmp_path / "run")
    assert result.complete
    assert {"validation", "test"} <= result.metrics.keys()


def test_sizes_that_nobody_chose_are_set_and_written(story: Path, tmp_path: Path) -> None:
    chosen = frozenset({"training.minutes", "model.layers"})
    trained(dataclasses.replace(by_the_clock(story, training__minutes=0.01), chosen=chosen), tmp_path / "run")
    kept = load_recipe(tmp_path / "run" / "recipe.toml").model
    assert kept.hidden != 12
    assert kept.layers == 1


def test_another_budget_drops_the_pace(story: Path, tmp_path: Path) -> None:
    trained(by_the_clock(story, training__minutes=0.001), tmp_path / "run")
    recipe = load_recipe(tmp_path / "run" / "recipe.toml", {"training.steps": 7})
    assert (recipe.training.steps, recipe.training.pace) == (7, ())
