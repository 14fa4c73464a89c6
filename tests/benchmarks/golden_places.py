"""
Comments at places that a benchmark gives: through reply, anchors, clusters, do they land there?

    python -m tests.benchmarks.golden_places FOLDER

Takes a folder with aacr_subset.jsonl (golden comments on real diffs), shim52.jsonl (labels, and the
ranges as they were published, 15 of which miss their line) and shim52_tools.jsonl (how much five
reviewers found, as sums). None of them is part of this project.

No single comment of those five reviewers is public. So each of them is played: as many comments at
labels and as many elsewhere as it is published to have made, in the labels' own words. What is
measured is our side of it: the way from a reply's text to a line.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.core.records import Comment, Expected, Input
from tasks.finished.evaluate.metrics import HITS, count_matches
from tasks.load.rows import read_input
from tasks.review.findings.clusters import cluster
from tasks.review.places.anchors import build_comment
from tasks.review.places.places import PageLine, pages_of
from tasks.review.replies.replies import parse_comments

OFF = 7
"""Lines by which a model is wrong that counts badly."""


@dataclass(frozen=True, slots=True)
class Golden:
    """A label, and the lines that a reviewer names for it."""

    label: Expected
    claim: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Said:
    """How a reviewer says where: by a quote, by lines, by both."""

    quote: bool = True
    lines: bool = True
    off: int = 0

    def of(self, item: Input, golden: Golden) -> dict[str, Any]:
        """The comment as it stands in a reply."""
        label, (start, end) = golden.label, golden.claim
        return {
            "path": label.path,
            "side": label.side,
            "existing_code": _quote(item, label) if self.quote else None,
            "start_line": start + self.off if self.lines else None,
            "end_line": end + self.off if self.lines else None,
            "category": label.category or "bug",
            "severity": label.severity or "medium",
            "title": "",
            "message": label.message or "See here.",
        }


WAYS = {
    "quote and lines": Said(),
    f"quote, lines {OFF} off": Said(off=OFF),
    "quote alone": Said(lines=False),
    "lines alone": Said(quote=False),
}


def read(path: Path) -> Iterator[tuple[Input, dict[str, Any]]]:
    """Labelled inputs of a file, each with its whole row."""
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        if row.get("expected"):
            yield read_input(row), row


def comments_of(item: Input, check: str, said: Sequence[Mapping[str, Any]]) -> list[Comment]:
    """What a check's reply makes of it: parsed and anchored."""
    parsed = parse_comments(json.dumps({"comments": said}), finish_reason="stop").items
    return [build_comment(item, check, at, raw) for at, raw in enumerate(parsed)]


def landed(item: Input, label: Expected, comment: Comment) -> str:
    """Where a comment is, by the label that it is about; blank lines at the ends of either do not count."""
    if comment.start_line is None or comment.end_line is None:
        return "nowhere"
    if (comment.path, comment.side) != (label.path, label.side):
        return "elsewhere"
    start, end = _span(label)
    place = replace(label, start_line=comment.start_line, end_line=comment.end_line)
    if _code(item, place) == _code(item, label):
        return "exact"
    overlap = comment.start_line <= end and start <= comment.end_line
    return "overlapping" if overlap else "elsewhere"


def print_landings(name: str, inputs: Iterable[tuple[Input, Sequence[Golden]]]) -> None:
    """A row for each way to say where."""
    counts = {way: Counter[str]() for way in WAYS}
    for item, golden in inputs:
        for way, said in WAYS.items():
            made = comments_of(item, "golden", [said.of(item, one) for one in golden])
            counts[way].update(landed(item, g.label, c) for g, c in zip(golden, made, strict=True))
    for way, found in counts.items():
        cells = [found[one] for one in ("exact", "overlapping", "elsewhere", "nowhere")]
        print(f"| {name} | {way} | {sum(cells)} | {' | '.join(map(str, cells))} |")


def as_labelled(item: Input) -> list[Golden]:
    """Labels with the lines that they have."""
    return [Golden(one, _span(one)) for one in item.expected or ()]


def as_published(item: Input, row: Mapping[str, Any]) -> list[Golden]:
    """Labels with the lines as they were published."""
    ranges = [(one["start_line"], one["end_line"]) for one in row["expected_published"]]
    return [Golden(one, lines) for one, lines in zip(item.expected or (), ranges, strict=True)]


