"""
Findings of a run against those that an earlier run of the same source showed.

    new        shown now, not shown then
    recurring  shown then and now
    dropped    shown then; raised now and dropped, by the review, a threshold or a person
    gone       shown then; its code was reviewed in full now and nobody raised it
    unknown    shown then; its code was not reviewed now

A finding is a cluster, and it is the same one when any of its comments has the same fingerprint, or
the same kin at the same place where no fingerprint decides: the code next to it may have changed.
What earlier runs showed and no run looked at since is carried along from run to run, as unknown.
What was reviewed is what the checks were asked about. A snippet, or a diff from the same commit on,
is all of its file; of any other diff only the lines that it adds or removes count. A change elsewhere
in a file does not make a finding go away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.core.records import Input, Row
from tasks.core.sections import in_section, split_section
from tasks.review.inputs.texts import code_key, lines_of
from tasks.review.places.fingerprints import kin
from tasks.review.places.places import Page, pages_of

__all__ = [
    "CURRENT_AGES",
    "Earlier",
    "HistoryComparison",
    "carried_findings",
    "carried_name",
    "count_ages",
    "earlier_findings",
]

CURRENT_AGES = ("new", "recurring", "dropped")
"""Ages of this run's findings; `gone` and `unknown` are about the earlier run's."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """One comment of a finding that the earlier run showed, without its text."""

    finding: str
    """Its cluster_id, or `carried_name`."""
    place: str
    """Its path, or the id of an input without one."""
    base: str | None
    """The commit that its diff began at."""
    line: int | None
    """Hash of the longest line that it quotes; good in this process only."""
    kind: str | None = None
    """Of its input."""
    since: str | None = None
    """When the first run that showed it started; None: the earlier run itself."""


def earlier_findings(review: Row) -> Iterator[tuple[str, Earlier]]:
    """Fingerprints of one input of the earlier run; a row of reviews.parquet, `extra` read."""
    shown = {one["cluster_id"] for one in review["comments"] if one["outcome"] != "dropped"}
    for one in review["comments"]:
        if one["cluster_id"] in shown:
            place = _scoped(review["input_id"], one["path"] or review["input_id"])
            base = _base(review["extra"])
            line = _longest_line(one["existing_code"])
            kind = review.get("kind")
            since = one.get("since")
            name = _scoped(review["input_id"], one["fingerprint"])
            yield name, Earlier(one["cluster_id"], place, base, line, kind, since)


def carried_name(finding: Row) -> str:
    """The name of a finding that was carried along; cluster ids are unique within a run only."""
    return f"carried {_scoped(finding.get('input_id'), finding['fingerprint'])}"


def carried_findings(finding: Row) -> tuple[str, Earlier]:
    """A finding that the earlier run carried along, as it is stored."""
    line = _longest_line(finding["existing_code"])
    name, kind = carried_name(finding), finding.get("kind")
    since, within = finding.get("since"), finding.get("input_id")
    place = _scoped(within, finding["path"])
    return _scoped(within, finding["fingerprint"]), Earlier(name, place, None, line, kind, since)


def count_ages(comments: Iterable[Row]) -> Counter[str]:
    """Findings of one input by CURRENT_AGES, from the ages of its comments."""
    comments = list(comments)
    again = {one["cluster_id"] for one in comments if one["age"] == "recurring"}
    shown = {one["cluster_id"] for one in comments if one["outcome"] != "dropped"}
    return Counter(new=len(shown - again), recurring=len(shown & again), dropped=len(again - shown))


class HistoryComparison:
    """A run compared with an earlier one, input by input; memory holds both runs' fingerprints."""

    def __init__(self, before: Mapping[str, Earlier], started: str | None = None) -> None:
        """`before` is what the earlier run showed, by fingerprint; `started` is its start, ISO 8601."""
        self._before = before
        self._since = {one.finding: one.since or started for one in before.values()}
        self._at: dict[str, list[Earlier]] = {}
        self._kin: dict[tuple[str, str], dict[str, str]] = {}
        for name, one in before.items():
            self._at.setdefault(one.place, []).append(one)
            self._kin.setdefault((one.place, kin(split_section(name).name)), {})[name] = one.finding
        self._counts: Counter[str] = Counter()
        self._raised: set[str] = set()
        self._looked_at: set[str] = set()

    def add(self, item: Row, review: Row) -> None:
        """Count one input, and give each of its comments its `age` and `since`."""
        comments = review["comments"]
        known = self._known(item, comments)
        again = {
            one["cluster_id"]: self._since[known[name]]
            for one in comments
            if (name := _scoped(item["input_id"], one["fingerprint"])) in known
        }
        for one in comments:
            one["age"] = "recurring" if one["cluster_id"] in again else "new"
            one["since"] = again.get(one["cluster_id"])
        self._raised.update(known.values())
        self._counts.update(count_ages(comments))
        if review["coverage"] == "complete" and self._at:
            self._look(Input(**item))

    @property
    def files(self) -> list[str]:
        """Files that the earlier run's findings are in, those apart that a diff is about."""
        return [at for at, found in self._at.items() if all(one.kind == "snippet" for one in found)]

    def leave(self, path: str) -> None:
        """Count the findings of a file that is not there any more as gone; of several repositories
        with its section.
        """
        self._looked_at.update(one.finding for one in self._at.get(path, ()))

    def _known(self, item: Row, comments: Iterable[Row]) -> dict[str, str]:
        """Fingerprints of an input's comments -> the earlier findings that they are."""
        within = item["input_id"]
        names = {_scoped(within, one["fingerprint"]): one for one in comments}
        known = {name: self._before[name].finding for name in names if name in self._before}
        for name, one in names.items():
            place = _scoped(within, one["path"] or within)
            found = (place, kin(one["fingerprint"]))
            alike = self._kin.get(found, {}) if name not in known else {}
            taken = known.values()
            left = (mine for old, mine in alike.items() if old not in names and mine not in taken)
            if finding := next(left, None):
                known[name] = finding
        return known

    def _look(self, item: Input) -> None:
        base = _base(item.extra)
        for page in pages_of(item):
            here = self._at.get(_scoped(item.input_id, page.path or item.input_id), ())
            whole = item.kind == "snippet"
            lines = set() if whole or not here else _changed(page)
            self._looked_at.update(
                one.finding
                for one in here
                if whole or (base is not None and base == one.base) or one.line in lines
            )

    @property
    def unknown(self) -> set[str]:
        """The earlier run's findings that this one says nothing about."""
        return {one.finding for one in self._before.values()} - self._raised - self._looked_at

    @property
    def gone(self) -> set[str]:
        """The earlier run's cluster ids that are gone."""
        return self._looked_at - self._raised

    def counts(self) -> dict[str, int]:
        """Findings by what became of them."""
        current = {name: self._counts[name] for name in CURRENT_AGES}
        return {**current, "gone": len(self.gone), "unknown": len(self.unknown)}


def _scoped(input_id: str | None, name: str) -> str:
    """A fingerprint or a place as a comparison knows it: the same one of two repositories is two."""
    section = split_section(input_id or "").section
    return name if not section or name == input_id else in_section(section, name)


def _base(extra: Mapping[str, Any]) -> str | None:
    base = extra.get("base_commit")
    return base if isinstance(base, str) else None


def _changed(page: Page) -> set[int]:
    return {hash(line.key) for line in page.lines if line.marker in {"+", "-"}}


def _longest_line(quote: str | None) -> int | None:
    key = max((code_key(line) for line in lines_of(quote or "") or [""]), key=len)
    return hash(key) if key else None
