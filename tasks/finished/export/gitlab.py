"""
Findings as a GitLab Code Quality report.

GitLab shows only the first of equal fingerprints, and wants a line for each finding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from tasks.core.manifest import RunFacts
from tasks.finished.export.paths import report_path
from tasks.finished.export.stream import Ordinals, json_array
from tasks.review.findings.findings import (
    Finding,
    Findings,
    category_of,
    line_range,
    place_text,
    title_of,
)

__all__ = ["gitlab"]

_SEVERITIES = {"critical": "critical", "high": "major", "medium": "minor", "low": "info"}


def gitlab(_facts: RunFacts, inputs: Iterable[Findings]) -> Iterator[bytes]:
    """The document in pieces; suppressed findings are left out."""
    ordinals = Ordinals()
    issues = (_issue(one, ordinals) for findings in inputs for one in findings.shown)
    yield from json_array(issues)
    yield b"\n"


def _issue(finding: Finding, ordinals: Ordinals) -> dict[str, Any]:
    # A finding without a line in the new file stands at the file's first one and says so.
    start, end = line_range(finding) or (1, 1)
    return {
        "description": _description(finding),
        "check_name": category_of(finding),
        "fingerprint": hashlib.sha256(ordinals.name(finding).encode()).hexdigest(),
        "severity": _SEVERITIES.get(finding["severity"], "minor"),
        "location": {"path": report_path(finding["path"]), "lines": {"begin": start, "end": end}},
    }


def _description(finding: Finding) -> str:
    place = "" if line_range(finding) else f" ({place_text(finding)})"
    return f"{title_of(finding)}: {finding['message']}{place}"