def print_tools(folder: Path) -> None:
    """The five reviewers as checks of one run: where their comments land, and how they are scored."""
    rows = (folder / "shim52_tools.jsonl").read_text("utf-8").splitlines()
    published = {(one["input_id"], one["tool"]): one for one in map(json.loads, rows)}
    counts: Counter[str] = Counter()
    for item, row in read(folder / "shim52.jsonl"):
        tools = {tool: one for (name, tool), one in published.items() if name == item.input_id}
        told = {tool: [*_played(item, row, tool, one)] for tool, one in tools.items()}
        placed = {
            tool: comments_of(item, tool, [said for _, said in some]) for tool, some in told.items()
        }
        about = {
            comment.comment_id: label
            for tool, some in told.items()
            for (label, _), comment in zip(some, placed[tool], strict=True)
        }
        found = cluster(comment for some in placed.values() for comment in some)
        _count(counts, item, found, about)
        for tool, one in tools.items():
            own = count_matches(item, [c for c in found if c.check_model == tool])
            wanted = [one[f"{name}s"] for name in _COUNTED]
            for hit in HITS:
                got = [own[hit].true, own[hit].false, own[hit].missed]
                counts[
                    f"of {len(published)} rows scored as published, {hit.replace('_', ' ')}"
                ] += got == wanted
    for name, count in counts.items():
        print(f"| {name} | {count} |")


_COUNTED = ("true_positive", "false_positive", "false_negative")


def _count(
    counts: Counter[str], item: Input, found: Sequence[Comment], about: Mapping[str, Expected]
) -> None:
    """Landings, and whether a cluster holds one issue and all of it."""
    labels = item.expected or ()
    clusters: dict[str | None, set[Expected]] = {}
    raised: dict[Expected, set[str | None]] = {}
    for comment in found:
        label = about[comment.comment_id]
        kind = "at labels" if label in labels else "elsewhere"
        counts[f"comments {kind}"] += 1
        counts[f"comments {kind}, on their lines"] += landed(item, label, comment) == "exact"
        clusters.setdefault(comment.cluster_id, set()).add(label)
        raised.setdefault(label, set()).add(comment.cluster_id)
    counts["issues raised"] += len(raised)
    counts["issues in one cluster"] += sum(len(one) == 1 for one in raised.values())
    counts["clusters"] += len(clusters)
    labelled = [one & {*labels} for one in clusters.values() if one & {*labels}]
    counts["clusters with a label"] += len(labelled)
    counts["clusters with two labels"] += sum(len(one) > 1 for one in labelled)


def _played(
    item: Input, row: Mapping[str, Any], tool: str, counted: Mapping[str, int]
) -> Iterator[tuple[Expected, dict[str, Any]]]:
    """So many comments at labels, named by the published lines, and so many at other lines."""
    golden = as_published(item, row)
    golden.sort(key=lambda one: _rank(tool, item.input_id, one.label.message or ""))
    for one in golden[: counted["true_positives"]]:
        yield one.label, WAYS["quote and lines"].of(item, one)
    others = sorted(_unlabelled(item), key=lambda one: _rank(tool, item.input_id, str(one)))
    for number, other in enumerate(others[: counted["false_positives"]]):
        words = " ".join(f"{tool.replace(' ', '')}{number}{letter}" for letter in "abcd")
        label = replace(other, message=words)
        yield label, WAYS["quote and lines"].of(item, Golden(label, _span(label)))


def _unlabelled(item: Input) -> Iterator[Expected]:
    """Lines that touch no label, as labels; of equal ones the first, for a check that quotes one twice repeats itself."""
    spans = [_span(one) for one in item.expected or ()]
    seen = set[str]()
    for page in pages_of(item):
        for line in page.lines if page.side == "right" else ():
            near = any(start - 1 <= line.number <= end + 1 for start, end in spans)
            if line.key and not near and line.key not in seen:
                seen.add(line.key)
                yield Expected(page.path, line.number, line.number, category="other")


def _quote(item: Input, label: Expected) -> str:
    return "\n".join(line.text for line in _lines(item, label))


def _code(item: Input, label: Expected) -> list[int]:
    """The lines that are not blank."""
    return [line.number for line in _lines(item, label) if line.key]


def _lines(item: Input, label: Expected) -> list[PageLine]:
    start, end = _span(label)
    pages = (page for page in pages_of(item) if (page.path, page.side) == (label.path, label.side))
    return [line for page in pages for line in page.lines if start <= line.number <= end]


def _span(label: Expected) -> tuple[int, int]:
    start = label.start_line or 0
    return start, label.end_line or start


def _rank(*what: str) -> str:
    return hashlib.sha256("\0".join(what).encode()).hexdigest()


def main() -> None:
    """Print where golden comments land, then the five reviewers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[1])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    shim52 = [*read(folder / "shim52.jsonl")]
    print("| labels | said by | comments | on the very lines | overlapping | elsewhere | nowhere |")
    print("|---|---|---|---|---|---|---|")
    print_landings(
        "aacr", ((one, as_labelled(one)) for one, _ in read(folder / "aacr_subset.jsonl"))
    )
    print_landings("shim52", ((one, as_labelled(one)) for one, _ in shim52))
    print_landings("shim52, as published", ((one, as_published(one, row)) for one, row in shim52))
    print("\n| five reviewers on shim52 | |\n|---|---|")
    print_tools(folder)


if __name__ == "__main__":
    main()
