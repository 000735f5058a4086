"""Programs of foreign run folders: any bytes, any JSON and any list of operators are refused in one line, or work."""

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from unrolled.cells import Cell
from unrolled.errors import UserError
from unrolled.models.build import cell_of_run
from unrolled.nn import Recurrent
from unrolled.recurrence import formulas
from unrolled.recurrence.keeping import keeping_of
from unrolled.recurrence.layout import layout_of
from unrolled.recurrence.plan import Form, beyond_kernels
from unrolled.recurrence.program import (
    ARITY,
    MOST_VALUES,
    cell_from_json,
    program_to_json,
    trace,
)
from unrolled.serving.diagrams import diagram

pytestmark = pytest.mark.fuzz

Json = Any

TEXTS = st.text(max_size=6) | st.sampled_from(["x", "h", "bias", "v0", "v1", "v٣", "weight_ih", "a", "é", "\ud800"])
NUMBERS = st.floats() | st.integers(-(2**70), 2**70) | st.booleans()
LEAVES = st.none() | NUMBERS | TEXTS
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)


def load(content: Json) -> Cell | None:
    """The cell that some content is, or None where it is refused in one line."""
    try:
        return cell_from_json(content)
    except UserError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 1000
    return None


@st.composite
def instructions(draw: st.DrawFn, states: int) -> list[Json]:
    """Mostly proper operators on mostly proper arguments."""
    found: list[Json] = []
    for number in range(draw(st.integers(0, 12))):
        last = states + number
        argument = st.integers(max(0, last - 4), last).map("v{}".format) | st.integers(0, last + 1).map("v{}".format)
        operation = draw(st.sampled_from([*ARITY, "affine", "affine"]))
        count = ARITY.get(operation, draw(st.integers(1, 3)))
        entry: Json = {
            "operation": operation,
            "arguments": [draw(argument if draw(st.integers(0, 5)) else argument | NUMBERS) for _ in range(count)],
        }
        if operation in ("affine", "named", "vector"):
            entry["name"] = draw(st.just(f"n{number}") | st.sampled_from(["a", "p", "h0"]))
        if operation == "affine":
            entry["bias"] = draw(st.booleans())
        if operation == "vector" and draw(st.booleans()):
            entry["gate"] = draw(st.sampled_from(["a", "n0", "n1"]))
        found.append(entry)
    return found


@st.composite
def programs(draw: st.DrawFn) -> Json:
    states = draw(st.integers(1, 3))
    made = draw(instructions(states))
    outputs = st.integers(max(0, states + len(made) - 3), states + len(made)).map("v{}".format)
    return {
        "cell": "foreign", "states": [f"h{number}" for number in range(states)], "two_biases": draw(st.booleans()),
        "instructions": made, "outputs": [draw(outputs) for _ in range(states)],
    }  # fmt: skip


def look_at(cell: Cell) -> None:
    """Everything that is derived from a program, apart from machine code."""
    program = trace(cell)
    keeping_of(program)
    form = Form(program, layout_of(program), "float32", saving=True)
    assert len(form.forward.values) >= 1
    assert len(form.backward.values) >= 1
    assert set(form.saved) <= set(range(program.first + len(program.instructions)))
    beyond_kernels(program)
    derived = formulas.derive(program)
    for part in (formulas.equations(program), derived.equations, derived.recurrence, derived.sums):
        formulas.text_of(part)
        formulas.latex_of(part)
    diagram.__wrapped__(cell)


@given(programs())
def test_a_program_is_refused_or_works(content: Json) -> None:
    cell = load(content)
    assume(cell is not None)
    assert cell is not None
    look_at(cell)
    again = cell_from_json(json.loads(json.dumps(program_to_json(trace(cell)))))
    assert trace(again) == trace(cell)
    layer = Recurrent(cell, 3, 3, engine="eager")
    x = torch.randn(2, 2, 3)
    output = layer(x)[0]
    assert output.shape == (2, 2, 3)
    if output.requires_grad and output.isfinite().all():
        output.sum().backward()


