"""How many of a model's samples are new? For runs whose sequences are lines: names, titles, short sentences.

python -m benchmarks.novelty runs/names --count 1000
"""

import argparse
from itertools import pairwise

import unrolled
from unrolled.data.corpus import open_corpus
from unrolled.data.streams import Stream


def lines_of(stream: Stream) -> set[str]:
    """The different lines of a stream of lines, as text."""
    vocabulary, offsets = stream.vocabulary, stream.offsets.tolist()
    return {vocabulary.decode(stream.ids(start, stop).tolist()) for start, stop in pairwise(offsets)}


def main() -> None:
    """Draw, compare with the lines of the training part, print the shares and a few samples."""
    parser = argparse.ArgumentParser(description="The share of samples that are not in the training part.")
    parser.add_argument("run", help="a run folder trained on lines")
    parser.add_argument("--count", type=int, default=1000, help="samples to draw")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    run = unrolled.load(arguments.run)
    if run.recipe.data.format != "lines":
        raise SystemExit(f'{arguments.run} was trained on running text; this needs data.format = "lines"')
    corpus = open_corpus(run.recipe.data, vocabulary=run.vocabulary, base=run.folder)
    known = lines_of(corpus.train)
    drawn = run.samples(arguments.count, temperature=arguments.temperature, seed=arguments.seed)
    new = [text for text in drawn if text not in known]
    print(f"{len(drawn):,} samples, {len(set(drawn)):,} different; training part: {len(known):,} lines")
    print(f"not in the training part: {len(new) / len(drawn):.1%}")
    print("for instance:", ", ".join(new[:12]))


if __name__ == "__main__":
    main()
