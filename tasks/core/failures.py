"""Failed calls of a run in groups, each with its count and one example of what was said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tasks.core.text_safety import ellipsize
from tasks.core.upstream_facts import FailureFacts

__all__ = ["Failures", "failure_head", "failure_sentence", "failure_words", "local_time"]

_SAID = 300
"""Characters of an example in a sentence."""

Group = tuple[str, str | None, str | None]
"""Reason, endpoint and model."""


class Failures:
    """Counts of failed calls by reason, endpoint and model; the first example of each is kept."""

    def __init__(self) -> None:
        self._counts: Counter[Group] = Counter()
        self._said: dict[Group, tuple[str, bool]] = {}

    def add(self, calls: Iterable[Mapping[str, Any]]) -> None:
        """Count the failed ones of an input's calls, as rows of calls.parquet."""
        for call in calls:
            if call["status"] == "failed":
                group = call.get("reason") or "unknown", call.get("endpoint"), call.get("model")
                self._counts[group] += 1
                said = " ".join((call.get("raw_snippet") or "").split())
                if said and group not in self._said:
                    self._said[group] = said, call.get("parse_mode") == "failed"

    def facts(self) -> list[FailureFacts]:
        """The groups as the manifest stores them, the largest first."""
        return [
            {
                "reason": group[0],
                "endpoint": group[1],
                "model": group[2],
                "calls": count,
                "said": self._said.get(group, ("", False))[0],
                "is_reply": self._said.get(group, ("", False))[1],
            }
            for group, count in self._counts.most_common()
        ]


def failure_head(one: FailureFacts) -> str:
    """`20 x unknown_model, model-a at https://models.example/v1`."""
    model = f", {one['model']}" if one["model"] else ""
    place = f" at {one['endpoint']}" if one["endpoint"] else ""
    return f"{one['calls']:,} x {one['reason']}{model}{place}"


def failure_sentence(one: FailureFacts) -> str:
    """The group with what was said; a reply that nobody could read is not repeated.

    The words are others': escape the sentence for where it is shown.
    """
    said = "" if one["is_reply"] else failure_words(one)
    return failure_head(one) + (f': "{ellipsize(said, _SAID)}"' if said else "")


def failure_words(one: FailureFacts) -> str:
    """What was said, without the reason in front of it."""
    return one["said"].removeprefix(f"{one['reason']}: ")


def local_time(instant: str) -> str:
    """An ISO 8601 instant on this machine's clock, to the second."""
    return f"{datetime.fromisoformat(instant).astimezone():%Y-%m-%d %H:%M:%S}"
