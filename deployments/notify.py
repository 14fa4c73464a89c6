"""
Notifications without code: one automation per occasion that [notify] names, on every run of this server.

    incomplete    the outputs have more gaps than accepted
    refused       a run could not start, or not write
    crashed       a run was killed, its machine is gone, it broke off in an error, or nobody resumed it
    late          a run should have started and has not: no worker, no place
    budget        a cap of the budget is reached
    new_critical  critical findings that the run before did not have
    reviewer_changed   by its canaries a model has become worse, beyond chance
"""

from __future__ import annotations

from typing import Any, get_args

from prefect.client.orchestration import SyncPrefectClient
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from deployments.automate import install_automation
from tasks.core.errors import ConfigError
from tasks.core.notify_settings import NotifySettings, Occasion

__all__ = ["automation", "install_notifications"]

_OURS = {"prefect.resource.id": "bulk-review.run.*"}
_PREFECTS = {"prefect.resource.id": "prefect.flow-run.*"}
_FLOW = {"prefect.resource.role": "flow", "prefect.resource.name": "bulk-review"}
_NOT_TOLD_BY_US = {"prefect.state-message": "!" + 6 * "[A-Z]" + "*"}
"""Ends that no event of ours tells: those begin INCOMPLETE or REFUSED. An empty message is one, too."""
_TEXT = "{{ event.payload.text }}"
_STATE = "{{ flow_run.name }}: {{ flow_run.state.message }}\n{{ flow_run|ui_url }}"

_TRIGGERS: dict[Occasion, dict[str, Any]] = {
    "incomplete": {"match": _OURS, "expect": {"bulk-review.run.incomplete"}},
    "refused": {"match": _OURS, "expect": {"bulk-review.run.refused"}},
    "crashed": {
        "match": _PREFECTS | _NOT_TOLD_BY_US,
        "match_related": _FLOW,
        "expect": {"prefect.flow-run.Crashed", "prefect.flow-run.Failed"},
    },
    "late": {"match": _PREFECTS, "match_related": _FLOW, "expect": {"prefect.flow-run.Late"}},
    "budget": {"match": _OURS, "expect": {"bulk-review.budget.reached"}},
    "new_critical": {"match": _OURS, "expect": {"bulk-review.findings.new_critical"}},
    "reviewer_changed": {"match": _OURS, "expect": {"bulk-review.reviewer.changed"}},
}
_SUBJECTS: dict[Occasion, str] = {
    "incomplete": "Review incomplete: {{ event.payload.source }}",
    "refused": "Review refused: {{ event.payload.source }}",
    "crashed": "Review crashed: {{ flow_run.name }}",
    "late": "Review late: {{ flow_run.name }}",
    "budget": "Review out of budget: {{ event.payload.cap }}",
    "new_critical": "New critical findings: {{ event.payload.source }}",
    "reviewer_changed": "Reviewer worse: {{ event.payload.name }} ({{ event.payload.model }})",
}


def install_notifications(client: SyncPrefectClient, notify: NotifySettings | None) -> list[str]:
    """Make what `notify` wants as it is wanted, and remove what it does not; names of what there is.

    Raises:
        ConfigError: the server has no such block.
    """
    wanted: tuple[Occasion, ...] = notify.on if notify else ()
    block = _block(client, notify.to) if notify else None
    for occasion in get_args(Occasion):
        if occasion not in wanted:
            for found in client.read_automations_by_name(_name(occasion)):
                client.delete_automation(found.id)
    return [install_automation(client, automation(one, block)) for one in wanted]


def _block(client: SyncPrefectClient, slug: str) -> Any:
    kind, _, name = slug.partition("/")
    try:
        return client.read_block_document_by_name(name, kind, include_secrets=False).id
    except ObjectNotFound:
        msg = (
            f'[notify] to = "{slug}": the server has no such block: make it in the UI under Blocks, or '
            "name one of `prefect block ls`"
        )
        raise ConfigError(msg) from None


def _name(occasion: Occasion) -> str:
    return f"nightly-review-{occasion.replace('_', '-')}"


def automation(occasion: Occasion, block: Any) -> AutomationCore:
    """The automation that tells of an occasion; `block` is the id of a notification block."""
    body = _STATE if occasion in ("crashed", "late") else _TEXT
    return AutomationCore(
        name=_name(occasion),
        description="From [notify] of the nightly's review.toml; edits are overwritten by `nightly-review up`.",
        trigger=EventTrigger(posture=Posture.Reactive, threshold=1, **_TRIGGERS[occasion]),
        actions=[SendNotification(block_document_id=block, subject=_SUBJECTS[occasion], body=body)],
    )
