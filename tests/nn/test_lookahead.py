"""The laws of the bidirectional layer that does not wait: it sees so far and no farther, streamed or whole."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cell_table import NAMES, OF, tuple_of
from tolerances import assert_equal
from unrolled.nn import Recurrent
from unrolled.nn.lookahead import LookaheadBidirectional, Stream
from vendor_bfloat16 import skip_without

engines = st.sampled_from(["eager", "auto"])
names = st.sampled_from(["lstm", "gru", "leaky", "highway"])  # few: each has its kernels compiled
seeds = st.integers(0, 999)
some_lengths = st.lists(st.integers(0, 11), min_size=1, max_size=4)
chunks, lookaheads, depths = st.integers(1, 5), st.integers(0, 6), st.integers(1, 3)


def layer_of(
    name: str, num_layers: int = 1, *, chunk: int = 3, lookahead: int = 2, seed: int = 1, **options: Any
) -> LookaheadBidirectional:
    """A layer of one of the cell table's cells, with as many layers as that cell can have."""
    torch.manual_seed(seed)
    row, options = OF[name], {"dtype": torch.float64, **options}
    depth = num_layers if row.takes(num_layers, bidirectional=True) else 1
    width = 4 if row.same_width else 3
    layer = LookaheadBidirectional(row.cell, width, 4, depth, chunk=chunk, lookahead=lookahead, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(row.scale)
    return layer


def ordinary(layer: LookaheadBidirectional, **options: Any) -> Recurrent:
    """The layer that waits for the end, with the same weights."""
    options = {"engine": layer.engine, "dtype": next(layer.parameters()).dtype, **options}
    sizes = layer.input_size, layer.hidden_size, layer.num_layers
    other = Recurrent(layer.cell, *sizes, bidirectional=True, **options)
    other.load_state_dict(layer.state_dict())
    return other


def x_of(layer: Recurrent, steps: int, batch: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, batch, layer.input_size, generator=generator, dtype=torch.float64)
    return x.to(next(layer.parameters()).dtype)


def one_way(layer: LookaheadBidirectional, number: int, reverse: bool) -> Recurrent:
    """One layer's one direction, as a layer of its own that runs forwards."""
    suffix = f"_l{number}_reverse" if reverse else f"_l{number}"
    width = layer.input_size if number == 0 else 2 * layer.hidden_size
    alone = Recurrent(layer.cell, width, layer.hidden_size, engine="eager", dtype=torch.float64, zoneout=layer.zoneout)
    state = {name.removesuffix("_l0"): name for name in alone.state_dict()}
    alone.load_state_dict({full: getattr(layer, base + suffix) for base, full in state.items()})
    return alone.train(layer.training)


def by_hand(layer: LookaheadBidirectional, x: Tensor) -> Tensor:
    """One sequence (T, I) by the description: chunk by chunk, each run on its own."""
    for number in range(layer.num_layers):
        forward, backward = one_way(layer, number, False), one_way(layer, number, True)
        parts = []
        for start in range(0, len(x), layer.chunk):
            ahead = x[start : start + layer.chunk + layer.lookahead]
            parts.append(backward(ahead.flip(0))[0].flip(0)[: layer.chunk])
        x = torch.cat([forward(x)[0], torch.cat(parts)], -1)
    return x


@settings(max_examples=20)
@given(names, engines, depths, chunks, lookaheads, some_lengths, seeds)
def test_it_is_its_description_and_padded_is_alone(
    name: str, engine: str, depth: int, chunk: int, lookahead: int, lengths: list[int], seed: int
) -> None:
    layer = layer_of(name, depth, chunk=chunk, lookahead=lookahead, engine=engine, seed=seed)
    x = x_of(layer, 11, len(lengths), seed)
    x[torch.arange(11).unsqueeze(1) >= torch.tensor(lengths)] = math.nan  # padding must not be looked at
    output, final = layer(x, lengths=torch.tensor(lengths))
    assert output.shape == (11, len(lengths), 8)
    for row, length in enumerate(lengths):
        assert (output[length:, row] == 0).all()
        states = tuple(state[:, row : row + 1] for state in tuple_of(final))
        if length == 0:
            assert all((state == 0).all() for state in states)
            continue
        assert_equal(output[:length, row], by_hand(layer, x[:length, row]))
        alone, alone_final = layer(x[:length, row : row + 1])
        assert_equal(output[:length, row], alone[:, 0])
        assert_equal(states, tuple_of(alone_final))
        if engine == "auto" and layer.engine_for(x).name == "compiled":
            assert output[:length, row].equal(alone[:, 0])
        last = torch.cat([output[length - 1, row, :4], output[0, row, 4:]])
        assert_equal(torch.cat([states[0][-2, 0], states[0][-1, 0]]), last)


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_is_its_description(name: str) -> None:
    layer = layer_of(name, 2, engine="eager")
    x = x_of(layer, 10, 1)
    assert_equal(layer(x)[0][:, 0], by_hand(layer, x[:, 0]))


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("name", ["lstm", "gru", "gru-torch"])
def test_a_full_lookahead_is_the_ordinary_layer_bit_for_bit(name: str, layers: int) -> None:
    lengths = torch.tensor([13, 0, 5, 12])
    for chunk, lookahead in ((1, 13), (4, 13), (13, 0), (50, 1000), (5, 10**12)):
        layer = layer_of(name, layers, chunk=chunk, lookahead=lookahead)
        x, other = x_of(layer, 13, 4), ordinary(layer)
        for options in ({}, {"lengths": lengths}):
            found, expected = layer(x, **options), other(x, **options)
            assert found[0].equal(expected[0])
            for one, another in zip(tuple_of(found[1]), tuple_of(expected[1]), strict=True):
                assert one.equal(another)


def test_where_windows_reach_the_end_the_bits_are_the_ordinary_layers() -> None:
    """Windows are read backwards and run as a batch; in the last one that must change nothing."""
    layer = layer_of("lstm", chunk=4, lookahead=3, dtype=torch.float32)
    x, other = x_of(layer, 22, 3), ordinary(layer)
    output, expected = layer(x)[0], other(x)[0]
    assert output[..., :4].equal(expected[..., :4])
    assert output[16:].equal(expected[16:])  # a window from 16 covers 7 timesteps, and only 6 are left
    assert not output[:12, :, 4:].isclose(expected[:12, :, 4:], atol=1e-7).all()


def test_state_dicts_go_both_ways() -> None:
    for name in NAMES:
        layer = layer_of(name, 2, initial_state="learned")
        other = Recurrent(
            layer.cell, layer.input_size, 4, layer.num_layers, bidirectional=True, initial_state="learned"
        ).double()
        assert list(layer.state_dict()) == list(other.state_dict())
        layer.load_state_dict(other.state_dict())
        other.load_state_dict(layer.state_dict())


def streamed(
    layer: LookaheadBidirectional, x: Tensor, pieces: list[int], lengths: Tensor | None = None
) -> list[Tensor]:
    """The outputs of x in pieces of these sizes; the last piece is what is left."""
    outputs, state, start, axis = [], None, 0, 1 if layer.batch_first else 0
    while start < x.shape[axis]:
        size = pieces.pop(0) if pieces else x.shape[axis]
        piece = x.narrow(axis, start, min(size, x.shape[axis] - start))
        own = None if lengths is None else (lengths - start).clamp(min=0, max=piece.shape[axis])
        output, state = layer.step_chunk(piece, state, lengths=own)
        outputs.append(output)
        start += piece.shape[axis]
    assert isinstance(state, Stream)
    return [*outputs, layer.finish(state)]


@settings(max_examples=30)
@given(names, engines, depths, chunks, lookaheads, st.lists(st.integers(1, 7)), some_lengths, st.booleans(), seeds)
def test_a_stream_in_any_pieces_is_the_whole(
    name: str,
    engine: str,
    depth: int,
    chunk: int,
    lookahead: int,
    pieces: list[int],
    lengths: list[int],
    ragged: bool,
    seed: int,
) -> None:
    layer = layer_of(
        name, depth, chunk=chunk, lookahead=lookahead, engine=engine, seed=seed, residual=True, initial_state="learned"
    )
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1)  # learned initial states are zero at first
    x, own = x_of(layer, 11, len(lengths), seed), torch.tensor(lengths) if ragged else None
    whole, _ = layer(x, lengths=own)
    parts = torch.cat(streamed(layer, x, list(pieces), own))
    assert_equal(parts, whole)
    if engine == "auto" and layer.engine_for(x).name == "compiled":
        assert parts.equal(whole)


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_stream_of_symbols_and_in_batches_first(batch_first: bool) -> None:
    layer = layer_of("lstm", 2, batch_first=batch_first)
    ids = torch.randint(-1, 3, (2, 14) if batch_first else (14, 2))
    for x in (ids, torch.randn(*ids.shape, 3).double()):
        parts = streamed(layer, x, [5, 1, 4])
        assert torch.cat(parts, 1 if batch_first else 0).equal(layer(x)[0])


