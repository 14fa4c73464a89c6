"""Periodic tasks: their turns at both ends, their context, and what a turn that fails costs."""

from __future__ import annotations

import contextvars
import threading

import pytest

from tasks.core.periodic import PeriodicTask

_RUN: contextvars.ContextVar[str] = contextvars.ContextVar("run", default="")


def test_turns_at_both_ends_in_the_context_of_the_block() -> None:
    """The first turn needs no wait, the last one comes after the block; both know whose they are."""
    seen, begun = [], threading.Event()

    def turn() -> None:
        seen.append((_RUN.get(), threading.current_thread().name))
        begun.set()

    token = _RUN.set("first")
    with PeriodicTask(3600.0, turn, "turns", at_once=True, last=True):
        assert begun.wait(10)
        here = threading.current_thread().name
    _RUN.reset(token)
    assert seen == [("first", "turns"), ("first", here)]


def test_a_failure_is_logged_when_it_begins(caplog: pytest.LogCaptureFixture) -> None:
    """Three turns that fail are one line; the block goes on."""
    turns, enough = [], threading.Event()

    def turn() -> None:
        turns.append(1)
        if len(turns) == 3:
            enough.set()
        raise OSError

    with PeriodicTask(0.001, turn, "turns"):
        assert enough.wait(10)
    assert caplog.text.count("turns failed (OSError") == 1
