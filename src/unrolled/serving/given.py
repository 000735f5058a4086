"""What models are given: texts, tokens and frames of requests, checked, and as the numbers that rows read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unrolled.data.examples import part_of
from unrolled.data.labelled import Example
from unrolled.data.vocabulary import BOS
from unrolled.errors import UserError
from unrolled.serving.limits import Limits
from unrolled.serving.loaded import Loaded, Rows, unstacked
from unrolled.serving.refusals import Refused, wrong


def sequence_of(loaded: Loaded, x: Any, limits: Limits) -> Any:
    """An input as the run takes it: a text, a tuple of tokens, or frames (T, D)."""
    check_length(len(x), limits)
    if isinstance(x, str):
        check_encodable(x)
        return x
    if x and isinstance(x[0], str):
        if loaded.task != "tag":
            raise wrong(f"{loaded.name} reads texts: give strings, not lists of tokens")
        for token in x:
            check_encodable(token)
            if not token.strip():
                raise wrong("a token is empty: leave it out")
        return tuple(x)
    if not x:
        raise wrong("a sequence is empty: there is nothing to read")
    if loaded.task not in ("classify", "tag"):
        raise wrong(f"{loaded.name} reads texts: give strings, not frames")
    widths = {len(frame) for frame in x}
    if len(widths) > 1 or widths == {0}:
        raise wrong(
            f"the frames of a sequence have {', '.join(map(str, sorted(widths)))} numbers: they must all have as many"
        )
    frames = np.array(x, dtype=np.float64)
    if np.abs(frames).max() > np.finfo(np.float32).max:
        raise wrong("a frame holds a number that is too large")
    return frames.astype(np.float32)


def check_length(symbols: int, limits: Limits) -> None:
    """Refuse what is too long."""
    if symbols > limits.symbols:
        raise Refused(413, f"a sequence of {symbols:,} symbols: at most {limits.symbols:,} are read; send a stream")


def check_encodable(text: str) -> None:
    """JSON can carry half of a surrogate pair, which is no character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise wrong("a text holds half of a surrogate pair (\\ud800 to \\udfff): that is no character") from None


def start_of(loaded: Loaded, label: str | None) -> tuple[int, Rows]:
    """The first symbol that is read, and the state before it."""
    run: Any = loaded.run
    if loaded.task == "generate":
        try:
            wanted = run.label_id(label)
        except UserError as error:
            raise wrong(str(error)) from None
        if wanted is None and run.classes:
            raise wrong(f"{loaded.name} has classes: say which one with label; {', '.join(run.classes)}")
        with torch.no_grad():
            ids = None if wanted is None else torch.tensor([wanted], device=run.device)
            first, state = run.model.begin(1, ids)
            return int(first[0]), loaded.begin_state() if state is None else unstacked(state, 1)[0]
    if label is not None:
        raise wrong(f"{loaded.name} is of the task {loaded.task}: label is for generators and classifiers")
    with torch.no_grad():
        return BOS, loaded.begin_state()


def prefix_of(loaded: Loaded, text: str, label: str | None) -> tuple[list[int], list[list[int]] | None, Rows]:
    """What is read of a prefix: symbols, their spellings, and the state before them."""
    start, state = start_of(loaded, label)
    symbols = [start, *loaded.vocabulary.encode(text)]
    return symbols, spellings_of(loaded, text, len(symbols)), state


def spellings_of(loaded: Loaded, text: str, count: int) -> list[list[int]] | None:
    if not loaded.run.recipe.model.characters:
        return None
    words = ["\n", *loaded.vocabulary.split(text)]  # <bos> is not spelt
    return [loaded.vocabulary.spell(word) for word in words[:count]]


def length_of(loaded: Loaded, x: Any) -> int:
    """The timesteps of a sequence; of words and BPE pieces an estimate, since cutting a text is work for a lane."""
    level = "word" if loaded.task == "tag" else getattr(loaded.inputs, "level", "")
    if not isinstance(x, str) or level == "character":
        return len(x)
    return len(x.encode()) if level == "byte" else len(x.split()) + len(x) // 8


def example_of(loaded: Loaded, x: Any) -> tuple[NDArray[Any], NDArray[np.int64] | None, list[str]]:
    """What an encoder reads of a sequence: ids or frames, spellings, and the timesteps as people see them."""
    run: Any = loaded.run
    try:
        example = run._example(x, 1) if loaded.task == "tag" else Example(x, None, 1)
        spell = run.recipe.model.characters > 0
        part = part_of("the sequence given", [example], run.symbols.inputs, lambda _: 0, spell=spell)
    except UserError as error:
        raise wrong(str(error)) from None
    inputs = part.inputs[0]
    if isinstance(example.x, np.ndarray):
        shown = [""] * len(inputs)
    elif isinstance(example.x, tuple):
        shown = list(example.x)
    else:
        shown = [run.symbols.inputs.symbol(id) for id in inputs.tolist()]
    return inputs, None if part.spellings is None else part.spellings[0], shown
