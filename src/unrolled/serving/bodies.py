"""What requests and answers hold. FastAPI makes the OpenAPI description of these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field, model_validator


class FailFast(pydantic.FailFast):
    """Refuse a list at its first wrong element: a million of them would be a million errors, and seconds of work."""

    def __hash__(self) -> int:  # parts of a union must have one
        return hash(FailFast)


Tokens = Annotated[list[str], FailFast()]
Frames = Annotated[list[Annotated[list[float], FailFast()]], FailFast()]
Input = str | Tokens | Frames
"""A text, the tokens of one, or frames (T, D)."""

Inputs = Annotated[list[Input], FailFast()]
Texts = Annotated[Tokens, Field(min_length=1, description="The texts, each answered as if it came alone.")]
Top = Annotated[int, Field(ge=0, le=100, description="How many of the most probable symbols to name.")]


KEYS = 50
"""Keys of a request, at most: each that is not known would be an error of its own."""


class Body(BaseModel):
    """A request; a key that it does not know is a mistake, not ignored."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _of_few_keys(cls, data: Any) -> Any:
        if isinstance(data, dict) and len(data) > KEYS:
            raise ValueError(f"a request has {len(data):,} keys, which no request needs")
        return data


# -- requests


class PredictBody(Body):
    """Sequences to classify or to tag; of translators to translate."""

    inputs: Inputs = Field(min_length=1, description="Texts, lists of tokens, or frames (T, D) of numbers.")


class ScoreBody(Body):
    """How probable sequences are; which other keys a model takes depends on its task."""

    inputs: Inputs = Field(min_length=1)
    label: str | None = Field(None, description="classify: the class asked about; generate: the class given.")
    labels: Annotated[list[Tokens], FailFast()] | None = Field(
        None, description="tag: a label for each timestep of each input."
    )
    source: str | None = Field(None, description="translate: the source that the inputs translate.")
    symbols: bool = Field(True, description="Also the log-probability of each symbol.")


class NextBody(Body):
    """What may come after prefixes."""

    prefixes: Tokens = Field(min_length=1)
    top: Top = 10
    label: str | None = Field(None, description="generate: the class.")


