"""`evaluate`, `sample`, `score`, `next`: a trained run at work."""

import json
import math
import re
from pathlib import Path

import pytest


def test_evaluate_a_file(unrolled) -> None:
    text = unrolled("evaluate", "runs/demo", "README.md").out
    figures = json.loads(unrolled("evaluate", "runs/demo", "README.md", "--json").out)
    assert figures["perplexity"] == pytest.approx(math.exp(figures["nats_per_symbol"]))
    assert figures["bits_per_character"] == pytest.approx(figures["nats_per_symbol"] / math.log(2))
    assert figures["symbols"] == figures["characters"] == 33
    assert figures["ngram"]["perplexity"] > 1
    assert f"{figures['perplexity']:.3f}" in text
    assert f"{figures['ngram']['perplexity']:.3f}" in text
    assert f"{figures['accuracy']:.1%}" in text
    assert "perplexity over predicted symbols, <eos> counted, <bos> not" in text
    assert "33 predicted symbols" in text


def test_evaluate_the_runs_own_test_part(unrolled, place: Path) -> None:
    figures = json.loads(unrolled("evaluate", "runs/demo", "--json").out)
    kept = json.loads((place / "runs/demo/metrics.json").read_text())["test"]
    assert figures["nats_per_symbol"] == pytest.approx(kept["nats_per_symbol"])
    assert figures["ngram"] == pytest.approx(kept["ngram"])
    assert "(test part)" in figures["text"]


def test_evaluate_without_the_training_text(unrolled, place: Path) -> None:
    (place / "text.txt").unlink()
    answer = unrolled("evaluate", "runs/demo", "README.md")
    assert answer.code == 0
    assert "no n-gram: the training text cannot be read: " in answer.out
    assert json.loads(unrolled("evaluate", "runs/demo", "README.md", "--json").out)["ngram"] is None
    alone = unrolled("evaluate", "runs/demo")
    assert alone.code == 1
    assert "give a file to evaluate on" in alone.err


def test_the_share_of_unknown_symbols(unrolled, place: Path) -> None:
    known = unrolled("evaluate", "runs/demo", "README.md")
    assert "unknown symbols" not in known.out
    (place / "odd.txt").write_text("The ξξ cat. ξξξξ\n")
    figures = json.loads(unrolled("evaluate", "runs/demo", "odd.txt", "--json").out)
    assert figures["unknown_share"] == pytest.approx(6 / 17)
    text = unrolled("evaluate", "runs/demo", "odd.txt").out
    assert re.search(r"^unknown symbols +35.3% ", text, re.MULTILINE)
    assert "warning: 35% of the symbols are unknown to the run's vocabulary" in text
    (place / "mostly.txt").write_text("The cat sat on the mat. ξ\n")
    mostly = unrolled("evaluate", "runs/demo", "mostly.txt").out
    assert "unknown symbols" in mostly
    assert "warning" not in mostly


def test_an_ngram_of_a_part_says_so(unrolled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unrolled.tasks.language_model.baseline.MOST_SYMBOLS", 1000)
    assert "-gram of the training text's first 1,000 symbols" in unrolled("evaluate", "runs/demo").out


def test_evaluate_mistakes(unrolled, place: Path) -> None:
    (place / "latin.txt").write_bytes(b"caf\xe9 is here")
    (place / "greek.txt").write_text("αβγ")
    for name, message in (("none.txt", "does not exist"), ("latin.txt", "UTF-8"), ("greek.txt", "unknown")):
        answer = unrolled("evaluate", "runs/demo", name)
        assert (answer.code, answer.out) == (1, "")
        assert message in answer.err


def test_sample_with_a_seed_and_a_prefix(unrolled) -> None:
    words = ("sample", "runs/demo", "--prefix", "The c", "--length", "40", "--seed", "3")
    first, second = unrolled(*words).out, unrolled(*words).out
    assert first == second
    assert first.startswith("The c")
    assert len(first) == 45 + (not first[:45].endswith("\n"))
    assert first != unrolled(*words[:-1], "4").out
    (listed,) = json.loads(unrolled(*words, "--json").out)
    assert listed.rstrip("\n") == first.rstrip("\n")


def test_samples_look_like_the_text(unrolled) -> None:
    text = unrolled("sample", "runs/demo", "--temperature", "0.3", "--length", "300", "--seed", "1").out
    assert len(re.findall(r"\b(the|cat|dog|sat|on|at|ate)\b", text)) > 10


def test_temperature_zero_needs_no_seed(unrolled) -> None:
    words = ("sample", "runs/demo", "--temperature", "0", "--length", "20")
    assert unrolled(*words).out == unrolled(*words, "--top-k", "5", "--top-p", "0.9").out


def test_several_samples(unrolled) -> None:
    words = ("sample", "runs/demo", "--count", "3", "--length", "200", "--seed", "1")
    assert re.findall(r"^--- (\d) ---$", unrolled(*words).out, re.MULTILINE) == ["1", "2", "3"]
    assert len(json.loads(unrolled(*words, "--json").out)) == 3
    short = unrolled("sample", "runs/demo", "--count", "4", "--length", "3", "--prefix", "ca", "--temperature", "0.1")
    assert len(short.out.splitlines()) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--length", "0"], "length 0"),
        (["--count", "0"], "count 0"),
        (["--temperature", "-1"], "temperature -1.0"),
        (["--top-k", "-1"], "top_k -1"),
        (["--top-p", "0"], "top_p 0.0"),
    ],
)
def test_sample_mistakes(unrolled, words: list[str], message: str) -> None:
    answer = unrolled("sample", "runs/demo", *words)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith(f"error: {message}")


