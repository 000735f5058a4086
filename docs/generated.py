"""The parts of the pages that are written from the code, each between two comments of its page.

A script that calls `write` changes nothing with --check, and ends with 1 where the page is not up to date.
"""

import sys
from pathlib import Path


def write(page: str, name: str, content: str, *, script: str, source: str) -> None:
    """Put `content` into the part `name` of a page in this folder; `source` is what it is taken from, in words."""
    path = Path(__file__).with_name(page)
    begin, end = f"<!-- {name}: written by {script} -->\n", f"<!-- end of {name} -->\n"
    text = path.read_text(encoding="utf-8")
    before, found, rest = text.partition(begin)
    after = rest.partition(end)[2]
    if not found or end not in rest:
        sys.exit(f"docs/{page} lacks the lines {begin.strip()} and {end.strip()}, between which {script} writes")
    wanted = f"{before}{begin}\n{content}\n{end}{after}"
    if "--check" not in sys.argv[1:]:
        path.write_text(wanted, encoding="utf-8")
    elif wanted != text:
        sys.exit(f"docs/{page} is not up to date with {source}: run {script}")
