"""Every example of the documentation runs, and gives what the page shows; see docs_pages for how a page says it."""

import ast
import contextlib
import io
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import traceback
from pathlib import Path
from textwrap import indent

import pytest

import docs_pages as pages
from commands import SURNAMES
from once import made_once

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """What pages may begin with: book.txt, a short text; runs/first, a small model of it; labelled files."""
    return made_once(tmp_path_factory, worker_id, "prepared", prepare)


def prepare(folder: Path) -> None:
    """See `prepared`."""
    import unrolled
    from unrolled.data.builtin import builtin_text
    from unrolled.training.recipe import recipe_from_mapping

    (folder / "book.txt").write_text(builtin_text()[:30_000], encoding="utf-8")
    (folder / "films.tsv").write_text(films(), encoding="utf-8")
    (folder / "people.conll").write_text(people(), encoding="utf-8")
    model = {"hidden": 48, "layers": 1, "embedding": 16}
    training = {"steps": 80, "batch": 16, "window": 40}
    recipe = recipe_from_mapping({"task": "language-model", "model": model, "training": training})
    unrolled.train(recipe, folder=folder / "runs" / "first", quiet=True)
    (folder / "names.tsv").write_text(SURNAMES, encoding="utf-8")
    (folder / "digits.tsv").write_text(digits(), encoding="utf-8")
    data = {"path": str(folder / "digits.tsv"), "level": "word", "vocabulary_size": 0}
    training = {"steps": 100, "batch": 32, "learning_rate": 0.01}
    recipe = recipe_from_mapping({"task": "translate", "data": data, "model": {"hidden": 32}, "training": training})
    unrolled.train(recipe, folder=folder / "runs" / "digits", quiet=True)


def digits() -> str:
    """Numbers of 1 to 4 digits, parted by blanks, and the same in words."""
    draw, words = random.Random(3), ("zero", "one", "two", "three", "four")
    rows = ["4 0\tfour zero", "2\ttwo", "3 0 1\tthree zero one"]
    for _ in range(797):
        number = [draw.randrange(5) for _ in range(draw.randint(1, 4))]
        rows.append(f"{' '.join(map(str, number))}\t{' '.join(words[digit] for digit in number)}")
    return "\n".join(rows) + "\n"


def films() -> str:
    """Labelled sentences in which one word decides."""
    draw = random.Random(5)
    rows = ["good\tit is a fine film", "bad\tthe plot is dull and slow", "good\ta lovely plot"]
    words = {"good": ("fine", "lovely", "great"), "bad": ("dull", "poor", "awful")}
    for _ in range(297):
        label = draw.choice(("good", "bad"))
        rows.append(f"{label}\t{draw.choice(('it', 'the plot', 'a film'))} is {draw.choice(words[label])}")
    return "\n".join(rows) + "\n"


def people() -> str:
    """Sentences with persons, of two tokens after "Dr", and places, which end in "ville"."""
    draw = random.Random(7)
    lines = ["Ann\tB-person", "saw\tO", "Dr\tB-person", "Bob\tI-person", ""]
    for _ in range(239):
        for _ in range(draw.randint(1, 3)):
            name = draw.choice(("Ann", "Bob", "Cleo"))
            found = [
                [f"{name}\tB-person"],
                ["Dr\tB-person", f"{name}\tI-person"],
                [f"{draw.choice('ABCDE')}ville\tB-place"],
            ]
            lines += [*draw.choice(found), f"{draw.choice(('saw', 'went', 'to', 'the'))}\tO"]
        lines.append("")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page: Path, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in pages.begins_with(page):
        prepared: Path = request.getfixturevalue("prepared")
        source, target = prepared / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UNROLLED_ENGINE", raising=False)
    namespace: dict[str, object] = {"__name__": page.stem}
    skipped = [reason for block in pages.blocks_of(page) if (reason := _run(block, page, namespace))]
    if skipped:
        print(f"{page.name}: not run: {'; '.join(skipped)}")


