"""What becomes of a run that nobody is left to report."""

from __future__ import annotations

from tests.operations.conftest import Evening
from tests.operations.stack import Operator


def test_lost_run_does_not_stay_running(operator: Operator, evening: Evening) -> None:
    """With process, worker and all gone, missed heartbeats set the run to Crashed."""
    run = operator.ended(evening.lost)

    assert run.state is not None
    assert run.state.type == "CRASHED"
    assert "No heartbeat" in str(run.state.message)
