"""What must happen around a fork, for everything that has threads, locks and SQLite."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["watch"]


class _Forkable(Protocol):
    def before_fork(self) -> None: ...

    def after_fork(self, *, child: bool) -> None: ...


_WATCHED: weakref.WeakSet[_Forkable] = weakref.WeakSet()


def watch(what: _Forkable) -> None:
    """Have an object told about forks as long as it lives."""
    _WATCHED.add(what)


def _before() -> None:
    for what in list(_WATCHED):
        what.before_fork()


def _after(*, child: bool) -> None:
    for what in list(_WATCHED):
        what.after_fork(child=child)


os.register_at_fork(
    before=_before,
    after_in_parent=lambda: _after(child=False),
    after_in_child=lambda: _after(child=True),
)
