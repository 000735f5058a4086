"""Fixtures shared by all tests."""

from pathlib import Path

import pytest
from hypothesis import settings

# The first call of an operator can take a second on a busy machine; a deadline would only report that.
settings.register_profile("unrolled", deadline=None)
settings.load_profile("unrolled")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the project; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets (../shared/data) are not on this machine")
    return folder
