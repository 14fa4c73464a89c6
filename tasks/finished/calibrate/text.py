"""A calibration as tables and sentences, and its policy as the table [policy] of review.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

import orjson

from tasks.core.errors import ConfigError
from tasks.core.policy_settings import Policy
from tasks.core.stats import Proportion
from tasks.finished.calibrate.calibration import Calibration, Half
from tasks.finished.evaluate.metrics import MatchCounts

__all__ = [
    "CURVE_HEAD",
    "HALF_HEAD",
    "curve_rows",
    "half_rows",
    "notes",
    "policy_toml",
    "with_policy",
]

HALF_HEAD = ("inputs", "policy", "kept", "true", "precision", "recall")
CURVE_HEAD = ("min_score", "kept", "true", "precision", "recall")
_FEW = 50
_HEADER = re.compile(r"^\s*\[")
_POLICY = re.compile(r"^\s*\[\s*policy\s*\]")


def half_rows(found: Calibration) -> Iterator[tuple[str, ...]]:
    """Both halves, each under the policy of now and under the new one."""
    halves = {"to choose by": found.chosen_by, "held out": found.held_out}
    for name, half in halves.items():
        for policy, counts in _policies(half, found):
            yield (f"{half.inputs:,} {name}", policy, *_cells(counts))


def _policies(half: Half, found: Calibration) -> Iterator[tuple[str, MatchCounts]]:
    yield "now", half.now
    if found.then is not None:
        yield "new", half.then


def curve_rows(found: Calibration) -> Iterator[tuple[str, ...]]:
    """Every labelled input with one min_score for all of them."""
    for score, counts in found.curve:
        yield (f"{score}", *_cells(counts))


def _cells(counts: MatchCounts) -> tuple[str, ...]:
    kept = counts.true + counts.false
    return (f"{kept:,}", f"{counts.true:,}", _share(counts.precision), _share(counts.recall))


def _share(value: Proportion | None) -> str:
    if value is None:
        return "none"
    return f"{value.value:.0%} ({value.low:.0%} to {value.high:.0%})"


def notes(found: Calibration) -> Iterator[str]:
    """What the policy would change, and how far its figures carry."""
    if found.then is None:
        yield f"No scores reach a precision of {found.precision:.0%} on the half to choose by."
    elif found.then == found.now:
        yield "The policy of now is the one that was found."
    else:
        yield (
            f"Of {found.shown_now:,} findings that are shown now, {found.gone:,} would go, and "
            f"{found.come:,} would come; decide a run anew by repolicy, without a call."
        )
    if found.findings < _FEW:
        yield (
            f"Chosen by {found.findings:,} findings, which is few: believe the half that was held out, "
            "and its intervals."
        )


def policy_toml(policy: Policy) -> str:
    """The table [policy]."""
    fields = policy.model_dump()
    scores = ", ".join(f"{_key(name)} = {score}" for name, score in fields["min_scores"].items())
    lines = [
        "[policy]",
        f"keep_uncertain_score = {policy.keep_uncertain_score}",
        f"min_score = {policy.min_score}",
        *([f"min_scores = {{ {scores} }}"] if scores else []),
        f'min_severity = "{policy.min_severity}"',
        f"require_evidence = {str(policy.require_evidence).lower()}",
    ]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if name.isalpha() else orjson.dumps(name).decode()


def with_policy(text: str, policy: Policy, name: str) -> str:
    """The text of a review.toml with this table [policy] in place of its own, or at its end.

    Raises:
        ConfigError: the file `name` is not TOML, or has its policy in a form that is not a table.
    """
    try:
        had = "policy" in tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{name} is not valid TOML: {error}"
        raise ConfigError(msg) from None
    lines = text.splitlines(keepends=True)
    first = next((at for at, line in enumerate(lines) if _POLICY.match(line)), None)
    if had and first is None:
        msg = f"{name} has its policy in another form: write it as a table [policy], or name a new file"
        raise ConfigError(msg)
    if first is None:
        gap = "" if not text or text.endswith("\n") else "\n"
        return f"{text}{gap}\n{policy_toml(policy)}" if text else policy_toml(policy)
    last = next((at for at in range(first + 1, len(lines)) if _HEADER.match(lines[at])), len(lines))
    # Blank lines and comments above the next table are that one's.
    while last > first + 1 and (not lines[last - 1].strip() or lines[last - 1].startswith("#")):
        last -= 1
    return "".join([*lines[:first], policy_toml(policy), *lines[last:]])
