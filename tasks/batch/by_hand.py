"""What an operator does with batches by hand: look, cancel, fetch."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from tasks.batch.steps import Steps, owner_key
from tasks.core.errors import BatchCallFailed, ConfigError, StateError
from tasks.upstream.batches.intents import OPEN, Intent

__all__ = ["cancel_batch", "fetch_batch", "look_at_batches"]


def look_at_batches(steps: Steps) -> list[Intent]:
    """Every batch that the state remembers, those that work as their provider says now; oldest first."""
    return [_seen(steps, one) for one in steps.store.all()]


def cancel_batch(steps: Steps, name: str) -> Intent:
    """Have a batch stopped; what it has done until then is charged, and `fetch_batch` takes it.

    Raises:
        ConfigError: there is no such batch, or it does not work.
        BatchCallFailed: the provider does not answer.
    """
    intent = _found(steps, name)
    if intent.state != "working":
        msg = f"batch {name} is {intent.said or intent.state}: there is nothing to cancel"
        raise ConfigError(msg)
    return steps.cancel(intent)


def fetch_batch(steps: Steps, name: str) -> Intent:
    """Take the answers of a batch that is over into the journal; one that works stays as it is.

    Raises:
        ConfigError: there is no such batch.
        StateError: a run is at work on it.
        BatchCallFailed: the provider does not answer.
    """
    intent = _found(steps, name)
    if intent.state not in OPEN:
        return intent
    if not steps.journal.claim(owner_key(intent.id)):
        msg = f"run {intent.run_id} or another one waits for batch {name}, and takes its answers itself"
        raise StateError(msg)
    try:
        return _fetched(steps, intent)
    finally:
        steps.journal.release(owner_key(intent.id))


def _fetched(steps: Steps, intent: Intent) -> Intent:
    if intent.state in ("planned", "uploaded"):
        intent = steps.adopt(intent) or intent
    if intent.state == "working":
        intent = steps.poll(intent)
    if intent.state == "ended":
        intent = steps.read(intent, steps.status(intent))
    return steps.tidy(intent) if intent.state == "read" else intent


def _found(steps: Steps, name: str) -> Intent:
    intent = steps.store.get(name)
    if intent is None:
        msg = (
            f"no batch {name} in this state: `nightly-review batches list` has those that there are"
        )
        raise ConfigError(msg)
    if intent.app_id not in steps.endpoints:
        msg = f"batch {name} belongs to the app_id {intent.app_id}: give it batch = true in review.toml"
        raise ConfigError(msg)
    return intent


def _seen(steps: Steps, intent: Intent) -> Intent:
    if intent.state == "working" and intent.app_id in steps.endpoints:
        with suppress(BatchCallFailed):
            status = steps.status(intent)
            if status is None:
                return intent
            # What it is now is not noted: a run that waits for it does that.
            return replace(intent, said=status.said, done=status.counts.done)
    return intent
