from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.corpus import stream_of
from unrolled.data.streams import Stream
from unrolled.data.vocabulary import BOS, EOS, PAD, Vocabulary
from unrolled.data.windows import Documents, RunningText, Window, whole, windows_of
from unrolled.errors import UserError

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = Vocabulary.from_counts({letter: 26 - i for i, letter in enumerate(LETTERS)}, level="character")
lengths_of_documents = st.lists(st.integers(1, 9), min_size=1, max_size=30)
sizes = st.integers(1, 7)


def running(count: int) -> Stream:
    """Letters in an order in which three neighbours tell the place."""
    generator = np.random.default_rng(7)
    return stream_of("".join(generator.choice(list(LETTERS), count)), VOCABULARY)


def lines(lengths: list[int]) -> Stream:
    """Documents that tell themselves apart: document i is made of one letter and has its length."""
    return stream_of("\n".join(LETTERS[i % 26] * n for i, n in enumerate(lengths)), VOCABULARY, format="lines")


def same(one: Window, other: Window) -> bool:
    tensors = [(one.inputs, other.inputs), (one.targets, other.targets), (one.lengths, other.lengths)]
    equal = all(a is b is None or torch.equal(a, b) for a, b in tensors)
    return equal and one.fresh == other.fresh


def joined(windows: list[Window], rows: slice = slice(None)) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets of several windows one after the other."""
    return torch.cat([w.inputs for w in windows])[:, rows], torch.cat([w.targets for w in windows])[:, rows]


# --- running text ----------------------------------------------------------------------------------------------------


@given(count=st.integers(2, 80), batch=sizes, window=sizes, epoch=st.integers(0, 5))
def test_every_lane_is_a_stretch_of_the_text(count, batch, window, epoch):
    stream = running(max(count, 2 * batch))
    text = stream.ids(0, len(stream))
    lane = len(text) // batch
    windows = list(RunningText(stream, batch=batch, window=window, seed=3).epoch(epoch))
    inputs, targets = joined(windows)
    skipped = lane - len(targets)
    assert skipped == 0 if epoch == 0 else 0 <= skipped < window
    for row in range(batch):
        start = row * lane + skipped
        assert targets[:, row].tolist() == text[start : (row + 1) * lane].tolist()
        assert inputs[0, row] == (text[start - 1] if start else BOS)
        assert inputs[1:, row].tolist() == targets[:-1, row].tolist()
    assert [w.fresh for w in windows] == [True] + [False] * (len(windows) - 1)
    assert all(1 <= len(w.inputs) <= window and w.lengths is None for w in windows)


def test_epochs_are_cut_elsewhere_and_a_seed_repeats_them():
    windows = RunningText(running(1000), batch=4, window=50, seed=1)
    firsts = [next(windows.epoch(epoch)).inputs[0].tolist() for epoch in range(6)]
    assert len(set(map(tuple, firsts))) > 3
    again = RunningText(running(1000), batch=4, window=50, seed=1)
    other = RunningText(running(1000), batch=4, window=50, seed=2)
    assert [next(again.epoch(epoch)).inputs[0].tolist() for epoch in range(6)] == firsts
    assert [next(other.epoch(epoch)).inputs[0].tolist() for epoch in range(6)] != firsts


# --- documents -------------------------------------------------------------------------------------------------------


@given(lengths=lengths_of_documents, batch=sizes, window=sizes, epoch=st.integers(0, 3))
def test_every_document_comes_once_an_epoch(lengths, batch, window, epoch):
    batch = min(batch, len(lengths))
    stream = lines(lengths)
    windows = list(Documents(stream, batch=batch, window=window, seed=3).epoch(epoch))
    assert sum(w.fresh for w in windows) == -(-len(lengths) // batch)
    found = [row for together in batches_of(windows) for row in rows_of(together)]
    expected = [[*VOCABULARY.encode(LETTERS[i % 26] * n), EOS] for i, n in enumerate(lengths)]
    assert sorted(found) == sorted(expected)


def batches_of(windows: list[Window]) -> list[list[Window]]:
    starts = [index for index, window in enumerate(windows) if window.fresh]
    return [windows[start:stop] for start, stop in pairwise([*starts, len(windows)])]


def rows_of(windows: list[Window]) -> list[list[int]]:
    """The documents of one batch, put together from its windows, with every promise about them checked."""
    inputs, targets = joined(windows)
    lengths = sum(w.lengths for w in windows)
    for w in windows:
        assert w.lengths.shape == w.inputs.shape[1:]
        for row, length in enumerate(w.lengths.tolist()):
            assert (w.targets[:length, row] != PAD).all()
            assert (w.targets[length:, row] == PAD).all()
            assert (w.inputs[length:, row] == PAD).all()
    for row, length in enumerate(lengths.tolist()):
        assert inputs[:length, row].tolist() == [BOS, *targets[: length - 1, row].tolist()][:length]
    return [targets[:length, row].tolist() for row, length in enumerate(lengths.tolist()) if length]


def test_documents_of_similar_length_come_together_and_batches_in_any_order():
    lengths = np.random.default_rng(1).integers(1, 40, 500).tolist()
    windows = list(Documents(lines(lengths), batch=10, window=100, seed=1).epoch(0))
    padding = sum(int((w.targets == PAD).sum()) for w in windows) / sum(w.targets.numel() for w in windows)
    assert padding < 0.05
    longest = [len(w.targets) for w in windows]
    assert longest != sorted(longest)


# --- both ------------------------------------------------------------------------------------------------------------


@given(lengths=lengths_of_documents, batch=sizes, window=sizes, epoch=st.integers(0, 3), data=st.data())
def test_resumed_windows_are_the_uninterrupted_ones(lengths, batch, window, epoch, data):
    for stream in (running(2 * batch + sum(lengths)), lines(lengths * batch)):
        windows = windows_of(stream, batch=batch, window=window, seed=5)
        all_windows = list(windows.epoch(epoch))
        assert len(all_windows) == windows.steps_per_epoch(epoch) > 0
        start = data.draw(st.integers(0, len(all_windows)))
        fresh = windows_of(stream, batch=batch, window=window, seed=5)
        rest = list(fresh.epoch(epoch, start))
        assert len(rest) == len(all_windows) - start
        assert all(map(same, rest, all_windows[start:]))


@given(lengths=lengths_of_documents, share=st.integers(1, 3), world=st.integers(1, 3), epoch=st.integers(0, 2))
def test_ranks_share_the_rows(lengths, share, world, epoch):
    batch = share * world
    for stream in (running(2 * batch + sum(lengths)), lines(lengths * batch)):
        alone = list(windows_of(stream, batch=batch, window=4, seed=5).epoch(epoch))
        ranks = [
            list(windows_of(stream, batch=batch, window=4, seed=5, rank=rank, world=world).epoch(epoch))
            for rank in range(world)
        ]
        assert {len(windows) for windows in ranks} == {len(alone)}
        for whole_window, *parts in zip(alone, *ranks, strict=True):
            assert torch.equal(torch.cat([part.inputs for part in parts], 1), whole_window.inputs)
            assert torch.equal(torch.cat([part.targets for part in parts], 1), whole_window.targets)
            if whole_window.lengths is not None:
                assert torch.equal(torch.cat([part.lengths for part in parts]), whole_window.lengths)


def test_spellings_are_those_of_the_inputs():
    vocabulary = Vocabulary.from_counts({"cab": 3, "dab": 1}, level="word", size=1)
    text = "cab dab zab\ncab\n" * 4
    for form in ("text", "lines"):
        stream = stream_of(text, vocabulary, format=form)
        window = next(iter(whole(stream, lanes=2, window=50, warm=2, spellings=True)))
        assert window.spellings is not None
        assert window.spellings.shape == (*window.inputs.shape, 16)
        for inputs, spelled in zip(window.inputs.flatten(), window.spellings.flatten(0, 1), strict=True):
            if inputs in (PAD, BOS, EOS):
                assert not spelled.any()
            elif inputs == 4:
                assert spelled.tolist() == vocabulary.spell("cab")
            else:
                assert spelled.tolist() in (vocabulary.spell("dab"), vocabulary.spell("zab"))
    assert next(windows_of(stream, batch=2, window=9, seed=1, spellings=True).epoch(0)).spellings is not None
    assert next(windows_of(stream, batch=2, window=9, seed=1).epoch(0)).spellings is None


# --- evaluation ------------------------------------------------------------------------------------------------------


@given(count=st.integers(1, 120), lanes=sizes, window=sizes, warm=st.integers(0, 20))
def test_every_symbol_counts_once_and_no_lane_starts_cold(count, lanes, window, warm):
    stream = running(count)
    text = stream.ids(0, count)
    windows = list(whole(stream, lanes=lanes, window=window, warm=warm))
    inputs, targets = joined(windows)
    assert [w.fresh for w in windows] == [True] + [False] * (len(windows) - 1)
    assert targets.shape[1] <= lanes
    counted = [targets[:, row][targets[:, row] != PAD].tolist() for row in range(targets.shape[1])]
    assert [id for symbols in counted for id in symbols] == text.tolist(), (
        "the lanes, one after the other, are the text"
    )
    assert inputs[0, 0] == BOS
    assert targets[0, 0] == text[0], "the first lane counts from its first symbol on"
    begin = 0
    for row, symbols in enumerate(counted):
        first = int((targets[:, row] != PAD).nonzero()[0])
        assert first == (0 if row == 0 else min(warm, count))
        read = inputs[: first + len(symbols), row].tolist()
        before = [BOS, *text.tolist()]
        assert read == before[begin - first : begin + len(symbols)]
        begin += len(symbols)


@given(lengths=lengths_of_documents, lanes=sizes, window=sizes)
def test_every_document_is_measured_once(lengths, lanes, window):
    windows = list(whole(lines(lengths), lanes=lanes, window=window))
    found = [row for together in batches_of(windows) for row in rows_of(together)]
    expected = [[*VOCABULARY.encode(LETTERS[i % 26] * n), EOS] for i, n in enumerate(lengths)]
    assert sorted(found) == sorted(expected)
    assert list(map(len, found)) == sorted(map(len, expected))


# --- messages --------------------------------------------------------------------------------------------------------


def test_messages():
    with pytest.raises(
        UserError,
        match=r"the text has 9 symbols; training.batch = 5 needs at least 10 .* set training.batch = 4 or less",
    ):
        windows_of(running(9), batch=5, window=3, seed=1)
    with pytest.raises(UserError, match=r"the text has 2 lines, fewer than training.batch = 3: set training.batch = 2"):
        windows_of(lines([1, 2]), batch=3, window=3, seed=1)
    for stream in (running(99), lines([1] * 9)):
        with pytest.raises(UserError, match=r"training\.batch = 3 cannot be shared evenly by 2 devices"):
            windows_of(stream, batch=3, window=3, seed=1, world=2)
