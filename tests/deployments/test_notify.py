"""Which ends of a run an automation of [notify] tells of, by the server's own matching."""

from __future__ import annotations

from uuid import uuid4

import pytest
from prefect.server.events.schemas.events import Resource, ResourceSpecification

from deployments.notify import automation
from flows.ui.run_display import INCOMPLETE, REFUSED


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Flow run encountered an exception: ZeroDivisionError: division by zero", True),
        ("The flow was paused and never resumed.", True),
        ("Flow run infrastructure exited with non-zero status code -9.", True),
        ("", True),
        (f"{INCOMPLETE}4 of 6 inputs", False),
        (f"{REFUSED}no such file: review.toml", False),
    ],
)
def test_every_red_end_is_told_once(message: str, *, told: bool) -> None:
    """Failed without words of ours is told as crashed; what an event of ours tells is not told twice."""
    trigger = automation("crashed", uuid4()).trigger
    assert trigger.expect == {"prefect.flow-run.Crashed", "prefect.flow-run.Failed"}
    run = Resource.model_validate(
        {"prefect.resource.id": "prefect.flow-run.1", "prefect.state-message": message}
    )
    assert ResourceSpecification.model_validate(trigger.match.model_dump()).matches(run) is told
