"""A tokenizer's JSON may come from anybody: only its tokens and merges are used."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from unrolled.data import subwords
from unrolled.data.subwords import UnknownTokenizer
from unrolled.data.vocabulary import Vocabulary
from unrolled.errors import UserError

BPE = subwords.trained(["the cat sat on the mat, the hat  \n and that was that\n don't " * 20], 300)
FOREIGN = {"type": "Split", "pattern": {"Regex": "(a|aa)+$"}, "behavior": "Isolated", "invert": False}
TRUNCATION = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 5}
PADDING = {"strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
           "pad_type_id": 0, "pad_token": "a"}  # fmt: skip
ADDED = {"id": 300, "content": "the", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}  # fmt: skip
REPLACE = {"type": "Replace", "pattern": {"Regex": "(a|aa)+$"}, "content": ""}


@given(st.text(max_size=80) | st.text("the cat\n don'…é ", max_size=80))
def test_a_rebuilt_tokenizer_encodes_as_the_one_that_was_written(text):
    assert subwords.loaded(BPE).encode(text).tokens == Tokenizer.from_str(BPE).encode(text).tokens


def test_merges_may_be_spelled_as_older_releases_did():
    tokenizer = json.loads(BPE)
    tokenizer["model"]["merges"] = [" ".join(pair) for pair in tokenizer["model"]["merges"]]
    del tokenizer["model"]["ignore_merges"]
    text = "the cat sat on that mat"
    assert subwords.loaded(json.dumps(tokenizer)).encode(text).ids == subwords.loaded(BPE).encode(text).ids


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("truncation", TRUNCATION, "'truncation'"),
        ("padding", PADDING, "'padding'"),
        ("added_tokens", [ADDED], "'added_tokens'"),
        ("normalizer", REPLACE, "'normalizer' is \"Replace\""),
        ("normalizer", {"type": "NFC"}, "'normalizer' is \"NFC\""),
        ("pre_tokenizer", FOREIGN, "'pre_tokenizer.type' is \"Split\""),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [FOREIGN]}, "'pre_tokenizer.type' is \"Sequence\""),
        ("pre_tokenizer", None, "'pre_tokenizer' is null"),
        ("pre_tokenizer.use_regex", False, "'pre_tokenizer.use_regex' is false"),
        ("pre_tokenizer.add_prefix_space", 1, "'pre_tokenizer.add_prefix_space' is 1"),
        ("post_processor", {"type": "ByteLevel"}, "'post_processor'"),
        ("decoder", REPLACE, "'decoder.type' is \"Replace\""),
        ("model", [], "object with a model"),
        ("model.type", "Unigram", "'model.type' is \"Unigram\""),
        ("model.dropout", 0.5, "'model.dropout' is 0.5"),
        ("model.unk_token", "a", "'model.unk_token' is \"a\""),
        ("model.end_of_word_suffix", "x" * 10**6, "'model.end_of_word_suffix'"),
        ("model.anything", None, "'model.anything' is null"),
        ("model.vocab", None, "numbered from 0"),
        ("model.vocab", {"a": 0}, "256 bytes are missing"),
        ("model.vocab.a", 10**9, "numbered from 0"),
        ("model.vocab.a", 0, "numbered from 0"),
        ("model.vocab.a", True, "numbered from 0"),
        ("model.vocab.€", 300, "'€' is not byte-level"),
        ("model.vocab.", 300, "'' is not byte-level"),
        ("model.merges", None, "merges are not a list"),
        ("model.merges", [["a"]], "merge 0 is not a pair"),
        ("model.merges", [["a", 1]], "merge 0 is not a pair"),
        ("model.merges", [["a", "b"], ["q", "q"]], "merge 0 is of tokens"),
        ("version", "2.0", "'version' is \"2.0\""),
    ],
)  # fmt: skip
def test_what_is_not_known_is_named(key: str, value: Any, words: str, tmp_path) -> None:
    tokenizer = json.loads(BPE)
    *places, last = key.split(".")
    part = tokenizer
    for place in places:
        part = part[place]
    if key.endswith(("€", "vocab.")):
        value = len(part)
    part[last] = value
    with pytest.raises(UnknownTokenizer) as caught:
        subwords.loaded(json.dumps(tokenizer))
    assert words in str(caught.value)
    assert len(str(caught.value)) < 200
    path = tmp_path / "vocabulary.json"
    Vocabulary.from_counts({}, level="bpe", tokenizer=BPE).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer": json.dumps(tokenizer)}))
    with pytest.raises(UserError, match=r"vocabulary\.json is not a whole vocabulary: the tokenizer"):
        Vocabulary.load(path)


@pytest.mark.parametrize("written", ["", "null", "[]", "{}", "[" * 100_000, '{"model": {}}', '{"model": 1e999}'])
def test_what_is_no_tokenizer_is_said(written):
    with pytest.raises(UnknownTokenizer, match="the tokenizer"):
        subwords.loaded(written)


def test_a_panic_of_the_library_is_an_error_that_can_be_answered():
    tokenizer = Tokenizer.from_str(BPE)
    tokenizer.enable_truncation(2, stride=0)
    broken = json.loads(tokenizer.to_str())
    broken["truncation"] = TRUNCATION
    panicking = Tokenizer.from_str(json.dumps(broken))
    with pytest.raises(UserError, match="gave up on this text"), subwords.guarded():
        panicking.encode("the cat sat on the mat")
    for error in (KeyboardInterrupt, SystemExit, ValueError):
        with pytest.raises(error), subwords.guarded():
            raise error
