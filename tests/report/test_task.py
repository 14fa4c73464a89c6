"""What the stage writes says the same in each of its files."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tasks.core.manifest import QuotaProof
from tasks.core.paths import RunPaths
from tasks.report.task import write_report
from tests.factories import comment, made_up, write_run

_PROOF: QuotaProof = {
    "kept": True, "sends": 0, "rate_limited": 0, "span_s": 0.0, "optimum_s": 0.0, "app_ids": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> RunPaths:
    """One issue that two checks raised, in one cluster, and another one that a single check raised."""
    source, _, calls = made_up(Random(1), 1)
    twice = [
        comment(source.input_id, comment_id=name, check_model=name, cluster_id="large", agreement=2)
        for name in ("large", "mini")
    ]
    once = comment(source.input_id, line=7, severity="critical", title="File | is never closed")
    kept = [replace(one, outcome="kept") for one in (*twice, once)]
    facts = {"prompt_version": "p", "history": None}
    paths, manifest = write_run(
        tmp_path_factory.mktemp("report") / "run", [(source, kept, calls)], **facts
    )
    write_report(paths, manifest, [], _PROOF)  # type: ignore[arg-type]
    return paths


def test_an_issue_that_two_checks_raised_is_one_finding_everywhere(paths: RunPaths) -> None:
    """In the manifest, which the terminal, the list of runs and --fail-on read, and in both reports."""
    severities = json.loads(paths.manifest.read_text())["figures"]["severities"]
    assert severities == {"critical": {"bug": 1}, "high": {"bug": 1}}
    text = paths.report.read_text()
    assert "| critical | 1 |\n| high | 1 |" in text
    page = Path(paths.html).read_text()
    assert len(re.findall(r'"fingerprint":', page)) == 2


def test_the_report_begins_with_what_to_read_first(paths: RunPaths) -> None:
    """Counts and the critical findings stand right below the result, as in report.html."""
    text = paths.report.read_text()
    first, *_, coverage = re.findall(r"^## .*", text, re.MULTILINE)[:3]
    assert first == "## Critical findings"
    assert coverage == "## Coverage"
    assert "1 critical, 1 high\n\n- **critical**: File \\| is never closed (src/" in text
