import doctest
import importlib
import json
import pkgutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import unrolled.data
from unrolled.data import subwords
from unrolled.data.encoding import Scheme, encode_text
from unrolled.data.vocabulary import BOS, EOS, PAD, SPECIALS, UNK, Vocabulary
from unrolled.errors import UserError

BPE = subwords.trained(["the cat sat on the mat, the hat  \n and that was that\n don't " * 20], 300)
texts = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("ab ,'.\n\r\t ")), max_size=60)
BYTES = Vocabulary.from_counts({"a": 3}, level="byte")
SUBWORDS = Vocabulary.from_counts({"Ġthe": 3}, level="bpe", tokenizer=BPE)
WORDS = Vocabulary.from_counts({"to": 2, "be": 2, "not": 1, "<unk>": 1}, level="word", words="whitespace")


@pytest.mark.parametrize("module", [module.name for module in pkgutil.iter_modules(unrolled.data.__path__)])
def test_the_examples_in_the_docstrings(module):
    assert doctest.testmod(importlib.import_module(f"unrolled.data.{module}")).failed == 0


@given(texts)
def test_decoding_undoes_encoding(text):
    characters = Vocabulary.from_counts(dict.fromkeys(text, 1), level="character")
    for vocabulary in (characters, BYTES, SUBWORDS):
        assert vocabulary.decode(vocabulary.encode(text)) == text


@given(st.lists(st.lists(st.sampled_from(["to", "be", "not"]), max_size=4).map(" ".join)).map("\n".join))
def test_known_words_come_back_with_their_lines(text):
    assert WORDS.decode(WORDS.encode(text)) == text


@given(texts)
def test_a_text_in_memory_and_a_file_give_the_same_ids(text):
    for vocabulary, level in ((BYTES, "byte"), (SUBWORDS, "bpe"), (WORDS, "word")):
        if text:
            tokenizer = BPE if level == "bpe" else ""
            encoded = encode_text(text, Scheme(level, words=vocabulary.words, tokenizer=tokenizer))
            ids = vocabulary.table_for(encoded.lexicon)[encoded.surfaces].tolist()
            last_line = [EOS] if level == "word" and not text.endswith("\n") else []
            assert vocabulary.encode(text) + last_line == ids


def test_order_is_falling_frequency_then_the_alphabet():
    counts = {"d": 1, "c": 2, "b": 2, "a": 3}
    assert Vocabulary.from_counts(counts, level="character").symbols == (*SPECIALS, "a", "b", "c", "d")
    assert Vocabulary.from_counts(counts, level="character", size=2).symbols[4:] == ("a", "b")
    assert Vocabulary.from_counts(counts, level="character", min_count=2).symbols[4:] == ("a", "b", "c")
    assert (SPECIALS[PAD], SPECIALS[UNK], SPECIALS[BOS], SPECIALS[EOS]) == ("<pad>", "<unk>", "<bos>", "<eos>")


def test_bytes_and_bpe_are_complete():
    assert len(BYTES) == 4 + 256
    assert BYTES.symbols[4] == "a"
    assert len(SUBWORDS) == 4 + len(subwords.tokens(BPE)) > 4 + 256
    assert SUBWORDS.symbols[4] == "Ġthe"


def test_the_users_own_unknown_is_unknown_and_nothing_else_is_special():
    assert WORDS.encode("<unk> <eos> what") == [WORDS.ids["<unk>"], UNK, UNK]
    assert WORDS.ids["<unk>"] >= 4
    own = Vocabulary.from_counts({"to": 2, "<unk>": 3}, level="word", words="whitespace", unknown="<unk>")
    assert own.symbols[4:] == ("to",)
    assert own.encode("to <unk> x") == [4, UNK, UNK]
    assert own.decode([4, UNK]) == "to <unk>"
    assert own.table_for(["\n", "<unk>", "to", "x"]).tolist() == [EOS, UNK, 4, UNK]


def test_lower_case_applies_to_every_text():
    vocabulary = Vocabulary.from_counts({"to": 1}, level="word", lowercase=True)
    assert vocabulary.encode("TO To") == [4, 4]


def test_decoding_skips_padding_and_shows_the_unknown():
    characters = Vocabulary.from_counts({"a": 1}, level="character")
    assert characters.decode([BOS, 4, UNK, EOS, PAD]) == "a�"
    assert BYTES.decode([BOS, 4, UNK, EOS]) == "a�"
    assert WORDS.decode(np.array([BOS, WORDS.ids["to"], UNK, EOS, WORDS.ids["be"]])) == "to <unk>\nbe"


