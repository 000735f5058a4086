"""The embedded default: the language reference that every CPython carries, as a file."""

from pathlib import Path
from typing import Any

from unrolled.data.cache import kept

NAME = "the Python language reference (built in)"


def builtin_text() -> str:
    """The topics of ``pydoc``'s help in alphabetical order, with a blank line between them."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name].strip("\n") for name in sorted(topics)) + "\n"


def builtin_path() -> Path:
    """A file in the cache folder that holds ``builtin_text()``, made if it is not there.

    >>> TextFile(builtin_path())        # doctest: +SKIP
    """
    text = builtin_text()

    def make(path: Path) -> dict[str, Any]:
        path.write_bytes(text.encode())
        return {}

    return kept({"builtin": text}, make, lambda path, _: path.read_bytes() == text.encode())[0]
