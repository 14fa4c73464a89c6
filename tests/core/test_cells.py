"""What a run says of itself: complete, in part by design, or incomplete with the remedy."""

from __future__ import annotations

from tasks.core.cells import Cell, RunCounts, cells_of, coverage_of

PLAN = (("check", "one"),)


def counts(*ends: tuple[Cell, str | None]) -> RunCounts:
    """Counts of inputs with one cell each; with it what no call shows."""
    found = RunCounts()
    for cell, left_out in ends:
        cells = cells_of(PLAN, [cell], "missing")
        found.add(cells, coverage_of(cells, left_out)[0], ())
    return found


OK = Cell("check", "one", "ok", None)
CUT = Cell("check", "one", "ok", "truncated")


def test_inputs_in_part_by_design_are_complete() -> None:
    """What a rerun would leave out again is counted and named, and the run is whole."""
    found = counts((OK, None), (OK, "left out: a.py:900-950"))
    assert found.whole
    assert found.sentence() == "complete, 1 input in part: 2 of 2 inputs"
    assert found.as_dict()["coverage"]["in_part"] == 1


def test_a_cut_reply_is_named_with_its_remedy() -> None:
    """Whether its first items could be read or not, the sentence says what to do."""
    failed = Cell("check", "one", "failed", "truncated")
    found = counts((OK, None), (CUT, None), (failed, None))
    assert not found.whole
    assert found.sentence() == (
        "INCOMPLETE: 1 of 3 inputs, 2 not in full: 2 truncated (raise max_tokens)"
    )
    assert found.as_dict()["cut_by_reason"] == {"truncated": 1}


def test_a_cut_part_is_seen_beside_whole_ones() -> None:
    """One of three parts was cut: the cell says so."""
    (cell,) = cells_of(PLAN, [OK, CUT, OK], "missing")
    assert coverage_of([cell], None) == ("partial", "one: truncated (raise max_tokens)")