def test_symbols_are_printable():
    characters = Vocabulary.from_counts({"\n": 4, " ": 3, "\x00": 2, "é": 1}, level="character")
    assert [characters.symbol(id) for id in range(8)] == [*SPECIALS, "\\n", "␣", "\\x00", "é"]
    assert BYTES.symbol(BYTES.ids["\xe9"]) == "0xE9"
    assert SUBWORDS.symbol(4) == "␣the"
    assert [characters.text(id) for id in range(8)] == [*SPECIALS, "\n", " ", "\x00", "é"]
    assert BYTES.text(BYTES.ids["\xe9"]) == "0xE9"
    assert SUBWORDS.text(4) == " the"


def test_spellings_tell_words_apart_that_the_vocabulary_does_not_know():
    vocabulary = Vocabulary.from_counts({"cab": 2, "zoo": 1}, level="word", size=1)
    assert vocabulary.alphabet == "abcoz"
    assert vocabulary.spelling_size == 7
    assert vocabulary.spell("bo!") == [3, 5, 1] + [0] * 13
    long = "abcabcabca" + "ooooo" + "zzzzzc"
    assert vocabulary.spell(long) == [2, 3, 4, 2, 3, 4, 2, 3, 4, 2] + [6] * 5 + [4]
    table = vocabulary.spellings_for(["\n", "bo!", long])
    assert table.tolist() == [vocabulary.spell("\n"), vocabulary.spell("bo!"), vocabulary.spell(long)]
    assert vocabulary.spell("\n") == [0] * 16


@pytest.mark.parametrize("vocabulary", [BYTES, SUBWORDS, WORDS], ids=["byte", "bpe", "word"])
def test_saving_and_loading(vocabulary, tmp_path):
    path = tmp_path / "vocabulary.json"
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary


@given(symbols=st.sets(st.characters(codec="utf-8"), min_size=1))
def test_any_character_survives_saving(symbols, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.json"
    vocabulary = Vocabulary.from_counts(dict.fromkeys(symbols, 1), level="character")
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "no JSON object of version 1"),
        ({"symbols": None}, '"symbols" is missing or of the wrong kind'),
        ({"lowercase": 1}, '"lowercase" is missing or of the wrong kind'),
        ({"level": "letters"}, '"level" or "words" is none that is known'),
        ({"symbols": ["a"]}, '"symbols" must be strings that begin with <pad>'),
        ({"symbols": [*SPECIALS, 1]}, '"symbols" must be strings'),
        ({"symbols": [*SPECIALS, "a", "a"]}, '"symbols" repeats a symbol'),
        ({"level": "byte"}, '"symbols" are not the 256 bytes'),
        ({"level": "bpe"}, "the tokenizer is not JSON"),
        ({"symbols": [*SPECIALS, "ab"], "level": "character"}, '"symbols" must be single characters'),
        ({"symbols": [*SPECIALS, "\ud800"]}, "half of a surrogate pair"),
        ({"alphabet": "aba"}, '"alphabet" repeats a character'),
        ({"level": "bpe", "tokenizer": BPE}, '"tokenizer" is not the one of these symbols'),
    ],
)
def test_a_broken_file_is_named(change, message, tmp_path):
    path = tmp_path / "vocabulary.json"
    WORDS.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=r"vocabulary\.json is not a whole vocabulary") as caught:
        Vocabulary.load(path)
    assert message in str(caught.value)


def test_other_messages(tmp_path):
    with pytest.raises(UserError, match=r"none\.json is missing; "):
        Vocabulary.load(tmp_path / "none.json")
    (tmp_path / "half.json").write_text('{"version": 1,')
    with pytest.raises(UserError, match=r"half\.json is not JSON"):
        Vocabulary.load(tmp_path / "half.json")
    (tmp_path / "deep.json").write_text('{"version": ' + "[" * 100_000 + "]" * 100_000 + "}")
    with pytest.raises(UserError, match=r"deep\.json is "):
        Vocabulary.load(tmp_path / "deep.json")
    for vocabulary in (BYTES, SUBWORDS, WORDS):
        with pytest.raises(UserError, match="not valid Unicode at character 3"):
            vocabulary.encode("ab\udcff")
