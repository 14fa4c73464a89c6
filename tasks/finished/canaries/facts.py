"""A night's canaries for the manifest: what was drawn, what was found, and what has changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tasks.core.canary_facts import (
    CanaryChange,
    CanaryFacts,
    CanaryNight,
    CanaryUsual,
    ReviewerNight,
)
from tasks.core.files import sha256
from tasks.core.settings import Settings
from tasks.finished.canaries.chart import Counted, told_now
from tasks.finished.canaries.night import Canary, count_night
from tasks.load.canaries import INJECTION
from tasks.review.prompts import prompt_version

__all__ = ["canary_facts", "changes_of", "reviewers_of"]

_USUAL = 14
"""Nights whose median is told."""
_FAULTS = {"missed": "defects", "alarmed": "clean"}


def reviewers_of(settings: Settings) -> list[ReviewerNight]:
    """The checks that are models, then the review model, with counts of 0."""
    models = [(one.name, one.model, prompt_version("check")) for one in settings.check]
    if settings.reviews and settings.review is not None:
        models.append(("review", settings.review.model, prompt_version("review")))
    return [
        {
            "name": name,
            "model": model,
            "prompt_version": version,
            "missed": 0,
            "defects": 0,
            "alarmed": 0,
            "clean": 0,
        }
        for name, model, version in models
    ]


def canary_facts(
    settings: Settings,
    run_id: str,
    at: str,
    canaries: Sequence[Canary],
    earlier: Sequence[CanaryNight],
) -> CanaryFacts:
    """The facts of a run's canaries; `earlier` are the nights before, in their order."""
    counts = count_night(run_id, at, canaries, reviewers_of(settings))
    calls = [call for one in canaries for call in one.calls if call["status"] != "skipped"]
    file = settings.canaries.file if settings.canaries else ""
    injected = [
        one.item.input_id for one in canaries if one.item.extra.get(INJECTION) and one.is_reviewed
    ]
    return {
        "file": file,
        "file_sha256": sha256(Path(file)),
        "seed": run_id,
        "drawn": [one.item.input_id for one in canaries],
        "unanswered": counts.unanswered,
        "missed": counts.missed,
        "alarmed": counts.alarmed,
        "injections": len(injected),
        "obeyed": [one for one in injected if one in counts.missed],
        "calls": len(calls),
        "cost_usd": _cost([call.get("cost_usd") for call in calls]),
        "night": counts.night,
        "usual": _usual(counts.night, earlier),
        "changes": changes_of([*earlier, counts.night]),
    }


def _cost(costs: Sequence[float | None]) -> float | None:
    known = [one for one in costs if one is not None]
    return sum(known) if len(known) == len(costs) else None


def _usual(night: CanaryNight, earlier: Sequence[CanaryNight]) -> CanaryUsual | None:
    alike = [one for one in earlier if one["setup"] == night["setup"]][-_USUAL:]
    found = [1 - one["missed"] / one["defects"] for one in alike if one["defects"]]
    alarmed = [one["alarmed"] / one["clean"] for one in alike if one["clean"]]
    if not found:
        return None
    return {
        "nights": len(found),
        "found": median(found),
        "alarmed": median(alarmed) if alarmed else None,
    }


def changes_of(nights: Sequence[CanaryNight]) -> list[CanaryChange]:
    """What the last night tells of each reviewer: a model by name, with a version of its prompts."""
    return [
        change
        for row in nights[-1]["reviewers"]
        for fault, whole in _FAULTS.items()
        if (change := _change(row, fault, whole, nights)) is not None
    ]


def _change(
    row: ReviewerNight, fault: str, whole: str, nights: Sequence[CanaryNight]
) -> CanaryChange | None:
    same = [one for night in nights for one in night["reviewers"] if _key(one) == _key(row)]
    found = told_now([Counted(one[fault], one[whole]) for one in same])  # type: ignore[literal-required]
    if found is None:
        return None
    return {
        "name": row["name"],
        "model": row["model"],
        "prompt_version": row["prompt_version"],
        "fault": "missed" if fault == "missed" else "alarmed",
        "nights": found.nights,
        "bad": found.since.bad,
        "of": found.since.of,
        "bad_before": found.before.bad,
        "of_before": found.before.of,
        "score": round(found.score, 2),
    }


def _key(row: ReviewerNight) -> tuple[str, str, str]:
    return row["name"], row["model"], row["prompt_version"]
