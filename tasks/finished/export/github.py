"""
Findings as one review of a pull request, the body of GitHub's `POST /repos/.../pulls/N/reviews`.

    comments   the worst findings at lines that the request's diff shows, at most so many
    body       the counts, and the other findings by place, as far as a body reaches

GitHub refuses the whole review, with status 422, where one comment is at a line that its diff does
not show: a changed one, or one of the three around it, and a range within one hunk. The event is
always COMMENT: a model neither approves nor blocks. A name that a model wrote mentions nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from tasks.core.errors import OutputError, RowError
from tasks.core.manifest import RunFacts
from tasks.core.records import SEVERITIES
from tasks.core.text_safety import ellipsize, escape_markdown, visible
from tasks.finished.export.fixes import fix_of
from tasks.finished.export.markdown import fence_around, prose
from tasks.finished.export.paths import report_path
from tasks.review.findings.findings import (
    Finding,
    Findings,
    category_of,
    place_text,
    title_of,
    worst_first,
)
from tasks.review.inputs.diffs import FileDiff, parse_diff

__all__ = ["MOST_COMMENTS", "github_review"]

MOST_COMMENTS = 20
"""Comments at lines; more than a person reads at once are a nuisance, and the rest is in the body."""
_LISTED = 100
"""Findings that the body lists."""
_CONTEXT = 3
"""Unchanged lines that GitHub's diff shows around a change."""
_LONGEST_BODY = 60_000
"""Characters; GitHub takes 65,536."""
_LONGEST_MESSAGE = 4_000
_LINK = re.compile(r"@(?=\w)|#(?=\d)|(?<=GH-)(?=\d)")
_BREAK = "\u200b"


def github_review(
    facts: RunFacts, inputs: Iterable[Findings], lines: Iterable[bytes], most: int = MOST_COMMENTS
) -> Iterator[bytes]:
    """The document; `lines` are the inputs' entries of reviews.json, in their order.

    Raises:
        OutputError: reviews.json is of another run.
    """
    placed, others = _Worst(most), _Worst(_LISTED)
    counts = dict.fromkeys(SEVERITIES, 0)
    for findings, line in zip(inputs, lines, strict=True):
        files = _diffs(findings, line) if findings.shown else ()
        for finding in findings.shown:
            counts[finding["severity"]] = counts.get(finding["severity"], 0) + 1
            (placed if _is_shown(finding, findings.path, files) else others).add(finding)
    for finding in placed.left:
        others.add(finding)
    review = {
        "event": "COMMENT",
        "body": _body(facts, counts, len(placed.kept), others),
        "comments": [_comment(one) for one in placed.kept],
    }
    commits = facts.get("commits")
    if commits:
        review["commit_id"] = commits["head"]
    yield orjson.dumps(review, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


class _Worst:
    """The worst findings, and how many there were; of those that are not kept as many as listed."""

    def __init__(self, most: int) -> None:
        self.count = 0
        self._most = most
        self._found: list[Finding] = []

    def add(self, finding: Finding) -> None:
        self.count += 1
        self._found.append(finding)
        if len(self._found) > 2 * (self._most + _LISTED):
            self._found = self._sorted()[: self._most + _LISTED]

    def _sorted(self) -> list[Finding]:
        return sorted(self._found, key=worst_first)

    @property
    def kept(self) -> list[Finding]:
        return self._sorted()[: self._most]

    @property
    def left(self) -> list[Finding]:
        return self._sorted()[self._most :]


def _diffs(findings: Findings, line: bytes) -> tuple[FileDiff, ...]:
    """The files of an input's diff; none of a snippet."""
    ((name, entry),) = orjson.loads(line).items()
    if name != findings.input_id:
        msg = f"reviews.json is of another run than the tables (input {name!r}): run again"
        raise OutputError(msg)
    if findings.kind != "diff":
        return ()
    try:
        return parse_diff(entry["content"])
    except RowError:
        return ()


def _is_shown(finding: Finding, own: str, files: Iterable[FileDiff]) -> bool:
    """Whether every line of the finding is in the diff as GitHub shows it; `own` is its input's path."""
    start = finding["start_line"]
    if start is None:
        return False
    wanted = set(range(start, max(start, finding["end_line"] or start) + 1))
    path = report_path(finding["path"])
    return any(
        report_path(file.path or own) == path and wanted <= _shown_lines(file, finding["side"])
        for file in files
    )


def _shown_lines(file: FileDiff, side: str) -> set[int]:
    """Numbers of the changed lines of one side, and of those around any change.

    A range of them is in one hunk: between two there is a line that is not shown.
    """
    found: set[int] = set()
    for hunk in file.hunks:
        changed = [at for at, line in enumerate(hunk.lines) if line.marker != " "]
        near = {at + off for at in changed for off in range(-_CONTEXT, _CONTEXT + 1)}
        lines = (line for at, line in enumerate(hunk.lines) if at in near)
        numbers = (line.old if side == "left" else line.new for line in lines)
        found.update(number for number in numbers if number is not None)
    return found


def _comment(finding: Finding) -> dict[str, Any]:
    start, end = finding["start_line"], finding["end_line"] or finding["start_line"]
    side = "LEFT" if finding["side"] == "left" else "RIGHT"
    comment = {
        "path": report_path(finding["path"]),
        "line": max(start, end),
        "side": side,
        "body": _text(finding),
    }
    # GitHub refuses a range of one line.
    return comment | {"start_line": start, "start_side": side} if end > start else comment


def _text(finding: Finding) -> str:
    message = ellipsize(finding["message"] or "", _LONGEST_MESSAGE)
    text = f"**{finding['severity']}** {category_of(finding)}: {_line(title_of(finding))}\n\n{prose(message, _plain)}\n"
    fix = fix_of(finding)
    if fix is None or len(fix[2]) > _LONGEST_MESSAGE:
        return text
    fence = fence_around(fix[2])
    return f"{text}\n{fence}suggestion\n{fix[2]}\n{fence}\n"


def _plain(text: str) -> str:
    """Text without markup, mentions of people and references to issues."""
    return _LINK.sub(lambda found: f"{found[0]}{_BREAK}", escape_markdown(text))


def _line(text: str) -> str:
    return _plain(visible(" ".join(text.split())))


def _body(facts: RunFacts, counts: dict[str, int], placed: int, others: _Worst) -> str:
    total = sum(counts.values())
    listed = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    found = (
        f"**{total:,} {'finding' if total == 1 else 'findings'}**{f': {listed}' if listed else ''}"
    )
    lines = [f"{found}; {placed:,} at their lines.", "", _line(facts["result"])]
    return "\n".join([*lines, *_rest(others, total - placed)])


def _rest(others: _Worst, count: int) -> Iterator[str]:
    if not count:
        return
    yield "\nNot shown by the diff, or beyond the most comments:\n"
    size = shown = 0
    for finding in others.kept:
        line = (
            f"- **{finding['severity']}** {_line(report_path(finding['path']))}, "
            f"{place_text(finding)}: {_line(title_of(finding))}"
        )
        size += len(line) + 1
        if size > _LONGEST_BODY:
            break
        shown += 1
        yield line
    if count > shown:
        yield f"\nAnd {count - shown:,} more."
