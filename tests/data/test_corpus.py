from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unrolled.data.corpus import open_corpus, stream_of
from unrolled.data.encoding import Scheme, encode_text
from unrolled.data.settings import DataSettings
from unrolled.data.splitting import Split
from unrolled.data.streams import Part, Stream
from unrolled.data.vocabulary import EOS, UNK, Vocabulary
from unrolled.errors import UserError


def text_of(stream: Stream | None) -> str:
    assert stream is not None
    return stream.vocabulary.decode(stream.ids(0, len(stream)))


def documents_of(stream: Stream | None) -> list[str]:
    assert stream is not None
    pairs = zip(stream.offsets, stream.offsets[1:], strict=False)
    documents = [stream.ids(start, stop) for start, stop in pairs]
    assert all(ids[-1] == EOS for ids in documents)
    return [stream.vocabulary.decode(ids) for ids in documents]


@pytest.fixture
def file(tmp_path):
    def write(text: str, name: str = "input.txt") -> str:
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        return str(tmp_path / name)

    return write


# --- splitting -------------------------------------------------------------------------------------------------------


def test_running_text_is_cut_in_symbols_and_keeps_its_order(file):
    text = "".join(chr(97 + i % 26) for i in range(101))
    corpus = open_corpus(DataSettings(path=file(text)))
    assert text_of(corpus.train) + text_of(corpus.valid) + text_of(corpus.test) == text
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (90, 5, 6)
    halves = open_corpus(DataSettings(path=file(text), split="50/50"))
    assert (len(halves.train), len(halves.valid), halves.test) == (50, 51, None)
    whole = open_corpus(DataSettings(path=file(text), split="100"))
    assert (len(whole.train), whole.valid, whole.test) == (101, None, None)


def test_lines_are_split_by_their_number_after_repeats_are_dropped(file):
    lines = [f"{i:05b}" for i in range(25)]
    path = file("\n".join([lines[0], "", *lines, lines[3]]))
    corpus = open_corpus(DataSettings(path=path, format="lines", unique=True))
    assert documents_of(corpus.train) == [line for i, line in enumerate(lines) if i % 10 < 8]
    assert documents_of(corpus.valid) == [lines[8], lines[18]]
    assert documents_of(corpus.test) == [lines[9], lines[19]]
    shares = open_corpus(DataSettings(path=path, format="lines", unique=True, split="80/10/10"))
    assert documents_of(shares.train) + documents_of(shares.valid) + documents_of(shares.test) == lines


