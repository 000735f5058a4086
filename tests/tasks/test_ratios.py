"""Log-count ratios: a linear model of them is naive Bayes, and an embedding can start with them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unrolled.tasks.classify.ratios import SHARE, log_count_ratios, put_ratios

EXAMPLES = st.lists(
    st.tuples(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(0, 2)), min_size=1, max_size=12
)


@given(examples=EXAMPLES)
def test_the_sum_of_a_texts_ratios_orders_classes_as_naive_bayes_does(examples: list[tuple[list[int], int]]) -> None:
    sequences, classes = [np.array(ids) for ids, _ in examples], [label for _, label in examples]
    ratios = log_count_ratios(sequences, classes, vocabulary=6, count=3)
    assert np.allclose(ratios.sum(axis=0), 0)
    text = examples[0][0]
    counts = np.array(
        [[1 + sum(w in set(ids) and label == c for ids, label in examples) for w in range(6)] for c in range(3)]
    )
    bayes = sum(np.log(counts[:, w] / counts.sum(axis=1)) for w in text)
    assert np.allclose(ratios[:, text].sum(axis=1) - ratios[0, text].sum(), bayes - bayes[0])


@pytest.mark.parametrize(("size", "columns"), [(20, 4), (5, 3), (2, 2)])
def test_some_of_an_embeddings_numbers_start_as_ratios(size: int, columns: int) -> None:
    weight = torch.nn.Parameter(torch.full((4, size), 7.0))
    ratios = np.arange(12.0).reshape(3, 4)
    put_ratios(weight, ratios)
    assert columns == min(size, max(3, round(SHARE * size)))
    for column in range(columns):
        assert weight[:, column].tolist() == ratios[column % 3].tolist()
    assert bool((weight[:, columns:] == 7.0).all())
    assert weight.requires_grad
