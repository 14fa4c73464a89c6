"""Finished runs -> the policy for a wanted precision, its figures on both halves, what it would change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks.core.errors import SourceError
from tasks.core.paths import RunPaths
from tasks.core.policy_settings import Policy
from tasks.finished.calibrate.fit import fit_policy
from tasks.finished.calibrate.labelled import (
    Labelled,
    count_under,
    held_out,
    read_labelled,
    scored_findings,
    shown_findings,
)
from tasks.finished.evaluate.metrics import MatchCounts
from tasks.outputs.tables import read_manifest

__all__ = ["Calibration", "Half", "calibrate"]

_NOTHING = MatchCounts()


@dataclass(frozen=True, slots=True)
class Half:
    """One half of the labelled inputs: counts under the policy of now, and under the new one."""

    inputs: int
    now: MatchCounts
    then: MatchCounts


@dataclass(frozen=True, slots=True)
class Calibration:
    """The result of a calibration."""

    now: Policy
    """Of the first run."""
    then: Policy | None
    """None: no scores reach the precision."""
    precision: float
    findings: int
    """Scored findings that the policy was chosen by."""
    chosen_by: Half
    held_out: Half
    curve: tuple[tuple[int, MatchCounts], ...]
    """Counts of all labelled inputs with this min_score for everything, 0 to 10."""
    shown_now: int
    """Findings of all inputs, labelled or not, canaries apart."""
    gone: int
    """Of those, the ones that the new policy would not show."""
    come: int
    """Findings that it would show in addition."""


def calibrate(runs: Sequence[RunPaths], precision: float) -> Calibration:
    """Choose a policy from the labels and canaries of finished runs.

    Holds the labelled inputs; of the others one at a time.

    Raises:
        OutputError: one is no finished run, or an output is damaged.
        SourceError: no labelled input has a finding with a score.
    """
    now = Policy.model_validate(read_manifest(runs[0])["settings"]["policy"])
    labelled = [one for paths in runs for one in read_labelled(paths) if one.hit is not None]
    apart = held_out(labelled)
    choosing = [one for one in labelled if one.item.input_id not in apart]
    testing = [one for one in labelled if one.item.input_id in apart]
    findings = [found for one in choosing for found in scored_findings(one, now)]
    if not findings:
        raise SourceError(_nothing(runs, labelled))
    then = fit_policy(findings, precision, now)
    shown, gone, come = _changes(runs, now, then or now)
    return Calibration(
        now=now,
        then=then,
        precision=precision,
        findings=len(findings),
        chosen_by=_half(choosing, now, then or now),
        held_out=_half(testing, now, then or now),
        curve=tuple((score, _counted(labelled, _flat(now, score))) for score in range(11)),
        shown_now=shown,
        gone=gone,
        come=come,
    )


def _flat(base: Policy, score: int) -> Policy:
    return base.model_copy(update={"min_score": score, "min_scores": {}})


def _half(labelled: Sequence[Labelled], now: Policy, then: Policy) -> Half:
    return Half(len(labelled), _counted(labelled, now), _counted(labelled, then))


def _counted(labelled: Iterable[Labelled], policy: Policy) -> MatchCounts:
    return sum((count_under(one, policy) for one in labelled), start=_NOTHING)


def _changes(runs: Iterable[RunPaths], now: Policy, then: Policy) -> tuple[int, int, int]:
    shown = gone = come = 0
    for paths in runs:
        for one in read_labelled(paths):
            if one.hit == "by_place":
                continue
            before, after = shown_findings(one, now), shown_findings(one, then)
            shown += len(before)
            gone += len(before - after)
            come += len(after - before)
    return shown, gone, come


def _nothing(runs: Sequence[RunPaths], labelled: Sequence[Labelled]) -> str:
    where = ", ".join(paths.place for paths in runs)
    if labelled:
        return (
            f"{where}: no labelled input of the half to choose by has a finding with a score: add runs "
            "with a review model, or more labels"
        )
    return (
        f"{where}: no labelled input: give rows of the source a field `expected`, or plant [canaries] "
        "and name the folders of many nights"
    )
