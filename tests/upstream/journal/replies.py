"""A reply, and keys under which a journal has it."""

from __future__ import annotations

import hashlib

from tasks.core.calls import Reply, Usage

__all__ = ["REPLY", "key_of"]

REPLY = Reply("", "m", "stop", Usage(), None, 1.0, "a", "t", "http://x.test/v1", 1.0, 0.0)


def key_of(n: int) -> str:
    """A key as requests have them."""
    return hashlib.sha256(f"{n}".encode()).hexdigest()
