"""Imports and exits without the garbage collector."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.core.imports import quick_imports

_EXIT = """
import atexit, gc
from tasks.core.imports import quick_exit
at_first = gc.get_freeze_count()  # some are from the start on Python 3.12
# The first to register is the last to run.
atexit.register(lambda: print(gc.get_freeze_count() > at_first))
{calls}
"""


@pytest.mark.parametrize(
    ("calls", "frozen"), [("quick_exit()", True), ("quick_exit(); quick_exit()", True), ("", False)]
)
def test_the_last_collections_have_nothing_to_look_at(calls: str, *, frozen: bool) -> None:
    """As the interpreter ends, and not before: what a process forgets meanwhile is collected as ever."""
    ended = subprocess.run(
        [sys.executable, "-c", _EXIT.format(calls=calls)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout == f"{frozen}\n"


def test_the_collector_is_as_it_was() -> None:
    """On again after the block, and off where it was off before."""
    assert gc.isenabled()
    with quick_imports():
        assert not gc.isenabled()
        with quick_imports():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
