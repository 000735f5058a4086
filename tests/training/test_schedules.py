"""Learning-rate schedules: where they start, where they end, and that they are functions of the step."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.training.schedules import Plateau, learning_rate_factor
from unrolled.training.settings import SCHEDULES, TrainingSettings

settings_of = st.builds(
    TrainingSettings,
    schedule=st.sampled_from(SCHEDULES),
    warmup=st.integers(0, 50),
    final_learning_rate=st.floats(0, 1),
    step_every=st.integers(0, 30),
    step_factor=st.floats(0.01, 0.99),
)


@given(settings=settings_of, steps=st.integers(1, 200), data=st.data())
def test_a_factor_is_between_0_and_1(settings: TrainingSettings, steps: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, steps))
    assert 0.0 <= learning_rate_factor(settings, step, steps) <= 1.0 + 1e-12


@given(settings=settings_of, steps=st.integers(2, 200))
def test_the_factor_reaches_1_and_never_rises_after_it(settings: TrainingSettings, steps: int) -> None:
    factors = [learning_rate_factor(settings, step, steps) for step in range(steps + 1)]
    highest = factors.index(max(factors))
    if settings.schedule not in ("one-cycle", "step"):  # one-cycle's peak lies between two steps of a short run,
        assert max(factors) == 1.0  # and a fall every single step may come during the warm-up
    assert all(after <= before for before, after in zip(factors[highest:], factors[highest + 1 :], strict=False))


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_a_falling_schedule_ends_at_the_final_rate(schedule: str) -> None:
    settings = TrainingSettings(schedule=schedule, final_learning_rate=0.1)
    assert learning_rate_factor(settings, 1000, 1000) == pytest.approx(0.1)
    assert learning_rate_factor(settings, 1001, 1000) == pytest.approx(0.1)


def test_the_warm_up_is_a_line_to_1() -> None:
    settings = TrainingSettings(schedule="constant", warmup=4)
    assert [learning_rate_factor(settings, step, 100) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_the_warm_up_takes_at_most_half_of_a_short_run() -> None:
    settings = TrainingSettings(schedule="constant", warmup=100)
    assert [learning_rate_factor(settings, step, 4) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]
    assert learning_rate_factor(settings, 0, 1) == 1.0


def test_cosine_is_half_way_in_the_middle() -> None:
    settings = TrainingSettings(schedule="cosine", warmup=20, final_learning_rate=0.2)
    assert learning_rate_factor(settings, 60, 100) == pytest.approx(0.6)


def test_the_step_schedule_falls_by_its_factor() -> None:
    settings = TrainingSettings(schedule="step", warmup=0, step_every=10, step_factor=0.1, final_learning_rate=0.005)
    factors = [learning_rate_factor(settings, step, 100) for step in (0, 9, 10, 20, 30, 99)]
    assert factors == pytest.approx([1, 1, 0.1, 0.01, 0.005, 0.005])


def test_the_step_schedule_falls_every_quarter_unless_told() -> None:
    settings = TrainingSettings(schedule="step", warmup=0)
    assert [learning_rate_factor(settings, step, 8) for step in range(8)] == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


def test_a_very_long_step_schedule_underflows_quietly() -> None:
    settings = TrainingSettings(schedule="step", step_every=1, step_factor=0.01, warmup=0)
    assert learning_rate_factor(settings, 10**6, 10**6) == 0.0


def test_one_cycle_starts_low_and_peaks_at_three_tenths() -> None:
    settings = TrainingSettings(schedule="one-cycle")
    assert learning_rate_factor(settings, 0, 1000) == pytest.approx(1 / 25)
    assert learning_rate_factor(settings, 300, 1000) == pytest.approx(1.0)


def plateau_after(losses: list[float], settings: TrainingSettings) -> Plateau:
    plateau = Plateau()
    for loss in losses:
        plateau = plateau.after(loss, settings)
    return plateau


def test_the_rate_falls_after_that_many_validations_in_vain() -> None:
    settings = TrainingSettings(plateau_patience=2, step_factor=0.5)
    assert plateau_after([3.0, 2.0, 2.5], settings).factor == 1.0
    assert plateau_after([3.0, 2.0, 2.5, 2.0], settings).factor == 0.5
    assert plateau_after([3.0, 2.0, 2.5, 1.9, 2.0], settings).factor == 1.0
    assert plateau_after([2.0] * 5, settings).factor == 0.25


def test_a_loss_that_is_no_number_is_no_improvement() -> None:
    settings = TrainingSettings(plateau_patience=1)
    assert plateau_after([math.nan], settings) == Plateau(0.5, None, 0)
    assert plateau_after([2.0, math.inf], settings) == Plateau(0.5, 2.0, 0)


def test_the_rate_does_not_fall_below_the_final_one() -> None:
    settings = TrainingSettings(plateau_patience=1, step_factor=0.1, final_learning_rate=0.05)
    assert plateau_after([1.0] * 9, settings).factor == 0.05


@given(losses=st.lists(st.floats(allow_nan=True), max_size=20), cut=st.integers(0, 20))
def test_a_saved_plateau_goes_on_as_if_never_interrupted(losses: list[float], cut: int) -> None:
    settings = TrainingSettings(plateau_patience=2, step_factor=0.7)
    resumed = Plateau(**json.loads(json.dumps(plateau_after(losses[:cut], settings).as_dict())))
    for loss in losses[cut:]:
        resumed = resumed.after(loss, settings)
    assert resumed == plateau_after(losses, settings)
