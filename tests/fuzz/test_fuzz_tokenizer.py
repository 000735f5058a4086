"""Random vocabularies and tokenizers: loaded or refused in one line, and what is loaded encodes every text."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unrolled.data import subwords
from unrolled.data.vocabulary import Vocabulary
from unrolled.errors import UserError

pytestmark = pytest.mark.fuzz
BPE = subwords.trained(["the cat sat on the mat, the hat  \n and that was that\n don't " * 20], 280)
WHOLE = {
    level: Vocabulary.from_counts({"a": 3, "b": 2, " ": 1}, level=level, tokenizer=BPE if level == "bpe" else "")
    for level in ("character", "word", "byte", "bpe")
}
FOREIGN = [
    {"type": "Split", "pattern": {"Regex": "(a|aa)+$"}, "behavior": "Isolated", "invert": False},
    {"type": "Sequence", "pretokenizers": []}, {"type": "Whitespace"}, {"type": "Metaspace"}, {"type": "Replace"},
    {"type": "BertProcessing", "sep": ["a", 1], "cls": ["b", 2]}, {"strategy": {"Fixed": 10**9}, "pad_id": 0},
    {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 5},
    [["a", "b"]], [["", ""]], ["a b c"],
]  # fmt: skip
VALUES = st.sampled_from(FOREIGN) | st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
TEXTS = st.text(max_size=40) | st.sampled_from(["a" * 60 + "!", " " * 300, "the cat\n\n", "\x00\u200d\U0001f600" * 20])


def places_in(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a JSON value; of long lists and objects a few."""
    found = [place] if place else []
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    for key, inner in items[:12] + items[12:][-3:]:
        found += places_in(inner, (*place, key))
    return found


def changed(draw: st.DrawFn, value: Any) -> Any:
    """The same with one or two places gone, replaced or added to."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 2))):
        *path, last = draw(st.sampled_from(places_in(value)))
        part = value
        for key in path:
            part = part[key]
        kind = draw(st.sampled_from(["replace", "remove", "add"]))
        if kind == "remove":
            del part[last]
        elif kind == "add" and isinstance(part, dict):
            part[draw(st.text(max_size=3))] = copy.deepcopy(draw(VALUES))
        else:
            part[last] = copy.deepcopy(draw(VALUES))
        if not places_in(value):
            break
    return value


@st.composite
def vocabularies(draw: st.DrawFn) -> str:
    """The text of a vocabulary.json, spoiled somewhere."""
    written = {"version": 1, **vars(WHOLE[draw(st.sampled_from(list(WHOLE)))])}
    written = {
        key: value for key, value in written.items() if key in Vocabulary.__dataclass_fields__ or key == "version"
    }
    written["symbols"] = list(written["symbols"])
    if written["tokenizer"] and draw(st.booleans()):
        written["tokenizer"] = json.dumps(changed(draw, json.loads(written["tokenizer"])))
    else:
        written = changed(draw, written)
    text = json.dumps(written)
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


def loaded(path: Path) -> tuple[Vocabulary | None, str]:
    """A vocabulary, or why it is refused."""
    try:
        return Vocabulary.load(path), ""
    except UserError as error:
        return None, str(error)


@given(written=vocabularies(), text=TEXTS)
def test_a_vocabulary_is_whole_or_refused_in_one_line(
    written: str, text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "fuzzed-vocabulary.json"
    path.write_text(written, encoding="utf-8", errors="surrogatepass")
    vocabulary, refusal = loaded(path)
    if vocabulary is None:
        assert "fuzzed-vocabulary.json" in refusal
        assert "\n" not in refusal
        assert len(refusal) < 600
        return
    try:
        ids = vocabulary.encode(text)
    except UserError:
        return  # half of a surrogate pair
    assert all(0 <= id < len(vocabulary) for id in ids)
    if vocabulary.level in ("byte", "bpe") and not vocabulary.lowercase and not vocabulary.unknown:
        assert vocabulary.decode(ids) == text
    vocabulary.decode(range(len(vocabulary))).encode()


@given(
    content=st.binary(max_size=60) | st.sampled_from([b"[" * 10**5, b'{"a":' * 10**5, b"\xff\xfe", b"null", b"1e999"])
)
def test_any_bytes_are_refused_in_one_line(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "fuzzed-vocabulary.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"fuzzed-vocabulary\.json") as caught:
        Vocabulary.load(path)
    assert "\n" not in str(caught.value)


@given(text=TEXTS)
def test_any_string_is_no_tokenizer(text: str) -> None:
    with pytest.raises(subwords.UnknownTokenizer):
        subwords.tokens(text)


@given(text=TEXTS, merges=st.lists(st.tuples(st.sampled_from("aĠthe"), st.sampled_from("aĠthe")), max_size=8))
def test_any_merges_of_known_tokens_lose_nothing(text: str, merges: list[tuple[str, str]]) -> None:
    tokenizer = json.loads(BPE)
    tokens = sorted(subwords._byte_of_character())
    tokens += sorted({left + right for left, right in merges})
    tokenizer["model"]["vocab"] = {token: id for id, token in enumerate(dict.fromkeys(tokens))}
    tokenizer["model"]["merges"] = merges
    encoded = subwords.loaded(json.dumps(tokenizer)).encode(text, add_special_tokens=False).tokens
    assert b"".join(map(subwords.token_bytes, encoded)) == text.encode()
