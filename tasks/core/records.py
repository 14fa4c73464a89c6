"""
The rows that flow through the pipeline, as frozen records.

    Input -> Comment (one per finding of a check) -> Verdict (one per comment) -> InputReview (one per input)

Lines are 1-based and inclusive. Unknown is None, never 0. Columns of the outputs are
made from the fields, see tasks.outputs.schemas: same names, same order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

from tasks.core.calls import Via

__all__ = [
    "CATEGORIES",
    "KINDS",
    "SEVERITIES",
    "CallRow",
    "Comment",
    "Coverage",
    "Expected",
    "Input",
    "InputReview",
    "Long",
    "Row",
    "Stage",
    "Verdict",
]

Row = dict[str, Any]
"""A record as a dict: a row of a table or a line of JSON, by column."""

Long = Annotated[int, "64 bits in a table, where other integers have 32"]

Kind = Literal["snippet", "diff"]
Stage = Literal["check", "review"]
Side = Literal["right", "left"]
Category = Literal[
    "bug", "security", "performance", "maintainability", "test", "style", "documentation", "other"
]
Severity = Literal["critical", "high", "medium", "low"]
LocMethod = Literal["exact", "quote", "lines", "unanchored"]
Decision = Literal["confirmed", "rejected", "uncertain"]
VerdictStatus = Literal["ok", "missing", "parse_failed", "call_failed"]
Outcome = Literal["kept", "dropped", "unverified"]
Age = Literal["new", "recurring"]
Coverage = Literal["complete", "in_part", "partial", "failed", "skipped"]
CellStatus = Literal["ok", "failed", "skipped"]

KINDS: tuple[str, ...] = get_args(Kind)
CATEGORIES: tuple[str, ...] = get_args(Category)
SEVERITIES: tuple[str, ...] = get_args(Severity)
"""Worst first."""


@dataclass(frozen=True, slots=True)
class Expected:
    """One labelled defect of an input."""

    path: str | None = None
    start_line: int | None = None
    end_line: int | None = None
    side: Side = "right"
    category: str | None = None
    severity: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """One thing to review."""

    input_id: str
    content: str
    kind: Kind = "snippet"
    path: str | None = None
    language: str | None = None
    title: str | None = None
    description: str | None = None
    expected: tuple[Expected, ...] | None = None
    """Labelled defects; an empty tuple means known clean, None means not labelled."""
    extra: dict[str, Any] = field(default_factory=dict)
    """The source's other columns, as they came."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the review model says of one comment."""

    review_model: str
    status: VerdictStatus
    decision: Decision | None = None
    score: int | None = None
    """0 (wrong) to 10 (certain and serious)."""
    reason: str | None = None
    evidence: str | None = None
    corrected_severity: Severity | None = None
    corrected_start_line: int | None = None
    corrected_end_line: int | None = None
    duplicate_of: str | None = None


@dataclass(frozen=True, slots=True)
class Comment:
    """One finding of one check on one input, after parsing and anchoring."""

    comment_id: str
    fingerprint: str
    """Over path, category, quote and the lines next to it; no line numbers: it survives edits elsewhere."""
    check_model: str
    """Name of the check that raised it."""
    path: str | None
    side: Side
    start_line: int | None
    end_line: int | None
    loc_method: LocMethod
    category: Category
    severity: Severity
    confidence: float | None
    """As the model says of itself, 0 to 1; weak evidence."""
    title: str
    message: str
    rationale: str | None
    existing_code: str | None
    suggestion: str | None
    cluster_id: str | None = None
    """Comments of one input about the same issue share it; it is the canonical comment's id."""
    check_models: tuple[str, ...] = ()
    """Names of all checks in the cluster."""
    agreement: int = 1
    """How many different checks are in the cluster."""
    verdict: Verdict | None = None
    outcome: Outcome = "unverified"
    drop_reason: str | None = None
    age: Age | None = None
    """Whether the earlier run of the same source showed its finding; None: there was no earlier run."""
    since: str | None = None
    """When the first run that showed a recurring finding started, ISO 8601; None: it is new, or it is not known."""
    severity_said: str | None = None
    """The model's own word for the severity where it is none of ours, which counts as medium; empty: it gave none."""


TOOL = "tool"
"""What stands for the model in the rows of a check that is a program: they are no calls."""


@dataclass(frozen=True, slots=True)
class CallRow:
    """One call of a cell; a cell is a check on an input, or the review of its comments."""

    input_id: str
    stage: Stage
    name: str
    """The check's name, or "review"."""
    part: int
    """Which call of the cell, from 0: a large diff takes several, so do many comments."""
    model: str
    status: CellStatus
    reason: str | None = None
    """Stable code of a failed or skipped cell."""
    app_id: str | None = None
    endpoint: str | None = None
    finish_reason: str | None = None
    parse_mode: str | None = None
    """The rung of the parse ladder that read the reply: schema, json, repaired, reasked, failed."""
    dropped_items: int = 0
    """Items of the reply that were unusable and left out."""
    attempts: int = 0
    journaled: bool = False
    latency_ms: Long | None = None
    first_token_ms: Long | None = None
    queue_ms: Long | None = None
    started_at: float | None = None
    """Seconds since the epoch."""
    trace_id: str | None = None
    request_id: str | None = None
    prompt_sha256: str | None = None
    """Version of the prompt files."""
    counted_tokens: Long | None = None
    """The prompt in tokens, by our own count."""
    counted_exact: bool | None = None
    """False: the model's encoding was not at hand and another one stood in."""
    input_tokens: Long | None = None
    output_tokens: Long | None = None
    cached_tokens: Long | None = None
    reasoning_tokens: Long | None = None
    """Of the output, thought and not shown."""
    cost_usd: float | None = None
    """Of all its attempts; of a journaled answer, what it cost when it was bought."""
    raw_snippet: str | None = None
    """Start of a reply that could not be read; at most 400 characters."""
    sent_model: str | None = None
    """The model's name at the endpoint, where review.toml gives it another one there."""
    via: Via | None = None
    """The way to its answer: online, batch or flex; None: there was no call."""
    batch_id: str | None = None
    """The provider's batch that the answer came with."""
    cache_write_tokens: Long | None = None


@dataclass(frozen=True, slots=True)
class InputReview:
    """Everything known about one input at the end: exactly one per input."""

    input_id: str
    coverage: Coverage
    coverage_reason: str | None
    comments: tuple[Comment, ...]
    calls: tuple[CallRow, ...]
