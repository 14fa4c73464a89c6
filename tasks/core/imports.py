"""Thousands of classes imported and left behind, without the garbage collector looking through them again and again."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quick_exit", "quick_imports"]


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import in the block without collections: they find nothing, and take a sixth of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def quick_exit() -> None:
    """Have this process end without the interpreter's last collections, which take a third of a second.

    They look at every object there is, of which the kernel takes back all.
    """
    # What is registered twice runs twice, which would do no harm.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