def _run(block: pages.Block, page: Path, namespace: dict[str, object]) -> str | None:
    """Run one block; the reason if it is not to be run here."""
    if "not run" in block.marks:
        return f"line {block.line}: {block.marks['not run']}"
    if "needs" in block.marks and not SHARED.is_dir():
        return f"line {block.line}: needs {block.marks['needs']}"
    if block.language == "python":
        _run_python(block, page, namespace)
    elif block.language == "console":
        for command in pages.commands_of(block):
            _run_command(command, block, page)
    return None


def _run_python(block: pages.Block, page: Path, namespace: dict[str, object]) -> None:
    for statement, results in pages.statements_of(block):
        where = f"{page.name}:{statement.end_lineno}"
        text = _carried_out(statement, where, namespace, value_wanted=bool(results))
        if results:
            shown = "\n".join(results)
            assert pages.same_result(shown, text), f"{where}: the page shows\n{shown}\nand the result is\n{text}"


def _carried_out(statement: ast.stmt, where: str, namespace: dict[str, object], *, value_wanted: bool) -> str:
    """What the statement prints; if nothing, its value as Python writes it. The blocks are this repository's own."""
    printed = io.StringIO()
    value: object = None
    try:
        with contextlib.redirect_stdout(printed):
            if value_wanted and isinstance(statement, ast.Expr):
                value = eval(compile(ast.Expression(statement.value), where, "eval"), namespace)
            else:
                exec(compile(ast.Module([statement], []), where, "exec"), namespace)
    except Exception:
        pytest.fail(f"{where}\n{traceback.format_exc()}", pytrace=False)
    return printed.getvalue().rstrip("\n") or repr(value)


def _run_command(command: pages.Command, block: pages.Block, page: Path) -> None:
    where = f"{page.name}:{block.line}: $ {command.words}"
    code, output = _in_shell(command.words) if _needs_shell(command.words) else _in_process(command.words)
    wanted = 1 if any(line.startswith("error: ") for line in command.shown) else 0
    assert code == wanted, f"{where}\nended with {code}:\n{output}"
    missing = pages.missing_lines(command.shown, output)
    assert not missing, f"{where}\nlacks these lines, in this order:\n" + "\n".join(missing) + f"\nand says\n{output}"


def _needs_shell(words: str) -> bool:
    return not words.startswith("unrolled ") or any(sign in words for sign in "|<>&;")


def _in_process(words: str) -> tuple[int, str]:
    """The command line's own entry point, without starting Python and loading torch anew."""
    from unrolled.cli.main import main

    screen = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    before = sys.argv
    code: object = 0
    try:
        sys.argv = shlex.split(words)
        with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
            main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before
    screen.seek(0)
    return int(str(code or 0)), screen.read()


def _in_shell(words: str) -> tuple[int, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", words],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("script", sorted((ROOT / "docs").glob("write_*.py")), ids=lambda script: script.stem)
def test_what_is_written_from_the_code_is_up_to_date(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text)
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing, f"{page.name} links to {', '.join(missing)}, which is not there"


def test_equations_are_those_of_the_cells() -> None:
    from unrolled.cells import CELLS

    text = (ROOT / "docs" / "cells.md").read_text(encoding="utf-8")
    missing = [name for name, cell in CELLS.items() if indent(cell.equations, "    ") not in text]
    assert not missing, f"docs/cells.md lacks the equations of {', '.join(missing)}, as their docstrings give them"


def test_a_shown_line_is_compared_by_its_words_and_a_number_by_being_one() -> None:
    assert pages.same_line("perplexity 3.25 over 1,204 symbols", "perplexity  12.9 over 77 symbols")
    assert not pages.same_line("perplexity 3.25", "perplexity nan")
    assert pages.same_line("run folder: …", "run folder: runs/first")
    assert pages.missing_lines(("a", "…", "c"), "a\nb\nc") == []
    assert pages.missing_lines(("c", "a"), "a\nb\nc") == ["a"]
