"""Every test keeps its encoded files in a folder of the test run's own, never in the user's cache."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before = os.environ.get("UNROLLED_CACHE")
    folder = tmp_path_factory.mktemp("cache")
    os.environ["UNROLLED_CACHE"] = str(folder)
    yield folder
    os.environ.pop("UNROLLED_CACHE")
    if before is not None:
        os.environ["UNROLLED_CACHE"] = before
