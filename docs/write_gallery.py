"""Writes docs/gallery.md and its pictures from runs of the recipes.

    ./scripts/gallery runs            # a folder with runs/agreement, runs/dates, ...; those that are missing are named

A run is looked for under its recipe's name. Entries whose run is missing keep the picture that there is.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PICTURES = DOCS / "gallery"
RUNS = "runs/"
"""The folder of runs, in the words of a command on the page."""
CAT = "The cat, which already ate the old apple near the barns, was full."


@dataclass(frozen=True)
class Entry:
    """One picture: its file, its title, what it shows, the recipe of its run, and the words after `inspect RUN`."""

    name: str
    title: str
    words: str
    recipe: str
    arguments: tuple[str, ...]


ENTRIES = (
    Entry(
        "gates", "Gates over a sentence",
        "The GRU of the agreement recipe: update gate and memory, the longest memory on top. See [Gates](gates.md).",
        "agreement", (CAT, "--gates", "--show", "update,c"),
    ),
    Entry(
        "gradients", "How far back a loss reaches",
        "A trained model beside fresh ones of its size. See [Vanishing gradients](vanishing-gradients.md).",
        "manual", ("--gradients", "--fresh", "rnn,rnn:orthogonal,gru,lstm"),
    ),
    Entry(
        "clipping", "An explosion, and clipping",
        "The same network without clipping, where the alarm stops it at step 5, and with. See [Vanishing "
        "gradients](vanishing-gradients.md#exploding-ones-and-clipping).",
        "exploding", ("--curves", "--with", f"{RUNS}clipped"),
    ),
    Entry(
        "cell-search", "A unit that keeps track of something",
        "Found by correlation with simple features of the text. See [Seeing inside](inspecting.md).",
        "manual", ("--cell-search", "--most", "4000"),
    ),
    Entry(
        "attention", "Where a translator looked", "Dates in words, to ISO 8601. See [Attention](attention.md).",
        "dates", ("3. november 1999", "--attention"),
    ),
    Entry(
        "tree", "A beam search as a tree",
        "What was alive at each step, and what was let go. See [Decoding](decoding.md).",
        "dates", ("3. november 1999", "--tree", "--width", "3"),
    ),
    Entry(
        "labels", "What a tagger thought of every label",
        "Marginals of a CRF, and its transitions. See [Tagging](tagging.md).",
        "ewt", ("They can fish near the old bank .", "--labels"),
    ),
    Entry(
        "saliency", "Which words speak for a class", "By leaving them out. See [Classification](classification.md).",
        "mr-sentence-polarity", ("a slow start , but a lovely and moving end", "--saliency"),
    ),
)  # fmt: skip


def drawn(entry: Entry, runs: Path) -> bool:
    """Draw one picture; whether its run is there."""
    if not (runs / entry.recipe).is_dir():
        return False
    picture = PICTURES / f"{entry.name}.png"
    # from that folder, so that pictures name the run alone
    arguments = [one.removeprefix(RUNS) for one in entry.arguments]
    command = [sys.executable, "-m", "unrolled", "inspect", entry.recipe, *arguments, "--picture", str(picture)]
    subprocess.run(command, check=True, cwd=runs, stdout=subprocess.DEVNULL)
    return True


def page() -> str:
    """The page: of every picture that there is its title, its command and what it shows."""
    parts = [
        "# Gallery\n",
        "Runs of the recipes in pictures, made by `./scripts/gallery RUNS`; each with the command that draws it.\n",
    ]
    for entry in ENTRIES:
        if not (PICTURES / f"{entry.name}.png").exists():
            continue
        shown = " ".join(f'"{one}"' if " " in one else one for one in entry.arguments)
        parts += [
            f"## {entry.title}\n", f"{entry.words}\n", f"![{entry.title}](gallery/{entry.name}.png)\n",
            "<!-- not run: the run is that of a recipe -->\n```console\n$ unrolled inspect "
            f"{RUNS}{entry.recipe} {shown} --picture {entry.name}.png\n```\n",
        ]  # fmt: skip
    return "\n".join(parts)


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit("usage: ./scripts/gallery RUNS     a folder with runs of the recipes, under their names")
    PICTURES.mkdir(exist_ok=True)
    for entry in ENTRIES:
        there = drawn(entry, Path(sys.argv[1]))
        print(f"{entry.name}: " + ("drawn" if there else f"left: there is no {sys.argv[1]}/{entry.recipe}"))
    (DOCS / "gallery.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
