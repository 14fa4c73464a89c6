"""
Models of known skill: what each says of labelled inputs, and the figures that follow by counting.

    hit      a comment at a label that says what the label says
    aside    a comment at a label about something else: right by place, wrong by place and matter
    alarm    a comment where no label is

Dice thrown once over names decide who raises what and what the review model believes. The figures are
counted from them, without anchors, clusters or a matcher, so they are what `evaluate` has to give.
Of labels that touch each other only the first is raised: it is one place to a reader.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.core.records import Expected, Input
from tasks.review.inputs.render import render_input
from tasks.review.inputs.tokens import count_tokens
from tasks.review.places.places import pages_of
from tasks.review.prompts import check_messages

__all__ = [
    "CHECKS",
    "REVIEW",
    "Issue",
    "apart",
    "by_checks",
    "fence_of",
    "figures",
    "issues_of",
    "right_lines",
    "script",
]

CHECKS: Mapping[str, tuple[float, float]] = {
    "keen": (0.8, 0.5),
    "even": (0.6, 0.3),
    "calm": (0.4, 0.05),
}
"""Check, which is its model's name too -> share of the labels that it raises, and of the alarms."""
REVIEW = "judge"
_BELIEVES = {"hit": 0.9, "aside": 0.5, "alarm": 0.25}
_ASIDES = 0.3
"""Share of the labels of which whoever raises them says something else."""
_ALARMS = 2
"""Places of an input at which there may be one."""
_AWAY = 4
"""Lines from an alarm to the next label or alarm: neither touches the other."""
_QUOTED = 3
"""Lines of a label that are quoted at most."""
_BUDGET = 1_000_000

Kind = Literal["hit", "aside", "alarm"]
Counts = dict[str, int]


@dataclass(frozen=True, slots=True)
class Issue:
    """Something that is raised of an input: by whom, and whether the review model confirms it."""

    kind: Kind
    said: dict[str, Any]
    checks: frozenset[str]
    confirmed: bool


def apart(labels: Sequence[Expected]) -> list[Expected]:
    """The labels but for those that overlap or touch one before them."""
    found: list[Expected] = []
    ends: dict[tuple[str | None, str], int] = {}
    for label in sorted(labels, key=lambda one: (one.path or "", one.start_line or 0)):
        start, end = _span(label)
        key = (label.path, label.side)
        if start - ends.get(key, -2) > 1:
            found.append(label)
        ends[key] = max(end, ends.get(key, -2))
    return found


def right_lines(item: Input) -> dict[str | None, dict[int, str]]:
    """Path -> number -> text of the lines that a label may name."""
    return {
        page.path: {line.number: line.text for line in page.lines}
        for page in pages_of(item)
        if page.side == "right"
    }


def issues_of(item: Input) -> tuple[Issue, ...]:
    """All that anyone raises of a labelled input."""
    lines = right_lines(item)
    labels = apart(item.expected or ())
    said = [_about(item, label, number, lines) for number, label in enumerate(labels)]
    said += [_alarm(number, *place) for number, place in enumerate(_quiet(item, lines))]
    return tuple(_thrown(item, kind, one) for kind, one in said)


def script(items: Sequence[Input]) -> list[dict[str, Any]]:
    """The sandbox's table of answers that makes the models say so."""
    answers: list[dict[str, Any]] = []
    for item in items:
        fence, issues = fence_of(item), issues_of(item)
        for check in CHECKS:
            raised = [one.said for one in issues if check in one.checks]
            answers.append({"match": fence, "model": check, "comments": raised})
        verdicts = [
            {
                "about": f'"title":"{one.said["title"]}"',
                "decision": "confirmed" if one.confirmed else "rejected",
                "score": 8 if one.confirmed else 0,
            }
            for one in issues
        ]
        answers.append({"match": fence, "model": REVIEW, "verdicts": verdicts})
    return answers


