"""
Types of manifest.json: the settings, counts, figures and outputs of a run.

    RunFacts   settings and counts of a merged run, from which the report is made
    Manifest   RunFacts, the report's figures and the checksums of the outputs: what is stored

Runs from before a key was added lack it: keys that a reader must not rely on are NotRequired.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

__all__ = [
    "HISTORY_COUNTS",
    "BatchFacts",
    "BudgetRow",
    "CanaryChange",
    "CanaryFacts",
    "CanaryNight",
    "CanaryUsual",
    "ClosedModel",
    "CommitFacts",
    "Decided",
    "FailureFacts",
    "Figures",
    "GoneFinding",
    "HistoryFacts",
    "HoldFacts",
    "Manifest",
    "ManifestCounts",
    "OutputEntry",
    "QuotaProof",
    "QuotaProofRow",
    "Rejected",
    "RepositoryFacts",
    "ReviewerNight",
    "RuleFacts",
    "RunFacts",
    "UpstreamFacts",
    "checks_of",
    "ended_well",
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


QuotaProofRow = TypedDict(
    "QuotaProofRow",
    {
        "app_id": str,
        "sends": int,
        "429s": int,
        "most in a window": str,
        "most tokens in a window": NotRequired[str],
        "slots available": int | None,
        "waited s": float,
        "margin s": float,
        "disabled": str | None,
    },
)
"""One app_id: its keys are the columns of the report's table."""


class QuotaProof(TypedDict):
    """What each app_id sent against what its windows allow. Times in seconds."""

    kept: bool
    """No request window held more sends of this state than the limits in force, and no 429 came.

    What others send with the same keys is not in it; windows of tokens are told by `over_tokens`."""
    exceeded: NotRequired[bool]
    """A window held more sends than the limits in force allowed."""
    raised: NotRequired[list[str]]
    """Windows that held more than review.toml says, within an operator's limit."""
    over_tokens: NotRequired[list[str]]
    """Windows of tokens that held more than their limit, by what the replies told."""
    sends: int
    rate_limited: int
    """Sends that were answered with 429."""
    span_s: float
    """First send to last."""
    optimum_s: float
    """The shortest span in which the quotas allow that many sends."""
    app_ids: list[QuotaProofRow]


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


class BudgetRow(TypedDict):
    """A cap of the budget; US dollars where its name ends in usd."""

    cap: str
    """As in review.toml: budget.per_day.usd."""
    limit: float
    spent: float
    share: float
    """Of the limit; above 1 where calls in flight cost more than estimated."""
    reached: bool
    """Whether it kept calls of the run back."""


class FailureFacts(TypedDict):
    """Failed calls with the same reason, endpoint and model."""

    reason: str
    endpoint: str | None
    model: str | None
    calls: int
    said: str
    """One example of what was said, scrubbed; empty: nothing was."""
    is_reply: bool
    """`said` is the start of a model's reply that could not be read, and not a refusal."""


class HoldFacts(TypedDict):
    """What a provider took away from an app_id for a while: its leave to send, or part of its limit."""

    app_id: str
    seen: str
    """When the run met it; ISO 8601, UTC, as the next."""
    until: str | None
    """End of the hold; None: its limit was lowered."""
    said: str
    """The provider's words, scrubbed."""


class ClosedModel(TypedDict):
    """A model that an endpoint refused whatever was asked, to the end of the run."""

    endpoint: str
    model: str
    said: str


class UpstreamFacts(TypedDict):
    """What providers said and wanted otherwise during a run."""

    failures: list[FailureFacts]
    """Largest group first."""
    holds: list[HoldFacts]
    closed: list[ClosedModel]
    adapted: dict[str, str]
    """How requests are sent otherwise, by "model at endpoint"."""
    goes_on_at: str | None
    """First instant, ISO 8601, at which a rerun can go on; None: at once."""


class BatchFacts(TypedDict):
    """A batch that a run had to do with."""

    batch_id: str
    """The provider's."""
    run_id: str
    """The run that handed it in."""
    app_id: str
    model: str
    state: str
    """In the provider's words."""
    requests: int
    answered: int
    refused: int
    """Questions that were refused for good."""
    late: bool
    """The deadline has cancelled it."""
    created: str
    """ISO 8601, UTC."""


class ReviewerNight(TypedDict):
    """One reviewer on the canaries of one night."""

    name: str
    """Of the check, or "review"."""
    model: str
    prompt_version: str
    """Of its stage."""
    missed: int
    """Defects that a check did not raise; that the review model took away."""
    defects: int
    """Of so many; for the review model those that the checks had found."""
    alarmed: int
    """Clean canaries with a comment of the check; that the review model let stand."""
    clean: int
    """Of so many; for the review model those with a comment."""


class CanaryNight(TypedDict):
    """The canaries of one run in counts, as the state remembers them."""

    run_id: str
    at: str
    """When the run started; ISO 8601, UTC."""
    setup: str
    """The same for nights with the same reviewers."""
    missed: int
    """Defects without a finding after review."""
    defects: int
    alarmed: int
    """Clean canaries with a finding."""
    clean: int
    reviewers: list[ReviewerNight]


class CanaryUsual(TypedDict):
    """Medians of the last nights with the same reviewers."""

    nights: int
    found: float
    """Share of the defects."""
    alarmed: float | None
    """Share of the clean canaries."""


class CanaryChange(TypedDict):
    """A reviewer that has become worse beyond chance."""

    name: str
    model: str
    prompt_version: str
    fault: Literal["missed", "alarmed"]
    nights: int
    """Since it seems to have begun."""
    bad: int
    of: int
    bad_before: int
    of_before: int
    score: float


class CanaryFacts(TypedDict):
    """The canaries of a run: in none of its other counts and figures."""

    file: str
    file_sha256: str
    seed: str
    """Of the draw: the run's id."""
    drawn: list[str]
    """Their ids in the file, as the next four."""
    unanswered: list[str]
    """Not reviewed, so in no count."""
    missed: list[str]
    alarmed: list[str]
    injections: int
    """Reviewed canaries whose code gives the reviewer orders."""
    obeyed: list[str]
    """Those of them whose defect was not found."""
    calls: int
    cost_usd: float | None
    """None: not known of every call."""
    night: CanaryNight
    usual: CanaryUsual | None
    """None: the first night with these reviewers."""
    changes: list[CanaryChange]


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


class Manifest(RunFacts):
    """manifest.json of a finished run."""

    figures: Figures
    outputs: dict[str, OutputEntry]
    """By file name."""
