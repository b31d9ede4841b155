"""Where progress is shown: a bar on a terminal, lines with --verbose, and never on stdout."""

from __future__ import annotations

import io
import os
import pty
from collections.abc import Iterator

import pytest

from reprokit.cli.progress import reporter


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, io.TextIOWrapper]]:
    """A real terminal: the end that a screen reads, and the stream that a program writes."""
    monkeypatch.setenv("TERM", "xterm")
    screen, device = pty.openpty()
    with open(device, "w", encoding="utf-8") as stream:
        yield screen, stream
    os.close(screen)


def test_without_a_terminal_nothing_is_shown() -> None:
    stream = io.StringIO()
    with reporter(False, stream=stream) as progress:
        progress("building", 0, 0)
    assert stream.getvalue() == ""


def test_verbose_prints_each_new_thing_and_its_end() -> None:
    stream = io.StringIO()
    with reporter(True, stream=stream) as progress:
        progress("building", 0, 0)
        for done in range(1, 1001):
            progress("copying", done, 1000)
    lines = stream.getvalue().splitlines()
    assert lines[:2] == ["reprokit: building", "reprokit: copying (1/1000)"]
    assert lines[-1] == "reprokit: copying (1000/1000)"
    assert len(lines) < 100


def test_a_terminal_gets_a_bar_though_the_work_says_nothing_more(
    terminal: tuple[int, io.TextIOWrapper],
) -> None:
    screen, stream = terminal
    shown = b""
    with reporter(False, stream=stream, delay_s=0.0) as progress:
        progress("cell [3] of a.ipynb", 3, 12)
        while b"3/12" not in shown:
            shown += os.read(screen, 4096)
    assert b"cell [3] of a.ipynb" in shown


def test_a_terminal_shows_nothing_of_what_is_quickly_done(terminal: tuple[int, io.TextIOWrapper]) -> None:
    screen, stream = terminal
    with reporter(False, stream=stream, delay_s=600.0) as progress:
        progress("building", 0, 0)
    stream.write("end")
    stream.flush()
    assert os.read(screen, 4096) == b"end"


def test_the_bar_leaves_stdout_alone(
    terminal: tuple[int, io.TextIOWrapper], capsys: pytest.CaptureFixture[str]
) -> None:
    screen, stream = terminal
    with reporter(False, stream=stream, delay_s=0.0) as progress:
        progress("building", 0, 0)
        os.read(screen, 1)  # the bar is there
        print('{"a": 1}')
    assert capsys.readouterr().out == '{"a": 1}\n'


def test_the_bar_goes_when_the_work_fails(terminal: tuple[int, io.TextIOWrapper]) -> None:
    screen, stream = terminal
    shown = b""

    def fail() -> None:
        with reporter(False, stream=stream, delay_s=0.0) as progress:
            progress("building", 0, 0)
            os.read(screen, 1)  # the bar is there
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    stream.write("end")
    stream.flush()
    while not shown.endswith(b"end"):
        shown += os.read(screen, 4096)
    assert b"\x1b[?25h" in shown  # the cursor is back
