"""The recipe's section [model]: which recurrence, how large, how regularised."""

from dataclasses import dataclass

from unrolled.settings import setting

NO_CELL = "none"
"""In the place of a cell's name: every timestep by itself."""

CELL_NAMES = ("rnn", "gru-simplified", "gru", "gru-torch", "lstm", "lstm-peephole", "lstm-peephole-previous")

MOST_LAYERS = 1000
"""A recipe may come from anyone, and every layer takes time to build, however small it is."""

MOST_UNITS = 100_000_000
"""What a layer's shapes can be computed from; the memory ends long before."""

NONLINEARITIES = ("tanh", "relu", "sigmoid", "softplus", "exp")


@dataclass(frozen=True)
class ModelSettings:
    """The model's sizes and regularisation; the drop-out rates are probabilities of dropping.

    >>> ModelSettings(cell="gru", hidden=256).layers
    2
    """

    # no choices here: the command line also takes FILE.py:name, and a run may bring a cell of its own (see recipe.py)
    cell: str = setting("lstm", help=f"the recurrence: {', '.join(CELL_NAMES)}; on the command line also FILE.py:name")
    hidden: int = setting(512, minimum=1, help="hidden units of a layer and direction")
    layers: int = setting(2, minimum=1, maximum=MOST_LAYERS, help="recurrent layers, one above the other")
    bidirectional: bool = setting(False, help="read the sequence from both ends (not for language models)")
    chunk: int = setting(
        0,
        minimum=0,
        help="bidirectional classify and tag: answer in chunks of so many timesteps; 0: the whole sequence",
    )
    lookahead: int = setting(0, minimum=0, help="with chunk: so many timesteps past a chunk's end are seen")
    embedding: int = setting(128, minimum=0, help="size of a symbol's vector; 0: one-hot")
    embedding_scale: float = setting(
        1.0, above=0, help="deviation of the embedding's numbers at the start; less lets rare symbols speak more softly"
    )
    embedding_start: str = setting(
        "random", choices=("random", "ratios"),
        help="classify: ratios, a fifth of a symbol's vector starts as how much it speaks for each class, by counting",
    )  # fmt: skip
    dropout: float = setting(0.0, minimum=0, below=1, help="between layers and on the features before the output")
    input_dropout: float = setting(0.0, minimum=0, below=1, help="on every layer's input, one mask a sequence")
    embedding_dropout: float = setting(0.0, minimum=0, below=1, help="on the embedded symbols")
    symbol_dropout: float = setting(
        0.0, minimum=0, below=1, help="on whole symbols: all that one is, gone for a window"
    )
    recurrent_dropout: float = setting(0.0, minimum=0, below=1, help="on the hidden state, one mask a sequence")
    weight_drop: float = setting(0.0, minimum=0, below=1, help="on the recurrent weights themselves")
    zoneout: float = setting(0.0, minimum=0, below=1, help="probability that a state keeps its previous value")
    tied: bool = setting(False, help="the output layer shares the embedding's weights")
    head_layers: int = setting(
        0, minimum=0, maximum=MOST_LAYERS, help="feed-forward layers on every timestep, above the recurrent ones"
    )
    head_size: int = setting(0, minimum=0, help="units of a feed-forward layer; 0: as hidden")
    residual: bool = setting(False, help="add a layer's input to its output where the sizes allow it")
    initialiser: str = setting(
        "torch", choices=("torch", "xavier", "he", "orthogonal", "identity"), help="how the weights start, by name"
    )
    forget_bias: float | None = setting(None, help='start of the forget gate\'s bias; "none": as the initialiser says')
    chrono: int = setting(
        0, minimum=0, help="gates start so that units remember for 1 to so many timesteps; 0: as the initialiser says"
    )
    initial_state: str = setting("zeros", choices=("zeros", "learned", "random"), help="the state before the sequence")
    softmax: str = setting("full", choices=("full", "adaptive"), help="adaptive: rare symbols in cheaper clusters")
    cutoffs: tuple[int, ...] = setting((), minimum=1, help="ids where the adaptive softmax's clusters end, rising")
    characters: int = setting(0, minimum=0, help="word level: size of the character encoding joined to the embedding")
    nonlinearity: str = setting("tanh", choices=NONLINEARITIES, help="the activation of cell rnn")
    predicts: str = setting(
        "class",
        choices=("class", "stars", "number"),
        help="classify: a class, stars (classes in an order), or a number",
    )
    pooling: str = setting(
        "last", choices=("last", "mean", "max", "attention"), help="classify: how a sequence becomes one vector"
    )
    class_weights: str = setting(
        "none", choices=("none", "balanced"), help="classify: balanced, mistakes in rare classes cost more"
    )
    crf: bool = setting(True, help="tag: neighbouring labels are scored together (linear-chain CRF), not each alone")
    attention: str = setting(
        "additive",
        choices=("additive", "dot", "bilinear", "none"),
        help="translate: how the decoder looks at the source; none: all it knows is the encoder's final state",
    )
    input_feeding: bool = setting(False, help="translate: what attention found enters the next timestep too; slower")
    scheduled_sampling: float = setting(
        0.0, minimum=0, below=1, help="translate: how often training reads the model's own draw for the true symbol"
    )
    condition: str = setting(
        "input", choices=("input", "state"), help="generate: the class is the first input, or makes the initial state"
    )
    label_smoothing: float = setting(0.0, minimum=0, below=1, help="share of the probability kept for other labels")
    engine: str = setting(
        "auto", choices=("auto", "compiled", "eager", "vendor"), help="what runs the recurrence; auto: the fastest here"
    )

    def problems(self) -> list[str]:
        """Sizes that no machine has memory for, one message each; empty when there is none."""
        sizes = {name: getattr(self, name) for name in ("hidden", "embedding", "characters", "head_size")}
        return [
            f"model.{name} = {size} is too large; use at most {MOST_UNITS:,}"
            for name, size in sizes.items()
            if size > MOST_UNITS
        ]
