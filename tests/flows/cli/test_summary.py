"""The summary on the terminal, from a manifest."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.cli.summary import print_summary, severe_findings, summary_lines
from tasks.core.cells import Cell, RunCounts
from tasks.core.failures import local_time
from tasks.core.paths import RunPaths
from tests.factories import manifest_of

UNTIL = "2026-11-28T19:40:00+00:00"


@pytest.fixture
def manifest() -> dict[str, Any]:
    """One complete input, one that failed; a key out, a key held, words that would move the cursor."""
    counts = RunCounts()
    counts.add([Cell("check", "a", "ok", None)], "complete", ["kept", "dropped"], ["low_score"])
    counts.add([Cell("check", "a", "failed", "no_access")], "failed", [])
    quota = {"app_ids": [{"app_id": "b", "disabled": "invalid_key: revoked"}]}
    figures = {
        "models": [], "severities": {"high": {"bug": 2, "test": 1}, "critical": {"bug": 1}},
        "quota": quota, "cost_usd": 1.5, "cost_gap": None,
    }  # fmt: skip
    failed = {
        "reason": "no_access", "endpoint": "http://e", "model": "m", "calls": 7,
        "said": b"no_access: ask\\x1b[2J your admin".decode("unicode_escape"),
        "is_reply": False,
    }  # fmt: skip
    hold = {"app_id": "c", "seen": UNTIL, "until": UNTIL, "said": "Limit of 50 per day"}
    upstream = {
        "failures": [failed], "holds": [hold], "closed": [], "goes_on_at": UNTIL,
        "adapted": {"m at http://e": "temperature left out: the endpoint refuses it"},
    }  # fmt: skip
    history = {"new": 3, "recurring": 1, "gone": 2}
    facts = {"seconds": 187.0, "figures": figures, "upstream": upstream, "history": history}
    return manifest_of(counts) | facts | {"outputs": {}, "rejected": {"rows": 0, "reasons": {}}}


def test_the_summary_answers_the_mornings_questions(manifest: dict[str, Any]) -> None:
    """Result, report, findings by severity and age, comments, cost, time, then what went wrong."""
    lines = summary_lines(manifest, RunPaths(Path("/out")))
    until = local_time(UNTIL)
    assert lines[1:] == [
        "report    /out/report.html",
        "findings  4: 1 critical, 3 high; 3 new, 1 recurring, 2 gone",
        "comments  2 raised: 1 kept, 1 dropped, 0 unverified",
        "cost      $1.50",
        "time      3 min 07 s",
        r'failed    7 x no_access, m at http://e: "ask\x1b[2J your admin"',
        "out       app_id b: invalid_key: revoked",
        f"held      app_id c until {until}: Limit of 50 per day",
        "adapted   m at http://e: temperature left out: the endpoint refuses it",
        f"go on     a key is free again at {until}: run again then",
    ]


def test_a_run_of_an_earlier_version_has_a_summary(manifest: dict[str, Any]) -> None:
    """Without what providers said, and without an earlier run to compare with."""
    del manifest["upstream"]
    lines = summary_lines(manifest | {"history": None}, RunPaths(Path("/out")))
    assert lines[2] == "findings  4: 1 critical, 3 high"
    assert not any(line.startswith(("failed", "held")) for line in lines)


def test_lines_are_not_broken(manifest: dict[str, Any]) -> None:
    """A long place stays on its line, so that it can be copied."""
    console = Console(file=io.StringIO(), width=40)
    place = Path("/a-long-folder-of-a-user/where-all-runs-are-kept/tonight")
    with console.capture() as captured:
        print_summary(manifest, RunPaths(place), console)
    assert f"report    {place}/report.html" in captured.get().splitlines()


def test_the_table_counts_what_stays(manifest: dict[str, Any]) -> None:
    """Comments by the policy's end, as the line above it, and not by what the review thought."""
    one = dict.fromkeys(
        ("calls", "journaled", "failed", "comments", "input_tokens", "output_tokens"), 7
    )
    manifest["figures"]["models"] = [{"name": "a", "model": "m", "kept": 4, "confirmed": 5} | one]
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as captured:
        print_summary(manifest, RunPaths(Path("/out")), console)
    rows = [line.split() for line in captured.get().splitlines()]
    head = next(row for row in rows if row[:1] == ["model"])
    assert head == [
        "model",
        "calls",
        "from",
        "journal",
        "failed",
        "comments",
        "kept",
        "tokens",
        "in",
        "tokens",
        "out",
    ]
    assert ["a", "(m)", "7", "7", "7", "7", "4", "7", "7"] in rows


@pytest.mark.parametrize(
    ("severity", "found"),
    [("critical", "1 critical"), ("high", "1 critical, 3 high"), ("low", "1 critical, 3 high")],
)
def test_what_a_gate_counts(manifest: dict[str, Any], severity: str, found: str) -> None:
    """Findings that are as severe as it says, or more; with none the gate is open."""
    assert severe_findings(manifest, severity) == found
    manifest["figures"]["severities"] = {"low": {"bug": 2}}
    assert bool(severe_findings(manifest, severity)) == (severity == "low")
