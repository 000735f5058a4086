"""Layers for PyTorch: tensors come in time first, outputs and states go out; the state is a value, never kept inside.

`Recurrent` runs any cell; `RNN`, `GRU` and `LSTM` are torch.nn's, and more. Around them: inputs (embedding, one-hot,
words with their characters), feed-forward layers on every timestep, and output layers.
"""

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
from unrolled.nn.torch_layers import GRU, LSTM, RNN
from unrolled.recurrence.engines import Engine

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
    "LinearChainCRF",
    "LookaheadBidirectional",
    "Pooling",
    "Recurrent",
    "Seen",
    "Softmax",
    "SymbolInput",
    "WordCharacterInput",
    "convert",
]
