"""Span F1 against a count written out, by type, and parted by what training had seen."""

from hypothesis import given
from hypothesis import strategies as st

from unrolled.data.tag_schemes import repaired, spans_of
from unrolled.training.span_scores import counts, scores

tags = st.lists(st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y"]), min_size=1, max_size=8).map(
    lambda found: repaired(found, "IOB2")
)


@given(st.lists(st.tuples(tags, tags), min_size=1, max_size=5))
def test_scores_are_those_of_a_plain_count(pairs: list[tuple[list[str], list[str]]]) -> None:
    truth = [a for a, _ in pairs]
    guesses = [(b + ["O"] * 8)[: len(a)] for a, b in pairs]
    guesses = [repaired(guess, "IOB2") for guess in guesses]
    gold = [(n, s.first, s.last, s.type) for n, a in enumerate(truth) for s in spans_of(a, "IOB2")]
    found = [(n, s.first, s.last, s.type) for n, b in enumerate(guesses) for s in spans_of(b, "IOB2")]
    right = [one for one in found if one in gold]
    result = scores(counts(truth, guesses, "IOB2"))
    assert (result.correct, result.gold, result.predicted) == (len(right), len(gold), len(found))
    if right:
        precision, recall = len(right) / len(found), len(right) / len(gold)
        assert abs(result.f1 - 2 * precision * recall / (precision + recall)) < 1e-12
    for type, own in result.by_type.items():
        assert own.correct == sum(one[3] == type for one in right)
    assert sum(own.gold for own in result.by_type.values()) == result.gold


def test_seen_and_unseen_spans_are_parted() -> None:
    truth = [["B-x", "I-x", "O", "B-y"]]
    guesses = [["B-x", "I-x", "O", "B-x"]]
    words, known = [("New", "York", "and", "Ann")], frozenset({("New York", "x")})
    seen = scores(counts(truth, guesses, "IOB2", tokens=words, known=known, seen=True))
    unseen = scores(counts(truth, guesses, "IOB2", tokens=words, known=known, seen=False))
    assert (seen.correct, seen.gold, seen.predicted) == (1, 1, 1)
    assert (unseen.correct, unseen.gold, unseen.predicted) == (0, 1, 1)
    assert seen.f1 == 1
    assert unseen.as_dict()["types"]["y"]["recall"] == 0
