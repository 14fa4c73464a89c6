"""Rows of the tables that the UI shows: bounded, the worst first."""

from __future__ import annotations

from pathlib import Path

from tasks.outputs.findings import read_findings
from tasks.report.ui_tables import FAILED_CALL_COLUMNS, failed_call_row, top_findings
from tests.factories import make_run


def test_a_failed_cell_says_what_was_said_in_short() -> None:
    """A long error body is one short line; unknown columns are empty and not None."""
    call = dict.fromkeys(FAILED_CALL_COLUMNS) | {
        "input_id": "i1",
        "name": "one",
        "reason": "status_500",
        "raw_snippet": "line\n" * 500,
    }
    row = failed_call_row(call)

    assert row["said"].startswith("line line")
    assert len(row["said"]) == 160
    assert (row["app_id"], row["attempts"], row["trace"]) == ("", 0, "")


def test_the_worst_findings_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    """Of many inputs only so many rows are held, in the order of their severity."""
    inputs = list(read_findings(make_run(tmp_path / "run")[0]))
    rows, total = top_findings(inputs, 5)
    everything, same = top_findings(inputs, 10_000)

    assert total == same == sum(len(one.shown) for one in inputs) > 5
    assert rows == everything[:5]
    order = ["critical", "high", "medium", "low"]
    ranks = [order.index(row["severity"]) for row in everything]
    assert ranks == sorted(ranks)
