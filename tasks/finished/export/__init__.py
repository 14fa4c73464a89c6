"""
Findings in the formats that other tools open.

Each export is a pure function from the run's facts and its findings, read once and in order, to
pieces of one file: what it holds in memory does not grow with the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tasks.core.errors import UserError
from tasks.finished.export.digest import digest
from tasks.finished.export.github import github_review
from tasks.finished.export.gitlab import gitlab
from tasks.finished.export.markdown import markdown
from tasks.finished.export.rdjson import rdjsonl
from tasks.finished.export.sarif import sarif

__all__ = ["EXPORTS", "Export", "export_names"]


@dataclass(frozen=True, slots=True)
class Export:
    """One export format."""

    file: str
    """Name of the file in the run's folder."""
    pieces: Callable[..., Iterator[bytes]]
    """From RunFacts and an iterable of Findings; then of carried ones, where `carries`, or of the
    inputs' lines of reviews.json and the most comments, where `shows_diff`."""
    carries: bool = False
    """Whether the file is the whole state of its source, open findings of earlier runs included."""
    shows_diff: bool = False
    """Whether it asks which lines the inputs' diffs show."""


EXPORTS = {
    "sarif": Export("review.sarif", sarif, carries=True),
    "rdjsonl": Export("review.rdjsonl", rdjsonl),
    "gitlab": Export("gl-code-quality.json", gitlab),
    "markdown": Export("review.md", markdown),
    "github-review": Export("github-review.json", github_review, shows_diff=True),
    "digest": Export("digest.md", digest, carries=True),
}


def export_names(text: str) -> tuple[str, ...]:
    """`"sarif,gitlab"` -> the names, each once.

    Raises:
        UserError: no name, or one that is not in EXPORTS.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in EXPORTS]
    if unknown or not names:
        known = ",".join(EXPORTS)
        what = f'"{unknown[0]}" is no export' if unknown else "no export is named"
        msg = f"{what}: use one or more of {known}"
        raise UserError(msg)
    return names
