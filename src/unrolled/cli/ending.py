"""How a command ends: its exit code, its last words, and Ctrl-C at a moment when Python itself could not stand it."""

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

DONE, WRONG, INTERRUPTED = 0, 1, 130
"""Exit codes, beside 2 for usage, which Typer gives."""
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "Storage size calculation overflowed")
"""What torch says of memory that is not there."""


@contextmanager
def loading() -> Iterator[None]:
    """Around heavy imports: there Ctrl-C ends the process at once, and with one line.

    A library that is interrupted in the middle of its import may answer with any error, or go on half loaded.
    Nothing is open at such a moment that would have to be closed.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield  # someone else minds the signal, or it is ignored, as under nohup
        return
    signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def working() -> Iterator[None]:
    """Inside `loading`, around what Ctrl-C shall interrupt as usual: there is something to close or to say."""
    if signal.getsignal(signal.SIGINT) is not _leave:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")  # not print, which may be what was interrupted
    os._exit(INTERRUPTED)


def tell(text: str) -> None:
    """One message on standard error; where that is a terminal that was closed, nobody hears it."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def open_streams() -> None:
    """Point standard streams that are closed at nothing: the first file that is opened would take their place, and be
    written into by whoever prints."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: those below are open by now
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def too_little_memory(error: BaseException) -> str | None:
    """What an error says of memory that was not there, as the end of "too little memory"; None if it is about something
    else.

    >>> too_little_memory(RuntimeError("can't allocate memory: you tried to allocate 6400000000 bytes. Error code 12"))
    ': 6.4 GB more were needed'
    """
    text = str(error)
    if not isinstance(error, MemoryError) and not any(sign in text for sign in NO_MEMORY):
        return None
    for number, unit in re.findall(r"allocate ([\d.]+) (bytes|[KMGT]iB)", text):
        size = float(number) * 1024 ** ("bytes", "KiB", "MiB", "GiB", "TiB").index(unit)
        return f": {size / 1e9:,.1f} GB more were needed"
    return ""


def in_words(error: OSError) -> str:
    """What the system refused: its own words, and the file where it says which."""
    words = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {words}" if error.filename else words


def let_go_of_output() -> None:
    """Send what is still to be written nowhere, so that nobody complains about it when Python ends."""
    with suppress(OSError, ValueError):  # it may have no descriptor
        output = sys.stdout.fileno()
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, output)
        os.close(sink)
