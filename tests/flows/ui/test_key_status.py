"""News of app_ids: each is told once, with the provider's words, and waits are put into words."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from flows.ui import key_status
from flows.ui.key_status import KeyStatusWatch, wait_words
from tasks.core.run import Run
from tasks.core.settings import load_settings
from tasks.upstream.calls.suspects import Suspects
from tasks.upstream.quota.key_status import KeyStatus, QuotaStatus
from tests.factories import STRICT

NOW = datetime(2026, 11, 28, 19, 0).astimezone().timestamp()
HELD = KeyStatus("a", held_until=NOW + 2400, hold_said="Limit of 50 \x1b[2Jper day")


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyStatusWatch:
    """A watch over the pool of one key, whose events are in `caplog` instead of in Prefect."""
    events = logging.getLogger("events")
    for name in ("key_disabled", "key_held", "limit_lowered", "margin_raised"):
        told = events.getChild(name)
        monkeypatch.setattr(key_status, name, lambda _run, *what, to=told: to.info("%s", what))
    run = Run("run", load_settings(STRICT), str(tmp_path), 1)
    return KeyStatusWatch(run, logging.getLogger("run"), lambda: NOW)


def test_a_hold_is_told_once_with_its_words(
    watch: KeyStatusWatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, as an event, for the report and for the time left; a second look adds nothing."""
    caplog.set_level(logging.INFO)
    for _ in range(2):
        watch.take(QuotaStatus((HELD, KeyStatus("of-another-run", held_until=NOW + 9000))))
    lines = [record.getMessage() for record in caplog.records if record.name == "run"]
    assert lines == [
        r"app_id a is held by its provider until 2026-11-28 19:40:00: Limit of 50 \x1b[2Jper day"
    ]
    assert [r.name for r in caplog.records if r.name.startswith("events")] == ["events.key_held"]
    (met,) = watch.met
    assert datetime.fromisoformat(str(met["until"])).timestamp() == NOW + 2400
    assert (met["app_id"], met["said"]) == ("a", HELD.hold_said)
    assert watch.holds() == {"a": 2400}


def test_a_moments_hold_and_a_growing_one_are_no_news(watch: KeyStatusWatch) -> None:
    """Windows open within a minute; a hold that grows by seconds was told already."""
    watch.take(QuotaStatus((KeyStatus("a", held_until=NOW + 59),)))
    assert watch.met == []
    watch.take(QuotaStatus((HELD,)))
    watch.take(QuotaStatus((replace(HELD, held_until=NOW + 2410),)))
    assert len(watch.met) == 1


def test_a_model_whose_quota_is_used_up_is_told_and_its_key_goes_on(
    watch: KeyStatusWatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In log, event, report and progress line, as it is for a key; the key's time left is its own."""
    notes, wait = dict[str, str](), NOW + 7200 - time.time()
    Suspects(_Notes(notes), "run").model_held("a", "big", wait, "quota PerModel is used up")
    Suspects(_Notes(notes), "another").model_held("a", "small", wait, "of another run")
    for _ in range(2):
        watch.take(QuotaStatus((KeyStatus("a"),), notes=notes))
    assert caplog.text.count("app_id a (big) is held by its provider until") == 1
    assert [(one["app_id"], one["said"]) for one in watch.met] == [
        ("a (big)", "quota PerModel is used up")
    ]
    assert watch.words().startswith("a (big) held until ")
    assert watch.holds() == {}


class _Notes:
    """Notes in memory, as the ledger keeps them."""

    def __init__(self, notes: dict[str, str]) -> None:
        self.notes = notes

    def note(self, name: str, value: str) -> None:
        self.notes[name] = value


def test_a_lowered_limit_is_told(watch: KeyStatusWatch, caplog: pytest.LogCaptureFixture) -> None:
    """In the log, as an event and for the report."""
    caplog.set_level(logging.INFO)
    watch.take(QuotaStatus((KeyStatus("a", server_limit=60),)))
    assert "allows 60 requests in the first window" in caplog.text
    assert "events.limit_lowered" in {record.name for record in caplog.records}
    assert watch.met[0]["until"] is None


def test_a_key_that_is_out_never_comes_back(watch: KeyStatusWatch) -> None:
    """For the time left; one that operators paused is expected back."""
    watch.take(QuotaStatus((KeyStatus("a", reason="invalid_key: revoked"),)))
    assert watch.holds() == {"a": math.inf}
    watch.take(QuotaStatus((KeyStatus("a", reason="inactive", paused=True),)))
    assert watch.holds() == {}


def test_waits_have_words() -> None:
    """The next send, and until when a key is held; nothing when the next request is due."""
    assert wait_words(QuotaStatus((HELD,), NOW + 2348), NOW) == (
        r"waiting for quota, next send 19:39:08; a held until 19:40:00: Limit of 50 \x1b[2Jper day"
    )
    other = KeyStatus("b", held_until=NOW + 86_400)
    assert wait_words(QuotaStatus((HELD, other)), NOW) == "b and 1 more held until Sun 19:00"
    assert wait_words(QuotaStatus((KeyStatus("a"),), NOW + 1), NOW) == ""
