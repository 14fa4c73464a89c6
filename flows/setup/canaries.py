"""What the canaries of a run say of its reviewers, remembered from run to run."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from tasks.core.canary_facts import CanaryFacts
from tasks.core.errors import ReviewError
from tasks.core.paths import RunPaths
from tasks.core.run import Run
from tasks.finished.canaries.facts import canary_facts
from tasks.finished.canaries.night import read_canary_file
from tasks.finished.canaries.nights import read_nights, remember_night
from tasks.report.canaries import canary_warnings, worth_text

__all__ = ["judge_reviewers"]

_Log = logging.Logger | logging.LoggerAdapter[Any]


def judge_reviewers(paths: RunPaths, run: Run, started: float, log: _Log) -> CanaryFacts | None:
    """What the canaries of a merged run say of its reviewers; None: it had none.

    The night is remembered in the state. What goes wrong here is logged: it costs no outputs.
    """
    if run.settings.canaries is None:
        return None
    at = datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds")
    try:
        canaries = list(read_canary_file(paths))
        if not canaries:
            return None
        earlier = [one for one in read_nights(run.state) if one["run_id"] != run.run_id]
        found = canary_facts(run.settings, run.run_id, at, canaries, earlier)
        if found["night"]["defects"]:
            remember_night(run.state, found["night"])
    except (ReviewError, OSError) as error:
        log.warning("nothing is said of the reviewers: %s", error)
        return None
    log.info("canaries: %s", worth_text(found))
    for line in canary_warnings(found):
        log.warning("%s", line)
    return found
