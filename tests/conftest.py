"""Fixtures shared by all tests."""

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from once import common_folder
from unrolled.cells import Cell

# The first call of an operator can take a second on a busy machine; a deadline would only report that, and so would the
# check of how long it takes to draw examples.
settings.register_profile("unrolled", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unrolled")
# scripts/fuzz: more draws of each, and others in every round.
settings.register_profile("fuzz", deadline=None, max_examples=1000, suppress_health_check=[HealthCheck.too_slow])


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Cells go by their names: pytest would show a function's address, which differs from worker to worker."""
    return val.name if isinstance(val, Cell) else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end what was skipped and why, a reason a line."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    if reasons:
        terminalreporter.section("skipped", sep="-")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} {'test' if count == 1 else 'tests'}: {reason}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the project; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets (../shared/data) are not on this machine")
    return folder


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Path]:
    """Encoded files and kernels are kept in a folder of the test run's own, never in the user's cache."""
    before = os.environ.get("UNROLLED_CACHE")
    folder = common_folder(tmp_path_factory, worker_id) / "cache"
    folder.mkdir(exist_ok=True)
    os.environ["UNROLLED_CACHE"] = str(folder)
    yield folder
    os.environ.pop("UNROLLED_CACHE")
    if before is not None:
        os.environ["UNROLLED_CACHE"] = before


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of about 9,000 characters in short sentences, a line each, always the same."""
    words = random.Random(1)
    lines = []
    for _ in range(220):
        subject, verb = words.choice(["the cat", "the dog", "a bird", "my aunt"]), words.choice(["ate", "saw", "was"])
        lines.append(f"{subject}, which {verb} {words.choice(['fish', 'snow', 'red', 'ten pears'])}, slept.")
    path = tmp_path_factory.mktemp("text") / "story.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
