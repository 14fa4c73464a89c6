"""
One night's canaries, counted: the reviewers together, and each of them.

    found     defects with a finding at their place that is shown, after review; what any reviewer says
              of it is not compared, the code has nothing else to find
    alarms    clean canaries with a finding that is shown
    a check   the same of what it raised, before review
    review    of the defects that the checks have found, those that it took away; of the clean canaries
              with a comment, those where it let one stand

A canary that was not reviewed counts for nobody, one that a check did not answer not for that check.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import orjson

from tasks.core.canary_facts import CanaryNight, ReviewerNight
from tasks.core.errors import OutputError
from tasks.core.paths import RunPaths
from tasks.core.quotas import is_loopback
from tasks.core.records import Comment, Input, Row
from tasks.finished.evaluate.metrics import MatchCounts, count_matches
from tasks.outputs.stored import comment_of, stored_input

__all__ = ["Canary", "CanaryCounts", "count_night", "read_canary_file"]

_REVIEWED = frozenset({"complete", "in_part", "partial"})


@dataclass(frozen=True, slots=True)
class Canary:
    """A canary of a run with what was said of it."""

    item: Input
    comments: tuple[Comment, ...]
    coverage: str
    calls: tuple[Row, ...]

    @property
    def is_reviewed(self) -> bool:
        """Whether a check has answered, so that it counts."""
        return self.coverage in _REVIEWED

    @property
    def shown(self) -> list[Comment]:
        """Its comments but for the dropped ones."""
        return [one for one in self.comments if one.outcome != "dropped"]


@dataclass(frozen=True, slots=True)
class CanaryCounts:
    """The counts of a night, and the canaries that went wrong, by id."""

    night: CanaryNight
    unanswered: list[str]
    missed: list[str]
    """Those with a defect that was not found."""
    alarmed: list[str]
    """Clean ones with a finding."""


def read_canary_file(paths: RunPaths) -> Iterator[Canary]:
    """The canaries of a run; none where it had none.

    Raises:
        OutputError: the file is damaged.
    """
    if not paths.canaries.exists():
        return
    try:
        with paths.canaries.open("rb") as file:
            yield from map(_canary, file)
    except (OSError, KeyError, TypeError, orjson.JSONDecodeError):
        msg = f"{paths.canaries} cannot be read: remove it, or name another run"
        raise OutputError(msg) from None


def _canary(line: bytes) -> Canary:
    row = orjson.loads(line)
    review = row["review"]
    return Canary(
        stored_input(orjson.dumps(row["input"])),
        tuple(map(comment_of, review["comments"])),
        review["coverage"],
        tuple(review["calls"]),
    )


def count_night(
    run_id: str, at: str, canaries: Sequence[Canary], reviewers: Sequence[ReviewerNight]
) -> CanaryCounts:
    """Count a night; `reviewers` are its checks, then the review model, all with counts of 0."""
    scored = [one for one in canaries if one.is_reviewed]
    together = [(one, _match(one.item, one.shown)) for one in scored]
    total = sum((found for _, found in together), start=MatchCounts())
    rows = [_reviewer(row, scored) for row in reviewers]
    alarmed = [one.item.input_id for one, found in together if found.false_on_clean]
    return CanaryCounts(
        night={
            "run_id": run_id,
            "at": at,
            "setup": _setup(rows),
            "missed": total.missed,
            "defects": total.true + total.missed,
            "alarmed": len(alarmed),
            "clean": total.clean_inputs,
            "reviewers": rows,
        },
        unanswered=[one.item.input_id for one in canaries if not one.is_reviewed],
        missed=[one.item.input_id for one, found in together if found.missed],
        alarmed=alarmed,
    )


def _match(item: Input, comments: Sequence[Comment]) -> MatchCounts:
    return count_matches(item, comments)["by_place"]


def _setup(rows: Sequence[ReviewerNight]) -> str:
    """What nights have to have in common to be compared."""
    named = [[row["name"], row["model"], row["prompt_version"]] for row in rows]
    return hashlib.sha256(orjson.dumps(named)).hexdigest()[:16]


def _reviewer(row: ReviewerNight, canaries: Sequence[Canary]) -> ReviewerNight:
    answered = [one for one in canaries if _calls(one, row["name"])]
    models = dict.fromkeys(_model(call) for one in answered for call in _calls(one, row["name"]))
    # Another model that answered in its place is another reviewer.
    found = row.copy()
    found["model"] = " / ".join(models) or row["model"]
    counts = map(
        _judged if row["name"] == "review" else _raised, answered, [row["name"]] * len(answered)
    )
    for missed, defects, alarmed, clean in counts:
        found["missed"] += missed
        found["defects"] += defects
        found["alarmed"] += alarmed
        found["clean"] += clean
    return found


def _model(call: Row) -> str:
    """A rehearsal on this machine says nothing of a provider's model of the same name."""
    here = is_loopback(call["endpoint"] or "")
    return f"{call['model']} on this machine" if here else str(call["model"])


def _calls(canary: Canary, name: str) -> list[Row]:
    """A reviewer's calls on a canary, where all of them were answered."""
    own = [call for call in canary.calls if call["name"] == name]
    return own if all(call["status"] == "ok" for call in own) else []


def _raised(canary: Canary, name: str) -> tuple[int, int, int, int]:
    # Alone it has no cluster to share with others.
    own = [replace(one, cluster_id=None) for one in canary.comments if one.check_model == name]
    found = _match(canary.item, own)
    return (
        found.missed,
        found.true + found.missed,
        int(found.false_on_clean > 0),
        found.clean_inputs,
    )


def _judged(canary: Canary, _name: str) -> tuple[int, int, int, int]:
    before, after = _match(canary.item, canary.comments), _match(canary.item, canary.shown)
    alarms = [int(found.false_on_clean > 0) for found in (after, before)]
    return before.true - after.true, before.true, alarms[0], alarms[1]
