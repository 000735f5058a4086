"""Answers and rows belong together: one answer for every line, row or text that is given, in their order."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import unrolled
from commands import here
from unrolled.errors import UserError

WORDS = ("cat", "dog", "sat")
TASKS = ("classify", "tag", "generate", "translate", "language-model")
LINES = st.lists(
    st.one_of(st.sampled_from(["", " ", "\t", " \t "]), st.lists(st.sampled_from(WORDS), min_size=1).map(" ".join)),
    min_size=1, max_size=12,
)  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run of every task that was trained for a step or two."""
    folder = tmp_path_factory.mktemp("rows")
    pairs = "".join(f"{one} {other}\t{one}\n" for one in WORDS for other in WORDS) * 4
    data = {"tag": "".join(f"{one}\tN\n{other}\tV\n\n" for one in WORDS for other in WORDS) * 4}
    data["language-model"] = pairs.replace("\t", " ")
    found = {}
    for task in TASKS:
        name = {"tag": "a.conll", "language-model": "a.txt"}.get(task, f"{task}.tsv")
        (folder / name).write_text(data.get(task, pairs))
        recipe = folder / f"{task}.toml"
        recipe.write_text(
            f'task = "{task}"\n[data]\npath = "{name}"\nsplit = "100"\n'
            "[model]\nhidden = 8\n[training]\nsteps = 2\nbatch = 8\n"
            + ("window = 10\n" if task == "language-model" else "")
        )
        found[task] = unrolled.train(recipe, folder=folder / task, quiet=True, device="cpu")
    return found


def plain(run: Any, answer: Any) -> Any:
    """What an answer says, and of which text."""
    if hasattr(answer, "candidates"):
        return answer.x, answer.text
    if hasattr(answer, "labels"):
        return answer.x, answer.labels
    return answer.x.strip(), answer.label


@pytest.mark.parametrize("task", ["classify", "tag", "generate", "translate"])
@settings(max_examples=20)
@given(lines=LINES)
def test_predict_answers_every_line(runs: dict[str, Any], tmp_path_factory: Any, task: str, lines: list[str]) -> None:
    run = runs[task]
    path = tmp_path_factory.mktemp("lines") / "lines.txt"
    path.write_text("\n".join(lines) + "\n")
    said = here("predict", str(run.folder), str(path), "--output", "jsonl").out
    found = [json.loads(line) for line in said.splitlines()]
    assert len(found) == len(lines)
    piped = here("predict", str(run.folder), "-", "--output", "jsonl", input="\n".join(lines)).out
    assert [json.loads(line) for line in piped.splitlines()] == (found if lines[-1] else found[:-1])
    for line, answer in zip(lines, found, strict=True):
        assert answer["tokens"] == line.split() if task == "tag" else answer["text"] == line
        assert task != "translate" or line.strip() or answer["translation"] == ""
    alone = {line: plain(run, run.predict(line)) for line in set(lines) if line.strip()}
    for line, answer in zip(lines, run.predict_all(lines) if task == "tag" else run.predict(lines), strict=True):
        assert not line.strip() or plain(run, answer) == alone[line]


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=20)
@given(lines=LINES)
def test_score_answers_every_line(runs: dict[str, Any], tmp_path_factory: Any, task: str, lines: list[str]) -> None:
    run = runs[task]
    path = tmp_path_factory.mktemp("lines") / "lines.txt"
    assume(any(line.strip() for line in lines))
    if task == "tag":  # the labels are those of all texts
        lines = [" ".join((line.split() * 2)[:2]) for line in lines]
    path.write_text("\n".join(lines) + "\n")
    more = {"classify": ["--class", "cat"], "tag": ["--labels", "N V"], "translate": ["--source", "cat dog"]}
    options = more.get(task, [])
    found = json.loads(here("score", str(run.folder), "--file", str(path), *options, "--json").out)
    assert sorted(one["number"] for one in found) == list(range(1, len(lines) + 1))
    assert all(lines[one["number"] - 1] == one["text"] for one in found)
    assert [one["rank"] for one in found if one["rank"]] == list(range(1, 1 + sum(bool(one["rank"]) for one in found)))
    assert here("score", str(run.folder), "--file", str(path), *options).code == 0


FORMATS: dict[str, Callable[[str], str]] = {
    "a.tsv": lambda text: text,
    "b.tsv": lambda text: f"{text}\tcat" if text else "\tcat",
    "c.csv": lambda text: f'"{text}",cat',
    "d.jsonl": lambda text: json.dumps({"text": text or None}),
    "e.csv": lambda text: text,
}


@pytest.mark.parametrize("task", ["classify", "generate", "translate"])
@pytest.mark.parametrize("name", list(FORMATS))
def test_predict_answers_every_row_of_a_table(runs: dict[str, Any], tmp_path: Path, task: str, name: str) -> None:
    texts = ["cat sat", "", "dog", "", "sat cat", "cat"]
    path = tmp_path / name
    path.write_text("".join(FORMATS[name](text) + "\n" for text in texts))
    if task == "translate" and name == "c.csv":
        path.write_text("source,target\n" + path.read_text())
    assert [one.x for one in runs[task].predict_file(path)] == texts


def test_an_empty_text_alone_is_refused_and_among_others_answered(runs: dict[str, Any]) -> None:
    for task in ("classify", "tag", "generate", "translate"):
        with pytest.raises(UserError, match="empty"):
            runs[task].predict("")
        assert len(runs[task].predict(["", "cat dog", ""])) == 3
    assert runs["tag"].predict(["", "cat"])[0].labels == ()
    with pytest.raises(UserError, match="empty"):
        runs["language-model"].score("")
    assert [one.text for one in runs["language-model"].score("cat", "", "dog")] == ["cat", "", "dog"]
    assert here("predict", str(runs["classify"].folder), "").code == 1


def test_by_class_says_a_text_as_often_as_it_is_given(runs: dict[str, Any]) -> None:
    found = json.loads(here("score", str(runs["generate"].folder), "cat", "dog", "cat", "--by-class", "--json").out)
    assert [one["text"] for one in found] == ["cat", "dog", "cat"]
