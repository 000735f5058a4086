"""Layers for PyTorch: tensors come in time first, outputs and states go out; the state is a value, never kept inside.

`Recurrent` runs any cell; `RNN`, `GRU`, `LSTM` and their cells of one timestep are torch.nn's, and more. Around them:
inputs (embedding, one-hot, words with their characters), feed-forward layers on every timestep, and output layers.
"""

import torch

from unrolled.cells import cell_named
from unrolled.errors import ShapeError
from unrolled.nn.attention import Attention, AttentionKeys
from unrolled.nn.convert import convert
from unrolled.nn.crf import LinearChainCRF
from unrolled.nn.feedforward import FeedForward
from unrolled.nn.inputs import FrameInput, SymbolInput, WordCharacterInput
from unrolled.nn.lookahead import LookaheadBidirectional
from unrolled.nn.outputs import AdaptiveSoftmax, Softmax
from unrolled.nn.pooling import Pooling
from unrolled.nn.recurrent import Recurrent
from unrolled.nn.seen import Seen
from unrolled.nn.torch_cells import GRUCell, LSTMCell, RNNCell
from unrolled.nn.torch_layers import GRU, LSTM, RNN
from unrolled.recurrence.engines import Engine
from unrolled.recurrence.program import cell_from_json

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AdaptiveSoftmax",
    "Attention",
    "AttentionKeys",
    "Engine",
    "FeedForward",
    "FrameInput",
    "GRUCell",
    "LSTMCell",
    "LinearChainCRF",
    "LookaheadBidirectional",
    "Pooling",
    "RNNCell",
    "Recurrent",
    "Seen",
    "ShapeError",
    "Softmax",
    "SymbolInput",
    "WordCharacterInput",
    "convert",
]

# A whole layer that was saved with torch.save is read by torch.load as it is, without weights_only=False: a cell comes
# from its name or its program, and neither runs code of the file.
torch.serialization.add_safe_globals(
    [Recurrent, RNN, GRU, LSTM, RNNCell, GRUCell, LSTMCell, LookaheadBidirectional, cell_named, cell_from_json]
)
