"""Vectors by counting: near pairs are counted as by hand, and words that stand alike come out alike."""

import random
from pathlib import Path

import numpy as np

from benchmarks import vectors


def test_pairs_are_counted_by_distance_and_not_over_a_sequences_end() -> None:
    ids = np.array([0, 1, 0, -1, 1, 2, -1])
    keys, counts = vectors.near(ids, 3, 2)
    found = {(int(key) // 3, int(key) % 3): count for key, count in zip(keys, counts, strict=True)}
    assert found == {(0, 1): 2, (1, 0): 2, (0, 0): 1, (1, 2): 1, (2, 1): 1}


def test_words_that_stand_alike_are_near(tmp_path: Path) -> None:
    draw = random.Random(1)
    lines = []
    for _ in range(600):
        kind = draw.choice(("person", "place"))
        word = draw.choice(("Ann", "Bob", "Cleo") if kind == "person" else ("Rome", "Oslo", "Lima"))
        lines.append(f"{draw.choice(('said', 'met', 'saw') if kind == 'person' else ('in', 'at', 'near'))} {word}")
    (tmp_path / "text.txt").write_text("\n".join(lines))
    (tmp_path / "tags.conll").write_text("Ann\tX\nsaid\tY\n\n")
    words, ids = vectors.numbered([tmp_path / "text.txt", tmp_path / "tags.conll"], 2)
    keys, counts = vectors.near(ids, len(words), 2)
    found = vectors.vectors(keys, counts, len(words), 4)
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    alike = unit @ unit.T
    place = {word: number for number, word in enumerate(words)}
    assert alike[place["Ann"], place["Cleo"]] > alike[place["Ann"], place["Rome"]] + 0.5
