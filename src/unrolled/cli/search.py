"""Options of the verbs that search for answers: a translator's beam."""

from typing import Annotated, Any

import typer

from unrolled.cli.common import refuse_unless

BeamOption = Annotated[
    int | None, typer.Option(min=1, help="Translations: hypotheses kept at a step; 1: greedy; otherwise the recipe's.")
]
AlphaOption = Annotated[
    float | None, typer.Option(min=0, help="Translations: exponent of the length; otherwise the recipe's.")
]
CoverageOption = Annotated[float | None, typer.Option(min=0, help="Translations: weight of the coverage penalty.")]
BlockOption = Annotated[
    int | None, typer.Option(min=0, help="Translations: no run of so many symbols comes twice; 0: off.")
]


def search_of(run: Any, **given: Any) -> dict[str, Any]:
    """What was asked for, for a run that searches.

    Raises:
        UserError: something was, and the run's task does not search.
    """
    search = {name: value for name, value in given.items() if value is not None}
    options = ", ".join(f"--{name.replace('_', '-')}" for name in search)
    refuse_unless(run, bool(search), options, translate="translators")
    return search
