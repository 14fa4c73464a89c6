"""Gaps that an operator accepts: the table `accept` of review.toml, and whether a run keeps to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import field_validator

from tasks.core.cells import RunCounts
from tasks.core.fields import Table

__all__ = ["LEFT_OUT", "AcceptSettings", "Acceptance", "accepted_gaps"]

LEFT_OUT = frozenset(
    {
        "binary", "deleted", "excluded", "lfs_pointer", "no_text_change", "not_a_file", "submodule",
        "symlink",
    }
)  # fmt: skip
"""Reasons of rows that were left out by choice, or have no code: no rejected rows for a tolerance."""

_SHARE = re.compile(r"(\d{1,3}(?:\.\d+)?) ?%")


class AcceptSettings(Table):
    """The table accept: shares, as "0.5%", up to which a run with gaps ends well."""

    failed_cells: str = "0%"
    """Of the planned cells, those that failed or were answered by a reply that was cut."""
    rejected_rows: str | None = None
    """Of the source's rows; files left out by choice are not among them. None: any share."""

    @field_validator("failed_cells", "rejected_rows", mode="before")
    @classmethod
    def _share(cls, value: object) -> object:
        if value is not None and (not isinstance(value, str) or not 0 <= _percent(value) <= 100):  # noqa: PLR2004
            msg = 'must be a share in per cent, as "0.5%"'
            raise ValueError(msg)
        return value


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A run against its tolerance."""

    accepted: bool
    """Whether the run ends well: whole, or with gaps within `accept`."""
    sentence: str
    """The result of the run in one line."""


def accepted_gaps(
    accept: AcceptSettings, counts: RunCounts, rows: int, reasons: Mapping[str, int]
) -> Acceptance:
    """Judge a run: `rows` are those of its source, `reasons` those of its rejected ones with counts."""
    rejected = sum(count for reason, count in reasons.items() if reason not in LEFT_OUT)
    taken = rows - sum(count for reason, count in reasons.items() if reason in LEFT_OUT)
    missing = counts.cells["failed"] + counts.cuts.total()
    over = [
        *_over("failed_cells", missing, counts.planned, accept.failed_cells),
        *_over("rejected_rows", rejected, taken, accept.rejected_rows),
    ]
    if counts.whole and not over:
        return Acceptance(accepted=True, sentence=counts.sentence())
    if over:
        # Without a tolerance, that there are gaps says it all.
        said = [one for one in over if accept.failed_cells != "0%" or "rejected" in one]
        return Acceptance(accepted=False, sentence="; ".join([_incomplete(counts), *said]))
    return Acceptance(
        accepted=True,
        sentence=f"{counts.sentence(gaps='accepted with gaps')}; {_share(missing, counts.planned)} of "
        f"the cells, accept.failed_cells is {accept.failed_cells}",
    )


def _incomplete(counts: RunCounts) -> str:
    return counts.sentence(whole="INCOMPLETE")


def _over(name: str, count: int, of: int, most: str | None) -> list[str]:
    if most is None or not count or count * 100 <= _percent(most) * of:
        return []
    noun = name.replace("_", " ")
    return [f"{count:,} {noun}, {_share(count, of)}, accept.{name} is {most}"]


def _share(count: int, of: int) -> str:
    return f"{count * 100 / max(of, 1):.2g} %"


def _percent(text: str) -> float:
    match = _SHARE.fullmatch(text.strip())
    return float(match[1]) if match else -1.0
