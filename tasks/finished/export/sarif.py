"""
Findings as SARIF 2.1.0 (OASIS), for code scanning services and editors.

    runs[0].tool.driver.rules   one rule per category, the same list in every run
    runs[0].automationDetails   a category per source, the same in every run, and the run's id
    runs[0].invocations         executionSuccessful is false when the run has gaps
    runs[0].results             one per finding; known false positives carry `suppressions`

A service that takes an upload for the whole state of its category closes what is not in it. So what
earlier runs showed and this one did not look at is among the results, as unchanged, and what is gone
is not: services that do not read `baselineState` would show it as open.

Lines are regions without columns, which cover whole lines but not the last line break.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import Any

import orjson

from tasks.core.manifest import RunFacts
from tasks.core.records import CATEGORIES
from tasks.finished.export.fixes import fix_of
from tasks.finished.export.paths import artifact_uri
from tasks.finished.export.stream import Ordinals, json_array
from tasks.review.findings.findings import (
    Finding,
    Findings,
    category_of,
    line_range,
    place_text,
    title_of,
    with_repository,
)

__all__ = ["NOT_WHOLE", "sarif"]

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}
_RULES = {
    "bug": "Wrong behaviour for some input",
    "security": "Behaviour that an attacker can use",
    "performance": "Needless cost in time or memory",
    "maintainability": "Code that is hard to change safely",
    "test": "A test that is missing, wrong or cannot fail",
    "style": "Departure from the conventions of the code",
    "documentation": "Text that misleads about the code",
    "other": "Anything else",
}
_ROOT = "%SRCROOT%"
_STATES = {"new": "new", "recurring": "unchanged"}
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
NOT_WHOLE = (
    "Do not upload this file as the state of its source: some inputs were not reviewed. Run again, "
    "which asks only what failed, and export that run."
)
"""What an export says of an INCOMPLETE run."""
_KEPT_PROPERTIES = (
    "comment_id", "cluster_id", "input_id", "check_model", "check_models", "agreement",
    "confidence", "severity", "loc_method", "side", "outcome",
)  # fmt: skip
_VERDICT = ("review_model", "status", "decision", "score", "reason", "evidence")


def sarif(
    facts: RunFacts, inputs: Iterable[Findings], carried: Iterable[Finding] = ()
) -> Iterator[bytes]:
    """The document in pieces; `facts` are those of manifest.json, `carried` its open earlier findings."""
    yield b'{"$schema":"%b","version":"2.1.0","runs":[' % _SCHEMA.encode()
    yield orjson.dumps(_run(facts))[:-1] + b',"results":'
    yield from json_array(_results(inputs, carried))
    yield b"}]}\n"


def _run(facts: RunFacts) -> dict[str, Any]:
    return {
        "tool": {
            "driver": {
                "name": "nightly-review",
                "version": facts.get("packages", {}).get("nightly-review", "0"),
                "rules": [_rule(category) for category in CATEGORIES],
            }
        },
        # Services compare runs of one category, which is what stands before the last slash.
        "automationDetails": {"id": f"nightly-review/{_category(facts)}/{facts['run_id']}"},
        "invocations": [_invocation(facts)],
        "originalUriBaseIds": {
            _ROOT: {"description": {"text": "Root of the repository or folder that was reviewed."}}
        },
        "properties": {"run_id": facts["run_id"], "result": facts["result"]},
    }


def _category(facts: RunFacts) -> str:
    """A name of the source without its folder, which differs from those of other sources."""
    key = facts.get("source_key", facts["source"])
    name = _UNFIT.sub("-", PurePath(key).name).strip("-") or "source"
    return f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def _rule(category: str) -> dict[str, Any]:
    text = _RULES[category]
    return {
        "id": category,
        "name": category.capitalize(),
        "shortDescription": {"text": text},
        "fullDescription": {"text": f"{text}, found by a model and judged by another one."},
        "defaultConfiguration": {"level": "warning"},
        "properties": {"tags": [category]},
    }


def _invocation(facts: RunFacts) -> dict[str, Any]:
    start = datetime.fromisoformat(facts["started_at"])
    invocation = {
        "executionSuccessful": bool(facts["complete"]),
        "startTimeUtc": _utc(start),
        "endTimeUtc": _utc(start + timedelta(seconds=facts["seconds"])),
    }
    if not facts["complete"]:
        invocation["toolExecutionNotifications"] = [
            {"level": "error", "message": {"text": text}} for text in (facts["result"], NOT_WHOLE)
        ]
    return invocation


def _utc(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _results(inputs: Iterable[Findings], carried: Iterable[Finding]) -> Iterator[dict[str, Any]]:
    ordinals = Ordinals()
    for findings in inputs:
        for finding in findings.shown:
            yield _result(finding, ordinals)
        for finding in findings.suppressed:
            yield _result(finding, ordinals) | {"suppressions": [_suppression()]}
    for finding in carried:
        yield _result({**with_repository(finding), "age": "recurring"}, ordinals)


def _suppression() -> dict[str, str]:
    return {"kind": "external", "status": "accepted", "justification": "known false positive"}


def _result(finding: Finding, ordinals: Ordinals) -> dict[str, Any]:
    category = category_of(finding)
    name = ordinals.name(finding)
    result = {
        "ruleId": category,
        "ruleIndex": CATEGORIES.index(category),
        "level": _LEVELS.get(finding["severity"], "warning"),
        "message": {"text": _text(finding)},
        "locations": [{"physicalLocation": _location(finding)}],
        # The second name is the one that GitHub compares.
        "partialFingerprints": {"nightlyReview/v1": name, "primaryLocationLineHash": name},
        "properties": _properties(finding),
    }
    if finding["verdict_score"] is not None:
        result["rank"] = finding["verdict_score"] * 10.0
    if finding.get("age") is not None:
        result["baselineState"] = _STATES[finding["age"]]
    fix = fix_of(finding)
    if fix is not None:
        result["fixes"] = [_fix(finding, *fix)]
    return result


def _text(finding: Finding) -> str:
    parts = [title_of(finding), finding["message"], finding["rationale"]]
    if line_range(finding) is None:
        parts.append(f"({place_text(finding)})")
    return "\n\n".join(part for part in parts if part)


def _location(finding: Finding) -> dict[str, Any]:
    location: dict[str, Any] = {"artifactLocation": _artifact(finding["path"])}
    lines = line_range(finding)
    if lines is not None:
        location["region"] = _region(*lines)
    return location


def _region(start: int, end: int) -> dict[str, int]:
    return {"startLine": start, "endLine": end}


def _artifact(path: str) -> dict[str, str]:
    uri = artifact_uri(path)
    return {"uri": uri} if uri.startswith("file:") else {"uri": uri, "uriBaseId": _ROOT}


def _fix(finding: Finding, start: int, end: int, text: str) -> dict[str, Any]:
    replacement = {"deletedRegion": _region(start, end), "insertedContent": {"text": text}}
    change = {"artifactLocation": _artifact(finding["path"]), "replacements": [replacement]}
    return {"description": {"text": "Suggested change"}, "artifactChanges": [change]}


def _properties(finding: Finding) -> dict[str, Any]:
    known = {name: finding[name] for name in _KEPT_PROPERTIES}
    verdict = {name: finding[f"verdict_{name}"] for name in _VERDICT}
    return known | {"verdict": verdict if finding["verdict_status"] else None}