@given(programs(), st.data())
def test_a_program_with_something_else_in_one_place_is_refused_or_works(content: Json, data: st.DataObject) -> None:
    place, key = content, data.draw(st.sampled_from(list(content)))
    if key == "instructions" and content[key] and data.draw(st.integers(0, 3)):
        place = data.draw(st.sampled_from(content[key]))
        key = data.draw(st.sampled_from([*place, "name", "gate", "bias"]))
    place[key] = data.draw(JSON)
    cell = load(content)
    if cell is not None:
        look_at(cell)


@given(JSON)
def test_any_json_is_refused_or_works(content: Json) -> None:
    load(content)


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass")))
@example(b"[" * 100_000)
@example(b'{"cell":' * 50_000)
@example(b"\xff\xfe")
@example(b"1" * 5000)
@example(b" " * (16 * 2**20 + 1))
def test_any_bytes_are_refused_or_work(text: bytes) -> None:
    message = ""
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "cell.json").write_bytes(text)
            cell_of_run(Path(folder))
    except UserError as error:
        message = str(error)
    assert "\n" not in message


# -- programs that grow when they are walked naively


def operator(operation: str, *arguments: Any, **more: Any) -> Json:
    return {"operation": operation, "arguments": list(arguments), **more}


def foreign(made: Sequence[Json]) -> Json:
    return {"cell": "foreign", "states": ["h"], "instructions": list(made), "outputs": [f"v{len(made) + 1}"]}


AFFINE = operator("affine", "v1", "v0", name="a", bias=True)


def chained(operation: str, count: int) -> list[Json]:
    """An affine map, its tanh, and then one operator again and again on the value before, as often as it takes one."""
    made = [AFFINE, operator("tanh", "v2")]
    for number in range(3, count + 1):
        more = {"name": f"n{number}"} if operation == "named" else {}
        made.append(operator(operation, *[f"v{number}"] * ARITY[operation], **more))
    return made


@pytest.mark.parametrize("operation", sorted(ARITY.keys() - {"vector"}))
def test_long_and_shared_chains(operation: str) -> None:
    """Each of these is two values to the next: walked along every path they would take longer than anybody lives."""
    deep = 1200 if operation in ("add", "tanh") else 350  # recursion would end at 1,000
    cell = load(foreign(chained(operation, deep)))
    assert cell is not None
    look_at(cell)
    assert beyond_kernels(trace(cell))


@pytest.mark.parametrize("wide", [False, True])
def test_many_affine_maps(wide: bool) -> None:
    """One after another, and all on the same state."""
    made = [operator("affine", f"v{1 if wide else number + 1}", "v0", name=f"a{number}") for number in range(400)]
    cell = load(foreign(made))
    assert cell is not None
    look_at(cell)
    assert beyond_kernels(trace(cell))


def test_an_affine_map_of_many_vectors_and_a_chain_of_parameters() -> None:
    made = [operator("named", "v1", name=f"n{number}") for number in range(1000)]
    made.append(operator("affine", *[f"v{number + 2}" for number in range(1000)], name="a"))
    cell = load(foreign(made))
    assert cell is not None
    look_at(cell)


def test_more_values_than_a_program_may_have_are_refused() -> None:
    content = foreign(chained("negate", MOST_VALUES))
    with pytest.raises(UserError, match="more than 10,000 values"):
        cell_from_json(content)
    most = foreign(chained("negate", MOST_VALUES - 2))
    assert len(trace(cell_from_json(most)).instructions) == MOST_VALUES - 2


def test_more_arguments_than_a_program_may_have_are_refused() -> None:
    made = [operator("named", "v1", name=f"n{number}") for number in range(400)]
    made += [operator("affine", *[f"v{n + 2}" for n in range(400)], name=f"a{number}") for number in range(90)]
    with pytest.raises(UserError, match="30,000 vectors"):
        cell_from_json(foreign(made))


def test_numbers_that_are_none_come_back_as_they_were() -> None:
    made = [operator("add", "v1", math.nan), operator("multiply", "v2", -0.0), operator("subtract", math.inf, "v3")]
    program = trace(cell_from_json(foreign(made)))
    assert trace(cell_from_json(json.loads(json.dumps(program_to_json(program))))) == program
    other = foreign([*made[:1], operator("multiply", "v2", 0.0), *made[2:]])
    assert trace(cell_from_json(other)) != program
