"""Whole sequences in batches: each once an epoch, little padding, shared by processes, the same wherever one starts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.batches import MixedBatches, in_order, mixed, padded, padding_share
from unrolled.errors import UserError

LENGTHS = st.lists(st.integers(0, 30), min_size=1, max_size=60).map(lambda found: np.array(found, dtype=np.int64))


def batches(lengths: np.ndarray, batch: int, **options: int) -> MixedBatches[list[int]]:
    return MixedBatches(lengths, lambda numbers: numbers.tolist(), batch=batch, seed=3, **options)


@given(LENGTHS, st.integers(1, 9), st.integers(0, 3))
def test_every_sequence_comes_once_an_epoch(lengths: np.ndarray, batch: int, epoch: int) -> None:
    source = batches(lengths, batch)
    found = list(source.epoch(epoch))
    assert sorted(number for one in found for number in one) == list(range(len(lengths)))
    assert len(found) == source.steps_per_epoch(epoch)
    assert all(len(one) <= batch for one in found)
    for start in range(len(found)):
        assert list(source.epoch(epoch, start=start)) == found[start:]


@given(LENGTHS, st.integers(1, 4))
def test_processes_share_every_batch_and_none_is_left_out(lengths: np.ndarray, share: int) -> None:
    world = 2
    batch = share * world
    if len(lengths) < batch:
        return
    parts = [list(batches(lengths, batch, rank=rank, world=world).epoch(1)) for rank in range(world)]
    assert len(parts[0]) == len(parts[1]) == len(lengths) // batch
    for first, second in zip(*parts, strict=True):
        assert len(first) == len(second) == share
        assert not set(first) & set(second)


def test_epochs_differ_and_a_batch_that_cannot_be_shared_is_refused() -> None:
    lengths = np.arange(40)
    source = batches(lengths, 4)
    assert list(source.epoch(0)) != list(source.epoch(1))
    with pytest.raises(UserError, match=r"training\.batch = 5 cannot be shared evenly by 2 devices"):
        batches(lengths, 5, rank=0, world=2)


def test_sequences_of_similar_length_lie_side_by_side() -> None:
    lengths = np.random.default_rng(1).integers(1, 100, size=2000)
    assert padding_share(lengths, 20, seed=1) < 0.1
    rows = mixed(lengths, 20, np.random.default_rng(1))
    alike = np.ptp(lengths[rows], axis=1).mean()
    assert alike < 0.2 * np.ptp(lengths)


@given(LENGTHS, st.integers(1, 9), st.integers(0, 100))
def test_measuring_reads_every_sequence_once_within_its_bound(lengths: np.ndarray, batch: int, most: int) -> None:
    found = list(in_order(lengths, batch, most))
    assert sorted(np.concatenate(found).tolist()) == list(range(len(lengths)))
    for numbers in found:
        assert len(numbers) <= batch
        assert not most or len(numbers) == 1 or lengths[numbers].max() * len(numbers) <= most


@given(LENGTHS)
def test_padding_is_zero_and_nothing_else_changes(lengths: np.ndarray) -> None:
    rows = [np.arange(1, length + 1) for length in lengths]
    block = padded(rows)
    assert block.shape == (max(lengths), len(lengths))
    for column, row in enumerate(rows):
        assert block[: len(row), column].tolist() == row.tolist()
        assert not block[len(row) :, column].any()
