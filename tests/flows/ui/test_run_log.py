"""Lines of our libraries in the log of a run: all threads, bounded, put back as it was."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from flows.ui.run_log import EarlyLog, into_run

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


def test_lines_wait_for_the_run(run: tuple[logging.Logger, list[str]]) -> None:
    """What begins before its flow run is in its log, in order and once; what comes later as well."""
    log, lines = run
    early = EarlyLog()
    with into_run(early):
        OURS.info("of %s", "a library")
        early.info("before")
        early.debug("too much")
        assert lines == []
        early.follow(log)
        early.warning("after")
    assert lines == ["of a library", "before", "after"]


def test_a_line_that_waited_has_its_own_time_and_the_run_s_id() -> None:
    """Prefect's server files a line by what the adapter of the flow run adds, and by its time."""
    seen: list[logging.LogRecord] = []
    early, logger = EarlyLog(), EarlyLog()
    logger.handle = seen.append  # type: ignore[method-assign]
    early.info("before")
    (kept,) = early._kept
    early.follow(logging.LoggerAdapter(logger, {"flow_run_id": "7"}))
    (line,) = seen
    assert line is kept
    assert line.__dict__["flow_run_id"] == "7"