def test_score_two_sentences(unrolled) -> None:
    good, bad = "The cat sat on the mat.", "Teh cta sta no het tam."
    lines = unrolled("score", "runs/demo", bad, good).out.splitlines()
    assert lines[0].split() == ["log", "P", "perplexity", "symbols", "unknown", "less", "probable", "text"]
    assert lines[1].startswith("1.")
    assert lines[1].endswith(good)
    assert lines[2].startswith("2.")
    assert lines[2].endswith(bad)
    assert re.match(rf'"{good}" is .* times as probable as "{bad}"', lines[4])


def test_score_json_adds_up(unrolled) -> None:
    answer = unrolled("score", "runs/demo", "The cat", "The xyz", "--symbols", "--json")
    found = json.loads(answer.out)
    assert [each["rank"] for each in found] == [1, 2]
    for each in found:
        assert sum(log for _, log in each["each"]) == pytest.approx(each["log_probability"])
        assert each["perplexity"] == pytest.approx(math.exp(-each["log_probability"] / each["symbols"]))
        assert each["log_ratio"] == pytest.approx(found[0]["log_probability"] - each["log_probability"])
    assert {each["text"]: each["unknown"] for each in found} == {"The cat": 0, "The xyz": 3}


def test_score_symbols(unrolled) -> None:
    out = unrolled("score", "runs/demo", "The cat", "--symbols").out
    rows = re.findall(r"^(\S+)  (\d\.\d{4})  ", out, re.MULTILINE)
    assert [symbol for symbol, _ in rows] == ["T", "h", "e", "␣", "c", "a", "t"]


def test_score_unknown_symbols_are_remarked(unrolled) -> None:
    out = unrolled("score", "runs/demo", "The cat", "The ξat").out
    assert "<unk> stands for every unknown symbol at once" in out


@pytest.mark.parametrize("words", [["--file", "README.md"], ["-"], []])
def test_score_lines(unrolled, words: list[str]) -> None:
    answer = unrolled("score", "runs/demo", *words, "--json", input="The cat sat.\n\nA dog ate the hat.\r\n")
    found = {each["number"]: each["text"] for each in json.loads(answer.out)}
    assert found == {1: "The cat sat.", 2: "", 3: "A dog ate the hat."}


def test_score_mistakes(unrolled, place: Path) -> None:
    (place / "latin.txt").write_bytes(b"one\r\ncaf\xe9")
    for words, message in (
        ([], "there is nothing to score"),
        ([""], "text 1 is empty"),
        (["hello", ""], "text 2 is empty"),
        (["--file", "none.txt"], "none.txt: cannot be read"),
        (["--file", "latin.txt"], "latin.txt: not UTF-8 at byte 8, line 2"),
    ):
        answer = unrolled("score", "runs/demo", *words)
        assert (answer.code, answer.out) == (1, "")
        assert message in answer.err


def test_next_is_ranked(unrolled) -> None:
    found = json.loads(unrolled("next", "runs/demo", "The ca", "--top", "100", "--json").out)
    probabilities = [each["probability"] for each in found]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-4)
    assert found[0]["symbol"] == "t"
    lines = unrolled("next", "runs/demo", "The ca", "--top", "3").out.splitlines()
    assert [line.split()[:2] for line in lines] == [[str(n), each["symbol"]] for n, each in enumerate(found[:3], 1)]
    assert lines[0].count("█") == 24


def test_machines_get_the_text_itself(unrolled) -> None:
    found = json.loads(unrolled("next", "runs/demo", "The cat", "--top", "100", "--json").out)
    assert {" ", "\n"} <= {each["symbol"] for each in found}
    assert "␣" in unrolled("next", "runs/demo", "The cat").out
    each = json.loads(unrolled("score", "runs/demo", "The cat\n", "--symbols", "--json").out)[0]["each"]
    assert "".join(symbol for symbol, _ in each) == "The cat\n"


def test_next_from_the_beginning(unrolled) -> None:
    assert len(unrolled("next", "runs/demo").out.splitlines()) == 10


def test_next_wants_at_least_one(unrolled) -> None:
    assert unrolled("next", "runs/demo", "a", "--top", "0").code == 2
