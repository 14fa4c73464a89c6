"""
What a reply must look like: JSON schemas for `response_format`, and the records it is read into.

The schemas are in the strict dialect: no extra properties, all of them required, "maybe" written as
a type with null, and no ranges, which strict endpoints refuse; ranges are held in code. Properties
come in the order a model should think: evidence first, judgement after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tasks.core.records import CATEGORIES, SEVERITIES, Category, Decision, Severity, Side, Stage

__all__ = [
    "COMMENT_FIELDS",
    "COMMENT_NAMES",
    "DECISIONS",
    "VERDICT_FIELDS",
    "VERDICT_NAMES",
    "Level",
    "RawComment",
    "RawVerdict",
    "asked_names",
    "response_format",
]

Level = Literal["json_schema", "json_object", "text"]
"""From the strongest promise to none: an endpoint that refuses one is asked for the next."""
DECISIONS: tuple[str, ...] = get_args(Decision)

_TEXT = {"type": "string"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_MAYBE_LINE = {"type": ["integer", "null"]}

_COMMENT: dict[str, Any] = {
    "path": _MAYBE_TEXT,
    "existing_code": _MAYBE_TEXT,
    "start_line": _MAYBE_LINE,
    "end_line": _MAYBE_LINE,
    "category": {"type": "string", "enum": [*CATEGORIES]},
    "rationale": _TEXT,
    "severity": {"type": "string", "enum": [*SEVERITIES]},
    "confidence": {"type": "number"},
    "title": _TEXT,
    "message": _TEXT,
    "suggestion": _MAYBE_TEXT,
}
_VERDICT: dict[str, Any] = {
    "comment_id": {"type": "string"},
    "evidence": _MAYBE_TEXT,
    "decision": {"type": "string", "enum": [*DECISIONS]},
    "score": {"type": "integer"},
    "reason": _TEXT,
    "corrected_severity": {"type": ["string", "null"], "enum": [*SEVERITIES, None]},
    "corrected_start_line": _MAYBE_LINE,
    "corrected_end_line": _MAYBE_LINE,
    "duplicate_of": _MAYBE_TEXT,
}
COMMENT_FIELDS = frozenset(_COMMENT)
VERDICT_FIELDS = frozenset(_VERDICT)

COMMENT_NAMES: Mapping[str, tuple[str, ...]] = {
    "path": ("file", "filename", "file_path", "relevant_file"),
    "existing_code": ("code", "quote", "code_snippet", "existingCode"),
    "start_line": ("line", "line_start", "line_number", "lineno", "startLine"),
    "end_line": ("line_end", "endLine"),
    "category": ("type", "kind", "label"),
    "rationale": ("reason", "reasoning", "explanation"),
    "severity": ("level", "priority"),
    "confidence": (),
    "title": ("name", "header", "summary", "issue_header"),
    "message": ("comment", "description", "body", "content", "details", "issue_content"),
    "suggestion": ("fix", "recommendation", "improved_code", "suggested_code"),
    "side": (),
}
VERDICT_NAMES: Mapping[str, tuple[str, ...]] = {
    "comment_id": ("id", "commentId"),
    "evidence": ("quote",),
    "decision": ("verdict", "status", "result"),
    "score": ("rating",),
    "reason": ("rationale", "reasoning", "explanation", "why"),
    "corrected_severity": (),
    "corrected_start_line": (),
    "corrected_end_line": (),
    "duplicate_of": (),
}
"""Fields, each with the names that models give it instead."""


@dataclass(frozen=True, slots=True)
class RawComment:
    """A finding as the model gave it, before it is anchored to the code."""

    path: str | None
    existing_code: str | None
    start_line: int | None
    end_line: int | None
    category: Category
    rationale: str | None
    severity: Severity
    confidence: float | None
    title: str
    message: str
    suggestion: str | None
    side: Side = "right"
    severity_said: str | None = None
    """The model's own word where it is no severity; empty: it gave none."""


@dataclass(frozen=True, slots=True)
class RawVerdict:
    """A verdict as the model gave it; ids as written until they are resolved, `score` 0 to 10."""

    comment_id: str
    evidence: str | None
    decision: Decision
    score: int | None
    reason: str | None
    corrected_severity: Severity | None
    corrected_start_line: int | None
    corrected_end_line: int | None
    duplicate_of: str | None


def asked_names(count: int) -> tuple[str, ...]:
    """What `count` comments are called in a question to the review model: c1, c2, ..."""
    return tuple(f"c{number}" for number in range(1, count + 1))


def response_format(
    stage: Stage, level: Level = "json_schema", batch: int = 8
) -> dict[str, Any] | None:
    """The body's `response_format`; None for "text": leave it out. A fresh dict on each call.

    `batch`: comments that a review call may ask about. The schema names so many whether a call has
    them or not: endpoints compile one schema per run, and not one per call.
    """
    if level == "text":
        return None
    if level == "json_object":
        return {"type": "json_object"}
    if stage == "check":
        return _strict("review_comments", "comments", _COMMENT)
    return _strict("review_verdicts", "verdicts", _VERDICT | _named(asked_names(batch)))


def _named(names: Sequence[str]) -> dict[str, Any]:
    return {
        "comment_id": {"type": "string", "enum": [*names]},
        "duplicate_of": {"type": ["string", "null"], "enum": [*names, None]},
    }


def _strict(name: str, key: str, fields: dict[str, Any]) -> dict[str, Any]:
    items = _closed({field: dict(schema) for field, schema in fields.items()})
    schema = _closed({key: {"type": "array", "items": items}})
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }
