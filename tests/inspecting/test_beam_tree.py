"""A watched search is the search, and its tree says what became of every hypothesis."""

import pytest

from unrolled import UserError
from unrolled.decoding.beam import Beam
from unrolled.inspecting.beam_picture import draw_tree
from unrolled.inspecting.beam_tree import FATES, BeamNode, BeamTree

SOURCE = "11. may 1999"


@pytest.mark.parametrize("width", [1, 10])
def test_the_answer_is_that_of_the_search(tiny, width: int) -> None:
    run = tiny("translate")
    tree, answer = run.search_tree(SOURCE, beam=width), run.predict(SOURCE, beam=width)
    path = tree.path(tree.answer)
    symbols = [node.symbol for node in path if node.symbol != "<eos>"]
    assert "".join(symbols).replace("␣", " ") == answer.text
    assert path[-1].log_probability == answer.log_probability
    assert path[-1].score == answer.candidates[0].score


def test_every_hypothesis_has_a_fate(tiny) -> None:
    tree = tiny("translate").search_tree(SOURCE, beam=4)
    assert tree.nodes[0].parent is None
    for node in tree.nodes[1:]:
        parent = tree.nodes[node.parent]
        assert node.step == parent.step + 1
        assert parent.fate == "continued"
        assert node.log_probability <= parent.log_probability
        assert node.fate in FATES
        assert (node.fate == "continued") == bool(tree.children[node.number])
        assert (node.symbol == "<eos>") == (node.fate == "finished")
    for step in range(1, tree.steps + 1):
        row = [node for node in tree.nodes if node.step == step]
        assert len(row) <= 4
        assert [node.rank for node in row] == list(range(len(row)))
        assert [node.score for node in row] == sorted((node.score for node in row), reverse=True)
    assert tree.as_dict()["nodes"][1]["step"] == 1


def test_nothing_to_translate(tiny) -> None:
    with pytest.raises(UserError, match="the text is empty"):
        tiny("translate").search_tree("  ")


@pytest.mark.parametrize(("width", "steps"), [(1, 1), (10, 30)])
def test_any_search_is_drawn(drawn, width: int, steps: int) -> None:
    nodes = [BeamNode(0, None, 0, "", 0.0, 0.0, 0, "continued")]
    for step in range(1, steps + 1):
        above = [node for node in nodes if node.step == step - 1]
        fates = ["finished" if step == steps else "continued", *["pruned"] * (width - 1)]
        for rank, fate in enumerate(fates):
            nodes.append(BeamNode(len(nodes), above[0].number, step, "a$long-symbol日", -1.0, -1.0, rank, fate))
    answer = len(nodes) - width
    height, width_found = drawn(draw_tree, BeamTree("source", Beam(width), tuple(nodes), answer))
    assert 100 < height < 700
    assert 570 <= width_found <= 9950
