"""What of Prefect's log reaches the terminal."""

from __future__ import annotations

import logging

import prefect.logging.loggers  # noqa: F401 - makes Prefect's loggers
import pytest

from flows.ui.terminal import _worth_showing, run_log_to

_HERE = {"send_to_api": False}
"""There is no flow run."""


def test_ctrl_c_is_no_crash() -> None:
    """Prefect's word for it stays out, the run's own lines are passed on, each once."""
    shown: list[str] = []
    log = logging.getLogger("prefect.flow_runs")
    with run_log_to(lambda record: shown.append(record.getMessage())):
        log.error("Crash detected! Execution was cancelled.", extra=_HERE)
        log.warning("app_id a is out of rotation", extra=_HERE)
    log.warning("after the run", extra=_HERE)
    assert shown == ["app_id a is out of rotation"]


@pytest.mark.parametrize(
    "text", ["Crash detected! Execution was cancelled.", "failed: ConnectError('gone')"]
)
def test_what_is_said_elsewhere_is_left_out(text: str) -> None:
    """The command says it in one line of its own."""
    record = logging.LogRecord("prefect.flow_runs", logging.ERROR, "", 0, text, (), None)
    assert not _worth_showing(record)
