"""Where in a long strand of DNA do exons end and begin? A tagger on strands joined from the splice junctions.

    python -m benchmarks.strands ../shared/data/dna-splice
    python -m benchmarks.strands ../shared/data/dna-splice --joined 8 --epochs 30 --run runs/strands

The rows of train.tsv, valid.tsv and test.tsv (60 bases; a junction, if there is one, is in the middle) are shuffled and
joined, so many to a strand, each part by itself. Every base is labelled: the first after a junction with its kind (EI
or IE), all others O. So the tagger has to find places; it is judged by span F1, where a span is one base and must be
hit exactly. Beside it stands the same network without recurrence, which sees every base alone.
"""

import argparse
import random
import tempfile
from pathlib import Path
from typing import Any

import unrolled
from benchmarks.measuring import table
from unrolled.data.labelled import read_labelled
from unrolled.training.recipe import recipe_from_mapping

MIDDLE = 30
MODEL = {
    "cell": "gru", "hidden": 64, "layers": 2, "embedding": 16, "characters": 0, "dropout": 0.3,
    "embedding_dropout": 0.0, "crf": True,
}  # fmt: skip


def strands(rows: list[tuple[str, str]], joined: int, seed: int) -> str:
    """CoNLL of strands: a base TAB its label a line, an empty line after each strand.

    >>> print(strands([("EI", "AC" * 30)], 1, 0).splitlines()[30])
    A\tB-EI
    """
    rows = list(rows)
    random.Random(seed).shuffle(rows)
    lines = list[str]()
    for start in range(0, len(rows), joined):
        for kind, bases in rows[start : start + joined]:
            labels = ["O"] * len(bases)
            if kind != "N":
                labels[MIDDLE] = f"B-{kind}"
            lines += [f"{base}\t{label}" for base, label in zip(bases, labels, strict=True)]
        lines.append("")
    return "\n".join(lines) + "\n"


def written(source: Path, folder: Path, joined: int, seed: int) -> dict[str, str]:
    """The three parts as files in a folder, as [data] names them."""
    found = {}
    for key, name in (("path", "train"), ("valid", "valid"), ("test", "test")):
        examples = read_labelled(source / f"{name}.tsv", "classify").examples
        rows = [(str(one.y), str(one.x)) for one in examples]
        (folder / f"{name}.conll").write_text(strands(rows, joined, seed), encoding="utf-8")
        found[key] = str(folder / f"{name}.conll")
    return found


def trained(data: dict[str, str], model: dict[str, Any], arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The test figures of a run."""
    training = {
        "epochs": arguments.epochs, "batch": 8, "learning_rate": 3e-3, "average": 0.995, "seed": arguments.seed,
    }  # fmt: skip
    settings = {"level": "word", "words": "whitespace", "min_count": 1}
    recipe = recipe_from_mapping({"task": "tag", "data": {**data, **settings}, "model": model, "training": training})
    found: dict[str, Any] = unrolled.train(recipe, folder=folder, quiet=True).metrics["test"]
    return found


def main() -> None:
    """Make the strands, train both, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the folder of train.tsv, valid.tsv and test.tsv")
    parser.add_argument("--joined", type=int, default=8, help="rows of a strand")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run", type=Path, help="keep the tagger's run there")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        data = written(arguments.source, Path(place), arguments.joined, arguments.seed)
        for name, model in (("GRU, both directions", MODEL), ("no recurrence", MODEL | {"cell": "none"})):
            keep = arguments.run if name.startswith("GRU") and arguments.run else Path(place) / name.split()[0]
            figures = trained(data, model, arguments, keep)
            spans = figures["spans"]
            kinds = [f"{spans['types'].get(kind, {}).get('f1', 0.0):.1%}" for kind in ("EI", "IE")]
            rows.append([name, f"{spans['f1']:.2%}", f"{spans['precision']:.1%}", f"{spans['recall']:.1%}", *kinds])
    print(f"strands of {arguments.joined} x 60 bases, test part: a junction at its very base\n")
    print(table(["", "span F1", "precision", "recall", "EI", "IE"], rows))


if __name__ == "__main__":
    main()
