"""The tables of a sequence's steps: whatever the lengths and the direction, every true timestep runs exactly once."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unrolled.recurrence.schedule import Schedule, even_places, schedule_of


@dataclass(frozen=True)
class Case:
    """What a schedule is made of."""

    steps: int
    batch: int
    lengths: tuple[int, ...] | None
    reverse: bool

    @property
    def schedule(self) -> Schedule:
        lengths = None if self.lengths is None else torch.tensor(self.lengths, dtype=torch.int64)
        return schedule_of(self.steps, self.batch, lengths, self.reverse)

    @property
    def length_of(self) -> list[int]:
        return [self.steps] * self.batch if self.lengths is None else list(self.lengths)

    def time_of(self, step: int) -> int:
        return self.steps - 1 - step if self.reverse else step


@st.composite
def cases(draw: st.DrawFn) -> Case:
    steps, batch = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    lengths = draw(st.none() | st.lists(st.integers(0, steps), min_size=batch, max_size=batch).map(tuple))
    return Case(steps, batch, lengths, draw(st.booleans()))


def pairs(schedule: Schedule) -> list[tuple[int, int]]:
    """(timestep, row) of every entry."""
    return list(zip(schedule.time.tolist(), schedule.row.tolist(), strict=True))


@given(cases())
def test_every_true_timestep_of_every_row_is_there_once(case: Case) -> None:
    schedule = case.schedule
    expected = [(time, row) for row, length in enumerate(case.length_of) for time in range(length)]
    assert sorted(pairs(schedule)) == sorted(expected)
    assert schedule.active == len(expected)


@given(cases())
def test_steps_follow_each_other_in_the_direction_of_running(case: Case) -> None:
    schedule = case.schedule
    first = schedule.first.tolist()
    assert first[0] == 0
    assert first[-1] == schedule.active
    assert [after - before for before, after in pairwise(first)] == schedule.counts.tolist()
    for step, (begin, end) in enumerate(pairwise(first)):
        assert set(schedule.time[begin:end].tolist()) <= {case.time_of(step)}
        assert (schedule.inner[begin:end] - step * case.batch).tolist() == list(range(end - begin))


@given(cases())
def test_the_active_rows_are_the_first_ones_and_go_or_come_one_by_one(case: Case) -> None:
    schedule = case.schedule
    counts = schedule.counts.tolist()
    assert counts == sorted(counts, reverse=not case.reverse)
    order = list(range(case.batch)) if schedule.order is None else schedule.order.tolist()
    assert sorted(order) == list(range(case.batch))
    for begin, end in pairwise(schedule.first.tolist()):
        assert schedule.row[begin:end].tolist() == order[: end - begin]
    lengths = [case.length_of[row] for row in order]
    assert lengths == sorted(lengths, reverse=True)
    assert schedule.nonempty == sum(length > 0 for length in lengths)
    assert schedule.ragged == any(length < case.steps for length in lengths)


@given(cases())
def test_a_row_is_active_from_its_entry_to_its_exit(case: Case) -> None:
    check_entries(case.schedule)


def check_entries(schedule: Schedule) -> None:
    for step, count in enumerate(schedule.counts.tolist()):
        active = (schedule.entry <= step) & (step < schedule.exit)
        assert active.tolist() == [place < count for place in range(schedule.batch)]
    assert int(schedule.entry.min()) >= 0
    assert int(schedule.exit.max()) <= schedule.steps
    assert (schedule.entry <= schedule.exit).all()


@given(cases(), st.data())
def test_parts_make_the_whole(case: Case, data: st.DataObject) -> None:
    whole = case.schedule
    cuts = data.draw(st.sets(st.integers(0, case.steps)).map(lambda inside: sorted(inside | {0, case.steps})))
    parts = [(start, whole.part(start, stop)) for start, stop in pairwise(cuts)]
    assert [pair for _, part in parts for pair in pairs(part)] == pairs(whole)
    assert torch.cat([part.counts for _, part in parts]).equal(whole.counts)
    assert torch.cat([part.inner + start * case.batch for start, part in parts]).equal(whole.inner)
    for _, part in parts:
        check_entries(part)
        assert part.first.tolist() == [0, *part.counts.cumsum(0).tolist()]
        # those with a step in this part are the first ones here too
        assert (part.entry < part.exit).tolist() == [place < part.nonempty for place in range(case.batch)]


@given(cases(), st.data())
def test_parts_of_parts_are_parts(case: Case, data: st.DataObject) -> None:
    begin, start, stop, end = sorted(data.draw(st.lists(st.integers(0, case.steps), min_size=4, max_size=4)))
    once, twice = case.schedule.part(start, stop), case.schedule.part(begin, end).part(start - begin, stop - begin)
    for name, value in vars(once).items():
        other = getattr(twice, name)
        assert value.equal(other) if isinstance(value, Tensor) else value == other, name


@given(cases())
def test_states_pass_through_parts_as_through_the_whole(case: Case) -> None:
    """What a kernel does: every row's state is taken in at its entry, grows each active step, and is given out."""
    expected = torch.tensor(case.length_of)
    states = torch.zeros(case.batch, dtype=torch.int64)
    for step in range(case.steps):
        part = case.schedule.part(step, step + 1)
        inside = part.sorted(states)
        inside[: int(part.counts[0])] += 1
        states = part.restored(inside)
    assert states.equal(expected)


@given(cases())
def test_rows_are_sorted_and_restored(case: Case) -> None:
    schedule = case.schedule
    value = torch.randn(case.batch, 3)
    assert schedule.restored(schedule.sorted(value)).equal(value)
    assert schedule.sorted(schedule.restored(value)).equal(value)
    assert schedule.sorted(torch.tensor(case.length_of)).tolist() == sorted(case.length_of, reverse=True)
    assert schedule.sorted(value.T.contiguous().T).is_contiguous()


@given(cases(), st.sampled_from([(1, 0), (0, 1)]))
def test_places_find_every_vector_whatever_the_strides(case: Case, axes: tuple[int, int]) -> None:
    x = torch.arange(case.steps * case.batch * 3).reshape(case.steps, case.batch, 3)
    x = x if axes == (0, 1) else x.transpose(0, 1).contiguous().transpose(0, 1)
    places = case.schedule.places(x.stride(0), x.stride(1))
    flat = x.as_strided((x.numel(),), (1,))
    assert flat[places].tolist() == [int(x[time, row, 0]) for time, row in pairs(case.schedule)]
    if case.lengths is None:
        assert even_places(case.steps, case.batch, case.reverse, x.stride(0), x.stride(1)).equal(places)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32])
@pytest.mark.parametrize("reverse", [False, True])
def test_tables_are_int64_whatever_the_lengths_are(kind: torch.dtype, reverse: bool) -> None:
    lengths = torch.tensor([3, 200, 0])
    expected, found = (schedule_of(300, 3, given_, reverse) for given_ in (lengths, lengths.to(kind)))
    for name, value in vars(expected).items():
        if isinstance(value, Tensor):
            assert value.dtype == getattr(found, name).dtype == torch.int64
            assert value.equal(getattr(found, name)), name


def test_full_lengths_are_no_lengths() -> None:
    assert schedule_of(4, 2, torch.tensor([4, 4]), False) is schedule_of(4, 2, None, False)
