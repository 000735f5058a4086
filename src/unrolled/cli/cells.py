"""`unrolled cells`: the recurrences there are, and one of them in full, with its gradient or as LaTeX."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unrolled.cli.common import Common, say_json, table, verb
from unrolled.errors import UserError

if TYPE_CHECKING:
    from unrolled.cells import Cell
    from unrolled.nn import Recurrent
    from unrolled.recurrence.program import Program

EXAMPLES = (
    "unrolled cells",
    "unrolled cells gru",
    "unrolled cells lstm --gradient",
    "unrolled cells gru --gradient --latex",
    "unrolled cells lstm-peephole --json",
)
SIZES = (64, 128)
"""Input and hidden size of the layer whose parameters are shown."""

CLASSES = {
    "rnn": "RNN(...)",
    "gru": 'GRU(..., reset="before")',
    "gru-torch": "GRU(...)",
    "lstm": "LSTM(...)",
    "lstm-peephole": "LSTM(..., peephole=True)",
    "lstm-peephole-previous": 'LSTM(..., peephole="previous")',
}
"""How `unrolled.nn` spells a cell, where that is not Recurrent("NAME", ...)."""


@verb
def cells(
    common: Common,
    name: Annotated[str, typer.Argument(help="A cell, or FILE.py:name for one of your own (this runs the file).")] = "",
    gradient: Annotated[
        bool, typer.Option("--gradient", help="Its backpropagation through time, derived from the equations.")
    ] = False,
    latex: Annotated[bool, typer.Option("--latex", help="The equations, or with --gradient that, as LaTeX.")] = False,
) -> None:
    """The recurrent cells: their equations, gates, states, parameters, and the engines that can run them."""
    common.prepare()
    from unrolled.cells import CELLS

    if (gradient or latex) and not name:
        raise UserError("--gradient and --latex show one cell: say which, as in `unrolled cells lstm --gradient`")
    found = [about(cell) for cell in ([cell_of(name)] if name else CELLS.values())]
    if common.json:
        say_json(found[0] if name else found)
    elif gradient:
        print(gradient_of(found[0], latex=latex))
    elif name:
        print(found[0]["latex"]["equations"] if latex else in_full(found[0]))
    else:
        columns = ("name", "class", "gates", "states", "engines")
        rows = [[_listed(cell[column]) for column in columns] for cell in found]
        print(table(rows, header=["cell", *columns[1:]]))
        print("\nunrolled cells NAME shows the equations")


def cell_of(name: str) -> "Cell":
    """A cell by its name, or the user's own."""
    from unrolled.cells import CELLS

    if ":" in name:
        from unrolled.models.build import cell_of_file

        return cell_of_file(name)
    if name not in CELLS:
        from unrolled.training.recipe_reading import nearest

        raise UserError(f"there is no cell {name!r}{nearest(name, CELLS)}")
    return CELLS[name]


def about(cell: "Cell") -> dict[str, Any]:
    """What there is to know about a cell."""
    from unrolled.nn import Recurrent
    from unrolled.recurrence.engines import beyond_operators
    from unrolled.recurrence.plan import beyond_kernels
    from unrolled.recurrence.program import TraceError

    try:
        layer = Recurrent(cell, *SIZES)
    except (ValueError, TraceError):
        try:
            layer = Recurrent(cell, SIZES[1], SIZES[1])  # a cell that uses x outside its affine maps
        except (ValueError, TraceError) as error:
            raise UserError(f"the cell {cell.name} cannot be used: {error}") from None
    source = (sys.modules[cell.step.__module__].__doc__ if cell.step.__module__ in sys.modules else "") or ""
    return {
        "name": cell.name,
        "class": class_of(cell.name),
        "gates": gates_of(layer),
        "states": list(cell.states),
        "engines": engines_of(cell),
        "reason": beyond_operators(layer._program) or beyond_kernels(layer._program) or "",
        **formulas_of(cell, layer._program),
        "input_size": layer.input_size,
        "hidden_size": layer.hidden_size,
        "parameters": {name: list(value.shape) for name, value in layer.named_parameters()},
        "source": source.strip(),
    }


def formulas_of(cell: "Cell", program: "Program") -> dict[str, Any]:
    """A cell's equations, as its docstring has them or else derived; its gradient, null for what cannot be derived."""
    from unrolled.recurrence import formulas

    told = cell.equations if " = " in cell.equations else ""
    equations = formulas.equations(program)
    facts: dict[str, Any] = {"equations": told or formulas.text_of(equations), "gradient": None}
    if program.opaque:
        return {**facts, "latex": {"equations": formulas.latex_of(equations), "gradient": None}}
    derived = formulas.derive(program)
    parts = {name: getattr(derived, name) for name in ("equations", "recurrence", "sums")}
    texts = {name: formulas.text_of(part) for name, part in parts.items()}
    latex = {name: formulas.latex_of(part) for name, part in parts.items()}
    facts["gradient"] = {**texts, "reading": derived.reading}
    return {**facts, "latex": {"equations": formulas.latex_of(equations), "gradient": latex}}


def class_of(name: str) -> str:
    """How `unrolled.nn` spells a cell."""
    if name.startswith("rnn-"):
        return f'RNN(..., nonlinearity="{name.removeprefix("rnn-")}")'
    return CLASSES.get(name, f'Recurrent("{name}", ...)')


def gates_of(layer: "Recurrent") -> list[str]:
    """The names of a cell's affine maps, in the order of their rows."""
    return list(dict.fromkeys(block.gate for block in layer._layout.blocks if block.gate))


def engines_of(cell: "Cell") -> list[str]:
    """The engines that can run a cell on this machine."""
    import torch

    from unrolled.nn import Recurrent
    from unrolled.recurrence.engines import NAMES

    found = []
    for name in NAMES:
        if name == "auto":
            continue
        try:
            Recurrent(cell, 4, 4, engine=name).engine_for(torch.zeros(2, 1, 4))
        except ValueError:
            continue
        found.append(name)
    return found


def in_full(cell: dict[str, Any]) -> str:
    """One cell as people read it."""
    rows = [[name, " × ".join(map(str, shape))] for name, shape in cell["parameters"].items()]
    facts = [[key, _listed(cell[key])] for key in ("class", "gates", "states", "engines")]
    facts += [["because", cell["reason"]]] if cell["reason"] else []
    parts = [
        cell["name"],
        _indented(cell["equations"]),
        table(facts),
        f"parameters of one layer, input size {cell['input_size']}, hidden size {cell['hidden_size']}\n"
        + _indented(table(rows)),
    ]
    return "\n\n".join([*parts, cell["source"]] if cell["source"] else parts)


def gradient_of(cell: dict[str, Any], *, latex: bool) -> str:
    """One cell's backpropagation through time as people read it, or as LaTeX."""
    text = cell["gradient"]
    if text is None:
        raise UserError(f"no gradient can be derived for the cell {cell['name']}: {cell['reason']}")
    if latex:
        parts = cell["latex"]["gradient"]
        return "\n\n".join(parts[name] for name in ("equations", "recurrence", "sums"))
    return "\n\n".join(
        [
            cell["name"],
            _indented(text["equations"]),
            "backpropagation through time, for t = T, ..., 1\n" + _indented(text["recurrence"]),
            "then the gradients of the parameters and of the input\n" + _indented(text["sums"]),
            text["reading"],
        ]
    )


def _listed(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
