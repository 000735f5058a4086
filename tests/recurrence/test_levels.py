"""Where a timestep is cut: the cells' numbers of levels, and laws of every cut, on random graphs too."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_table import NAMES, OF
from unrolled.recurrence.layout import layout_of
from unrolled.recurrence.levels import Levels, cut
from unrolled.recurrence.plan import Form
from unrolled.recurrence.program import Instruction, trace

LEVELS = {
    "rnn": (1, 1),
    "lstm": (1, 1),
    "lstm-peephole": (1, 1),
    "gru-simplified": (1, 1),
    "gru-torch": (1, 1),
    "gru": (2, 2),
    "minimal": (2, 2),
}
"""Forwards and backwards: as many as there are products that need one another."""


def form_of(name: str, saving: bool = True, seen: tuple[str, ...] = ()) -> Form:
    program = trace(OF[name].cell)
    return Form(program, layout_of(program), "float32", saving, seen)


@pytest.mark.parametrize("name", LEVELS)
def test_a_cell_has_as_many_levels_as_products_that_need_one_another(name: str) -> None:
    form = form_of(name)
    assert (len(form.forward.values), len(form.backward.values)) == LEVELS[name]


def test_the_grus_candidate_waits_for_all_of_the_relevance_gate() -> None:
    form = form_of("gru")
    program, levels = form.program, form.forward
    gates = {affine.name: number for number, affine in zip(form.affines, program.affines, strict=True)}
    (scaled,) = [number for number in form.operands if number >= program.first]
    assert levels.of(gates["relevance"]) == levels.of(scaled) == 0
    assert levels.of(gates["candidate"]) == 1
    # Γ_u is needed for the new state alone, so nothing of it is kept from level to level
    assert levels.of(gates["update"]) == 1
    assert levels.crossing == ()


def test_every_state_is_computed_in_the_last_level() -> None:
    for name in NAMES:
        form = form_of(name, saving=False)
        last = len(form.forward.values) - 1
        for output in form.program.outputs:
            if output not in form.operands:
                assert form.forward.of(output) == last


@pytest.mark.parametrize("name", NAMES)
def test_what_is_observed_or_saved_is_computed_and_nothing_else_is(name: str) -> None:
    bare, saving = form_of(name, saving=False), form_of(name, seen=tuple(trace(OF[name].cell).observed))
    computed = {value for values in saving.forward.values for value in values}
    assert computed >= set(saving.saved)
    assert computed >= set(saving.program.observed.values()) | set(bare.program.outputs)
    assert computed >= {value for values in bare.forward.values for value in values}


@dataclass(frozen=True)
class Graph:
    """What `cut` is given."""

    instructions: Mapping[int, Instruction]
    whole: Mapping[int, tuple[int, ...]]
    results: tuple[int, ...]

    def needs(self, value: int) -> tuple[int, ...]:
        """The values of the timestep that a value is computed from."""
        if value in self.whole:
            return self.whole[value]
        arguments = self.instructions[value].arguments
        return tuple(one for one in arguments if type(one) is int and one in self.instructions)

    def needed(self) -> set[int]:
        found: set[int] = set()
        for value in sorted(self.instructions, reverse=True):
            users = {user for user in found if value in self.needs(user)}
            if value in self.results or users:
                found.add(value)
        return found


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Numbers 0 to 2 are given; the others are sums of earlier ones, or products that need some of them whole."""
    count = draw(st.integers(1, 14))
    instructions: dict[int, Instruction] = {}
    whole: dict[int, tuple[int, ...]] = {}
    for value in range(3, 3 + count):
        arguments = tuple(draw(st.lists(st.integers(0, value - 1), min_size=1, max_size=3)))
        is_product = draw(st.integers(0, 2)) == 0
        instructions[value] = Instruction("affine" if is_product else "add", arguments)
        if is_product:
            whole[value] = tuple(one for one in arguments if one in instructions)
    results = draw(st.lists(st.integers(0, 2 + count), max_size=4))
    return Graph(instructions, whole, tuple(results))


@given(graphs())
def test_what_the_results_need_is_computed_once_and_nothing_else(graph: Graph) -> None:
    levels = cut(graph.instructions, graph.whole, graph.results)
    computed = [value for values in levels.values for value in values]
    assert sorted(computed) == sorted(graph.needed())


@given(graphs())
def test_a_product_comes_after_the_level_of_what_it_needs_whole(graph: Graph) -> None:
    levels = cut(graph.instructions, graph.whole, graph.results)
    order = [value for values in levels.values for value in values]
    for value in order:
        for other in graph.needs(value):
            before, here = level_of(levels, other), level_of(levels, value)
            assert before < here if value in graph.whole else before <= here
            assert order.index(other) < order.index(value)


@given(graphs())
def test_everything_is_as_late_as_it_can_be(graph: Graph) -> None:
    levels = cut(graph.instructions, graph.whole, graph.results)
    last = len(levels.values) - 1
    for value in graph.needed():
        users = [user for user in graph.needed() if value in graph.needs(user)]
        latest = [level_of(levels, user) - (user in graph.whole) for user in users]
        assert level_of(levels, value) == min([last, *latest])


@given(graphs())
def test_there_are_as_few_levels_as_products_that_need_one_another(graph: Graph) -> None:
    depth: dict[int, int] = {}
    for value in sorted(graph.needed()):
        depth[value] = max((depth[other] + (value in graph.whole) for other in graph.needs(value)), default=0)
    levels = cut(graph.instructions, graph.whole, graph.results)
    assert len(levels.values) == 1 + max(depth.values(), default=0)


@given(graphs())
def test_what_crosses_is_used_unit_by_unit_in_a_later_level(graph: Graph) -> None:
    levels = cut(graph.instructions, graph.whole, graph.results)
    crossing = {
        other
        for value in graph.needed() - graph.whole.keys()
        for other in graph.needs(value)
        if level_of(levels, other) < level_of(levels, value)
    }
    assert levels.crossing == tuple(sorted(crossing))


def level_of(levels: Levels, value: int) -> int:
    level = levels.of(value)
    assert level is not None
    return level


def test_what_is_not_computed_has_no_level() -> None:
    assert form_of("lstm").forward.of(0) is None