class SampleBody(Body):
    """How novel sequences are drawn; see `unrolled sample --help`."""

    prefix: str = ""
    count: int = Field(1, ge=1, description="How many; number i is what the seed + i alone draws.")
    length: int = Field(500, ge=1, description="At most so many symbols each.")
    seed: int | None = Field(None, ge=0, lt=2**62, description="The same seed draws the same; null draws anew.")
    temperature: float = Field(1.0, ge=0, le=100)
    top_k: int = Field(0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    min_p: float = Field(0.0, ge=0, le=1)
    repetition: float = Field(1.0, ge=1, le=100)
    label: str | None = Field(None, description="generate: the class; null draws one.")
    stream: bool = Field(False, description="Answer with server-sent events, a symbol each, as they are drawn.")
    alternatives: Top = 0


class TranslateBody(Body):
    """Texts to translate, and how to search; what is left out is as in the run's recipe."""

    texts: Texts
    beam: int | None = Field(None, ge=1, le=64)
    alpha: float | None = Field(None, ge=0, le=10, description="The exponent of length normalisation.")
    coverage: float | None = Field(None, ge=0, le=10)
    block_repeats: int | None = Field(None, ge=0, le=100)
    best: int = Field(1, ge=1, le=64, description="How many answers, at most the beam's width.")
    attention: bool = Field(False, description="Also where each symbol of the best answer looked.")
    tree: bool = Field(False, description="Also the search itself, hypothesis by hypothesis; of one text a request.")


class GatesBody(Body):
    """A sequence to watch the model read."""

    input: Input
    label: str | None = Field(None, description="generate: the class.")


class OpenBody(Body):
    """A stream to open."""

    held: Literal["server", "client"] = Field(
        "server", description="Where its state lives: here, under an id, or in a signed token that travels with you."
    )
    label: str | None = Field(None, description="generate: the class.")
    top: Top = 5


class AppendBody(Body):
    """What comes next in a stream: a text, tokens, or frames; perhaps nothing."""

    append: Input = ""
    top: Top = 5
    gates: bool = Field(False, description="Also every gate and state of these timesteps.")
    end: bool = Field(False, description="The sequence is complete: answer what still waits, and close the stream.")


class AppendTokenBody(AppendBody):
    """The same for a stream whose state travels with the client."""

    token: str = Field(description="What the answer before gave. Any older one goes on from where it was given.")


# -- answers


class Problem(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="What was wrong and what to do, in words.")


class Model(BaseModel):
    """A model that is served, in short."""

    name: str
    task: str
    verbs: list[str] = Field(description="What can be asked of it.")
    streams: bool
    why_no_streams: str | None = None
    generation: int = Field(description="1, and one more for each time that its run was replaced on disk.")
    fingerprint: str = Field(description="Of its weights.")
    stale: str | None = Field(None, description="Why what now lies on disk could not be loaded in its place.")


class ModelCard(Model):
    """The same with what a page or a client needs to know."""

    cell: str
    hidden: int
    layers: int
    bidirectional: bool
    parameters: int
    level: str | None = Field(None, description="What a symbol is: character, byte, word, bpe; null for frames.")
    symbols: int | None = None
    frame: int | None = Field(None, description="Numbers in a frame, where the model reads frames.")
    labels: list[str] = Field(default=[], description="Classes or tags.")
    gates: list[str] = []
    states: list[str] = []
    attention: bool = False
    latency: int = Field(0, description="Streams: how many timesteps an answer may wait for those that follow.")
    metrics: dict[str, Any] = {}


class Models(BaseModel):
    """All that are served."""

    models: list[Model]


class Candidate(BaseModel):
    """A symbol that may come."""

    symbol: str
    shown: str
    probability: float


class Span(BaseModel):
    """A span that was found: tokens first to last (exclusive)."""

    text: str
    type: str
    first: int
    last: int
    probability: float


class Prediction(BaseModel):
    """Of a classifier a label, of a tagger labels, of a translator a text."""

    label: str | None = None
    probabilities: dict[str, float] | None = None
    value: float | None = None
    tokens: list[str] | None = None
    labels: list[str] | None = None
    label_probabilities: list[float] | None = None
    spans: list[Span] | None = None
    text: str | None = None
    log_probability: float | None = None


class Predictions(BaseModel):
    """In the order of the inputs."""

    answers: list[Prediction]


class SymbolScore(BaseModel):
    """A symbol of a scored text, and its natural log-probability."""

    symbol: str
    shown: str
    log_probability: float


class Score(BaseModel):
    """How probable a sequence is."""

    log_probability: float
    perplexity: float | None = None
    unknown: int
    symbols: list[SymbolScore] | None = None


class Scores(BaseModel):
    """In the order of the inputs."""

    answers: list[Score]


class NextAnswers(BaseModel):
    """In the order of the prefixes."""

    answers: list[list[Candidate]]


class Samples(BaseModel):
    """Whole texts, prefix included."""

    texts: list[str]
    seed: int


class Hypothesis(BaseModel):
    """One answer of a search."""

    text: str
    log_probability: float
    score: float


class AttentionMap(BaseModel):
    """Where each symbol of an answer looked."""

    source: list[str]
    target: list[str]
    weights: list[list[float]] = Field(description="(target, source), each row 1 in sum.")


class Node(BaseModel):
    """A hypothesis at one step of a search: a symbol after those of its parents."""

    number: int
    parent: int | None = Field(
        None, description="The number of the hypothesis that it continues; the root, 0, has none."
    )
    step: int
    symbol: str
    log_probability: float
    score: float = Field(description="What it was ranked by.")
    rank: int = Field(description="Its place among the hypotheses of its step; the best is 0.")
    fate: str = Field(description="continued, finished, cut, pruned or stopped.")


class Tree(BaseModel):
    """A beam search: every hypothesis, step by step, the root first."""

    answer: int = Field(description="The number of the hypothesis that won.")
    nodes: list[Node]


class Translation(BaseModel):
    """The best answers, best first."""

    candidates: list[Hypothesis]
    attention: AttentionMap | None = None
    tree: Tree | None = None


class Translations(BaseModel):
    """In the order of the texts."""

    answers: list[Translation]


class Gates(BaseModel):
    """Every gate and state of a sequence."""

    symbols: list[str]
    cell: str
    layers: list[dict[str, Any]]


class Step(BaseModel):
    """What a stream says of one timestep."""

    symbol: str
    shown: str
    log_probability: float | None = Field(None, description="Of this symbol, given those before it.")
    entropy: float | None = Field(None, description="How unsure the model was before it, in bits.")
    next: list[Candidate] | None = Field(None, description="What may follow it.")
    label: str | None = Field(None, description="tag: its label; classify: the class after it.")
    probabilities: dict[str, float] | None = None
    value: float | None = None


class Opened(BaseModel):
    """A stream, and what is known before it begins."""

    id: str | None = None
    token: str | None = None
    expires_after_s: float = Field(description="So many seconds without an append, and it is gone.")
    next: list[Candidate] | None = None


class Appended(BaseModel):
    """The outputs of the timesteps that were appended, or, with look-ahead, of those that could now be answered."""

    position: int = Field(description="Timesteps read so far.")
    answered: int = Field(description="Timesteps answered so far.")
    steps: list[Step]
    log_probability: float | None = Field(None, description="Of all that was read.")
    gates: list[dict[str, Any]] | None = Field(None, description="Layer by layer: values by name, (T, H).")
    token: str | None = None
    ended: bool = False
