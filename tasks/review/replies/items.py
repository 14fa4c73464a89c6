"""
RawComment or RawVerdict from one item of a reply. This is a trust boundary: pydantic reads the types.

An item is dropped only when there is nothing to show or to match; anything else that is wrong is
set to unknown, clamped or cut, and counted in `notes` under a stable name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.core.records import CATEGORIES, Category, Decision, Severity
from tasks.core.text_safety import ellipsize, storable, visible
from tasks.review.inputs.chat_tokens import restore
from tasks.review.replies.contract import (
    COMMENT_NAMES,
    VERDICT_NAMES,
    RawComment,
    RawVerdict,
)

__all__ = ["read_comment", "read_verdict"]

_MAX_TITLE = 80
_MAX_PROSE = 2_000
_MAX_CODE = 8_000
_MAX_PATH = 500
_MAX_WORD = 40
"""Characters kept of one field."""
_LAST_LINE = 2**31 - 1
"""What the int32 columns hold."""
_MAX_SCORE = 10

_WORD = re.compile(r"[a-z]+[0-9]?")
_SEVERITY_WORDS: Mapping[str, Severity] = {
    **{severity: severity for severity in get_args(Severity)},
    **dict.fromkeys(("blocker", "blocking", "fatal", "severe", "p0", "s0"), "critical"),
    **dict.fromkeys(("major", "error", "important", "serious", "urgent", "p1", "s1"), "high"),
    **dict.fromkeys(("moderate", "warning", "warn", "normal", "p2", "s2"), "medium"),
    **dict.fromkeys(("minor", "trivial", "info", "informational", "note", "nit"), "low"),
    **dict.fromkeys(("nitpick", "suggestion", "p3", "p4", "s3", "s4"), "low"),
}
_DECISION_WORDS: Mapping[str, Decision] = {
    **dict.fromkeys(("confirmed", "confirm", "confirms"), "confirmed"),
    **dict.fromkeys(("rejected", "reject", "rejects"), "rejected"),
    **dict.fromkeys(("uncertain",), "uncertain"),
}
_TURNS_ROUND: Mapping[Decision, frozenset[str]] = {
    "confirmed": frozenset(
        {"false", "invalid", "not", "no", "non", "nothing", "reject", "rejected", "wrong", "isn"}
        | {"incorrect", "but", "unless", "uncertain", "unconfirmed", "without", "hallucination"}
    ),
    "rejected": frozenset({"confirm", "confirmed", "uncertain"}),
    "uncertain": frozenset({"confirmed", "rejected"}),
}
"""Words behind a decision that leave it in doubt: such a comment is judged anew."""


class _Lax(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True, allow_inf_nan=False)


class _Comment(_Lax):
    path: str | None = None
    existing_code: str | None = None
    start_line: int | None = None
    end_line: int | None = None
    category: str | None = None
    rationale: str | None = None
    severity: str | None = None
    confidence: float | None = None
    title: str | None = None
    message: str | None = None
    suggestion: str | None = None
    side: str | None = None


class _Verdict(_Lax):
    comment_id: str | None = None
    evidence: str | None = None
    decision: str | None = None
    score: float | None = None
    reason: str | None = None
    corrected_severity: str | None = None
    corrected_start_line: int | None = None
    corrected_end_line: int | None = None
    duplicate_of: str | None = None


Names = Mapping[str, tuple[str, ...]]
_Wire = TypeVar("_Wire", _Comment, _Verdict)


def read_comment(item: Any, notes: Counter[str]) -> RawComment | None:
    """None, with the reason in `notes`, when the item says nothing."""
    wire = _validated(_Comment, COMMENT_NAMES, item, notes)
    if wire is None:
        return None
    rationale = _prose(wire.rationale)
    message = _prose(wire.message) or rationale or _prose(wire.title)
    if message is None:
        notes["dropped:no_message"] += 1
        return None
    start, end = _lines(wire.start_line, wire.end_line, notes)
    severity = _severity(wire.severity, "severity", notes)
    return RawComment(
        path=_bounded(wire.path, _MAX_PATH, "path", notes),
        existing_code=_code(wire.existing_code, notes),
        start_line=start,
        end_line=end,
        category=cast("Category", _one_of(wire.category, CATEGORIES, "other", "category", notes)),
        rationale=rationale,
        severity=severity or "medium",
        confidence=_clamped(wire.confidence, 1.0, "confidence", notes),
        title=ellipsize((_prose(wire.title) or message).split("\n", 1)[0], _MAX_TITLE),
        message=message,
        # Half a replacement would be worse than none.
        suggestion=_bounded(wire.suggestion, _MAX_CODE, "suggestion", notes),
        side="left" if wire.side == "left" else "right",
        severity_said=None if severity else _word(wire.severity),
    )


def read_verdict(item: Any, notes: Counter[str]) -> RawVerdict | None:
    """None, with the reason in `notes`, when there is no id or no decision to go by."""
    wire = _validated(_Verdict, VERDICT_NAMES, item, notes)
    if wire is None:
        return None
    comment_id = _bounded(wire.comment_id, _MAX_PATH, "comment_id", notes)
    decision = _decision(wire.decision)
    if comment_id is None or decision is None:
        notes["dropped:no_id" if comment_id is None else "dropped:no_decision"] += 1
        return None
    severity = wire.corrected_severity
    corrected = _severity(severity, "corrected_severity", notes) if severity else None
    score = _clamped(wire.score, _MAX_SCORE, "score", notes)
    start, end = _lines(wire.corrected_start_line, wire.corrected_end_line, notes)
    return RawVerdict(
        comment_id=comment_id,
        evidence=_code(wire.evidence, notes),
        decision=decision,
        score=None if score is None else round(score),
        reason=_prose(wire.reason),
        corrected_severity=corrected,
        corrected_start_line=start,
        corrected_end_line=end,
        duplicate_of=_bounded(wire.duplicate_of, _MAX_PATH, "duplicate_of", notes),
    )


def _validated(model: type[_Wire], names: Names, item: Any, notes: Counter[str]) -> _Wire | None:
    if not isinstance(item, dict):
        notes["dropped:not_an_object"] += 1
        return None
    fields = item if item.keys() <= names.keys() else _renamed(item, names)
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        wrong = {str(detail["loc"][0]) for detail in error.errors(include_input=False)}
    notes.update(f"unreadable:{name}" for name in wrong)
    return model.model_validate({key: value for key, value in fields.items() if key not in wrong})


def _renamed(item: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """The contract's fields, each from the first of its names that has a value."""
    found = {
        field: next((item[name] for name in (field, *others) if item.get(name) is not None), None)
        for field, others in names.items()
    }
    return {field: value for field, value in found.items() if value is not None}


