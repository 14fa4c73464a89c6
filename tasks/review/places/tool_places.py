"""Which input a tool's finding is about, and whether it is about what is under review there."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tasks.core.records import Input
from tasks.review.inputs.texts import quote_key
from tasks.review.places.places import Page, PageLine, pages_of
from tasks.review.replies.contract import RawComment
from tasks.review.replies.sarif import SarifFinding, is_absolute

__all__ = ["common_root", "part_of", "placed", "relative_path"]

_LONGEST_QUOTE = 20
"""Lines of a finding that are quoted; a longer one is about a function or a class."""


def common_root(paths: Iterable[str], known: Mapping[str, object]) -> str:
    """The folder below which most of the absolute `paths` are `known` ones; empty: none is.

    A tool that ran elsewhere says where its files were there.
    """
    votes: Counter[str] = Counter()
    for path in {one for one in paths if is_absolute(one)}:
        steps = path.split("/")
        for first in range(1, len(steps)):
            if "/".join(steps[first:]) in known:
                votes["/".join(steps[:first]) + "/"] += 1
    return min(votes, key=lambda root: (-votes[root], len(root)), default="")


def relative_path(path: str, root: str) -> str | None:
    """A finding's path below `root`; None: it is elsewhere."""
    if not is_absolute(path):
        return path
    return posixpath.normpath(path.removeprefix(root)) if root and path.startswith(root) else None


def placed(source: Input, path: str, finding: SarifFinding) -> RawComment | None:
    """The finding as a comment on an input; None: its lines are not under review there.

    Of a diff only what touches an added line is; a finding without a line is about a whole file.
    """
    page = _page(source, path)
    if page is None:
        return None
    raw = replace(finding.raw, path=page.path)
    if raw.start_line is None:
        return raw if source.kind == "snippet" else None
    end = raw.end_line or raw.start_line
    lines = [line for line in page.lines if raw.start_line <= line.number <= end]
    if not any(line.marker == "+" for line in lines):
        return None
    return replace(raw, existing_code=_quote(raw.existing_code, lines))


def part_of(parts: Sequence[str], raw: RawComment) -> int:
    """The part of a rendered input that shows a comment's line; 0 when none does."""
    for number, part in enumerate(parts) if len(parts) > 1 else ():
        path = raw.path
        for row in part.split("\n"):
            if row.startswith("File: "):
                path = row.removeprefix("File: ").partition(" (was ")[0]
            elif path == raw.path and row[1:].partition(" | ")[0].strip() == str(raw.start_line):
                return number
    return 0


def _page(source: Input, path: str) -> Page | None:
    pages = [page for page in pages_of(source) if page.side == "right"]
    if source.kind == "snippet":
        return pages[0] if pages else None
    return next((page for page in pages if path == page.path or path in page.names), None)


def _quote(given: str | None, lines: Sequence[PageLine]) -> str | None:
    """The input's own lines, unless the tool has seen other ones there."""
    own = "\n".join(line.text for line in lines)
    if given is not None and quote_key(given) not in quote_key(own):
        return given
    return own if len(lines) <= _LONGEST_QUOTE else None
