"""Sentences that the report says in Markdown and in HTML alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.core.manifest import QuotaProof

__all__ = ["listed", "quota_sentence"]


def listed(counts: Mapping[str, int], skip: Sequence[str] = ()) -> str:
    """Counts as a list, `3 timeout, 1 content_filter`; zeros are left out."""
    return ", ".join(
        f"{count:,} {name}" for name, count in counts.items() if count and name not in skip
    )


def quota_sentence(quota: QuotaProof) -> str:
    """The quota proof in two sentences."""
    kept = "no window was ever exceeded" if quota["kept"] else "A WINDOW WAS EXCEEDED"
    return (
        f"{quota['sends']:,} sends, {quota['rate_limited']:,} answered with 429, {kept}. First send "
        f"to last: {quota['span_s']:,.1f} s, at best {quota['optimum_s']:,.1f} s."
    )
