"""How runs end, beside Prefect's own states: the name is what people read, the type is its colour."""

from __future__ import annotations

import logging
from typing import Any

from prefect import State
from prefect.exceptions import FailedRun
from prefect.states import Failed

__all__ = ["INCOMPLETE", "REFUSED", "failed"]

INCOMPLETE = "Incomplete"
"""Wrote its outputs with gaps. Its type is FAILED, so it is not green."""

REFUSED = "Refused"
"""Did not start: bad configuration or input. Its type is FAILED."""


def failed(name: str, message: str) -> State[Any]:
    """A state of type FAILED that says all there is to say."""
    for logger in ("prefect.flow_runs", "prefect.engine"):
        logging.getLogger(logger).addFilter(_TOLD)
    return Failed(name=name, message=message)


class _Told(logging.Filter):
    """Without it, Prefect's engine logs such a state as an exception, with a traceback through itself."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, FailedRun)


_TOLD = _Told()
