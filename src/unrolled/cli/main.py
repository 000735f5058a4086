"""`unrolled`: assembles the verbs, each from its own file."""

import atexit
import os
import sys
from typing import Annotated, Any

import typer

from unrolled import __version__
from unrolled.cli import cells, doctor, evaluate, next, sample, score, show, train
from unrolled.cli.common import (
    DONE,
    INTERRUPTED,
    Common,
    DeviceOption,
    JsonOption,
    QuietOption,
    ThreadsOption,
    examples,
    let_go_of_output,
    tell,
)

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
    ("sample", sample.sample, sample.EXAMPLES),
    ("score", score.score, score.EXAMPLES),
    ("next", next.next_symbols, next.EXAMPLES),
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


def main() -> None:
    """The entry point: exit code 0 done, 1 the user's input is wrong, 2 usage, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without a sign shows another, and nothing ends in that
    code: Any = DONE
    try:
        try:
            app(prog_name="unrolled")
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
    except BrokenPipeError:
        let_go_of_output()
    except KeyboardInterrupt:
        tell("interrupted")
        code = INTERRUPTED
    if _is_one_of_several():
        _leave_at_once(code)
    sys.exit(code)


def _is_one_of_several() -> bool:
    """Whether this process trained together with others."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized()


def _leave_at_once(code: int | None) -> None:
    """End without tearing the interpreter down.

    The threads that join the processes let go of Python objects: in an interpreter that is ending that aborts the
    process, and a group destroyed by hand may wait for them forever.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code or DONE)
