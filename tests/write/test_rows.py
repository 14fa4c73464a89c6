"""Entries of reviews.json: what failed, what was found, and what the source said."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tasks.core.records import CallRow, Input
from tasks.write.rows import json_entry
from tests.factories import comment


def entry(calls: list[CallRow], comments: tuple[Any, ...] = (), **extra: Any) -> dict[str, Any]:
    review = {
        "coverage": "partial",
        "coverage_reason": "large: timeout",
        "comments": [asdict(one) for one in comments],
        "calls": [asdict(one) for one in calls],
    }
    return json_entry(asdict(Input("a", "x = 1\n", extra=extra)), review)


def call(name: str, part: int, status: Any, reason: str | None = None) -> CallRow:
    return CallRow("a", "check", name, part, "m", status, reason)


def test_a_check_that_failed_in_one_part_is_not_clean() -> None:
    """One part answered and found nothing, the other failed: null and the reason, not []."""
    found = entry([call("large", 0, "ok"), call("large", 1, "failed", "timeout")])
    assert found["output_pred"] == {"large": None}
    assert found["failed_checks"] == {"large": "timeout"}


def test_what_a_failed_check_found_stays() -> None:
    """Comments of the part that answered are kept, and the reason is beside them."""
    rows = [call("large", 0, "ok"), call("large", 1, "failed", "timeout"), call("mini", 0, "ok")]
    found = entry(rows, (comment("a"),))
    assert [len(found["output_pred"][name]) for name in ("large", "mini")] == [1, 0]
    assert found["failed_checks"] == {"large": "timeout"}


def test_columns_of_the_source_are_kept() -> None:
    """A column named like one of ours is in `extra`, and ours is as it was."""
    found = entry([call("large", 0, "ok")], coverage="80 %", extra="e", ticket=7)
    assert (found["coverage"], found["ticket"]) == ("partial", 7)
    assert found["extra"] == {"coverage": "80 %", "extra": "e"}