def test_a_stream_answers_as_soon_as_the_latency_allows_and_keeps_little() -> None:
    for depth, chunk, lookahead in ((1, 3, 2), (2, 3, 2), (3, 2, 4), (2, 4, 0)):
        layer = layer_of("gru", depth, chunk=chunk, lookahead=lookahead)
        state, answered = None, 0
        for t in range(30):
            output, state = layer.step_chunk(torch.randn(1, 2, 3).double(), state)
            answered += len(output)
            due = max(0, t - layer.latency + chunk) // chunk * chunk  # the chunk that starts at t - latency is due
            assert answered == due
            assert all(len(waiting) < chunk + lookahead for waiting in state.waiting)
        assert len(layer.finish(state)) == 30 - answered


def test_a_stream_may_come_in_one_buffer() -> None:
    layer = layer_of("lstm")
    x = x_of(layer, 12, 2)
    buffer, state, outputs = torch.empty(2, 2, 3).double(), None, []
    for start in range(0, 12, 2):
        buffer.copy_(x[start : start + 2])
        output, state = layer.step_chunk(buffer, state)
        outputs.append(output)
    assert state is not None
    assert torch.cat([*outputs, layer.finish(state)]).equal(layer(x)[0])


def test_a_state_of_a_stream_is_a_value() -> None:
    layer = layer_of("lstm", 2)
    x = x_of(layer, 20, 2)
    _, state = layer.step_chunk(x[:10])
    first, after = layer.step_chunk(x[10:], state)
    again, _ = layer.step_chunk(x[10:], state)
    assert first.equal(again)
    assert layer.finish(after).equal(layer.finish(after))
    other, _ = layer.step_chunk(-x[10:], state)
    assert not first.equal(other)