def _text(value: str | None) -> str | None:
    return restore(storable(value)) if value else None


def _prose(value: str | None) -> str | None:
    text = (_text(value) or "").strip()
    return ellipsize(text, _MAX_PROSE) or None


def _word(value: str | None) -> str:
    """A word as the model wrote it, in one visible line."""
    return ellipsize(visible(" ".join((_text(value) or "").split())), _MAX_WORD)


def _code(value: str | None, notes: Counter[str]) -> str | None:
    """A quote, as it stands; a long one keeps its first whole lines."""
    text = (_text(value) or "").strip("\r\n")
    if len(text) > _MAX_CODE:
        notes["cut:quote"] += 1
        text = text[:_MAX_CODE].rpartition("\n")[0] or text[:_MAX_CODE]
    return text if text.strip() else None


def _bounded(value: str | None, limit: int, name: str, notes: Counter[str]) -> str | None:
    text = _text(value)
    if text is not None and len(text) > limit:
        notes[f"too_long:{name}"] += 1
        return None
    return text


def _one_of(
    value: str | None, choices: Sequence[str], other: str, name: str, notes: Counter[str]
) -> str:
    word = value.strip().lower() if value else ""
    if word in choices:
        return word
    notes[f"unknown:{name}"] += 1
    return other


def _severity(value: str | None, name: str, notes: Counter[str]) -> Severity | None:
    """By the first word that is one: "Critical (CVSS 9.8)", "P0", "blocker"."""
    words = _WORD.findall(value.lower()) if value else []
    known = next((_SEVERITY_WORDS[word] for word in words if word in _SEVERITY_WORDS), None)
    if known is None:
        notes[f"unknown:{name}"] += 1
    return known


def _decision(value: str | None) -> Decision | None:
    """By the first word, unless a later one turns it round: "confirmed false positive" is no yes."""
    words = _WORD.findall(value.lower()) if value else []
    decision = _DECISION_WORDS.get(words[0]) if words else None
    return None if decision and _TURNS_ROUND[decision] & {*words[1:]} else decision


def _clamped(value: float | None, most: float, name: str, notes: Counter[str]) -> float | None:
    if value is None or 0 <= value <= most:
        return value
    notes[f"clamped:{name}"] += 1
    return min(max(value, 0.0), most)


def _lines(
    start: int | None, end: int | None, notes: Counter[str]
) -> tuple[int | None, int | None]:
    """First and last line in order; a number that no line can have is unknown."""
    known = [line for line in (start, end) if line is not None and 1 <= line <= _LAST_LINE]
    wrong = sum(line is not None for line in (start, end)) - len(known)
    if wrong:
        notes["unreadable:line"] += wrong
    if not known:
        return None, None
    if known[0] > known[-1]:
        notes["swapped:lines"] += 1
    return min(known), max(known)
