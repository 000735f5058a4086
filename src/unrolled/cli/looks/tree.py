"""`inspect --tree`: one beam search, hypothesis by hypothesis."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from unrolled.cli.common import Common
from unrolled.cli.looks.look import Look, PictureOption, WidthOption, say
from unrolled.cli.search import AlphaOption, search_of

if TYPE_CHECKING:
    from unrolled.inspecting.beam_tree import BeamNode, BeamTree

WORDS = {"finished": "finished", "cut": "cut off", "pruned": "pruned", "stopped": "given up"}


def show(
    common: Common,
    run: Any,
    text: str,
    *,
    picture: PictureOption = None,
    width: WidthOption = None,
    alpha: AlphaOption = None,
) -> None:
    """Show and draw the search for one answer."""
    from unrolled.inspecting.beam_picture import draw_tree

    tree = run.search_tree(text, **search_of(run, beam=width, alpha=alpha))
    if picture is not None:
        draw_tree(tree, picture)
    join = run.symbols.target.level != "word"
    say(common, tree.as_dict(), tree_text(tree, "" if join else " "), picture)


def tree_text(tree: "BeamTree", between: str) -> str:
    """The search as an indented tree; symbols that only one hypothesis went on with stand on one line."""
    beam = tree.beam
    answer = between.join(node.symbol for node in tree.path(tree.answer))
    head = f"{tree.source}\n→ {answer}\n\nbeam {beam.width}, alpha {beam.alpha:g}, {tree.steps} steps, "
    head += f"{len(tree.nodes) - 1} hypotheses; log P and score of each at its end"
    plain = not (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    return head + "\n\n" + "\n".join(_branches(tree, tree.nodes[0], "", between, plain))


def _branches(tree: "BeamTree", node: "BeamNode", indent: str, between: str, plain: bool) -> Iterator[str]:
    """The lines below a node, the lines of its best continuation first."""
    children = tree.children[node.number]
    for place, child in enumerate(children):
        last = place == len(children) - 1
        symbols = [child.symbol]
        while len(tree.children[child.number]) == 1:
            (child,) = tree.children[child.number]
            symbols.append(child.symbol)
        fork = ("`- " if last else "|- ") if plain else ("└─ " if last else "├─ ")
        yield f"{indent}{fork}{between.join(symbols)}{_ending(tree, child)}"
        below = "   " if last else "|  " if plain else "│  "
        yield from _branches(tree, child, indent + below, between, plain)


def _ending(tree: "BeamTree", node: "BeamNode") -> str:
    if tree.children[node.number]:
        return ""
    word = "the answer" if node.number == tree.answer else WORDS[node.fate]
    return f"  {node.log_probability:.2f}  {node.score:.3f}  {word} at step {node.step}"


TREE = Look(
    "tree", "Translators: the beam search as a tree: what was open, pruned, finished.", show,
    tasks={"translate": "translators"},
)  # fmt: skip
