"""
The findings as the page's script reads them: JSON, once, of bounded size.

    [{"severity": "high", "order": 1, "title": ..., "code": [[7, "+", "text", 1], ...], ...}, ...]

Names that have nothing to say are left out. A line of code is its number (0: not known), the mark of a
diff, its text, and 1 where it belongs to the finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from markupsafe import Markup

from tasks.core.records import SEVERITIES
from tasks.core.text_safety import visible_code
from tasks.report.html.context import Context
from tasks.review.findings.findings import (
    Finding,
    category_of,
    line_range,
    place_text,
    severity_index,
    title_of,
    with_repository,
)

__all__ = ["finding_row", "rows_json"]

_MAX_TEXT = 1500
_MAX_CODE_LINES = 16
_MAX_COLUMNS = 300
_MAX_BYTES = 8 * 2**20
"""Of all rows; those behind it, the mildest, are listed without texts and code."""
_SHORT = (
    "severity", "order", "category", "title", "path", "place", "score", "checks", "agreement",
    "state", "age", "since", "fingerprint", "input",
)  # fmt: skip

_Row = dict[str, Any]


def rows_json(
    findings: Iterable[Finding], contexts: Mapping[str, Context], most: int = _MAX_BYTES
) -> Markup:
    """The rows of all findings as JSON that can stand in a script element: it has no `<`."""
    parts: list[bytes] = []
    for finding in findings:
        row = _seen(finding_row(finding, contexts.get(finding["comment_id"], Context())))
        most -= len(text := orjson.dumps(row))
        short = {name: row[name] for name in _SHORT if name in row} | {"short": 1}
        parts.append(text if most >= 0 else orjson.dumps(short))
    text = b"[%b]" % b",\n".join(parts)
    return Markup(text.replace(b"<", rb"\u003c").decode())  # noqa: S704 - no markup without `<`


def _seen(value: Any) -> Any:
    """With all that cannot be seen spelled out."""
    if isinstance(value, str):
        return visible_code(value)
    if isinstance(value, dict):
        return {name: _seen(one) for name, one in value.items()}
    return [_seen(one) for one in value] if isinstance(value, list | tuple) else value


def finding_row(finding: Finding, context: Context) -> _Row:
    """The row of one finding; long texts are cut, and end with how much was left out."""
    order = severity_index(finding)
    row = {
        "severity": SEVERITIES[order],
        "order": order,
        "category": category_of(finding),
        "title": title_of(finding).removeprefix("[unverified] "),
        "path": _cut(with_repository(finding)["path"], _MAX_COLUMNS),
        "place": place_text(finding),
        "score": finding["verdict_score"],
        "checks": _cut(", ".join(finding["check_models"] or [finding["check_model"]]), _MAX_TEXT),
        "agreement": finding["agreement"] or 1,
        "state": finding["outcome"],
        "age": finding["age"],
        "since": (finding.get("since") or "")[:10],
        "fingerprint": finding["fingerprint"],
        "input": _cut(finding["input_id"], _MAX_COLUMNS),
        "message": _cut(finding["message"]),
        "rationale": _cut(finding["rationale"]),
        "reason": _cut(finding["verdict_reason"]),
        "code": [[one.number, one.marker, one.text, int(one.found)] for one in context.lines],
        "quote": _quote(finding, context),
        "suggestion": _lines(finding["suggestion"]),
        "link": context.link,
    }
    return {name: _visible(value) for name, value in row.items() if value not in (None, "", [])}


def _visible(value: Any) -> Any:
    """The value with all that cannot be seen in its texts spelled out: escapes, marks of direction."""
    if isinstance(value, list):
        return [_visible(one) for one in value]
    return visible_code(value) if isinstance(value, str) else value


def _quote(finding: Finding, context: Context) -> list[list[Any]]:
    """The quoted code; nothing where it is seen in its context, no numbers where it was not found."""
    found = finding["loc_method"] in {"exact", "quote"}
    if found and context.lines:
        return []
    known = line_range(finding) if found else None
    lines = enumerate(_lines(finding["existing_code"]), known[0] if known else 0)
    return [[number if known else 0, "", line, 1] for number, line in lines]


def _cut(text: str | None, most: int = _MAX_TEXT) -> str:
    text = (text or "").strip()
    left = len(text) - most
    return text if left <= 0 else f"{text[:most]} (and {left:,} more characters)"


def _lines(code: str | None) -> list[str]:
    if not code or not code.strip():
        return []
    lines = code.rstrip().splitlines()
    left = len(lines) - _MAX_CODE_LINES
    shown = [
        _cut(line.rstrip(), _MAX_COLUMNS) if len(line) > _MAX_COLUMNS else line for line in lines
    ]
    return shown if left <= 0 else [*shown[:_MAX_CODE_LINES], f"(and {left:,} more lines)"]
