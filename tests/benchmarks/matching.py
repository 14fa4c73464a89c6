"""
How often the matcher of findings and labels agrees with those who judged the same pairs.

    words    a reviewer's comment and a golden comment of the same change, judged by three models
    places   comments that annotators called wrong, and the golden ones of the same file of a diff

Takes a folder with martian_golden.jsonl, martian_judged.jsonl and aacr_subset.jsonl: rows as in the
public benchmarks withmartian/code-review-benchmark, which has no places, and alibaba/aacr-bench.
Neither is part of this project.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.core.records import Comment, Expected, Input
from tasks.finished.evaluate.matching import match
from tasks.finished.evaluate.matter import Matter
from tasks.load.rows import read_input
from tasks.review.inputs.texts import count_words

Rule = Callable[[str, str], bool]
"""Golden message, comment -> whether they are the same issue."""


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSONL file."""
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def by_matter(golden: str, said: str) -> bool:
    """The rule of the project."""
    return Matter.of_defect(Expected(message=golden)).is_of(Matter.of_comment(_said(said)))


def by_dice(least: float) -> Rule:
    """Words in common, of the words of both texts."""

    def rule(golden: str, said: str) -> bool:
        one, other = count_words(golden), count_words(said)
        total = one.total() + other.total()
        return bool(total) and 2 * (one & other).total() / total >= least

    return rule


RULES: dict[str, Rule] = {
    "place alone": lambda *_: True,
    "words, as in the project": by_matter,
    "Dice coefficient 0.20": by_dice(0.20),
    "Dice coefficient 0.25": by_dice(0.25),
    "Dice coefficient 0.30": by_dice(0.30),
}
"""`place alone` calls every pair of one place the same; here every pair is taken for one."""


def _said(message: str, path: str | None = None, lines: tuple[Any, Any] = (1, 1)) -> Comment:
    """A comment without a title, of a category that no label has."""
    return Comment(
        comment_id="c",
        fingerprint="f",
        check_model="m",
        path=path,
        side="right",
        start_line=lines[0],
        end_line=lines[1],
        loc_method="exact",
        category="other",
        severity="low",
        confidence=None,
        title="",
        message=message,
        rationale=None,
        existing_code=None,
        suggestion=None,
    )


def agreement(counts: Counter[tuple[bool, bool]]) -> tuple[str, ...]:
    """Agreement, Cohen's kappa, precision and recall of (rule, judge) pairs."""
    both, neither = counts[True, True], counts[False, False]
    wrong, missed = counts[True, False], counts[False, True]
    total = both + neither + wrong + missed
    agree = (both + neither) / total
    said, judged = (both + wrong) / total, (both + missed) / total
    chance = said * judged + (1 - said) * (1 - judged)
    kappa = (agree - chance) / (1 - chance)
    precision = both / (both + wrong) if both + wrong else 0.0
    return (f"{agree:.1%}", f"{kappa:.2f}", f"{precision:.1%}", f"{both / (both + missed):.1%}")


def print_words(folder: Path) -> None:
    """The table of words, all judges together and the project's rule for each."""
    golden = {row["golden_id"]: row["message"] for row in rows(folder / "martian_golden.jsonl")}
    counts: dict[tuple[str, str], Counter[tuple[bool, bool]]] = {}
    pairs = 0
    for row in rows(folder / "martian_judged.jsonl"):
        for pair in row["pairs"]:
            if pair["match"] is None:
                continue
            pairs += 1
            for name, rule in RULES.items():
                found = rule(golden[pair["golden_id"]], row["message"]), pair["match"]
                for judge in ("all three", row["judge"]):
                    counts.setdefault((name, judge), Counter())[found] += 1
    print(f"{pairs:,} pairs\n")
    print("| rule | judge | agrees | kappa | of its hits the judge's | of the judge's its |")
    print("|---|---|---|---|---|---|")
    for (name, judge), found in sorted(
        counts.items(), key=lambda one: list(RULES).index(one[0][0])
    ):
        if judge == "all three" or name == "words, as in the project":
            print(f"| {name} | {judge} | {' | '.join(agreement(found))} |")


def print_places(folder: Path) -> None:
    """How many comments that people called wrong, or about something else, are taken for a hit."""
    counts: Counter[str] = Counter()
    for row in rows(folder / "aacr_subset.jsonl"):
        item = read_input({key: value for key, value in row.items() if key != "rejected_comments"})
        for one in row.get("rejected_comments") or ():
            _count(counts, "rejected", item, item.expected or (), one)
        for number, label in enumerate(item.expected or ()):
            others = (*(item.expected or ())[:number], *(item.expected or ())[number + 1 :])
            said = {
                "path": label.path, "side": label.side, "start_line": label.start_line,
                "end_line": label.end_line, "message": label.message,
            }  # fmt: skip
            _count(counts, "golden, of other golden ones", item, others, said)
            _count(counts, "golden, of itself", item, (label,), said)
    print("\n| comments | of so many | a hit by place | by place and matter |")
    print("|---|---|---|---|")
    for name in ("rejected", "golden, of other golden ones", "golden, of itself"):
        of, place, matter = (counts[f"{name} {what}"] for what in ("of", "place", "matter"))
        print(f"| {name} | {of} | {place} | {matter} |")


def _count(
    counts: Counter[str], name: str, item: Input, labels: tuple[Expected, ...], said: dict[str, Any]
) -> None:
    made = _said(said["message"], said["path"], (said["start_line"], said["end_line"]))
    made = replace(made, side=said["side"])
    found = match([[made]], labels, item)
    counts[f"{name} of"] += 1
    counts[f"{name} place"] += bool(found.by_place)
    counts[f"{name} matter"] += bool(found.by_place_and_matter)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    print_words(folder)
    print_places(folder)


if __name__ == "__main__":
    main()
