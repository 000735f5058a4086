"""The lab: a cell's diagram and numbers are the layer's, gradients are autograd's, and every size is bounded."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from servers import Served
from unrolled.cells import CELLS
from unrolled.serving import diagrams
from unrolled.serving.fresh import FreshCell
from unrolled.serving.lab import StepsBody, steps_of

BUILT_IN = [name for name in CELLS if not name.startswith("rnn-")]


@pytest.mark.parametrize("name", CELLS)
def test_every_number_is_the_layer_s(name: str) -> None:
    made = FreshCell(name, 2, 3, seed=4, initialiser="torch", forget_bias=None)
    inputs = [[0.5, -1.0], [0.0, 2.0], [1.0, 1.0]]
    output, _, seen = made.layer(torch.tensor(inputs, dtype=torch.float64).unsqueeze(1), observe=True)
    steps = made.run(inputs)
    for state, number in zip(made.program.states, made.program.outputs, strict=True):
        expected = seen.layer(0)[state][:, 0]
        torch.testing.assert_close(torch.tensor([values[number] for values in steps], dtype=torch.float64), expected)
    torch.testing.assert_close(output[-1, 0], torch.tensor(steps[-1][made.program.outputs[0]], dtype=torch.float64))
    for gate, number in made.program.observed.items():
        expected = seen.layer(0)[gate][:, 0]
        torch.testing.assert_close(torch.tensor([values[number] for values in steps], dtype=torch.float64), expected)


@pytest.mark.parametrize("name", CELLS)
def test_arrows_of_a_diagram_lead_down_and_reach_every_state(name: str) -> None:
    drawn = diagrams.diagram(CELLS[name])
    layers = {node["id"]: node["layer"] for node in drawn["nodes"]}
    assert all(layers[source] < layers[target] for source, target in drawn["edges"])
    assert [node["state"] for node in drawn["nodes"] if node["state"]] != []
    assert {node["state"] for node in drawn["nodes"]} - {None} == set(drawn["states"])
    entered = {target for _, target in drawn["edges"]}
    assert all(node["id"] in entered for node in drawn["nodes"] if node["layer"])


def test_gates_are_one_box_each_with_their_peepholes() -> None:
    drawn = diagrams.diagram(CELLS["lstm-peephole"])
    names = {node["name"]: node["id"] for node in drawn["nodes"] if node["name"]}
    entering = {source for source, target in drawn["edges"] if target == names["Γ_o"]}
    assert entering == {names["x⟨t⟩"], names["a⟨t-1⟩"], names["c⟨t⟩"]}


@pytest.mark.parametrize("name", BUILT_IN)
def test_gradients_are_those_of_the_layer(name: str) -> None:
    made = FreshCell(name, 5, 5, seed=1, initialiser="xavier", forget_bias=None)
    norms = made.gradient_by_distance(6, 0)[made.cell.states[0]]
    assert len(norms) == 6
    assert norms[0] == pytest.approx(1.0)  # the loss is the output times a unit vector
    if len(made.cell.states) == 1:  # the same by the layer's own backward pass, restarted from the state in between
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(6, 16, 5, dtype=torch.float64, generator=generator)
        way = torch.randn(16, 5, dtype=torch.float64, generator=generator)
        _, state = made.layer(x[:3])
        before: Any = state.detach().requires_grad_()
        output, _ = made.layer(x[3:], before)
        (gradient,) = torch.autograd.grad((output[-1] * way / way.norm(dim=1, keepdim=True)).sum(), before)
        assert norms[3] == pytest.approx(float(gradient.square().sum(-1).mean().sqrt()))


def test_the_forget_bias_lets_the_gradient_reach_further() -> None:
    def farthest(bias: float) -> float:
        made = FreshCell("lstm", 8, 8, seed=0, initialiser="orthogonal", forget_bias=bias)
        return made.gradient_by_distance(40, 0)["c"][-1]

    assert farthest(3.0) > 100 * farthest(-1.0)


@pytest.mark.parametrize(("name", "state"), [("lstm", "c"), ("gru", "c")])
def test_chrono_lets_the_gradient_reach_further(name: str, state: str) -> None:
    def farthest(chrono: int) -> float:
        made = FreshCell(name, 8, 8, seed=0, initialiser="torch", chrono=chrono)
        return made.gradient_by_distance(60, 0)[state][-1]

    assert farthest(200) > 100 * farthest(0)


def test_the_same_seed_draws_the_same_and_leaves_other_draws_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    body = StepsBody(cell="gru", seed=9, inputs=[[1.0]])
    assert steps_of(body) == steps_of(body)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_overflows_is_null(served: Served) -> None:
    body = {"cell": "rnn-exp", "initialiser": "identity", "inputs": [[1e6]] * 3}
    answer = served.client.post("/v1/lab/steps", json=body)
    assert answer.status_code == 200
    assert "null" in answer.text


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("steps", {"inputs": []}, "inputs"),
        ("steps", {"inputs": [[1.0]] * 201}, "inputs"),
        ("steps", {"inputs": [[1.0], [1.0, 2.0]]}, "equally many"),
        ("steps", {"inputs": [[1e9]]}, "1,000,000"),
        ("steps", {"inputs": [[1.0]], "hidden": 17}, "hidden"),
        ("steps", {"inputs": [[1.0]], "cell": "brain"}, "there is no cell"),
        ("gradients", {"length": 201}, "length"),
        ("gradients", {"hidden": 65}, "hidden"),
        ("gradients", {"initialiser": "zeros"}, "is none of"),
        ("gradients", {"cell": "gru", "forget_bias": 1.0}, "no forget gate"),
        ("gradients", {"cell": "rnn", "chrono": 50}, "keeps a state"),
        ("gradients", {"chrono": 50, "forget_bias": 1.0}, "leave forget_bias out"),
        ("gradients", {"unknown": 1}, "unknown"),
    ],
)
def test_what_is_too_large_or_unknown_is_refused(served: Served, path: str, body: dict[str, Any], words: str) -> None:
    answer = served.client.post(f"/v1/lab/{path}", json=body)
    assert answer.status_code == 422
    assert words in answer.json()["error"]


def test_all_cells_are_told(served: Served) -> None:
    told = served.client.get("/v1/lab/cells").json()
    assert [cell["name"] for cell in told["cells"]] == list(CELLS)
    assert "orthogonal" in told["initialisers"]
