"""Vectors of symbols: neighbours, the plane of two principal components, names that do not overlap."""

import numpy as np
import pytest
import torch

from unrolled import UserError
from unrolled.inspecting.embeddings import Embeddings
from unrolled.inspecting.scatter import draw_embeddings


def made(count: int, size: int = 5) -> Embeddings:
    names = tuple(f"word{n}" for n in range(count))
    return Embeddings(names, names, np.random.default_rng(count).normal(size=(count, size)), False)


def test_neighbours_by_cosine() -> None:
    vectors = np.array([[1.0, 0.0], [10.0, 1.0], [0.0, 1.0], [-1.0, 0.0]])
    found = Embeddings(("a", " b", "c", "d"), ("a", "␣b", "c", "d"), vectors, False)
    assert [name for name, _ in found.neighbours("a")] == ["␣b", "c", "d"]
    assert found.neighbours("a", 1)[0][1] == pytest.approx(10 / np.sqrt(101))
    assert found.neighbours("b") == found.neighbours(" b") == found.neighbours("␣b")
    with pytest.raises(UserError, match="no symbol 'e'; those that it knows begin with a, ␣b"):
        found.neighbours("e")


def test_the_plane_keeps_the_most_variance() -> None:
    found = made(40)
    points, shares = found.plane(30)
    centred = found.vectors[:30] - found.vectors[:30].mean(axis=0)
    variances = np.linalg.eigvalsh(centred.T @ centred)[::-1]
    np.testing.assert_allclose((points**2).sum(axis=0), variances[:2])
    np.testing.assert_allclose(shares, variances[:2] / variances.sum())
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-9)


@pytest.mark.parametrize("count", [1, 2])
def test_any_number_is_drawn(drawn, count: int) -> None:
    assert drawn(draw_embeddings, made(count)) == (792, 990)


def test_names_do_not_overlap(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unrolled.inspecting import scatter

    figures = []
    monkeypatch.setattr(scatter, "save_figure", lambda figure, path: figures.append(figure))
    draw_embeddings(made(150), tmp_path / "a.png")
    (axes,) = figures[0].axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) > 30
    assert all(box.count_overlaps(boxes[:place]) == 0 for place, box in enumerate(boxes))


def test_of_runs(tiny) -> None:
    run = tiny("classify", cell="gru")
    found = run.embeddings()
    assert found.texts[0] == run.symbols.inputs.symbols[4]
    np.testing.assert_allclose(found.vectors, run.model.encoder.input.weight[4:].detach().double())
    plain = tiny("classify", cell="gru", embedding=0)
    columns = plain.embeddings()
    assert columns.one_hot
    weights = dict(plain.model.encoder.recurrent.named_parameters())
    assert columns.vectors.shape[1] == 2 * len(weights["weight_ih_l0"])
    own = torch.cat([weights["weight_ih_l0"], weights["weight_ih_l0_reverse"]])[:, 4]
    np.testing.assert_allclose(columns.vectors[0], own.detach().double())
    translator = tiny("translate")
    assert set(translator.embeddings(target=True).texts) == set("0123456789-")
    with pytest.raises(UserError, match="only translators read targets"):
        run.embeddings(target=True)
