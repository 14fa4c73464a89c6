"""What a run shows while it works: on a terminal, in a pipe, as JSON."""

from __future__ import annotations

import io
import json
import logging

import pytest
from rich.console import Console

from flows.cli.display import BarDisplay, JsonDisplay, LineDisplay, QuietDisplay, progress_bar
from flows.ui.status import Status
from tasks.infer.progress import Tally

STATUS = Status(
    100_000, 4, Tally(inputs=9, asked=40_000, settled=36, calls=40_000, lost=12), 600.0,
    waits="waiting for quota, next send 19:39:08; team-a held until 23:40:00: Limit of 50 per day",
)  # fmt: skip
RECORD = logging.LogRecord("prefect.flow_runs", logging.WARNING, "", 0, "a is %s", ("out",), None)


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_pipe_gets_a_line_a_minute_and_at_each_stage(capsys: pytest.CaptureFixture[str]) -> None:
    """Three minutes of a look a second: two stages and two lines, none with a carriage return."""
    clock = Clock()
    display = LineDisplay(clock)
    display.stage("starting")
    for second in range(150):
        clock.now = second
        display.show(STATUS)
        if second == 20:
            display.stage("reviewing")
    said = capsys.readouterr().err
    assert [line[9:] for line in said.splitlines()] == [
        "starting", "reviewing", f"10%, {STATUS.line()}", f"10%, {STATUS.line()}"
    ]  # fmt: skip
    assert "\r" not in said
    assert "\x1b" not in said


def test_json_lines_are_objects(capsys: pytest.CaptureFixture[str]) -> None:
    """Stage, log, progress and error, each on one line."""
    clock = Clock()
    display = JsonDisplay(clock)
    display.stage("starting")
    display.log(RECORD)
    clock.now = 61
    display.show(STATUS)
    display.error("no\nkey")
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(one["event"], one["level"]) for one in found] == [
        ("stage", "info"), ("log", "warning"), ("progress", "info"), ("error", "error")
    ]  # fmt: skip
    assert found[1]["message"] == "a is out"
    assert found[2]["share"] == 0.1
    assert found[2]["seconds_left"] > 0


def test_quiet_says_errors_only(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing while it works."""
    display = QuietDisplay()
    display.stage("starting")
    display.show(STATUS)
    display.log(RECORD)
    assert capsys.readouterr().err == ""
    display.error("no key")
    assert capsys.readouterr().err == "error: no key\n"


@pytest.mark.parametrize("width", [120, 80, 50])
def test_the_bar_stays_in_its_line(width: int) -> None:
    """One line as wide as the terminal at most, with the time left."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    bar = progress_bar(console)
    BarDisplay(bar).show(STATUS)
    with console.capture() as captured:
        console.print(bar.get_renderable(), no_wrap=False)
    lines = [line for line in captured.get().splitlines() if line.strip()]
    assert len(lines) == 1
    assert "1 h 30 min left" in lines[0]