def test_files_of_their_own_leave_the_rest_to_training(file):
    path = file("".join(map(str, range(10))) * 10)
    valid, test = file("0123", "valid.txt"), file("45", "test.txt")
    both = open_corpus(DataSettings(path=path, valid=valid, test=test))
    assert (len(both.train), text_of(both.valid), text_of(both.test)) == (100, "0123", "45")
    one = open_corpus(DataSettings(path=path, valid=valid))
    assert (len(one.train), text_of(one.valid), one.test) == (100, "0123", None)
    other = open_corpus(DataSettings(path=path, test=test))
    assert (len(other.train), len(other.valid), text_of(other.test)) == (95, 5, "45")
    digits = Split.parse("", "lines").given(valid=False, test=True).parts(10).tolist()
    assert digits == [0, 0, 0, 0, 0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("written", ["90/5", "x", "0/100", "120/-20", "50/20/20/10", "1/0", "/"])
def test_a_rule_that_is_none(written):
    with pytest.raises(UserError, match=r"data\.split = .* is not a rule: write percents that add up to 100"):
        Split.parse(written, "text")


def test_rules_with_fractions():
    assert Split.parse("99.5/0.25/0.25", "text").borders(1000) == (995, 997)
    with pytest.raises(UserError, match=r'needs data\.format = "lines"'):
        Split.parse("mod10", "text")


def test_too_short_to_split(file):
    with pytest.raises(
        UserError, match=r"input\.txt is too short to split: with 3 symbols its validation part is empty"
    ):
        open_corpus(DataSettings(path=file("abc")))
    with pytest.raises(UserError, match="its validation part is empty"):
        open_corpus(DataSettings(path=file("a\nb"), format="lines"))


# --- vocabulary ------------------------------------------------------------------------------------------------------


def test_the_vocabulary_is_that_of_the_training_part(file):
    corpus = open_corpus(DataSettings(path=file("aab" * 30 + "cdcdcdcdca"), split="90/10"))
    assert corpus.vocabulary.symbols[4:] == ("a", "b")
    assert corpus.valid is not None
    with pytest.raises(UserError, match=r"validation part\): every symbol is unknown .* for instance 'c'"):
        open_corpus(DataSettings(path=file("aab" * 30), valid=file("ccc", "(validation part)")))


def test_counts_cover_every_id(file):
    corpus = open_corpus(DataSettings(path=file("aaab\nab\n"), format="lines", split="100"))
    assert corpus.train.counts().tolist() == [0, 0, 0, 2, 4, 2]
    assert corpus.train.characters == 8


def test_all_unknown(file):
    with pytest.raises(UserError, match=r"every symbol is unknown: .* 3 symbols occurs data.min_count = 2 times"):
        open_corpus(DataSettings(path=file("abc"), split="100", min_count=2))
    vocabulary = Vocabulary.from_counts({"a": 1}, level="character")
    with pytest.raises(UserError, match="the text: every symbol is unknown to the vocabulary of 5 symbols"):
        stream_of("xyz", vocabulary)


def test_a_given_vocabulary_must_cut_text_the_same_way(file):
    path = file("to be or not to be\n" * 30)
    settings = DataSettings(path=path, level="word")
    vocabulary = open_corpus(settings).vocabulary
    assert open_corpus(settings, vocabulary=vocabulary).vocabulary is vocabulary
    for other in (DataSettings(path=path), replace(settings, lowercase=True), replace(settings, words="whitespace")):
        with pytest.raises(UserError, match="the vocabulary cuts text into words parted by punctuation"):
            open_corpus(other, vocabulary=vocabulary)


def test_bpe_learns_from_the_training_part_alone(file):
    text = "the cat sat. " * 300
    settings = DataSettings(path=file(text + "zyx" * 130), level="bpe", vocabulary_size=280, split="90/10")
    corpus = open_corpus(settings)
    assert not any("zy" in symbol for symbol in corpus.vocabulary.symbols)
    assert text_of(corpus.train) + text_of(corpus.valid) == text + "zyx" * 130
    assert corpus.train.characters <= 0.9 * (len(text) + 390) < corpus.train.characters + 10
    again = open_corpus(settings, vocabulary=corpus.vocabulary)
    assert np.array_equal(again.train.ids(0, 100), corpus.train.ids(0, 100))


def test_bpe_of_lines(file):
    path = file("".join(f"name {i}\n" for i in range(30)))
    corpus = open_corpus(DataSettings(path=path, level="bpe", vocabulary_size=260, format="lines", lowercase=True))
    assert documents_of(corpus.valid) == ["name 8", "name 18", "name 28"]


# --- streams ---------------------------------------------------------------------------------------------------------


def test_positions_of_chosen_documents():
    encoded = encode_text("ab\ncde\nf\ng\n", Scheme("character", "lines"))
    part = Part.of_documents(encoded, np.array([True, False, True, True]))
    symbols = [encoded.lexicon[surface] for surface in part.surfaces(0, len(part))]
    assert "".join(symbols) == "ab\nf\ng\n"
    positions = np.array([[0, 3], [6, 5]])
    assert [[encoded.lexicon[s] for s in row] for row in part.take(positions)] == [["a", "f"], ["\n", "g"]]


def test_words_keep_their_spelling_when_unknown(file):
    settings = DataSettings(path=file("cab cab dab\n" * 10), level="word", vocabulary_size=1, split="90/10")
    train = open_corpus(settings).train
    assert train.ids(0, 4).tolist() == [4, 4, UNK, EOS]
    spelled = train.spellings(0, 4)
    assert [row.tolist() for row in spelled] == [train.vocabulary.spell(word) for word in ("cab", "cab", "dab", "\n")]
    assert np.array_equal(train.take_spellings(np.arange(4)[None]), spelled[None])
    with pytest.raises(UserError, match="it needs level word, not character"):
        open_corpus(DataSettings(path=file("abc" * 10))).train.spellings(0, 1)


def test_another_text_under_the_same_vocabulary(file):
    vocabulary = Vocabulary.from_counts({"a": 2, "b": 1}, level="character")
    assert stream_of("abca", vocabulary).ids(0, 4).tolist() == [4, 5, UNK, 4]
    lines = stream_of(Path(file("ab\n\nb")), vocabulary, format="lines")
    assert documents_of(lines) == ["ab", "b"]
    assert lines.name.endswith("input.txt")


def test_characters_of_words_are_those_of_the_text(file):
    text = "to be, or not\n\n" * 20
    corpus = open_corpus(DataSettings(path=file(text), level="word", split="50/50"))
    assert corpus.valid is not None
    assert corpus.train.characters + corpus.valid.characters == len(text)
    assert stream_of(text, corpus.vocabulary).characters == len(text)


def test_the_fingerprint_is_that_of_the_content(file):
    def fingerprint(train: str, valid: str) -> str:
        return open_corpus(DataSettings(path=file(train), valid=file(valid, "v.txt"))).fingerprint

    prints = [fingerprint("aab", "a"), fingerprint("aab", "a"), fingerprint("aab", "b"), fingerprint("abb", "a")]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_relative_paths_are_relative_to_the_base(tmp_path):
    (tmp_path / "a.txt").write_text("abcdef" * 10)
    assert len(open_corpus(DataSettings(path="a.txt", split="100"), base=tmp_path).train) == 60
    with pytest.raises(UserError, match=r"b\.txt does not exist"):
        open_corpus(DataSettings(path="b.txt"), base=tmp_path)


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (DataSettings(format="table"), "data.format must be one of text, lines, tsv"),
        (DataSettings(level="letter"), "data.level must be one of character, word, bpe, byte, not 'letter'"),
        (DataSettings(words="x"), "data.words must be one of punctuation, whitespace, not 'x'"),
        (DataSettings(vocabulary_size=-1), "data.vocabulary_size must be at least 0, not -1"),
        (DataSettings(min_count=0), "data.min_count must be at least 1, not 0"),
        (DataSettings(level="bpe", vocabulary_size=9), "data.vocabulary_size = 9 must be at least 256 for level bpe"),
        (DataSettings(level="byte", vocabulary_size=9), "data.vocabulary_size does not apply to level byte"),
        (DataSettings(level="bpe", min_count=2), "data.min_count does not apply to level bpe"),
        (DataSettings(unknown="<unk>"), "data.unknown applies to level word only"),
        (DataSettings(level="word", unknown="a b"), "data.unknown = 'a b' must be one word"),
        (DataSettings(unique=True), 'data.unique drops repeated lines: it needs data.format = "lines"'),
        (DataSettings(split="1"), 'data.split = "1" is not a rule'),
        (DataSettings(path=3), "data.path must be a string, not 3"),  # type: ignore[arg-type]
        (DataSettings(min_count=True), "data.min_count must be a whole number, not True"),
        (DataSettings(unique=1), "data.unique must be true or false, not 1"),  # type: ignore[arg-type]
    ],
)
def test_each_problem_is_named_with_its_key(settings, message):
    assert any(message in problem for problem in settings.problems())
    with pytest.raises(UserError):
        open_corpus(settings)


