"""The code around a finding, and its address at the code host, from the input that it was raised on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

import orjson

from tasks.core.code_links import code_link
from tasks.core.paths import RunPaths
from tasks.core.records import Input
from tasks.outputs.stored import stored_input
from tasks.review.findings.findings import Finding
from tasks.review.places.places import Page, PageLine, on_path, pages_of

__all__ = ["AROUND", "CodeLine", "Context", "context_of", "read_contexts"]

AROUND = 5
"""Lines before and after those of a finding."""
_MOST_LINES = 16
"""Of the finding itself."""
_MOST_COLUMNS = 300


@dataclass(frozen=True, slots=True)
class CodeLine:
    """One line of an input; `marker` is `+` or `-` where a diff changed it."""

    number: int
    marker: str
    text: str
    found: bool
    """Whether it is of the finding, and not around it."""


@dataclass(frozen=True, slots=True)
class Context:
    """Where a finding is, beyond its own words."""

    lines: tuple[CodeLine, ...] = ()
    link: str | None = None


def read_contexts(
    paths: RunPaths, findings: Iterable[Finding], link: str | None
) -> dict[str, Context]:
    """Contexts by comment id, in one pass over `paths.merged`; memory holds one input at a time.

    `link` is the setting of that name.
    """
    wanted: dict[str, list[Finding]] = {}
    for one in findings:
        wanted.setdefault(one["input_id"], []).append(one)
    return {
        finding["comment_id"]: context_of(source, finding, link)
        for source in _inputs(paths, wanted)
        for finding in wanted[source.input_id]
    }


def _inputs(paths: RunPaths, wanted: dict[str, list[Finding]]) -> Iterator[Input]:
    if not wanted:
        return
    with paths.merged.open("rb") as file:
        for line in file:
            row = orjson.loads(line)["input"]
            if row["input_id"] in wanted:
                yield stored_input(orjson.dumps(row))


def context_of(source: Input, finding: Finding, link: str | None) -> Context:
    """The finding's context in its input; empty where it names no line of it."""
    start = finding["start_line"]
    if start is None:
        return Context()
    end = max(start, min(finding["end_line"] or start, start + _MOST_LINES - 1))
    lines = tuple(_around(_shown_page(source, finding, start), finding["side"], start, end))
    return Context(lines, _link(source, finding, link) if link else None)


def _shown_page(source: Input, finding: Finding, start: int) -> tuple[PageLine, ...]:
    """The lines among which the finding is shown: the file, or its hunk with both sides."""
    pages = on_path(pages_of(source), finding["path"])
    side = finding["side"]
    if source.kind == "diff" and side != "left":
        pages = tuple(page for page in pages if page.side == "mixed")
    else:
        pages = tuple(page for page in pages if page.side == side)
    return next((found for page in pages if (found := _hunk(page, side, start))), ())


def _hunk(page: Page, side: str, start: int) -> tuple[PageLine, ...]:
    hunks = (tuple(lines) for _, lines in groupby(page.lines, lambda line: line.hunk))
    return next((hunk for hunk in hunks if any(_is_at(one, side, start) for one in hunk)), ())


def _is_at(line: PageLine, side: str, number: int) -> bool:
    return line.number == number and (side == "left" or line.marker != "-")


def _around(hunk: tuple[PageLine, ...], side: str, start: int, end: int) -> Iterator[CodeLine]:
    places = [
        place
        for place, line in enumerate(hunk)
        if start <= line.number <= end and _is_at(line, side, line.number)
    ]
    if not places:
        return
    first, last = max(0, places[0] - AROUND), places[-1] + AROUND
    changed = {line.marker for line in hunk} != {"+"}  # a snippet is no change
    for place, line in enumerate(hunk[first : last + 1], first):
        marker = line.marker.strip() if changed else ""
        text = line.text[:_MOST_COLUMNS] + ("\u2026" if len(line.text) > _MOST_COLUMNS else "")
        yield CodeLine(line.number, marker, text, place in places)


def _link(source: Input, finding: Finding, link: str) -> str | None:
    commit = "base_commit" if finding["side"] == "left" else "head_commit"
    values = {
        "repo": source.extra.get("repo"),
        "commit": source.extra.get(commit),
        "path": finding["path"],
        "line": finding["start_line"],
    }
    return code_link(link, values)
