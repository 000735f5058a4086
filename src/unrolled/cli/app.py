"""The command line as Typer sees it: assembles the verbs, each from its own file."""

from typing import Annotated

import typer

from unrolled import __version__
from unrolled.cli import cells, doctor, evaluate, inspect, next, predict, sample, score, serve, show, train
from unrolled.cli.common import Common, DeviceOption, JsonOption, QuietOption, ThreadsOption, examples

EXAMPLES = (
    "unrolled train language-model --run runs/manual --set training.minutes=2",
    "unrolled sample runs/demo --temperature 0.6",
    "unrolled score runs/demo 'It returns a list.' 'It list returns a.'",
    "unrolled doctor",
)

app = typer.Typer(
    name="unrolled",
    help="Recurrent sequence models: train one on your file, then score, sample and look inside.",
    epilog=examples(*EXAMPLES),
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)
for _name, _verb, _examples in (
    ("train", train.train, train.EXAMPLES),
    ("evaluate", evaluate.evaluate, evaluate.EXAMPLES),
    ("predict", predict.predict, predict.EXAMPLES),
    ("sample", sample.sample, sample.EXAMPLES),
    ("score", score.score, score.EXAMPLES),
    ("next", next.next_symbols, next.EXAMPLES),
    ("inspect", inspect.inspect, inspect.EXAMPLES),
    ("serve", serve.serve, serve.EXAMPLES),
    ("show", show.show, show.EXAMPLES),
    ("cells", cells.cells, cells.EXAMPLES),
    ("doctor", doctor.doctor, doctor.EXAMPLES),
):
    app.command(_name, epilog=examples(*_examples))(_verb)


def _version(asked: bool) -> None:
    if asked:
        print(f"unrolled {__version__}")
        raise typer.Exit()


@app.callback()
def _before_the_verb(
    context: typer.Context,
    json: JsonOption = None,
    threads: ThreadsOption = None,
    device: DeviceOption = None,
    quiet: QuietOption = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    context.obj = Common().updated(json=json, threads=threads, device=device, quiet=quiet)
