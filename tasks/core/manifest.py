"""
Types of manifest.json: the settings, counts, figures and outputs of a run.

    RunFacts   settings and counts of a merged run, from which the report is made
    Manifest   RunFacts, the report's figures and the checksums of the outputs: what is stored

Runs from before a key was added lack it: keys that a reader must not rely on are NotRequired.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

from tasks.core.canary_facts import CanaryFacts
from tasks.core.upstream_facts import BatchFacts, BudgetRow, QuotaProof, UpstreamFacts

__all__ = [
    "HISTORY_COUNTS",
    "CommitFacts",
    "Decided",
    "Figures",
    "GoneFinding",
    "HistoryFacts",
    "Manifest",
    "ManifestCounts",
    "OutputEntry",
    "Rejected",
    "RepositoryFacts",
    "RuleFacts",
    "RunFacts",
    "checks_of",
    "ended_well",
    "has_review",
]


class Rejected(TypedDict):
    """Rows of the source that were no inputs, by reason."""

    rows: int
    reasons: dict[str, int]


class ManifestCounts(TypedDict):
    """Totals of a run; each dict goes from a name to a count."""

    inputs: int
    coverage: dict[str, int]
    """Inputs that are complete, in_part, partial, failed, skipped."""
    cells: dict[str, int]
    """Cells that were planned, and that ended ok, failed, skipped."""
    failed_by_reason: dict[str, int]
    cut_by_reason: NotRequired[dict[str, int]]
    """Cells that ended ok on a reply that was cut short."""
    skipped_by_reason: dict[str, int]
    comments: dict[str, int]
    """Comments that were raised, and that are kept, dropped, unverified."""
    dropped_by_reason: dict[str, int]


class GoneFinding(TypedDict):
    """A finding of the earlier run that is gone."""

    fingerprint: str
    path: str
    category: str
    severity: str
    title: str


class HistoryFacts(TypedDict):
    """Findings against those of an earlier run, counted by what became of them."""

    run_id: str
    """The earlier run."""
    folder: str
    """Its folder or URL."""
    new: int
    recurring: int
    dropped: int
    gone: int
    unknown: int
    worst_gone: list[GoneFinding]
    """Worst first; at most 100."""


HISTORY_COUNTS: tuple[Literal["new", "recurring", "dropped", "gone", "unknown"], ...] = (
    "new",
    "recurring",
    "dropped",
    "gone",
    "unknown",
)
"""The counts of HistoryFacts, in the order of a report."""


class Decided(TypedDict):
    """Thresholds that were applied anew to a finished run."""

    at: str
    """ISO 8601, UTC."""
    changed: int
    """Comments with another outcome or reason than before."""


class Figures(TypedDict):
    """The report's figures: the fields of its Summary, and the quota proof."""

    models: list[dict[str, Any]]
    """ModelFigures of each check and of the review."""
    quota: QuotaProof


class OutputEntry(TypedDict):
    """One output file as it was written."""

    rows: int
    bytes: int
    sha256: str


class DerivedEntry(TypedDict):
    """One export, or a file of the evaluation, as it was written."""

    bytes: int
    sha256: str


class CommitFacts(TypedDict):
    """The commits of a repository that a run reviewed."""

    base: str
    """Full id; of a tree where history begins."""
    head: str
    commits: int
    files: int
    """Files that differ between the two."""
    note: str | None
    """Why they begin elsewhere than the last run ended."""


class RepositoryFacts(TypedDict):
    """One of several repositories that a run reviewed."""

    repo: str
    """Its name in the run: inputs have it in front of their ids, and in the column `repo`."""
    source: str
    source_key: str
    """As RunFacts has it, of a run of this repository alone."""
    commits: CommitFacts
    inputs: int
    coverage: dict[str, int]
    findings: dict[str, int]
    """Kept and unverified ones by severity, worst first."""
    ages: dict[str, int]
    """The same ones, new and recurring; empty: there was no earlier run."""


class RuleFacts(TypedDict):
    """One of the team's rules and the inputs that it applied to; see tasks.core.team_rules.RuleUse."""

    rule: str
    """A file's path, or the number of a table [[rules]]."""
    inputs: int
    cut: int
    left_out: int
    changed: bool


class RunFacts(TypedDict):
    """The settings and counts of a run, without what the report adds."""

    run_id: str
    result: str
    """The result in one sentence."""
    complete: bool
    """Every input was reviewed as planned."""
    accepted: NotRequired[bool]
    """The run ended well: complete, or with gaps within `accept`; see `ended_well`."""
    source: str
    source_resolved: NotRequired[str]
    """What was read: `source`, or of a repository git:PATH@BASE..HEAD."""
    commits: NotRequired[CommitFacts | None]
    """None: the source is no repository, or several."""
    repositories: NotRequired[list[RepositoryFacts]]
    """Empty unless the source is several repositories."""
    source_key: NotRequired[str]
    """What stays the same of `source` from run to run."""
    limit: NotRequired[int | None]
    started_at: str
    """ISO 8601, UTC."""
    seconds: float
    flow_run_id: str | None
    flow_run_url: NotRequired[str | None]
    rejected: Rejected
    counts: ManifestCounts
    history: HistoryFacts | None
    budget: NotRequired[list[BudgetRow]]
    """Empty when nothing is bounded."""
    settings: dict[str, Any]
    """Settings.model_dump, without any key."""
    threads: int
    fresh: bool
    prompt_version: str
    rules: NotRequired[list[RuleFacts]]
    """Empty when the team has none."""
    schema_version: int
    packages: dict[str, str]
    """Versions by name."""
    decided: NotRequired[Decided]
    derived: NotRequired[dict[str, DerivedEntry]]
    """Exports and evaluation, by file name; missing: they were not recorded yet."""
    upstream: NotRequired[UpstreamFacts]
    batches: NotRequired[list[BatchFacts]]
    canaries: NotRequired[CanaryFacts | None]
    """None: the run had none."""


def ended_well(manifest: Mapping[str, Any]) -> bool:
    """Whether the run of a manifest was complete, or had no more gaps than its settings accept."""
    return bool(manifest.get("accepted", manifest["complete"]))


def checks_of(settings: Mapping[str, Any]) -> list[str]:
    """The names of all checks of stored settings, those that are tools last."""
    return [one["name"] for one in (*settings["check"], *settings.get("tool_check", ()))]


def has_review(settings: Mapping[str, Any]) -> bool:
    """Whether the run of stored settings had a review stage."""
    return bool(settings["mode"] == "check_and_review")


class Manifest(RunFacts):
    """manifest.json of a finished run."""

    figures: Figures
    outputs: dict[str, OutputEntry]
    """By file name."""
