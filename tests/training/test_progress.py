"""What a run tells on standard error: a live line, plain lines, or nothing."""

import io
import math

import pytest

from unrolled.training.progress import Progress, duration, in_unit, quantity


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def told(stream: io.StringIO, clock: Clock, *, unit: str = "bits per character", quiet: bool = False) -> str:
    with Progress(100, 20, unit=unit, quiet=quiet, stream=stream, clock=clock) as progress:
        progress.say("1,000 [parameters]")
        for step in range(21, 101):
            clock.now += 1.0
            progress.step(step, math.log(4), 52_300.0)
            if step % 40 == 0:
                progress.validated(step, math.log(8), best=step == 40)
    return stream.getvalue()


def test_plain_lines_come_every_ten_seconds_and_at_each_validation() -> None:
    lines = told(io.StringIO(), Clock()).splitlines()
    assert lines[0] == "1,000 [parameters]"
    assert lines[1] == "step 30 of 100: 1 min 10 s left, loss 1.386 (2.000 bits per character), 52.3k symbols/s"
    assert lines[3] == "step 40 of 100: validation loss 2.079 (3.000 bits per character), the best so far"
    assert lines[4].endswith("loss 1.386 (2.000 bits per character), best valid 2.079, 52.3k symbols/s")
    assert "step 80 of 100: validation loss 2.079 (3.000 bits per character)" in lines
    assert lines[-1].startswith("step 100 of 100: loss 1.386")
    assert len(lines) == 1 + 8 + 2


def test_measuring_is_shown_where_it_takes_its_time() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(100, stream=stream, clock=clock) as progress:
        for done in range(0, 60_000, 2_000):
            progress.measured("test", done, 60_000)
            clock.now += 1.0
    assert stream.getvalue().splitlines() == [
        "measuring on the test part: 20,000 of 60,000 symbols", "measuring on the test part: 40,000 of 60,000 symbols"
    ]  # fmt: skip
    live, clock = Terminal(), Clock()
    with Progress(100, stream=live, clock=clock) as progress:
        clock.now += 1.0
        progress.measured("test", 20_000, 60_000)
    assert "measuring on the test part: 20,000 of" in live.getvalue()


def test_perplexity_instead_of_bits() -> None:
    assert "loss 1.386 (perplexity 4.0)" in told(io.StringIO(), Clock(), unit="perplexity")


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_quiet_says_nothing(stream: io.StringIO) -> None:
    assert told(stream, Clock(), quiet=True) == ""


def test_a_terminal_gets_one_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    output = told(Terminal(), Clock())
    assert "1,000 [parameters]" in output  # square brackets are no markup
    assert "100 of 100, loss 1.386 (2.000 bits per character), best valid 2.079, 52.3k symbols/s" in output
    assert "step 40 of 100: validation loss 2.079" in output
    assert "\r" in output or "\x1b[" in output
    assert output.rstrip().endswith("\x1b[?25h")  # the cursor is visible again


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert told(Terminal(), Clock()) == told(io.StringIO(), Clock())


def test_the_live_line_ends_with_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()

    def interrupted() -> None:
        with Progress(100, stream=stream) as progress:
            progress.step(1, 1.0, 1.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert stream.getvalue().rstrip().endswith("\x1b[?25h")


def test_standard_output_stays_free(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1) as progress:
        progress.say("hello")
        progress.step(1, 1.0, 1.0)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("hello\nstep 1 of 1: loss 1.000")


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(0.0, "perplexity 1.0"), (math.nan, "perplexity nan"), (math.inf, "perplexity inf"), (20.0, "perplexity 4.9e+08")],
)
def test_any_loss_has_a_perplexity(loss: float, expected: str) -> None:
    assert in_unit(loss, "perplexity") == expected
    in_unit(loss, "bits per byte")


def test_short_forms() -> None:
    assert [quantity(value) for value in (0.0, 999.4, 999.6, 12_345, 999_600)] == ["0", "999", "1k", "12.3k", "1M"]
    assert [duration(value) for value in (0, 59.4, 59.6, 3599, 3600)] == [
        "0 s",
        "59 s",
        "1 min 0 s",
        "59 min 59 s",
        "1 h 0 min",
    ]
