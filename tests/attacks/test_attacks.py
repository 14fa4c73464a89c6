"""The attacks of `make attack` that take seconds; the others repeat what the suite shows elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.local import ROOT
from tests.attacks.files import state_files
from tests.attacks.replies import endpoints
from tests.attacks.repositories import injections, names
from tests.attacks.suite import SUITE
from tests.attacks.tally import Tally


@pytest.mark.parametrize("attack", [injections, names, endpoints, state_files])
def test_nothing_comes_through(attack: Callable[[Path], Tally], tmp_path: Path) -> None:
    """Whatever is tried is refused, escaped, masked or survived."""
    tally = attack(tmp_path)
    assert tally.tried > 20
    assert tally.through == []


def test_the_suite_names_tests_that_exist() -> None:
    """A test that was renamed or removed is no attack that was tried."""
    for one in {one for ids in SUITE.values() for one in ids}:
        file, _, name = one.partition("::")
        assert f"def {name}" in (ROOT / "tests" / file).read_text(), one
