"""Names in pictures are names: no formulas, nothing left out, any script; in all pictures there are."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.image import imread

from commands import environment
from unrolled.decoding.beam import Beam
from unrolled.inspecting.attention import AttentionMap, draw_attention
from unrolled.inspecting.beam_picture import draw_tree
from unrolled.inspecting.beam_tree import BeamNode, BeamTree
from unrolled.inspecting.cell_picture import draw_cells
from unrolled.inspecting.cell_search import CellSearch, TrackingUnit, UnitName
from unrolled.inspecting.embeddings import Embeddings
from unrolled.inspecting.gradients import GradientDecay, draw_gradients
from unrolled.inspecting.heat_map import draw_gates
from unrolled.inspecting.labels import LabelTable, draw_labels
from unrolled.inspecting.learning_curves import LearningCurve, draw_learning_curves
from unrolled.inspecting.observation import ObservedLayer
from unrolled.inspecting.saliency import Saliency, draw_saliency
from unrolled.inspecting.scatter import draw_embeddings
from unrolled.lettering import MONO, SANS, lettering
from unrolled.tasks.classify.picture import draw_confusions
from unrolled.training.curves import draw_curves

NAMES = ["$x^$", "_hidden", "日本語", "a\\b{", "<b>&", "ab", "$$", "a_b^c"]
COUNT = len(NAMES)
SQUARE = np.arange(COUNT * COUNT, dtype=np.float64).reshape(COUNT, COUNT) / COUNT**2
RISING = np.linspace(0.1, 1, COUNT)


def gates(path: Path) -> None:
    values = dict.fromkeys(NAMES, SQUARE)
    draw_gates(ObservedLayer(0, False, values, tuple(NAMES[:2]), ("c",), {}), NAMES, np.arange(COUNT), path)


def decays(path: Path) -> None:
    draw_gradients([GradientDecay(name, (1, 2), RISING[:2], RISING[:2], RISING[:2], 1) for name in NAMES], path)


def learning_curves(path: Path) -> None:
    recipe: Any = SimpleNamespace(task="classify", training=SimpleNamespace(clip_norm=1.0))
    one = ((1, 3.0, 1.0), (2, 2.0, 2.0))
    draw_learning_curves([LearningCurve(name, recipe, one, (), ((1, 0.001), (2, 1e4))) for name in NAMES], path)


def tree(path: Path) -> None:
    nodes = [BeamNode(0, None, 0, "", 0.0, 0.0, 0, "continued")]
    nodes += [BeamNode(n, n - 1, n, name, -1.0, -1.0, 0, "continued") for n, name in enumerate(NAMES, start=1)]
    draw_tree(BeamTree("source", Beam(1), tuple(nodes), COUNT), path)


def cells(path: Path) -> None:
    units = [(TrackingUnit(name, UnitName(0, "c", 1), 0.5, 0.5, RISING),) for name in NAMES]
    features = dict.fromkeys(NAMES, RISING > 0.5)
    draw_cells(CellSearch("text", tuple(NAMES), features, tuple(units), 1), path, count=COUNT)


def embeddings(path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(COUNT, 3))
    draw_embeddings(Embeddings(tuple(NAMES), tuple(NAMES), vectors, False), path)


def curves(path: Path) -> None:
    entries = [{"step": n, "kind": "train", "loss": 1.0, "norm": 10.0 ** (2 * n), "learning_rate": 1.0} for n in (1, 2)]
    draw_curves(entries, path, title=" ".join(NAMES))


PICTURES: dict[str, Callable[[Path], None]] = {
    "confusions": lambda path: draw_confusions((COUNT * SQUARE).astype(int).tolist(), NAMES, path, title=NAMES[0]),
    "gates": gates,
    "attention": lambda path: draw_attention(AttentionMap(NAMES, NAMES[::-1], torch.from_numpy(SQUARE)), path),
    "labels": lambda path: draw_labels(
        LabelTable(tuple(NAMES), tuple(NAMES), SQUARE, tuple(range(COUNT)), np.pad(SQUARE, (0, 1))), path
    ),
    "saliency": lambda path: draw_saliency(Saliency(tuple(NAMES), NAMES[0], 1.0, -1.0, RISING, -RISING), path),
    "embeddings": embeddings,
    "tree": tree,
    "cells": cells,
    "gradients": decays,
    "learning curves": learning_curves,
    "curves": curves,
}


def texts_of(path: Path) -> str:
    """What an SVG says, one text after the other."""
    root = ElementTree.parse(path).getroot()
    return "\n".join("".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text"))


@pytest.mark.parametrize("name", PICTURES)
def test_every_name_is_in_the_picture_as_it_is(name: str, tmp_path: Path) -> None:
    with mpl.rc_context({"axes.formatter.use_mathtext": True}):
        PICTURES[name](tmp_path / "picture.svg")
        PICTURES[name](tmp_path / "picture.png")
    found = texts_of(tmp_path / "picture.svg")
    assert [one for one in NAMES if one not in found] == []
    assert "mathdefault" not in found
    assert min(imread(tmp_path / "picture.png").shape[:2]) > 100
    assert mpl.rcParams["text.parse_math"]


def test_characters_that_no_font_has_are_code_points() -> None:
    found = lettering(["plain", "\U0010fffd"], MONO)
    assert found.families[0] == MONO
    assert found("a$\U0010fffd") == "a$U+10FFFD"
    assert lettering(["naïve Ελλάδα"], MONO) == lettering([], MONO)


def test_an_svg_has_any_script_and_nothing_that_xml_has_no_place_for() -> None:
    with mpl.rc_context({"savefig.format": "svg"}):
        assert lettering(["日\x01\ud800\uffff\t"], SANS)("日\x01\ud800\uffff") == "日U+0001U+D800U+FFFF"


def test_a_backend_that_does_not_exist(tmp_path: Path) -> None:
    code = "from unrolled.training.curves import draw_curves; from pathlib import Path; draw_curves([], Path('a.png'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**environment(), "MPLBACKEND": "nonsense"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert os.listdir(tmp_path) == ["a.png"]
