"""Which gaps a run may have and still end well."""

from __future__ import annotations

from collections import Counter

import pytest

from tasks.core.acceptance import AcceptSettings, accepted_gaps
from tasks.core.cells import RunCounts
from tasks.core.errors import ConfigError
from tasks.core.settings import load_settings
from tests.factories import STRICT

TOLERANT = AcceptSettings(failed_cells="0.5%", rejected_rows="1%")


def counts(failed: int, cut: int = 0, planned: int = 1000) -> RunCounts:
    """A run of `planned` inputs with one cell each."""
    bad = failed + cut
    return RunCounts(
        inputs=planned,
        planned=planned,
        cells=Counter({"ok": planned - failed, "failed": failed}),
        reasons=Counter({"timeout": failed} if failed else {}),
        cuts=Counter({"truncated": cut} if cut else {}),
        coverage=Counter({"complete": planned - bad, "failed": failed, "partial": cut}),
    )


@pytest.mark.parametrize(
    ("failed", "cut", "accepted"), [(5, 0, True), (6, 0, False), (3, 3, False)]
)
def test_failed_and_cut_cells_are_accepted_up_to_their_share(
    failed: int, cut: int, *, accepted: bool
) -> None:
    """Half a per cent of 1,000 cells is five; a cell whose reply was cut counts as one that failed."""
    ending = accepted_gaps(TOLERANT, counts(failed, cut), 1000, {})

    assert ending.accepted is accepted
    assert ending.sentence.startswith("accepted with gaps: " if accepted else "INCOMPLETE: ")
    assert "accept.failed_cells is 0.5%" in ending.sentence


def test_without_a_tolerance_any_failed_cell_is_too_much() -> None:
    """The result is as it always was: no word of a tolerance that nobody has set."""
    ending = accepted_gaps(AcceptSettings(), counts(1), 1000, {"too_long": 500})

    assert not ending.accepted
    assert ending.sentence == "INCOMPLETE: 999 of 1,000 inputs, 1 not in full: 1 timeout"


@pytest.mark.parametrize(
    ("reasons", "accepted"),
    [
        ({"excluded": 900, "deleted": 50}, True),
        ({"too_large": 10}, True),
        ({"too_large": 11}, False),
        ({"excluded": 900, "too_large": 2}, False),
    ],
)
def test_files_left_out_by_choice_are_not_rejected_rows(
    reasons: dict[str, int], *, accepted: bool
) -> None:
    """They are neither among those that were rejected nor among those that could have been."""
    ending = accepted_gaps(TOLERANT, counts(0), 1000, reasons)

    assert ending.accepted is accepted
    assert ending.sentence.startswith("complete: " if accepted else "INCOMPLETE: ")
    assert accepted or "rejected rows" in ending.sentence


@pytest.mark.parametrize("value", ['"5"', "0.005", '"120%"', '"-1%"'])
def test_a_share_is_written_in_per_cent(value: str) -> None:
    """A bare number could be read as either; the message shows the form."""
    with pytest.raises(ConfigError, match=r'accept.failed_cells.*as "0.5%"'):
        load_settings(f"accept = {{ failed_cells = {value} }}\n{STRICT}")


def test_an_unknown_share_is_told_with_its_neighbour() -> None:
    """A typing error names the key that was meant."""
    with pytest.raises(ConfigError, match="did you mean failed_cells"):
        load_settings(f'accept = {{ failed_cell = "1%" }}\n{STRICT}')
