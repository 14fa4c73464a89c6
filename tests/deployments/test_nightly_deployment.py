"""What the shipped deployment and its automation ask of the flow, read from their files."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Template

from flows.bulk_review import bulk_review
from flows.ui import events
from flows.ui.events import run_ended
from tasks.core.cells import RunCounts
from tasks.core.paths import RunPaths
from tests.factories import manifest_of

DEPLOYMENTS = Path(events.__file__).parents[2] / "deployments"


def test_the_rerun_takes_the_range_of_its_night(monkeypatch: Any) -> None:
    """Its parameters, made of the event that an incomplete run sends, name the same commits."""
    sent: dict[str, Any] = {}
    monkeypatch.setattr(events, "emit_event", lambda _, **fields: sent.update(fields))
    source, resolved = "git:.@since=last", f"git:.@{'1' * 40}..{'2' * 40}"
    facts = {"source": source, "source_resolved": resolved, "complete": False}
    run_ended(manifest_of(RunCounts()) | facts, RunPaths(Path("out")))  # type: ignore[arg-type]

    rerun = yaml.safe_load((DEPLOYMENTS / "automations" / "rerun_incomplete.yaml").read_text())
    (action,) = rerun["actions"]
    event = {"payload": sent["payload"]}
    wanted = {
        name: value if isinstance(value, str) else Template(value["template"]).render(event=event)
        for name, value in action["parameters"].items()
    }
    assert wanted == {"config": "review.toml", "source": source, "resolved": resolved}
    assert wanted.keys() <= inspect.signature(bulk_review.fn).parameters.keys()
