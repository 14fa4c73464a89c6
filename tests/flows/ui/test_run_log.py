"""Lines of our libraries in the log of a run: all threads, bounded, put back as it was."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from flows.ui.run_log import into_run

OURS = logging.getLogger("tasks.upstream.some_module")


@pytest.fixture
def run() -> Iterator[tuple[logging.Logger, list[str]]]:
    """A logger that stands for a flow run's, and the lines it got."""
    lines: list[str] = []
    logger = logging.getLogger("a-run-of-its-own")
    logger.setLevel(logging.INFO)
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    yield logger, lines
    logger.removeHandler(handler)


def test_lines_of_any_thread_arrive(run: tuple[logging.Logger, list[str]]) -> None:
    """A thread without Prefect's context logs into the run as well; debug lines do not."""
    log, lines = run
    with into_run(log):
        thread = threading.Thread(target=OURS.warning, args=("from a thread of %s", "our own"))
        thread.start()
        thread.join(10)
        OURS.debug("too much")

    assert lines == ["from a thread of our own"]


def test_a_flood_is_cut_off(run: tuple[logging.Logger, list[str]]) -> None:
    """At most so many lines pass in a minute, whatever the number of calls that fail."""
    log, lines = run
    with into_run(log, most=5):
        for number in range(1000):
            OURS.warning("line %d", number)

    # The thousand may fall into two minutes of the clock.
    assert 5 <= len(lines) <= 11


def test_nothing_is_left_behind(run: tuple[logging.Logger, list[str]]) -> None:
    """After the block, also one that failed, our loggers are as before."""
    log, lines = run
    parent = logging.getLogger("tasks")
    before = (list(parent.handlers), parent.level)
    with pytest.raises(ZeroDivisionError), into_run(log):
        raise ZeroDivisionError
    OURS.warning("after")

    assert (list(parent.handlers), parent.level) == before
    assert lines == []