def figures(items: Sequence[Input], raised: Callable[[Issue], bool]) -> dict[str, Counts]:
    """Counts by place, and by place and matter, of the issues that are raised."""
    names = ("true", "false", "missed", "clean_inputs", "false_on_clean")
    total = {hit: dict.fromkeys(names, 0) for hit in ("by_place", "by_place_and_matter")}
    for item in items:
        kinds = [one.kind for one in issues_of(item) if raised(one)]
        for hit, right in (("by_place", {"hit", "aside"}), ("by_place_and_matter", {"hit"})):
            true = sum(kind in right for kind in kinds)
            false, labels = len(kinds) - true, len(item.expected or ())
            clean = not labels
            counts = (true, false, labels - true, int(clean), false if clean else 0)
            for name, count in zip(names, counts, strict=True):
                total[hit][name] += count
    return total


def by_checks(*checks: str, after: bool) -> Callable[[Issue], bool]:
    """Whether any of the checks raises an issue and, after review, it is confirmed."""
    return lambda one: bool(one.checks & {*checks}) and (one.confirmed or not after)


def fence_of(item: Input) -> str:
    """The first line of the input in its prompts, whose tag no other content has."""
    (part,) = render_input(item, _BUDGET, lambda text: count_tokens(text, "").tokens).parts
    found = re.match(r"<<<INPUT [0-9a-f]+", check_messages(item, part)[-1]["content"])
    assert found is not None
    return found[0]


def _span(label: Expected) -> tuple[int, int]:
    start = label.start_line or 0
    return start, label.end_line or start


def _about(
    item: Input, label: Expected, number: int, lines: Mapping[str | None, Mapping[int, str]]
) -> tuple[Kind, dict[str, Any]]:
    path = item.path if item.kind == "snippet" or label.path is None else label.path
    start, end = _span(label)
    end = min(end, start + _QUOTED - 1)
    place = {
        "path": path,
        "start_line": start,
        "end_line": end,
        "existing_code": "\n".join(lines[path][n] for n in range(start, end + 1)),
    }
    if _dice(item.input_id, str(number), "aside") < _ASIDES:
        others = {one.category for one in item.expected or ()}
        category = next(c for c in ("style", "documentation", "test", "other") if c not in others)
        return "aside", place | _words(f"aside{number:02}", "Vowels beat consonants.", category)
    return "hit", place | _words(f"hit{number:02}", label.message or "It fails.", label.category)


def _alarm(number: int, path: str | None, line: int, text: str) -> tuple[Kind, dict[str, Any]]:
    place = {"path": path, "start_line": line, "end_line": line, "existing_code": text}
    return "alarm", place | _words(f"alarm{number:02}", "Zebras gallop by here.", "bug")


def _words(title: str, message: str, category: str | None) -> dict[str, Any]:
    more = {"severity": "high", "rationale": None, "suggestion": None}
    return {"title": title, "message": message, "category": category or "bug", **more}


def _quiet(
    item: Input, lines: Mapping[str | None, Mapping[int, str]]
) -> Iterator[tuple[str | None, int, str]]:
    """Places far enough from every label, and from each other."""
    found = 0
    for path, texts in lines.items():
        spans = [_span(one) for one in item.expected or ()]
        for number, text in texts.items():
            near = any(start - _AWAY < number < end + _AWAY for start, end in spans)
            if found < _ALARMS and not near and len(text.strip()) > _AWAY:
                yield path, number, text
                spans.append((number, number))
                found += 1


def _thrown(item: Input, kind: Kind, said: dict[str, Any]) -> Issue:
    checks = frozenset(
        name
        for name, (finds, alarms) in CHECKS.items()
        if _dice(item.input_id, said["title"], name) < (alarms if kind == "alarm" else finds)
    )
    believed = _dice(item.input_id, said["title"], REVIEW) < _BELIEVES[kind]
    return Issue(kind, said, checks, believed)


def _dice(*what: str) -> float:
    digest = hashlib.sha256("\0".join(what).encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48
