"""Types of manifest.json: the canaries of a run, and what they tell of its reviewers over many nights."""

from __future__ import annotations

from typing import Literal, TypedDict

__all__ = [
    "CanaryChange",
    "CanaryFacts",
    "CanaryNight",
    "CanaryUsual",
    "ReviewerNight",
]


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
