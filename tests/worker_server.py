"""
The process that collects all tests, of which pytest-xdist's workers are forked.

    python -m tests.worker_server LISTENER PATH...

Each worker would import all tests and what they import, and compile them in a fresh clone, at the same
time as the others: fifteen seconds of CPU. As it is they find all imported, and only list the tests.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from types import ModuleType

import pytest

from tests.forking import fork_for_clients

_ONLY_COLLECT = ("--collect-only", "-n0", "-s", "-p", "no:cacheprovider")


def _serve(listener: int, paths: Sequence[str]) -> None:
    """Collect, then fork; where something cannot be imported no client is answered."""
    gc.disable()  # a sixth of what imports take
    if pytest.main([*_ONLY_COLLECT, *paths]) == pytest.ExitCode.OK and fork_for_clients(listener):
        _be_worker()


def _be_worker() -> None:
    """Do what xdist tells an interpreter that it has started with a line of Python."""
    sys.argv = ["-c"]
    sys.modules["__main__"] = ModuleType("__main__")
    exec(eval(sys.stdin.readline()), vars(sys.modules["__main__"]))


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2:])
