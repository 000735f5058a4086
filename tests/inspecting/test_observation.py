"""What is observed is what the layers did, and how long a unit remembers follows from the cell's equations."""

import math

import numpy as np
import pytest
import torch

import unrolled
from unrolled.cells import CELLS, Cell, affine, cell, tanh, vector
from unrolled.inspecting.gates import gate_summaries, longest, unit_order
from unrolled.inspecting.observation import Observation, ObservedLayer, observation, observing
from unrolled.nn import Recurrent

KEPT = {
    "lstm": ("c", lambda seen: seen["forget"]),
    "lstm-peephole": ("c", lambda seen: seen["forget"]),
    "gru": ("c", lambda seen: 1 - seen["update"]),
    "gru-simplified": ("c", lambda seen: 1 - seen["update"]),
}


@cell
def decaying(x, h):  # type: ignore[no-untyped-def]
    return vector("decay") * h + tanh(affine("candidate", h, x))


def observed(
    own: Cell, steps: int = 7, *, bidirectional: bool = False, layers: int = 1
) -> tuple[Recurrent, Observation]:
    torch.manual_seed(3)
    layer = Recurrent(own, 4, 5, layers, bidirectional=bidirectional)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.4, 0.4)
        with observing(layer) as found:
            layer(torch.randn(steps, 1, 4))
    return layer, observation(list("abcdefgh"[:steps]), layer, found)


@pytest.mark.parametrize("name", list(CELLS))
def test_what_is_observed_is_what_the_layer_did(name: str) -> None:
    layer, found = observed(CELLS[name], bidirectional=True, layers=2)
    torch.manual_seed(9)
    x = torch.randn(7, 1, 4)
    with torch.no_grad():
        plain = layer(x)
        with observing(layer) as calls:
            output, _ = layer(x)
        _, _, seen = layer(x, observe=True)
    assert torch.equal(output, plain[0])
    assert "forward" not in vars(layer)
    again = observation(list("abcdefg"), layer, calls)
    assert [(one.layer, one.reverse) for one in again.layers] == [(0, False), (0, True), (1, False), (1, True)]
    for one in again.layers:
        own = seen.layer(one.layer, reverse=one.reverse)
        assert set(one.values) == set(own)
        for key, value in own.items():
            np.testing.assert_array_equal(one.values[key], value[:, 0].double().numpy())
    assert found.symbols == tuple("abcdefg")


@pytest.mark.parametrize("name", list(KEPT))
@pytest.mark.parametrize("reverse", [False, True])
def test_a_memory_is_kept_as_far_as_its_gate_says(name: str, reverse: bool) -> None:
    _, found = observed(CELLS[name], bidirectional=True)
    layer = found.layer(0, reverse=reverse)
    state, gate = KEPT[name]
    assert set(layer.kept) == {state}
    np.testing.assert_allclose(layer.kept[state], gate(layer.values), atol=1e-12)


def test_torchs_gru_keeps_by_its_keep_gate_and_an_rnn_keeps_nothing() -> None:
    _, found = observed(CELLS["gru-torch"])
    (state,) = found.layers[0].kept
    np.testing.assert_allclose(found.layers[0].kept[state], found.layers[0].values["keep"], atol=1e-12)
    assert observed(CELLS["rnn"])[1].layers[0].kept == {}


def test_a_cell_of_ones_own_keeps_what_its_equations_say() -> None:
    layer, found = observed(decaying)
    decay = layer.parameters_of("decay")["decay"].double().numpy()
    np.testing.assert_allclose(found.layers[0].kept["h"], np.tile(decay, (7, 1)))


def made(kept: list[list[float]]) -> ObservedLayer:
    values = {"forget": np.array(kept), "c": np.random.default_rng(1).normal(size=np.shape(kept))}
    return ObservedLayer(0, False, values, ("forget",), ("c",), {"c": np.array(kept)})


def test_half_lives_and_summaries() -> None:
    layer = made([[0.5, 1.0, 0.0, 0.95], [0.5, 1.0, 0.3, 0.95]])
    lives = layer.half_lives["c"]
    assert lives[:3].tolist() == [1.0, math.inf, 0.0]
    assert lives[3] == pytest.approx(math.log(0.5) / math.log(0.95))
    assert [unit for unit, _ in longest(layer, 3)["c"]] == [1, 3, 0]
    (summary,) = gate_summaries(layer)
    assert summary.name == "forget"
    assert (summary.shut, summary.open) == (1 / 8, 4 / 8)
    assert unit_order(layer, "memory").tolist() == [1, 3, 0, 2]
    assert sorted(unit_order(layer, "similar").tolist()) == [0, 1, 2, 3]
    assert unit_order(layer, "none").tolist() == [0, 1, 2, 3]


def test_units_that_do_alike_stand_side_by_side() -> None:
    time = np.arange(20.0)
    kinds = np.stack([np.sin(time), np.cos(time), np.sin(time), np.cos(time), np.sin(time)], axis=1)
    order = unit_order(ObservedLayer(0, False, {"a": kinds}, (), ("a",), {}), "memory").tolist()
    places = [order.index(unit) for unit in (0, 2, 4)]
    assert max(places) - min(places) == 2


def test_no_such_layer() -> None:
    _, found = observed(CELLS["gru"], bidirectional=True)
    with pytest.raises(IndexError, match="there is no layer 1 backwards, but layer 0; layer 0 backwards"):
        found.layer(1, reverse=True)


def test_a_model_without_recurrence_has_nothing_to_see(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "a.tsv").write_text("".join(f"{'good' if n % 2 else 'bad'}\tfilm {n % 2} is\n" for n in range(40)))
    recipe = tmp_path / "a.toml"
    recipe.write_text(
        'task = "classify"\n[data]\npath = "a.tsv"\n[model]\ncell = "none"\nembedding = 4\n[training]\nsteps = 2\n'
    )
    run = unrolled.train(recipe, folder=tmp_path / "run", quiet=True, device="cpu")
    with pytest.raises(unrolled.UserError, match="no recurrence"):
        run.observe("film 1 is")
