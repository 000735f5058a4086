"""Word vectors by counting: which words stand near each other in some texts, and the main directions of that.

    python -m benchmarks.vectors runs/vectors.txt ../shared/data/wikitext2/train.txt.gz
    unrolled train tag --data train.conll --set data.vectors=runs/vectors.txt --set model.embedding=100

A word's row is its positive pointwise mutual information with the words up to `--window` places away, near ones
counting more (1 / distance), the contexts' frequencies to the power 3/4; the vectors are U √S of its truncated singular
value decomposition (Levy, Goldberg and Dagan 2015). What comes out is word2vec's text format.

Texts may be plain (a sequence a line), tables (`.tsv`, `.csv`, `.jsonl`: all columns that are texts) and CoNLL files
(their words); .gz and .xz too.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from unrolled.data.labelled.conll import read_conll
from unrolled.data.labelled.example import BadRows
from unrolled.data.labelled.opening import EXTENSIONS
from unrolled.data.reading import TextFile, lines
from unrolled.data.surfaces import split_words
from unrolled.data.vectors import write_vectors

OVERSAMPLING, ITERATIONS = 20, 4
"""Of the randomised decomposition (Halko, Martinsson and Tropp 2011)."""
LETTERS = 20
"""A field with fewer characters than that is a label rather than a text."""


def sentences(path: Path) -> Iterator[list[str]]:
    """The words of a file, a sequence at a time."""
    format = EXTENSIONS.get(Path(path.name.removesuffix(".gz").removesuffix(".xz")).suffix.lower(), "text")
    if format in ("conll", "conllu") or path.suffix == ".annotated":
        known = format if format in ("conll", "conllu") else "conll"
        for example in read_conll(path, known, "", "", BadRows(str(path), 0), False).examples:
            yield list(example.x)
        return
    for line in lines(TextFile(path).chunks()):
        fields = line.split("\t") if format == "tsv" else [line]
        for field in fields:
            if format == "tsv" and len(field) < LETTERS and " " not in field:
                continue
            cut = "whitespace" if " @-@ " in field else "punctuation"  # WikiText's words are cut already
            yield [word for word in split_words(field, cut) if word != "\n"]


def numbered(paths: list[Path], min_count: int) -> tuple[list[str], NDArray[np.int64]]:
    """The words, most frequent first, and all texts as their numbers, -1 for rare words and between sequences."""
    texts = [sentence for path in paths for sentence in sentences(path) if sentence]
    counts = Counter(word for sentence in texts for word in sentence)
    words = sorted((word for word in counts if counts[word] >= min_count), key=lambda word: (-counts[word], word))
    ids = {word: number for number, word in enumerate(words)}
    return words, np.array([ids.get(word, -1) for sentence in texts for word in [*sentence, ""]], dtype=np.int64)


def near(ids: NDArray[np.int64], size: int, window: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of words as one number (word * size + context), and how often they are near, both ways."""
    ends = ids < 0
    kept, weights = [], []
    for distance in range(1, window + 1):
        left, right = ids[:-distance], ids[distance:]
        between = np.convolve(ends, np.ones(distance + 1), "valid") > 0  # no pair reaches over a sequence's end
        keys, counts = np.unique((left * size + right)[~between], return_counts=True)
        kept.append(keys)
        weights.append(counts / distance)
    keys, place = np.unique(np.concatenate(kept), return_inverse=True)
    found = np.bincount(place, np.concatenate(weights))
    both, place = np.unique(np.concatenate([keys, keys % size * size + keys // size]), return_inverse=True)
    return both, np.bincount(place, np.concatenate([found, found]))


def vectors(keys: NDArray[np.int64], counts: NDArray[np.float64], size: int, dimensions: int) -> NDArray[np.float32]:
    """(size, dimensions) the vectors of all words."""
    rows, columns = keys // size, keys % size
    word = np.bincount(rows, counts, size)
    context = np.bincount(columns, counts, size) ** 0.75
    information = np.log(counts / word[rows] / (context[columns] / context.sum()))
    positive = information > 0
    places = torch.from_numpy(np.stack([rows[positive], columns[positive]]))
    values = torch.from_numpy(information[positive].astype(np.float32))
    matrix = torch.sparse_coo_tensor(places, values, (size, size), check_invariants=False).coalesce()
    u, s, _ = torch.svd_lowrank(matrix, q=min(size, dimensions + OVERSAMPLING), niter=ITERATIONS)
    found = (u[:, :dimensions] * s[:dimensions].sqrt()).numpy()
    scaled: NDArray[np.float32] = found / found.std()
    return scaled


def main() -> None:
    """Count, decompose, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="word2vec's text format")
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--dimensions", type=int, default=100)
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--min-count", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    words, ids = numbered(arguments.texts, arguments.min_count)
    keys, counts = near(ids, len(words), arguments.window)
    print(f"{int((ids >= 0).sum()):,} words, {len(words):,} different ones, {len(keys):,} pairs", flush=True)
    found = vectors(keys, counts, len(words), arguments.dimensions)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_vectors(arguments.output, words, found)
    for query in ("London", "he", "good"):
        if query in words:
            unit = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
            best = np.argsort(-(unit @ unit[words.index(query)]))[1:8]
            print(f"nearest to {query}: {', '.join(words[place] for place in best)}")


if __name__ == "__main__":
    main()
