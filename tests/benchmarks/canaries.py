"""
A simulated month of canaries: when a reviewer that becomes worse is told, and how often wrongly.

No calls: each planted defect is missed with the given probability, and the nights go through the
chart that a run uses. A month has 30 nights; on day 20 recall falls, or it stays as it is.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence

from tasks.finished.canaries.chart import Counted, told_now

NIGHTS, DAY = 30, 20


def month(rng: random.Random, planted: int, recalls: Sequence[float]) -> list[Counted]:
    """Nights with so many planted defects, found with these probabilities."""
    return [Counted(sum(rng.random() >= one for _ in range(planted)), planted) for one in recalls]


def first_told(nights: Sequence[Counted]) -> int | None:
    """The first night, from 1, that tells of a change; None: none does."""
    return next((day for day in range(1, len(nights) + 1) if told_now(nights[:day])), None)


def figures(months: int, planted: int, before: float, after: float) -> tuple[str, ...]:
    """A row of the table."""
    rng = random.Random(f"{planted} {before} {after}")
    falls = [before] * (DAY - 1) + [after] * (NIGHTS - DAY + 1)
    told = [first_told(month(rng, planted, falls)) for _ in range(months)]
    waits = sorted(day - DAY + 1 for day in told if day is not None and day >= DAY)
    early = sum(day is not None and day < DAY for day in told)
    wrong = sum(
        first_told(month(rng, planted, [before] * NIGHTS)) is not None for _ in range(months)
    )
    share = len(waits) / (months - early)
    middle, late = (waits[int(len(waits) * part)] if waits else 0 for part in (0.5, 0.9))
    return (
        f"{planted}",
        f"{before:g} to {after:g}",
        f"{share:.1%}",
        f"{middle}",
        f"{late}",
        f"{1000 * wrong / months:.1f}",
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", type=int, default=1000)
    months = parser.parse_args().months
    print(
        "| planted a night | recall | told by day 30 | nights, median | nights, 90 % | wrongly told of 1,000 months |"
    )
    print("|---|---|---|---|---|---|")
    for planted in (7, 10, 14):
        for before, after in ((0.8, 0.5), (0.8, 0.65), (0.9, 0.6), (0.6, 0.3)):
            print(f"| {' | '.join(figures(months, planted, before, after))} |")


if __name__ == "__main__":
    main()
