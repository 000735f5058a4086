"""`unrolled`: the entry point. It imports next to nothing, so that Ctrl-C is heard from the first moment on."""

import atexit
import os
import sys
from typing import Any

from unrolled.cli.began import begin_now
from unrolled.cli.ending import DONE, INTERRUPTED, WRONG, in_words, let_go_of_output, loading, open_streams, tell


def main() -> None:
    """The entry point: exit code 0 done, 1 the user's input is wrong, 2 usage, 130 interrupted."""
    begin_now()
    open_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without a sign shows another, and nothing ends in that
    code: Any = DONE
    try:
        try:
            with loading():  # until a verb begins
                from unrolled.cli.app import app

                app(prog_name="unrolled")
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
    except BrokenPipeError:
        let_go_of_output()
    except KeyboardInterrupt:
        tell("interrupted")
        code = INTERRUPTED
    except OSError as error:  # what the last flush could not write
        let_go_of_output()
        tell(f"error: {in_words(error)}")
        code = WRONG
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
    open_streams()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code or DONE)