@pytest.mark.parametrize(
    ("depth", "chunk", "lookahead"), [(1, 3, 2), (1, 4, 0), (2, 3, 3), (3, 2, 4), (2, 3, 1), (3, 2, 3)]
)
def test_outputs_do_not_depend_on_inputs_past_the_latency_and_do_up_to_it(
    depth: int, chunk: int, lookahead: int
) -> None:
    layer = layer_of("gru", depth, chunk=chunk, lookahead=lookahead)
    x, farthest = x_of(layer, 30, 1), 0
    before, _ = layer(x)
    for s in range(30):
        changed = x.clone()
        changed[s] += 1
        different = (layer(changed)[0] != before).any(-1).squeeze(-1).nonzero().flatten()
        farthest = max(farthest, s - int(different.min()))
    assert farthest == layer.latency
    if lookahead % chunk == 0:
        assert layer.latency == depth * lookahead + chunk - 1


@pytest.mark.parametrize(("name", "engine"), [("lstm", "auto"), ("gru", "eager")])
def test_gradients(name: str, engine: str) -> None:
    layer = layer_of(name, 2, chunk=2, lookahead=1, engine=engine)
    x, lengths = x_of(layer, 6, 3).requires_grad_(), torch.tensor([6, 0, 3])
    names_of = list(dict(layer.named_parameters()))

    def function(x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        state = dict(zip(names_of, parameters, strict=True))
        output, final = torch.func.functional_call(layer, state, (x,), {"lengths": lengths})
        return output, *tuple_of(final)

    assert torch.autograd.gradcheck(function, (x, *layer.parameters()), fast_mode=True)


def test_gradients_flow_through_a_stream() -> None:
    layer = layer_of("lstm", 2)
    x, parameters = x_of(layer, 17, 2), list(layer.parameters())
    whole = torch.autograd.grad(layer(x)[0].pow(2).sum(), parameters)
    parts = torch.autograd.grad(torch.cat(streamed(layer, x, [4, 6, 1])).pow(2).sum(), parameters)
    assert_equal(parts, whole)


def test_padding_of_any_kind_leaves_the_gradient_alone() -> None:
    layer, lengths = layer_of("lstm", 2), torch.tensor([9, 0, 4])
    gradients = []
    for padding in (0.0, math.nan):
        past = (torch.arange(9).unsqueeze(1) >= lengths).unsqueeze(-1)
        x = x_of(layer, 9, 3).masked_fill(past, padding).requires_grad_()
        output, _ = layer(x, lengths=lengths)
        gradients.append(torch.autograd.grad(output.sum(), [x, *layer.parameters()]))
    assert all(one.isfinite().all() for one in gradients[1])
    assert all(one.equal(other) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_masks_go_with_their_sequence_and_timestep(engine: str) -> None:
    """With the same draws, whatever begins at the sequence's end is what the ordinary layer computes."""
    options = {"recurrent_dropout": 0.5, "zoneout": 0.3, "input_dropout": 0.3, "weight_drop": 0.3}
    layer = layer_of("lstm", chunk=4, lookahead=3, engine=engine, **options)
    x, lengths, other = x_of(layer, 22, 3), torch.tensor([22, 9, 13]), ordinary(layer, **options)
    found = []
    for one in (layer, other):
        torch.manual_seed(7)
        found.append(one(x, lengths=lengths)[0])
    output, expected = found
    assert_equal(output[..., :4], expected[..., :4])
    for row, (length, start) in enumerate(zip([22, 9, 13], [16, 4, 8], strict=True)):
        assert_equal(output[start:length, row], expected[start:length, row])


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_zoneout_outside_training(engine: str) -> None:
    layer = layer_of("gru", 2, zoneout=0.3, engine=engine).eval()
    x = x_of(layer, 14, 1)
    assert_equal(layer(x)[0][:, 0], by_hand(layer, x[:, 0]))
    assert_equal(torch.cat(streamed(layer, x, [4, 3])), layer(x)[0])


def test_torchs_kernels_run_it_too() -> None:
    layer = layer_of("lstm", 2, engine="vendor")
    other = layer_of("lstm", 2, engine="eager")
    x, lengths = x_of(layer, 14, 3), torch.tensor([14, 2, 7])  # chunks past an end must not be sequences of length 0
    for options in ({}, {"lengths": lengths}):
        assert_equal(layer(x, **options), other(x, **options))


def test_gates_are_seen_where_they_counted() -> None:
    layer, lengths = layer_of("lstm", 2), torch.tensor([13, 0, 6])
    x = x_of(layer, 13, 3)
    output, _, seen = layer(x, lengths=lengths, observe=True)
    assert seen.layer(1)["a"].equal(output[..., :4])
    assert seen.layer(1, reverse=True)["a"].equal(output[..., 4:])
    gate = seen.layer(0, reverse=True)["forget"]
    assert (gate.shape, bool((gate[6:, 2] == 0).all())) == ((13, 3, 4), True)
    full = layer_of("lstm", 2, lookahead=13)
    _, _, expected = ordinary(full)(x, lengths=lengths, observe=True)
    _, _, found = full(x, lengths=lengths, observe=True)
    for number in range(2):
        assert_equal(dict(found.layer(number, reverse=True))["c"], expected.layer(number, reverse=True)["c"])


def test_other_forms_of_input() -> None:
    layer = layer_of("gru", 2)
    x, lengths = x_of(layer, 13, 3), torch.tensor([13, 4, 6])
    output, final = layer(x, lengths=lengths)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    answer, packed_final = layer(packed)
    assert_equal(torch.nn.utils.rnn.pad_packed_sequence(answer)[0], output)
    assert_equal(packed_final, final)
    alone, _ = layer(x[:, 0])
    assert alone.equal(output[:, 0])
    with layer.packed(), torch.no_grad():
        assert layer(x, lengths=lengths)[0].equal(output)


@pytest.mark.parametrize("engine", ["auto", "eager", "vendor"])
def test_under_autocast(engine: str) -> None:
    skip_without(engine)
    layer = layer_of("lstm", 2, dtype=torch.float32, engine=engine)
    x = x_of(layer, 13, 2)
    with torch.autocast("cpu", torch.bfloat16):
        whole, parts = layer(x)[0], torch.cat(streamed(layer, x, [4, 5]))
    assert whole.dtype == (torch.bfloat16 if engine == "auto" else torch.float32)
    torch.testing.assert_close(parts, whole, rtol=0.02, atol=0.02)
    torch.testing.assert_close(whole.float(), layer(x)[0], rtol=0.05, atol=0.05)


def test_what_does_not_fit_is_told() -> None:
    for chunk, lookahead, message in (
        (0, 1, "chunk=0 must be"),
        (2.0, 1, "chunk=2.0 must be"),
        (2, -1, "lookahead=-1"),
    ):
        with pytest.raises(ValueError, match=message):
            LookaheadBidirectional("lstm", 3, 4, chunk=chunk, lookahead=lookahead)  # type: ignore[arg-type]
    layer = layer_of("lstm")
    x = x_of(layer, 5, 2)
    with pytest.raises(ValueError, match="answers chunk by chunk; use step_chunk"):
        layer.step(x[0])
    with pytest.raises(ValueError, match="a stream needs a batch"):
        layer.step_chunk(x[:, 0])
    _, state = layer.step_chunk(x, lengths=torch.tensor([5, 3]))
    with pytest.raises(ValueError, match=r"sequences \[1\] have ended before"):
        layer.step_chunk(x, state)
    with pytest.raises(ValueError, match="x has 3 sequences, the state 2"):
        layer.step_chunk(x_of(layer, 5, 3), state)
    assert repr(layer).endswith("chunk=3, lookahead=2)")
