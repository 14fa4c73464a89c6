"""Whose slots are whose, whatever happens between two looks at a limit."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from flows.ui.limit_slots import Entry, Limit, external_slots, settled, step

LIMIT = Limit("id", "a", number=3, active=True, slots=0)


@given(
    number=st.integers(0, 9),
    held=st.integers(0, 9),
    rounds=st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from(["done", "lost answer", "refused", "idle"])),
        max_size=12,
    ),
)
def test_slots_of_others_are_told_apart(
    number: int, held: int, rounds: list[tuple[int, str]]
) -> None:
    """While others hold still, every look finds what they hold, whatever became of our changes."""
    limit, entry = replace(LIMIT, number=number, slots=held), Entry()
    for used, fate in rounds:
        entry = settled(entry, limit)
        assert external_slots(entry, limit) == held
        delta = step(entry, limit, used)
        assert entry.shown + delta <= max(used, entry.shown)
        assert delta <= max(0, number - limit.slots)
        if delta == 0 or fate == "idle":
            continue
        entry = replace(entry, delta=delta, before=limit.slots)
        if fate != "refused":
            limit = replace(limit, slots=limit.slots + delta)
        if fate == "done":
            entry = replace(entry, shown=entry.shown + delta, delta=0, before=0)


def test_a_reset_on_the_server_is_believed() -> None:
    """An operator who sets the slots to 0 takes ours away too, not somebody else's."""
    entry = settled(Entry(shown=3), LIMIT)
    assert entry.shown == 0
    assert step(entry, LIMIT, 2) == 2


def test_an_inactive_limit_is_left_alone() -> None:
    """Prefect ignores changes to inactive limits, so none is recorded as made."""
    assert step(Entry(shown=2), replace(LIMIT, active=False, slots=2), 0) == 0


def test_a_number_that_changed_is_an_operators() -> None:
    """Only the number that we wrote is ours, and only as long as it stays."""
    assert settled(Entry(written=3), LIMIT).written == 3
    assert settled(Entry(written=3), replace(LIMIT, number=5)).written is None
