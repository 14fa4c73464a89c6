"""What the canaries of a run say of its reviewers, in sentences."""

from __future__ import annotations

from tasks.core.canary_facts import CanaryChange, CanaryFacts
from tasks.core.manifest import RunFacts
from tasks.core.stats import wilson

__all__ = [
    "CANARY_HEAD",
    "canary_lines",
    "canary_note",
    "canary_rows",
    "canary_warnings",
    "change_text",
    "worth_text",
]

CANARY_HEAD = ("reviewer", "model", "prompts", "found", "false alarms on clean ones")
"""Columns of `canary_rows`."""


_DEEDS = {
    ("missed", False): ("missed", "planted defects"),
    ("alarmed", False): ("raised false alarms on", "clean canaries"),
    ("missed", True): ("took away", "planted defects that the checks had found"),
    ("alarmed", True): ("let stand false alarms on", "clean canaries"),
}
"""By fault, and whether the reviewer is the review model."""


def worth_text(facts: CanaryFacts) -> str:
    """`found 9 of 10 planted defects (90 %, 60 to 98 %; ...), 1 false alarm on 6 clean ones (...)`."""
    night, usual = facts["night"], facts["usual"]
    found = night["defects"] - night["missed"]
    medians = ("", "")
    if usual is not None:
        nights = f"median of {usual['nights']:,} {'night' if usual['nights'] == 1 else 'nights'}"
        alarmed = "" if usual["alarmed"] is None else f"; {nights} {usual['alarmed']:.0%}"
        medians = (f"; {nights} {usual['found']:.0%}", alarmed)
    alarms = "false alarm" if night["alarmed"] == 1 else "false alarms"
    return (
        f"found {found:,} of {night['defects']:,} planted defects"
        f"{_interval(found, night['defects'], medians[0])}, "
        f"{night['alarmed']:,} {alarms} on {night['clean']:,} clean ones"
        f"{_interval(night['alarmed'], night['clean'], medians[1])}"
    )


def _interval(count: int, total: int, more: str) -> str:
    share = wilson(count, total)
    if share is None:
        return ""
    return f" ({share.value:.0%}, {share.low:.0%} to {share.high:.0%}{more})"


def change_text(one: CanaryChange) -> str:
    """One reviewer that has become worse, with the counts that say so."""
    who = f"{one['name']} ({one['model']}, prompts {one['prompt_version'][:12]})"
    nights = "night" if one["nights"] == 1 else f"{one['nights']:,} nights"
    did, whole = _DEEDS[one["fault"], one["name"] == "review"]
    return (
        f"{who} has become worse, beyond chance: in the last {nights} it {did} {one['bad']:,} of "
        f"{one['of']:,} {whole}, before that {one['bad_before']:,} of {one['of_before']:,}. See whether "
        "its provider has changed the model; a new name of model or prompt begins a new count."
    )


def canary_lines(manifest: RunFacts) -> list[str]:
    """The first lines of a report: the worth of the reviewers, and its warnings; none without canaries."""
    facts = manifest.get("canaries")
    return [f"Reviewers tonight: {worth_text(facts)}.", *canary_warnings(facts)] if facts else []


def canary_warnings(facts: CanaryFacts) -> list[str]:
    """What they may have obeyed, who was not asked, and who has become worse."""
    lines = []
    if facts["obeyed"]:
        lines.append(
            f"A reviewer may have obeyed the code: nothing was found in {', '.join(facts['obeyed'])}, "
            "which tells it to report nothing."
        )
    if facts["unanswered"]:
        lines.append(
            f"Canaries that nobody answered, and that do not count: {len(facts['unanswered']):,}."
        )
    return lines + [change_text(one) for one in facts["changes"]]


def canary_note(facts: CanaryFacts) -> str:
    """What the table of reviewers counts, and what the canaries cost."""
    cost = "an unknown cost" if facts["cost_usd"] is None else f"${facts['cost_usd']:,.4f}"
    return (
        f"{len(facts['drawn']):,} of {facts['file']}, drawn by {facts['seed']}; {facts['calls']:,} calls, "
        f"{cost}, in none of the figures above. Of a check: what it raised. Of the review model: what "
        "it let stand of that."
    )


def canary_rows(facts: CanaryFacts) -> list[tuple[str, str, str, str, str]]:
    """A row per reviewer; for the review model of what the checks found, and of their false alarms."""
    return [
        (
            one["name"],
            one["model"],
            one["prompt_version"][:12],
            f"{one['defects'] - one['missed']:,} of {one['defects']:,}",
            f"{one['alarmed']:,} of {one['clean']:,}",
        )
        for one in facts["night"]["reviewers"]
    ]