def test_all_problems_come_at_once():
    settings = DataSettings(format="x", min_count=0, split="7", level="byte", vocabulary_size=3)
    with pytest.raises(UserError) as caught:
        open_corpus(settings)
    assert len(str(caught.value).splitlines()) == len(settings.problems()) == 4


# --- real data -------------------------------------------------------------------------------------------------------


def test_tiny_shakespeare(shared_data):
    settings = DataSettings(path="tinyshakespeare/input.txt", split="90/10")
    corpus = open_corpus(settings, base=shared_data)
    assert corpus.description == (
        "tinyshakespeare/input.txt: 1,115,394 characters, 65 distinct; train 1,003,854 / validation 111,540; "
        "vocabulary 69"
    )
    text = (shared_data / settings.path).read_text()
    assert text_of(corpus.train) + text_of(corpus.valid) == text
    assert open_corpus(settings, base=shared_data).fingerprint == corpus.fingerprint


def test_wikitext2_read_in_place(shared_data):
    paths = {part: f"wikitext2/{part}.txt.gz" for part in ("train", "valid", "test")}
    settings = DataSettings(
        path=paths["train"], valid=paths["valid"], test=paths["test"], level="word", words="whitespace", unknown="<unk>"
    )
    corpus = open_corpus(settings, base=shared_data)
    assert corpus.valid is not None
    assert corpus.test is not None
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [2_088_628, 217_646, 245_569]
    assert len(corpus.vocabulary) == 33_278 + 2, "<unk> and <eos> are counted there, <pad> and <bos> are not"
    assert corpus.vocabulary.symbols[4] == "the"
    unknown = [int(stream.counts()[UNK]) for stream in (corpus.train, corpus.valid, corpus.test)]
    assert min(unknown) > 0
    assert corpus.train.counts()[EOS] == 36_718


def test_names_and_dinosaurs(shared_data):
    names = open_corpus(DataSettings(path="names/names.txt", format="lines", unique=True), base=shared_data)
    assert sum(len(stream.offsets) - 1 for stream in (names.train, names.valid, names.test) if stream) == 29_494
    assert "train 23,596 / validation 2,949 / test 2,949 lines" in names.description
    dinosaurs = open_corpus(DataSettings(path="dinosaurs/dinosaurs.txt", format="lines"), base=shared_data)
    assert sum(len(s.offsets) - 1 for s in (dinosaurs.train, dinosaurs.valid, dinosaurs.test) if s) == 1_449
    assert len(dinosaurs.vocabulary) <= 52 + 4


def test_markup_with_bytes_is_exact(shared_data):
    import gzip

    path = shared_data / "enwiki-excerpt" / "enwiki-excerpt.xml.gz"
    corpus = open_corpus(DataSettings(path=str(path), level="byte"))
    ids = np.concatenate([s.ids(0, len(s)) for s in (corpus.train, corpus.valid, corpus.test) if s is not None])
    assert corpus.vocabulary.decode(ids) == gzip.decompress(path.read_bytes()).decode()


def test_the_builtin_corpus():
    corpus = open_corpus(DataSettings())
    assert corpus.description.startswith("the Python language reference (built in): ")
    assert corpus.valid is not None
    assert 'The "assert" statement' in text_of(corpus.train)
